/*
 * usage_check.c
 *		What a call used: counts from columns and from the "units" object, and
 *		the checks that they can be true.  Nothing is ever clamped.
 */
#include "postgres.h"

#include "base/amount.h"
#include "base/decimal.h"
#include "base/error.h"
#include "fmgr.h"
#include "pricing/usage_check.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

const UmMeter um_count_meters[UM_COUNT_METERS] = {
	UM_METER_INPUT, UM_METER_OUTPUT, UM_METER_CACHE_READ, UM_METER_CACHE_WRITE,
	UM_METER_CACHE_WRITE_1H, UM_METER_REASONING, UM_METER_INPUT_AUDIO, UM_METER_OUTPUT_AUDIO
};

/* The columns and keys that the users know the meters by. */
static const char *const shown_as[UM_METER_COUNT] = {
	[UM_METER_INPUT] = "input_tokens",
	[UM_METER_OUTPUT] = "output_tokens",
	[UM_METER_CACHE_READ] = "cache_read_input_tokens",
	[UM_METER_CACHE_WRITE] = "cache_creation_input_tokens",
	[UM_METER_CACHE_WRITE_1H] = "cache_creation_1h_input_tokens",
	[UM_METER_REASONING] = "reasoning_output_tokens",
	[UM_METER_INPUT_AUDIO] = "input_audio_tokens",
	[UM_METER_OUTPUT_AUDIO] = "output_audio_tokens",
	/* circumstances, which price what the columns count */
	[UM_METER_OUTPUT_THINKING] = "output_tokens",
	[UM_METER_INPUT_SHORT] = "input_tokens",
	[UM_METER_CACHE_READ_SHORT] = "cache_read_input_tokens",
	[UM_METER_OUTPUT_SHORT] = "output_tokens",
};

static const char *
shown(UmMeter meter)
{
	return shown_as[meter] != NULL ? shown_as[meter] : um_meters[meter].name;
}

/* Has the ledger a column for it? */
bool
um_meter_has_column(UmMeter meter)
{
	for (int i = 0; i < UM_COUNT_METERS; i++)
		if (um_count_meters[i] == meter)
			return true;
	return false;
}

/* Sets a count that came in a column, or in an argument of that name. */
void
um_use_set(UmUse *use, UmMeter meter, int64 count)
{
	const char *column = shown(meter);

	if (count < 0)
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_COUNT),
				 errmsg("column \"%s\" must not be negative, but is %lld",
						column, (long long) count),
				 errhint("Counts are what the provider reported, zero or more.")));
	if (count > UM_MAX_COUNT)
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_COUNT),
				 errmsg("column \"%s\" must be at most %lld, but is %lld",
						column, (long long) UM_MAX_COUNT, (long long) count),
				 errhint("Counts are what the provider reported for one call.")));
	use->quantity[meter].value = count;
	if (count != 0)
		use->used |= UM_METER_BIT(meter);
}

/* Reads a number of units; whole ones mostly, but seconds and gigabytes need not be. */
static UmQuantity
unit_quantity(const char *name, Numeric number)
{
	UmDecimal	decimal;
	UmQuantity	quantity;

	if (!um_decimal_from_numeric(number, &decimal) ||
		decimal.mantissa < 0 || decimal.mantissa > PG_INT64_MAX || decimal.scale > 18 ||
		decimal.mantissa > UM_MAX_COUNT * um_power_of_ten(decimal.scale))
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_COUNT),
				 errmsg("unit \"%s\" in column \"units\" must be a number from 0 to %lld, but is %s",
						name, (long long) UM_MAX_COUNT,
						amount_text(number)),
				 errhint("Quantities may have up to 18 decimals, and 18 digits in all.")));
	quantity.value = (int64) decimal.mantissa;
	quantity.scale = decimal.scale;
	return quantity;
}

/* Reads the object of the meters that have no column. */
void
um_use_units(UmUse *use, Jsonb *units)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(units))
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_COUNT),
				 errmsg("column \"units\" must be a JSON object"),
				 errhint("Write for example '{\"web_search\": 2}'.")));

	it = JsonbIteratorInit(&units->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		UmMeter		meter;
		char	   *name;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(value.val.string.val, value.val.string.len);
		meter = um_meter_by_name(um_string_of(name));
		if (meter == UM_METER_NONE)
			ereport(ERROR,
					(errcode(ERRCODE_UM_UNKNOWN_KEYWORD),
					 errmsg("unknown unit \"%s\" in column \"units\"", name),
					 errhint("Known meters are: %s.", um_meter_names())));
		if (shown_as[meter] != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UM_UNKNOWN_KEYWORD),
					 errmsg("unit \"%s\" has a column of its own", name),
					 errhint("Give it as \"%s\".", shown_as[meter])));

		token = JsonbIteratorNext(&it, &value, true);
		if (token == WJB_VALUE && value.type == jbvNumeric)
		{
			use->quantity[meter] = unit_quantity(name, value.val.numeric);
			if (use->quantity[meter].value != 0)
				use->used |= UM_METER_BIT(meter);
		}
		else
			ereport(ERROR,
					(errcode(ERRCODE_UM_INVALID_COUNT),
					 errmsg("unit \"%s\" in column \"units\" must be a number", name),
					 errhint("Write for example '{\"web_search\": 2}'.")));
		if (use->quantity[meter].scale > 0 && um_meters[meter].side != UM_SIDE_OTHER)
			ereport(ERROR,
					(errcode(ERRCODE_UM_INVALID_COUNT),
					 errmsg("unit \"%s\" in column \"units\" must be a whole number of tokens", name),
					 errhint("Counts are what the provider reported, zero or more.")));
	}
}

/* Refuses parts that are more than their whole. */
static void
check_parts(const UmUse *use, UmMeter whole, int nparts, const UmMeter *parts)
{
	int128		sum = 0;

	for (int i = 0; i < nparts; i++)
		sum += use->quantity[parts[i]].value;
	if (sum > use->quantity[whole].value)
	{
		StringInfoData names;

		initStringInfo(&names);
		for (int i = 0; i < nparts; i++)
			if (use->quantity[parts[i]].value > 0)
				appendStringInfo(&names, "%s\"%s\" (%lld)", names.len > 0 ? " and " : "",
								 shown(parts[i]),
								 (long long) use->quantity[parts[i]].value);
		ereport(ERROR,
				(errcode(ERRCODE_UM_IMPOSSIBLE_USAGE),
				 errmsg("impossible usage: %s exceed \"%s\" (%lld)", names.data,
						shown(whole), (long long) use->quantity[whole].value),
				 errhint("Counts are inclusive: \"%s\" contains them. record() converts what providers report.",
						 shown(whole))));
	}
}

#define CHECK_PARTS(use, whole, ...) \
	do { \
		static const UmMeter parts[] = {__VA_ARGS__}; \
		check_parts(use, whole, lengthof(parts), parts); \
	} while (0)

/* Refuses counts that contradict each other. */
void
um_use_check(const UmUse *use)
{
	const uint64 regions = UM_METER_BIT(UM_METER_US_INFERENCE) | UM_METER_BIT(UM_METER_EU_INFERENCE);

	if ((use->used & regions) == regions)
		ereport(ERROR,
				(errcode(ERRCODE_UM_IMPOSSIBLE_USAGE),
				 errmsg("impossible usage: units \"us_inference\" and \"eu_inference\" at once"),
				 errhint("A call is served in one region: give the unit of that one.")));
	if ((use->used & ~UM_METERS_WITHOUT_PARTS) == 0)
		return;

	/* unknown totals contain whatever they contain */
	if (!use->input_unknown)
	{
		CHECK_PARTS(use, UM_METER_INPUT, UM_METER_CACHE_READ, UM_METER_CACHE_WRITE);
		CHECK_PARTS(use, UM_METER_INPUT, UM_METER_INPUT_AUDIO, UM_METER_INPUT_IMAGE,
					UM_METER_INPUT_VIDEO);
	}
	CHECK_PARTS(use, UM_METER_CACHE_WRITE, UM_METER_CACHE_WRITE_1H);
	CHECK_PARTS(use, UM_METER_CACHE_READ, UM_METER_CACHE_READ_AUDIO,
				UM_METER_CACHE_READ_IMAGE, UM_METER_CACHE_READ_VIDEO);
	CHECK_PARTS(use, UM_METER_INPUT_AUDIO, UM_METER_CACHE_READ_AUDIO);
	CHECK_PARTS(use, UM_METER_INPUT_IMAGE, UM_METER_CACHE_READ_IMAGE);
	CHECK_PARTS(use, UM_METER_INPUT_VIDEO, UM_METER_CACHE_READ_VIDEO);
	if (!use->output_unknown)
		CHECK_PARTS(use, UM_METER_OUTPUT, UM_METER_REASONING, UM_METER_OUTPUT_AUDIO,
					UM_METER_OUTPUT_IMAGE, UM_METER_OUTPUT_VIDEO);
}
