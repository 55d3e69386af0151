/*
 * decimal.c
 *		Exact decimals as 128-bit integers.
 *
 * A chain of numeric operators costs some 500 ns a row, this some 50; where a
 * value does not fit, the callers fall back to numeric, which always does.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/decimal.h"
#include "fmgr.h"

/* the largest power of ten that an int64 holds */
#define MAX_SMALL_POWER	18

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

/*
 * A numeric as it is stored, in digits of 10,000: one word of sign, scale and
 * weight, or two.  numeric.c keeps the names of this to itself, but no version
 * can change it, for pg_upgrade moves tables as they are.
 */
#define DIGIT_BASE			10000
#define DIGIT_DECIMALS		4
#define FORM_MASK			0xC000
#define FORM_SHORT			0x8000
#define FORM_SPECIAL		0xC000	/* NaN, infinity */
#define LONG_NEGATIVE		0x4000
#define SHORT_NEGATIVE		0x2000
#define SHORT_SCALE_SHIFT	7
#define SHORT_WEIGHT_SIGN	0x0040
#define SHORT_WEIGHT_MASK	0x003F

/* as many as 128 bits take */
#define MAX_DIGITS			11

/* A word of a numeric, which need not be aligned. */
static inline uint16
word(const char *words, int i)
{
	uint16		result;

	memcpy(&result, words + i * sizeof(uint16), sizeof(uint16));
	return result;
}

/* Reads a numeric; false where it is not finite or does not fit. */
bool
um_decimal_from_numeric(Numeric value, UmDecimal *result)
{
	const char *words = VARDATA_ANY(value);
	int			nwords = VARSIZE_ANY_EXHDR(value) / (int) sizeof(uint16);
	uint16		form = word(words, 0);
	int			first;			/* word of digits */
	bool		negative;
	int			weight;
	int			exponent;
	int128		mantissa = 0;

	if ((form & FORM_MASK) == FORM_SPECIAL)
		return false;
	if ((form & FORM_MASK) == FORM_SHORT)
	{
		negative = (form & SHORT_NEGATIVE) != 0;
		weight = form & SHORT_WEIGHT_MASK;
		if (form & SHORT_WEIGHT_SIGN)
			weight |= ~SHORT_WEIGHT_MASK;
		first = 1;
	}
	else
	{
		negative = (form & FORM_MASK) == LONG_NEGATIVE;
		weight = (int16) word(words, 1);
		first = 2;
	}

	result->mantissa = 0;
	result->scale = 0;
	if (nwords == first)
		return true;
	for (int i = first; i < nwords; i++)
		if (__builtin_mul_overflow(mantissa, (int128) DIGIT_BASE, &mantissa) ||
			__builtin_add_overflow(mantissa, (int128) word(words, i), &mantissa))
			return false;

	/* value = mantissa * 10^exponent; trailing zeros of a fraction say nothing */
	exponent = (weight - (nwords - first) + 1) * DIGIT_DECIMALS;
	if (exponent > 0)
	{
		if (exponent > UM_MAX_POWER ||
			__builtin_mul_overflow(mantissa, um_power_of_ten(exponent), &mantissa))
			return false;
		exponent = 0;
	}
	while (exponent < 0 && mantissa == (int64) mantissa && (int64) mantissa % 10 == 0)
	{
		mantissa = (int64) mantissa / 10;
		exponent++;
	}
	for (; exponent < 0 && mantissa % 10 == 0; exponent++)
		mantissa /= 10;
	result->mantissa = negative ? -mantissa : mantissa;
	result->scale = -exponent;
	return result->scale <= UM_MAX_POWER;
}

/* Gives the value more decimals; false where it no longer fits. */
bool
um_decimal_rescale(UmDecimal *value, int scale)
{
	int			more = scale - value->scale;

	Assert(more >= 0);
	if (more == 0)
		return true;
	if (more <= MAX_SMALL_POWER && value->mantissa == (int64) value->mantissa)
		value->mantissa = (int128) (int64) value->mantissa * (int64) um_power_of_ten(more);
	else if (more > UM_MAX_POWER ||
		__builtin_mul_overflow(value->mantissa, um_power_of_ten(more), &value->mantissa))
		return false;
	value->scale = scale;
	return true;
}

/* Divides by a small number; returns the remainder. */
static inline int
divide(uint128 *value, int by)
{
	uint64		small = (uint64) *value;
	int			remainder;

	if (*value == small)
	{
		*value = small / by;
		return (int) (small % by);
	}
	remainder = (int) (*value % by);
	*value /= by;
	return remainder;
}

/* Takes trailing zeros from the decimals of a number, so many at a time as the power of ten has. */
static inline void
strip(uint128 *value, int *scale, int power, int zeros)
{
	uint128		rest = *value;

	while (*scale >= zeros && divide(&rest, power) == 0)
	{
		*value = rest;
		*scale -= zeros;
	}
}

/* Makes a numeric without trailing zeros, as numeric.c would. */
Numeric
um_decimal_to_numeric(int128 mantissa, int scale)
{
	uint128		rest = mantissa < 0 ? -(uint128) mantissa : (uint128) mantissa;
	uint16		reversed[MAX_DIGITS];
	int			ndigits = 0;
	int			skipped = 0;
	int			fraction;		/* digits behind the point */
	int			weight;
	Size		length;
	Numeric		result;
	uint16	   *words;

	Assert(scale >= 0 && scale <= UM_MAX_POWER);
	strip(&rest, &scale, DIGIT_BASE, DIGIT_DECIMALS);
	strip(&rest, &scale, 10, 1);

	/* from the last digit on, which the decimals may not fill */
	fraction = (scale + DIGIT_DECIMALS - 1) / DIGIT_DECIMALS;
	if (scale % DIGIT_DECIMALS != 0)
	{
		static const int powers[DIGIT_DECIMALS] = {1, 10, 100, 1000};
		int			decimals = scale % DIGIT_DECIMALS;

		reversed[ndigits++] = divide(&rest, powers[decimals]) * powers[DIGIT_DECIMALS - decimals];
	}
	while (rest != 0)
		reversed[ndigits++] = divide(&rest, DIGIT_BASE);
	while (skipped < ndigits && reversed[skipped] == 0)
		skipped++;
	weight = ndigits == skipped ? 0 : ndigits - fraction - 1;

	length = VARHDRSZ + sizeof(uint16) * (1 + ndigits - skipped);
	result = palloc(length);
	SET_VARSIZE(result, length);
	words = (uint16 *) VARDATA(result);
	*words++ = FORM_SHORT | (mantissa < 0 ? SHORT_NEGATIVE : 0) | scale << SHORT_SCALE_SHIFT |
		(weight < 0 ? SHORT_WEIGHT_SIGN : 0) | (weight & SHORT_WEIGHT_MASK);
	while (ndigits > skipped)
		*words++ = reversed[--ndigits];
	return result;
}
