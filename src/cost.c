/*
 * cost.c
 *		What a call costs: each leaf quantity times the rate that prices it.
 *
 * A leaf is a count less the counts of the meters inside it.  A meter without
 * a rate costs what its container costs, so leaves may be cut as finely as
 * the meters are known, priced or not.
 */
#include "postgres.h"

#include "cost.h"
#include "catalog.h"
#include "error.h"
#include "fmgr.h"
#include "setting.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(usage_monitor_cost);

static Numeric
numeric_times(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_mul,
											   NumericGetDatum(a), NumericGetDatum(b)));
}

static Numeric
numeric_plus(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_add,
											   NumericGetDatum(a), NumericGetDatum(b)));
}

static Numeric
without_trailing_zeros(Numeric value)
{
	return DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale, NumericGetDatum(value)));
}

/* Cuts the inclusive counts into leaves; checks that none is below zero. */
static void
make_leaves(const UmUse *use, UmQuantity *leaf)
{
	static const struct
	{
		UmMeter		meter;
		UmMeter		cached;
	}			modality[] = {
		{UM_METER_INPUT_AUDIO, UM_METER_CACHE_READ_AUDIO},
		{UM_METER_INPUT_IMAGE, UM_METER_CACHE_READ_IMAGE},
		{UM_METER_INPUT_VIDEO, UM_METER_CACHE_READ_VIDEO},
	};

	memcpy(leaf, use->quantity, sizeof(UmQuantity) * UM_METER_COUNT);

	leaf[UM_METER_INPUT].value -= leaf[UM_METER_CACHE_READ].value + leaf[UM_METER_CACHE_WRITE].value;
	leaf[UM_METER_CACHE_WRITE].value -= leaf[UM_METER_CACHE_WRITE_1H].value;
	for (int i = 0; i < (int) lengthof(modality); i++)
	{
		int64		cached = use->quantity[modality[i].cached].value;

		leaf[modality[i].meter].value -= cached;
		leaf[UM_METER_CACHE_READ].value -= cached;
		leaf[UM_METER_INPUT].value -= leaf[modality[i].meter].value;
	}
	leaf[UM_METER_OUTPUT].value -= leaf[UM_METER_REASONING].value +
		leaf[UM_METER_OUTPUT_AUDIO].value + leaf[UM_METER_OUTPUT_IMAGE].value +
		leaf[UM_METER_OUTPUT_VIDEO].value;

	if (leaf[UM_METER_INPUT].value < 0 && !use->input_unknown)
		ereport(ERROR,
				(errcode(ERRCODE_UM_IMPOSSIBLE_USAGE),
				 errmsg("impossible usage: cached, written, audio, image and video tokens exceed \"input_tokens\" (%lld) by %lld",
						(long long) use->quantity[UM_METER_INPUT].value,
						-(long long) leaf[UM_METER_INPUT].value),
				 errhint("Tokens that are both cached and audio are also given as unit \"cache_read_audio\".")));
}

/* Adds up in integers; false where a sum or product does not fit. */
static bool
sum_as_integers(const UmRate *const *rates, const UmQuantity *leaf, int128 *side,
				int128 *total)
{
	memset(side, 0, sizeof(int128) * UM_SIDES);
	*total = 0;
	for (int m = 0; m < UM_METER_COUNT; m++)
	{
		int128		amount;

		if (rates[m] == NULL)
			continue;
		if (leaf[m].scale > 0 ||
			__builtin_mul_overflow((int128) leaf[m].value, rates[m]->mantissa, &amount) ||
			__builtin_add_overflow(*total, amount, total))
			return false;
		side[um_meters[m].side] += amount;	/* no more than the total */
	}
	return true;
}

/* Adds up as numeric, which always fits. */
static void
sum_as_numeric(const UmRate *const *rates, const UmQuantity *leaf, Numeric *side)
{
	for (int s = 0; s < UM_SIDES; s++)
		side[s] = int64_to_numeric(0);
	for (int m = 0; m < UM_METER_COUNT; m++)
	{
		UmSide		s = um_meters[m].side;

		if (rates[m] != NULL)
			side[s] = numeric_plus(side[s],
								   numeric_times(um_decimal_to_numeric(leaf[m].value, leaf[m].scale),
												 rates[m]->unit_price));
	}
	for (int s = 0; s < UM_SIDES; s++)
		side[s] = without_trailing_zeros(side[s]);
}

/*
 * Finds the rate of each leaf; false where one is missing.  Both prices of a
 * choice have one currency, or the rates of the second are not taken.
 */
static bool
find_rates(UmPriceChoice *choice, const UmUse *use, const UmQuantity *leaf,
		   TimestampTz ts, const UmRate **rates)
{
	int64		context = use->quantity[UM_METER_INPUT].value;
	const UmPrice *price;

	if (choice->own != NULL && choice->standard != NULL &&
		strcmp(choice->own->currency, choice->standard->currency) != 0)
		choice->standard = NULL;

	for (int m = 0; m < UM_METER_COUNT; m++)
	{
		bool		unknown = (m == UM_METER_INPUT && use->input_unknown) ||
			(m == UM_METER_OUTPUT && use->output_unknown);

		rates[m] = NULL;
		if (leaf[m].value == 0 && !unknown)
			continue;
		rates[m] = um_price_rate(choice, m, context, ts, &price);
		if (rates[m] == NULL)
		{
			/* most vendors do not bill the request as such */
			if (m == UM_METER_REQUEST && use->quantity[m].value == 0)
				continue;
			return false;
		}
		/* how many is not known: only if they are free does it not matter */
		if (unknown)
		{
			if (!rates[m]->free)
				return false;
			rates[m] = NULL;
		}
	}
	return true;
}

/* Prices a call; cost->priced is false where there is no price for all of it. */
void
um_cost(const UmCall *call, const UmUse *use, UmCost *cost)
{
	const UmPriceList *list;
	const char *ledger_currency = um_setting()->currency;
	UmPriceChoice choice;
	const UmRate *rates[UM_METER_COUNT];
	UmQuantity	leaf[UM_METER_COUNT];
	int128		side[UM_SIDES];
	int128		total;

	memset(cost, 0, sizeof(UmCost));
	list = um_price_list(call->provider, call->provider == NULL ? -1 : call->provider_length,
						 call->model, call->model_length);
	cost->provider = list->provider;
	make_leaves(use, leaf);
	/* a call is one request, unless the row says how many it stands for */
	if (leaf[UM_METER_REQUEST].value == 0)
		leaf[UM_METER_REQUEST].value = 1;

	if (!um_price_choose(list, call->org, call->org_length, call->tier, call->ts, &choice) ||
		!find_rates(&choice, use, leaf, call->ts, rates))
		return;

	cost->price_id = (choice.own ? choice.own : choice.standard)->price_id;
	cost->price_currency = (choice.own ? choice.own : choice.standard)->currency;

	if (list->scale >= 0 && sum_as_integers(rates, leaf, side, &total))
	{
		for (int s = 0; s < UM_SIDES; s++)
			cost->side[s] = um_decimal_to_numeric(side[s], list->scale);
		cost->total = um_decimal_to_numeric(total, list->scale);
	}
	else
	{
		sum_as_numeric(rates, leaf, cost->side);
		cost->total = numeric_plus(numeric_plus(cost->side[UM_SIDE_INPUT],
												cost->side[UM_SIDE_OUTPUT]),
								   cost->side[UM_SIDE_OTHER]);
		cost->total = without_trailing_zeros(cost->total);
	}

	if (strcmp(cost->price_currency, ledger_currency) != 0)
	{
		if (!um_exchange_rate(cost->price_currency, ledger_currency, call->ts,
							  &cost->exchange_rate))
			return;
		cost->price_total = cost->total;
		for (int s = 0; s < UM_SIDES; s++)
			cost->side[s] = without_trailing_zeros(numeric_times(cost->side[s], cost->exchange_rate));
		cost->total = without_trailing_zeros(numeric_times(cost->total, cost->exchange_rate));
	}
	cost->priced = true;
}

/* The bytes of a text argument, or NULL. */
static const char *
text_argument(FunctionCallInfo fcinfo, int n, int *length)
{
	text	   *value;

	if (PG_ARGISNULL(n))
		return NULL;
	value = PG_GETARG_TEXT_PP(n);
	*length = VARSIZE_ANY_EXHDR(value);
	return VARDATA_ANY(value);
}

/*
 * cost(model, input_tokens, output_tokens, cache_read_input_tokens,
 *		cache_creation_input_tokens, cache_creation_1h_input_tokens,
 *		reasoning_output_tokens, input_audio_tokens, output_audio_tokens,
 *		units, provider, service_tier, org, at)
 *
 * Kept lean: a query may ask it for each row of the ledger.
 */
Datum
usage_monitor_cost(PG_FUNCTION_ARGS)
{
	static const struct
	{
		UmMeter		meter;
		const char *name;
	}			counts[] = {
		{UM_METER_INPUT, "input_tokens"},
		{UM_METER_OUTPUT, "output_tokens"},
		{UM_METER_CACHE_READ, "cache_read_input_tokens"},
		{UM_METER_CACHE_WRITE, "cache_creation_input_tokens"},
		{UM_METER_CACHE_WRITE_1H, "cache_creation_1h_input_tokens"},
		{UM_METER_REASONING, "reasoning_output_tokens"},
		{UM_METER_INPUT_AUDIO, "input_audio_tokens"},
		{UM_METER_OUTPUT_AUDIO, "output_audio_tokens"},
	};
	UmCall		call = {0};
	UmUse		use = {0};
	UmCost		cost;
	const char *tier;
	int			tier_length = 0;

	call.model = text_argument(fcinfo, 0, &call.model_length);
	if (call.model == NULL || PG_ARGISNULL(13))
		PG_RETURN_NULL();

	for (int i = 0; i < (int) lengthof(counts); i++)
		if (!PG_ARGISNULL(i + 1))
			um_use_set(&use, counts[i].meter, PG_GETARG_INT64(i + 1), counts[i].name);
	use.input_unknown = PG_ARGISNULL(1);
	use.output_unknown = PG_ARGISNULL(2);
	if (!PG_ARGISNULL(9))
		um_use_units(&use, PG_GETARG_JSONB_P(9));
	um_use_check(&use);

	call.provider = text_argument(fcinfo, 10, &call.provider_length);
	tier = text_argument(fcinfo, 11, &tier_length);
	call.tier = tier == NULL ? UM_TIER_STANDARD : um_tier_checked(tier, tier_length);
	call.org = text_argument(fcinfo, 12, &call.org_length);
	if (call.org == NULL)
		call.org = "";			/* nobody's contract */
	call.ts = PG_GETARG_TIMESTAMPTZ(13);

	/* hear of new prices once a query, not in the midst of it */
	if (fcinfo->flinfo->fn_extra == NULL)
	{
		AcceptInvalidationMessages();
		fcinfo->flinfo->fn_extra = fcinfo->flinfo;
	}

	um_cost(&call, &use, &cost);
	if (!cost.priced)
		PG_RETURN_NULL();
	PG_RETURN_NUMERIC(cost.total);
}
