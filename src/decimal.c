/*
 * decimal.c
 *		Exact decimals as 128-bit integers.
 *
 * A chain of numeric operators costs some 500 ns a row, this some 50; where a
 * value does not fit, the callers fall back to numeric, which always does.
 */
#include "postgres.h"

#include "decimal.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

/* The power of ten, 0 <= exponent <= UM_MAX_POWER. */
int128
um_power_of_ten(int exponent)
{
	static int128 power[UM_MAX_POWER + 1];

	if (power[0] == 0)
	{
		int128		p = 1;

		for (int i = 0; i <= UM_MAX_POWER; i++)
		{
			power[i] = p;
			if (i < UM_MAX_POWER)
				p *= 10;
		}
	}
	Assert(exponent >= 0 && exponent <= UM_MAX_POWER);
	return power[exponent];
}

/* Reads a numeric; false where it is not finite or does not fit. */
bool
um_decimal_from_numeric(Numeric value, UmDecimal *result)
{
	char	   *text;
	bool		negative = false;
	bool		in_fraction = false;

	if (numeric_is_nan(value) || numeric_is_inf(value))
		return false;

	text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value)));
	result->mantissa = 0;
	result->scale = 0;

	for (char *c = text; *c != '\0'; c++)
	{
		if (*c == '-')
			negative = true;
		else if (*c == '.')
			in_fraction = true;
		else
		{
			if (__builtin_mul_overflow(result->mantissa, (int128) 10, &result->mantissa) ||
				__builtin_add_overflow(result->mantissa, (int128) (*c - '0'), &result->mantissa))
			{
				pfree(text);
				return false;
			}
			if (in_fraction)
				result->scale++;
		}
	}
	pfree(text);

	/* trailing zeros of the fraction say nothing */
	while (result->scale > 0 && result->mantissa % 10 == 0)
	{
		result->mantissa /= 10;
		result->scale--;
	}
	if (negative)
		result->mantissa = -result->mantissa;
	return result->scale <= UM_MAX_POWER;
}

/* Gives the value more decimals; false where it no longer fits. */
bool
um_decimal_rescale(UmDecimal *value, int scale)
{
	int			more = scale - value->scale;

	Assert(more >= 0);
	if (more > UM_MAX_POWER ||
		__builtin_mul_overflow(value->mantissa, um_power_of_ten(more), &value->mantissa))
		return false;
	value->scale = scale;
	return true;
}

/* Makes a numeric without trailing zeros. */
Numeric
um_decimal_to_numeric(int128 mantissa, int scale)
{
	int64		small = (int64) mantissa;

	if (small == mantissa)
	{
		while (scale > 0 && small % 10 == 0)
		{
			small /= 10;
			scale--;
		}
		return scale == 0 ? int64_to_numeric(small) :
			int64_div_fast_to_numeric(small, scale);
	}
	else
	{
		/* sign, 39 digits, a leading "0." with up to 38 zeros, terminator */
		char		buffer[96];
		char	   *c = buffer + sizeof(buffer) - 1;
		bool		negative = mantissa < 0;
		int			digits = 0;

		while (scale > 0 && mantissa % 10 == 0)
		{
			mantissa /= 10;
			scale--;
		}
		*c = '\0';
		while (mantissa != 0 || digits <= scale)
		{
			int			digit = (int) (mantissa % 10);

			if (digits == scale && scale > 0)
				*--c = '.';
			*--c = '0' + (negative ? -digit : digit);
			mantissa /= 10;
			digits++;
		}
		if (negative)
			*--c = '-';
		return DatumGetNumeric(DirectFunctionCall3(numeric_in,
												   CStringGetDatum(c),
												   ObjectIdGetDatum(InvalidOid),
												   Int32GetDatum(-1)));
	}
}
