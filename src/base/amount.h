/*
 * amount.h
 *		Arithmetic of numbers of any size: see decimal.h for the quick one.
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
times(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_mul, NumericGetDatum(a), NumericGetDatum(b)));
}

static inline Numeric
divided(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_div, NumericGetDatum(a), NumericGetDatum(b)));
}

static inline Numeric
zero(void)
{
	return int64_to_numeric(0);
}

/* Can it be what a call costs: a number, and not below zero? */
static inline bool
is_amount(Numeric value)
{
	return !numeric_is_nan(value) && !numeric_is_inf(value) && compare(value, zero()) >= 0;
}

/* Without trailing zeros. */
static inline Numeric
trimmed(Numeric value)
{
	return DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale, NumericGetDatum(value)));
}

/* As people read it, and how it is read. */
static inline char *
amount_text(Numeric value)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value)));
}

static inline Numeric
amount_of_text(const char *text)
{
	return DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(text),
											   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

/* What is left of a room after something was taken; an infinite one stays. */
static inline Numeric
left_of(Numeric room, Numeric taken)
{
	return numeric_is_inf(room) ? room : minus(room, taken);
}

#endif							/* UM_AMOUNT_H */
