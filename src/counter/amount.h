/*
 * amount.h
 *		Sums of what counters count.
 */
#ifndef UM_AMOUNT_H
#define UM_AMOUNT_H

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

static inline int
compare(Numeric a, Numeric b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a), NumericGetDatum(b)));
}

static inline Numeric
plus(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_add, NumericGetDatum(a), NumericGetDatum(b)));
}

static inline Numeric
minus(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_sub, NumericGetDatum(a), NumericGetDatum(b)));
}

static inline Numeric
zero(void)
{
	return int64_to_numeric(0);
}

/* What is left of a room after something was taken; an infinite one stays. */
static inline Numeric
left_of(Numeric room, Numeric taken)
{
	return numeric_is_inf(room) ? room : minus(room, taken);
}

#endif							/* UM_AMOUNT_H */
