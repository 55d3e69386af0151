/*
 * decimal.h
 *		Exact decimals as 128-bit integers: value = mantissa / 10^scale.
 */
#ifndef UM_DECIMAL_H
#define UM_DECIMAL_H

#include "fmgr.h"
#include "utils/numeric.h"

#ifndef HAVE_INT128
#error "usage_monitor needs a compiler with 128-bit integers"
#endif

/* the largest power of ten that an int128 holds */
#define UM_MAX_POWER	38

typedef struct UmDecimal
{
	int128		mantissa;
	int			scale;
} UmDecimal;

/* A numeric as it is stored, be it without the header that others want: good for um_decimal_from_numeric. */
#define UM_STORED_NUMERIC(datum) ((Numeric) PG_DETOAST_DATUM_PACKED(datum))

extern int128 um_power_of_ten(int exponent);
extern bool um_decimal_from_numeric(Numeric value, UmDecimal *result);
extern bool um_decimal_rescale(UmDecimal *value, int scale);
extern Numeric um_decimal_to_numeric(int128 mantissa, int scale);

#endif							/* UM_DECIMAL_H */
