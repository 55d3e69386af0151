/*
 * cost.c
 *		What a call costs: each leaf quantity times the rate that prices it.
 *
 * A leaf is a count less the counts of the meters inside it.  A meter without
 * a rate costs what its container costs, so leaves may be cut as finely as
 * the meters are known, priced or not.
 */
#include "postgres.h"

#include "base/access.h"
#include "base/amount.h"
#include "base/catalog.h"
#include "base/setting.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "port/pg_bitutils.h"
#include "pricing/cost.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(usage_monitor_cost);
PG_FUNCTION_INFO_V1(usage_monitor_cost_breakdown);
PG_FUNCTION_INFO_V1(usage_monitor_resolved_model);

/* What input tokens can be besides cached: the one breakdown says nothing of the other. */
static const struct
{
	UmMeter		meter;
	UmMeter		cached;
}			modality[] = {
	{UM_METER_INPUT_AUDIO, UM_METER_CACHE_READ_AUDIO},
	{UM_METER_INPUT_IMAGE, UM_METER_CACHE_READ_IMAGE},
	{UM_METER_INPUT_VIDEO, UM_METER_CACHE_READ_VIDEO},
};

/*
 * Cuts the inclusive counts into leaves.  Of input tokens that are cached and
 * those that are audio, image or video, as many are taken for both as are
 * told to be.
 */
static void
make_leaves(const UmUse *use, UmQuantity *leaf)
{
	memcpy(leaf, use->quantity, sizeof(UmQuantity) * UM_METER_COUNT);

	/* a call is one request, unless the row says how many it stands for */
	if (leaf[UM_METER_REQUEST].value == 0)
		leaf[UM_METER_REQUEST].value = 1;

	if ((use->used & ~UM_METERS_WITHOUT_PARTS) == 0)
		return;

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
}

/*
 * More tokens are cached, audio, image or video than there are: some are both,
 * and nobody told how many.  Where such a token costs what any other does,
 * that does not matter, and it is left out of the leaves; else returns the
 * meter whose count is missing.
 */
static UmMeter
merge_modalities(const UmPriceChoice *choice, const UmUse *use, TimestampTz ts, UmQuantity *leaf)
{
	int64		context = use->quantity[UM_METER_INPUT].value;
	const UmPrice *price;

	for (int i = 0; i < (int) lengthof(modality); i++)
	{
		if (use->quantity[modality[i].meter].value == 0)
			continue;
		if (um_price_rate(choice, modality[i].meter, context, ts, &price) !=
			um_price_rate(choice, UM_METER_INPUT, context, ts, &price) ||
			um_price_rate(choice, modality[i].cached, context, ts, &price) !=
			um_price_rate(choice, UM_METER_CACHE_READ, context, ts, &price))
			return modality[i].cached;
		leaf[UM_METER_INPUT].value += leaf[modality[i].meter].value;
		leaf[UM_METER_CACHE_READ].value += leaf[modality[i].cached].value;
		leaf[modality[i].meter].value = leaf[modality[i].cached].value = 0;
	}
	return UM_METER_NONE;
}

/* The first meter that costs something, but for the request as such; NONE if there is no other. */
static UmMeter
first_billed(const UmPriceChoice *choice)
{
	const UmPrice *prices[] = {choice->own, choice->standard};
	UmMeter		first = UM_METER_COUNT;

	for (int p = 0; p < (int) lengthof(prices); p++)
		for (int r = 0; prices[p] != NULL && r < prices[p]->nrates; r++)
		{
			const UmRate *rate = &prices[p]->rates[r];

			if (!rate->free && rate->meter != UM_METER_REQUEST && rate->meter < first)
				first = rate->meter;
		}
	return first == UM_METER_COUNT ? UM_METER_NONE : first;
}

/*
 * Time in the unit that it is billed by, to the decimals that a quantity may
 * have.  (Where an hour's rate makes a second's that is an exact decimal, the
 * price has that one, see _applicable_rates.)
 */
static UmQuantity
sixtieth(UmQuantity time)
{
	while (time.value % 60 != 0 && time.scale < 18 && time.value <= PG_INT64_MAX / 10)
	{
		time.value *= 10;
		time.scale++;
	}
	time.value = time.value / 60 + (time.value % 60 >= 30 ? 1 : 0);
	return time;
}

/*
 * The rate that prices a meter of this call: the one for a call that is short,
 * or that has reasoning, if the price of the meter has such; else the meter's.
 * A tier that says what output costs says it of all output: another tier's
 * rate for a part of the calls does not come into it.
 */
const UmRate *
um_use_rate(const UmPriceChoice *choice, const UmUse *use, UmMeter m,
			TimestampTz ts, const UmPrice **price)
{
	static const struct
	{
		UmMeter		meter,
					instead;
		bool		thinking;
	}			circumstances[] = {
		{UM_METER_OUTPUT, UM_METER_OUTPUT_THINKING, true},
		{UM_METER_REASONING, UM_METER_OUTPUT_THINKING, true},
		{UM_METER_INPUT, UM_METER_INPUT_SHORT, false},
		{UM_METER_CACHE_READ, UM_METER_CACHE_READ_SHORT, false},
		{UM_METER_OUTPUT, UM_METER_OUTPUT_SHORT, false},
		{UM_METER_REASONING, UM_METER_OUTPUT_SHORT, false},
	};

	int64		context = use->quantity[UM_METER_INPUT].value;
	const UmRate *rate = um_price_rate(choice, m, context, ts, price);

	if (rate != NULL && !(*price)->by_circumstance)
		return rate;
	for (int i = 0; i < (int) lengthof(circumstances); i++)
	{
		const UmRate *instead;
		bool		holds = circumstances[i].thinking ? use->quantity[UM_METER_REASONING].value > 0 :
			!use->output_unknown && use->quantity[UM_METER_OUTPUT].value < UM_SHORT_OUTPUT;

		if (circumstances[i].meter == m && holds &&
			(instead = rate == NULL ? um_price_rate(choice, circumstances[i].instead, context, ts, price) :
			 um_price_own_rate(*price, circumstances[i].instead, context, ts)) != NULL)
			return instead;
	}
	return rate;
}

/* Says why a call has no cost. */
static int
unpriced(UmCost *cost, UmUnpriced why, UmMeter meter)
{
	cost->unpriced = why;
	cost->unpriced_meter = meter;
	return -1;
}

/*
 * Finds the rate of each leaf, and returns how many there are; -1 where a
 * rate is missing, as cost->unpriced then says.  Both prices of a choice have
 * one currency, or the rates of the second are not taken.
 */
static int
find_items(UmPriceChoice *choice, const UmUse *use, TimestampTz ts, UmItem *items,
		   UmCost *cost)
{
	uint64		meters = use->used | UM_METER_BIT(UM_METER_REQUEST);
	bool		nothing_known = use->used == 0 && use->input_unknown && use->output_unknown;
	UmQuantity	leaf[UM_METER_COUNT];
	UmMeter		missing = UM_METER_NONE;
	int			n = 0;

	if (choice->standard != NULL && choice->own != choice->standard &&
		strcmp(choice->own->currency, choice->standard->currency) != 0)
		choice->standard = NULL;

	make_leaves(use, leaf);
	if (leaf[UM_METER_INPUT].value < 0 && !use->input_unknown)
		missing = merge_modalities(choice, use, ts, leaf);
	else if (nothing_known)
		/* but that there was a call: enough where only that is billed */
		missing = first_billed(choice);
	if (missing != UM_METER_NONE)
		return unpriced(cost, UM_UNPRICED_NO_COUNT, missing);
	if (use->input_unknown && !nothing_known)
		meters |= UM_METER_BIT(UM_METER_INPUT);
	if (use->output_unknown && !nothing_known)
		meters |= UM_METER_BIT(UM_METER_OUTPUT);

	for (; meters != 0; meters &= meters - 1)
	{
		UmMeter		m = (UmMeter) pg_rightmost_one_pos64(meters);
		bool		unknown = (m == UM_METER_INPUT && use->input_unknown) ||
			(m == UM_METER_OUTPUT && use->output_unknown);
		UmItem	   *item = &items[n];

		if (leaf[m].value == 0 && !unknown)
			continue;
		item->rate = um_use_rate(choice, use, m, ts, &item->price);
		if (item->rate == NULL)
		{
			/* most vendors do not bill the request as such */
			if (m == UM_METER_REQUEST && use->quantity[m].value == 0)
				continue;
			return unpriced(cost, UM_UNPRICED_NO_RATE, m);
		}
		if (m == UM_METER_US_INFERENCE || m == UM_METER_EU_INFERENCE)
		{
			cost->multiplier = item->rate->unit_price;
			continue;
		}
		/* how many is not known: only if they are free does it not matter */
		if (unknown)
		{
			if (item->rate->free)
				continue;
			return unpriced(cost, UM_UNPRICED_NO_COUNT, m);
		}
		item->meter = m;
		item->quantity = leaf[m];
		if (m == UM_METER_SECOND || m == UM_METER_MINUTE)
			for (; item->meter != item->rate->meter; item->meter = um_meters[item->meter].fallback)
				item->quantity = sixtieth(item->quantity);
		n++;
	}
	return n;
}

/* Adds up in integers; false where a sum or product does not fit. */
static bool
sum_as_integers(const UmItem *items, int nitems, int128 *side, int128 *total)
{
	memset(side, 0, sizeof(int128) * UM_SIDES);
	*total = 0;
	for (int i = 0; i < nitems; i++)
	{
		int128		amount;

		if (items[i].quantity.scale > 0 ||
			__builtin_mul_overflow((int128) items[i].quantity.value,
								   items[i].rate->mantissa, &amount) ||
			__builtin_add_overflow(*total, amount, total))
			return false;
		side[um_meters[items[i].meter].side] += amount; /* no more than the total */
	}
	return true;
}

/* What one item costs, as numeric, which always fits. */
static Numeric
item_cost(const UmItem *item)
{
	return times(um_decimal_to_numeric(item->quantity.value, item->quantity.scale),
				 item->rate->unit_price);
}

/* Adds up as numeric. */
static void
sum_as_numeric(const UmItem *items, int nitems, Numeric *side, Numeric *total)
{
	for (int s = 0; s < UM_SIDES; s++)
		side[s] = int64_to_numeric(0);
	for (int i = 0; i < nitems; i++)
	{
		UmSide		s = um_meters[items[i].meter].side;

		side[s] = plus(side[s], item_cost(&items[i]));
	}
	*total = int64_to_numeric(0);
	for (int s = 0; s < UM_SIDES; s++)
	{
		side[s] = trimmed(side[s]);
		*total = plus(*total, side[s]);
	}
	*total = trimmed(*total);
}

/* What is left of a price after a discount of so many percent. */
static Numeric
discount_factor(Numeric percent)
{
	return times(minus(int64_to_numeric(100), percent), int64_div_fast_to_numeric(1, 2));
}

/* Multiplies the sides and the total. */
static void
scale_cost(UmCost *cost, Numeric factor)
{
	for (int s = 0; s < UM_SIDES; s++)
		if (cost->side[s] != NULL)
			cost->side[s] = trimmed(times(cost->side[s], factor));
	cost->total = trimmed(times(cost->total, factor));
}

/*
 * Prices a call; cost->priced is false where there is no price for all of it.
 * Returns the items that it was billed for.  The sides are left out where
 * only the total is asked for.
 */
static pg_attribute_always_inline int
price_call(const UmCall *call, const UmUse *use, bool total_only, UmCost *cost, UmItem *items)
{
	const UmPriceList *list;
	const UmPrice *price;
	const char *ledger_currency = um_setting()->currency;
	UmPriceChoice choice;
	int128		side[UM_SIDES];
	int128		total;
	int			nitems;

	memset(cost, 0, sizeof(UmCost));
	list = um_price_list(call->org, call->provider, call->model);
	if (!um_price_choose(list, call->org, call->tier, call->ts, &choice))
	{
		cost->unpriced = UM_UNPRICED_NO_PRICE;
		return 0;
	}
	if (choice.own == NULL)
	{
		cost->unpriced = UM_UNPRICED_NO_TIER;
		cost->unpriced_tier = call->tier;
		return 0;
	}
	nitems = find_items(&choice, use, call->ts, items, cost);
	if (nitems < 0)
		return 0;

	price = choice.own;
	cost->price_id = price->price_id;
	cost->price_currency = price->currency;

	if (list->scale >= 0 && sum_as_integers(items, nitems, side, &total))
	{
		if (!total_only || cost->multiplier != NULL)
			for (int s = 0; s < UM_SIDES; s++)
				cost->side[s] = um_decimal_to_numeric(side[s], list->scale);
		cost->total = um_decimal_to_numeric(total, list->scale);
	}
	else
		sum_as_numeric(items, nitems, cost->side, &cost->total);

	if (cost->multiplier != NULL)
	{
		cost->total = cost->side[UM_SIDE_OTHER];
		for (int s = UM_SIDE_INPUT; s <= UM_SIDE_OUTPUT; s++)
		{
			cost->side[s] = trimmed(times(cost->side[s], cost->multiplier));
			cost->total = trimmed(plus(cost->total, cost->side[s]));
		}
	}

	/* a contract price is what was agreed; of any other the discount is taken */
	if (price->org == NULL &&
		um_discount(call->org, price->provider ? price->provider : list->provider, price->model,
					call->ts, &cost->discount))
		scale_cost(cost, discount_factor(cost->discount));

	if (strcmp(price->currency, ledger_currency) != 0)
	{
		if (!um_exchange_rate(price->currency, ledger_currency, call->ts,
							  &cost->exchange_rate))
		{
			cost->unpriced = UM_UNPRICED_NO_EXCHANGE_RATE;
			return 0;
		}
		cost->price_total = cost->total;
		scale_cost(cost, cost->exchange_rate);
	}
	cost->priced = true;
	return nitems;
}

/* Prices a call; cost->priced is false where there is no price for all of it. */
void
um_cost(const UmCall *call, const UmUse *use, UmCost *cost)
{
	UmItem		items[UM_METER_COUNT];

	(void) price_call(call, use, false, cost, items);
}

/*
 * The same, and what it was billed for: at most UM_METER_COUNT items.  The
 * sides are left out.
 */
int
um_cost_items(const UmCall *call, const UmUse *use, UmCost *cost, UmItem *items)
{
	return price_call(call, use, true, cost, items);
}

/* What one item contributes to the total, in the ledger's currency. */
static Numeric
part_of_cost(const UmItem *item, const UmCost *cost)
{
	Numeric		part = item_cost(item);

	if (cost->multiplier != NULL && um_meters[item->meter].side != UM_SIDE_OTHER)
		part = times(part, cost->multiplier);
	if (cost->discount != NULL)
		part = times(part, discount_factor(cost->discount));
	if (cost->exchange_rate != NULL)
		part = times(part, cost->exchange_rate);
	return trimmed(part);
}

/* Why a call has no cost, for people; NULL where it has one. */
char *
um_unpriced_reason(const UmCost *cost)
{
	switch (cost->unpriced)
	{
		case UM_UNPRICED_NOT:
			break;
		case UM_UNPRICED_NO_PRICE:
			return pstrdup("no price");
		case UM_UNPRICED_NO_TIER:
			return psprintf("no price for service tier %s", um_tiers[cost->unpriced_tier]);
		case UM_UNPRICED_NO_RATE:
			return psprintf("no rate for meter %s", um_meters[cost->unpriced_meter].name);
		case UM_UNPRICED_NO_COUNT:
			return psprintf("no count of meter %s", um_meters[cost->unpriced_meter].name);
		case UM_UNPRICED_NO_EXCHANGE_RATE:
			return psprintf("no exchange rate from %s to %s", cost->price_currency,
							um_setting()->currency);
	}
	return NULL;
}

/* The bytes of a text argument, which may be NULL. */
static UmString
text_argument(FunctionCallInfo fcinfo, int n)
{
	return um_text_string(PG_GETARG_DATUM(n), PG_ARGISNULL(n));
}

/*
 * Reads (model, input_tokens, output_tokens, cache_read_input_tokens,
 *		cache_creation_input_tokens, cache_creation_1h_input_tokens,
 *		reasoning_output_tokens, input_audio_tokens, output_audio_tokens,
 *		units, provider, service_tier, org, at), of which "first" is the first;
 * false where there is no model or no instant.
 */
bool
um_cost_arguments(FunctionCallInfo fcinfo, int first, UmCall *call, UmUse *use)
{
	UmString	tier = text_argument(fcinfo, first + 11);

	call->model = text_argument(fcinfo, first);
	if (call->model.data == NULL || PG_ARGISNULL(first + 13))
		return false;

	for (int i = 0; i < UM_COUNT_METERS; i++)
		if (!PG_ARGISNULL(first + i + 1))
			um_use_set(use, um_count_meters[i], PG_GETARG_INT64(first + i + 1));
	use->input_unknown = PG_ARGISNULL(first + 1);
	use->output_unknown = PG_ARGISNULL(first + 2);
	if (!PG_ARGISNULL(first + 9))
		um_use_units(use, PG_GETARG_JSONB_P(first + 9));
	um_use_check(use);

	call->provider = text_argument(fcinfo, first + 10);
	call->tier = tier.data == NULL ? UM_TIER_STANDARD : um_tier_checked(tier);
	call->org = text_argument(fcinfo, first + 12);
	/* contract prices are no other tenant's business */
	call->org = call->org.data == NULL ? UM_EMPTY : um_check_org(UM_TO_SEE, call->org);
	call->ts = PG_GETARG_TIMESTAMPTZ(first + 13);
	return true;
}

/* Kept lean: a query may ask it for each row of the ledger. */
Datum
usage_monitor_cost(PG_FUNCTION_ARGS)
{
	UmCall		call = {0};
	UmUse		use = {0};
	UmCost		cost;
	UmItem		items[UM_METER_COUNT];

	if (!um_cost_arguments(fcinfo, 0, &call, &use))
		PG_RETURN_NULL();

	/* hear of new prices once a query, not in the midst of it */
	if (fcinfo->flinfo->fn_extra == NULL)
	{
		AcceptInvalidationMessages();
		fcinfo->flinfo->fn_extra = fcinfo->flinfo;
	}

	(void) price_call(&call, &use, true, &cost, items);
	if (!cost.priced)
		PG_RETURN_NULL();
	PG_RETURN_NUMERIC(cost.total);
}

/* The hours of a rate for people, or NULL: "16:30-00:30 UTC, days 12345". */
char *
um_window_text(const UmWindow *window)
{
	StringInfoData text;
	const int64 minute = SECS_PER_MINUTE * USECS_PER_SEC;

	if (window == NULL)
		return NULL;
	initStringInfo(&text);
	appendStringInfo(&text, "%02d:%02d-%02d:%02d %s",
					 (int) (window->start / minute / MINS_PER_HOUR),
					 (int) (window->start / minute % MINS_PER_HOUR),
					 (int) (window->end / minute / MINS_PER_HOUR),
					 (int) (window->end / minute % MINS_PER_HOUR),
					 pg_get_timezone_name(window->zone));
	if (window->days != UM_EVERY_DAY)
	{
		appendStringInfoString(&text, ", days ");
		for (int day = 1; day <= 7; day++)
			if (window->days & (1 << day))
				appendStringInfo(&text, "%d", day);
	}
	return text.data;
}

/*
 * The arguments of cost(); a row a meter.  A call that has no cost gives one
 * row without figures, whose note says why.
 */
Datum
usage_monitor_cost_breakdown(PG_FUNCTION_ARGS)
{
	enum
	{
		METER, QUANTITY, AMOUNT, PER, UNIT_PRICE, COST, PRICE_ID, CONTEXT_FROM,
		SERVICE_TIER, CURRENCY, EXCHANGE_RATE, DISCOUNT, TIME_WINDOW, NOTE, NCOLUMNS
	};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	UmCall		call = {0};
	UmUse		use = {0};
	UmCost		cost;
	UmItem		items[UM_METER_COUNT];
	Datum		values[NCOLUMNS];
	bool		nulls[NCOLUMNS];
	int			nitems;

	InitMaterializedSRF(fcinfo, 0);
	if (!um_cost_arguments(fcinfo, 0, &call, &use))
		return (Datum) 0;

	AcceptInvalidationMessages();
	nitems = um_cost_items(&call, &use, &cost, items);
	for (int i = 0; i < nitems; i++)
	{
		const UmItem *item = &items[i];
		const UmRate *rate = item->rate;
		char	   *window = um_window_text(rate->window);

		memset(nulls, false, sizeof(nulls));
		values[METER] = CStringGetTextDatum(um_meters[item->meter].name);
		values[QUANTITY] = NumericGetDatum(um_decimal_to_numeric(item->quantity.value, item->quantity.scale));
		values[AMOUNT] = NumericGetDatum(rate->amount);
		values[PER] = NumericGetDatum(rate->per);
		values[UNIT_PRICE] = NumericGetDatum(rate->unit_price);
		values[COST] = NumericGetDatum(part_of_cost(item, &cost));
		values[PRICE_ID] = Int64GetDatum(item->price->price_id);
		values[CONTEXT_FROM] = Int64GetDatum(rate->context_from);
		values[SERVICE_TIER] = CStringGetTextDatum(um_tiers[item->price->tier]);
		values[CURRENCY] = CStringGetTextDatum(item->price->currency);
		values[EXCHANGE_RATE] = NumericGetDatum(cost.exchange_rate);
		nulls[EXCHANGE_RATE] = cost.exchange_rate == NULL;
		values[DISCOUNT] = NumericGetDatum(cost.discount);
		nulls[DISCOUNT] = cost.discount == NULL;
		nulls[TIME_WINDOW] = window == NULL;
		if (window != NULL)
			values[TIME_WINDOW] = CStringGetTextDatum(window);
		nulls[NOTE] = item->meter == rate->meter;
		if (!nulls[NOTE])
			values[NOTE] = CStringGetTextDatum(psprintf("at the rate of %s", um_meters[rate->meter].name));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}

	if (!cost.priced)
	{
		memset(nulls, true, sizeof(nulls));
		values[METER] = CStringGetTextDatum("unpriced");
		values[NOTE] = CStringGetTextDatum(um_unpriced_reason(&cost));
		nulls[METER] = nulls[NOTE] = false;
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* _resolved_model(provider, model): what the price book calls the model; as written where it does not know it. */
Datum
usage_monitor_resolved_model(PG_FUNCTION_ARGS)
{
	const UmPriceList *list;

	if (PG_ARGISNULL(1))
		PG_RETURN_NULL();
	AcceptInvalidationMessages();
	list = um_price_list(UM_EMPTY, text_argument(fcinfo, 0), text_argument(fcinfo, 1));
	if (list->model == NULL)
		PG_RETURN_DATUM(PG_GETARG_DATUM(1));
	PG_RETURN_TEXT_P(cstring_to_text(list->model));
}
