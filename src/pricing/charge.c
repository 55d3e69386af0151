/*
 * charge.c
 *		What many calls are charged for: an aggregate that adds up their
 *		quantities by meter, price and rate.
 *
 * A cost is linear in the quantity while the rate, the discount and the
 * exchange rate are the same.  So the quantities are added up, as integers,
 * and multiplied at the end: that is exact, and much quicker than to price ten
 * million calls meter by meter.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "base/amount.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "pricing/cost.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(usage_monitor_charge_add);
PG_FUNCTION_INFO_V1(usage_monitor_charge_final);

/* The columns of _charge_part. */
enum
{
	PART_METER, PART_QUANTITY, PART_AMOUNT, PART_PER, PART_LIST_UNIT_PRICE, PART_UNIT_PRICE,
	PART_DISCOUNT, PART_CURRENCY, PART_EXCHANGE_RATE, PART_PRICE_ID, PART_SERVICE_TIER,
	PART_CONTEXT_FROM, PART_TIME_WINDOW, PART_LIST_COST, PART_PRICE_COST, PART_COST,
	PART_REQUESTS, PART_NCOLUMNS
};

/*
 * A rate at which calls were priced.  It is kept once a query, for what is
 * charged together has few and there may be a million of such.  All of it is
 * copied: the price book may be read anew between two calls.
 */
typedef struct ChargeRate
{
	struct ChargeRate *next;
	UmMeter		meter;
	UmTier		tier;
	int64		price_id;
	int64		context_from;
	bool		has_window;
	UmWindow	window;
	Numeric		unit_price;
	Numeric		list_unit_price;	/* everybody's, where the price is a contract's */
	Numeric		multiplier;		/* NULL: none */
	Numeric		discount;		/* percent, NULL: none */
	Numeric		exchange_rate;	/* NULL: the same currency */
	Numeric		billed;			/* of a unit, with surcharge and discount */
	Numeric		listed;			/* of a unit, with surcharge */
	Datum		part[PART_NCOLUMNS];	/* what a row of _charge_part has of it */
	bool		nulls[PART_NCOLUMNS];
} ChargeRate;

#define RATE_BUCKETS 256

typedef struct RateBook
{
	ChargeRate *buckets[RATE_BUCKETS];
} RateBook;

/* How much was used at a rate. */
typedef struct Charge
{
	ChargeRate *rate;
	int64		requests;
	int128		whole;			/* sum of the whole quantities */
	Numeric		fraction;		/* sum of those with decimals, NULL: none */
} Charge;

typedef struct ChargeList
{
	int			count;
	int			room;
	Charge	   *charges;
} ChargeList;

static ChargeList *
list_of(FunctionCallInfo fcinfo, MemoryContext *context)
{
	/* anybody can call a function of type internal with NULL */
	if (!AggCheckCallContext(fcinfo, context))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("the parts of aggregate \"%s\" cannot be called by themselves", "_charge_parts")));
	return PG_ARGISNULL(0) ? NULL : (ChargeList *) PG_GETARG_POINTER(0);
}

static bool
is_same(Numeric a, Numeric b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return VARSIZE_ANY(a) == VARSIZE_ANY(b) && memcmp(a, b, VARSIZE_ANY(a)) == 0;
}

static Numeric
copy_numeric(Numeric value)
{
	return value == NULL ? NULL :
		DatumGetNumeric(datumCopy(NumericGetDatum(value), false, -1));
}

/*
 * What a unit costs those who have no contract, at the same instant; where
 * they have no price in that currency, what the contract says.
 */
static Numeric
list_unit_price(const UmCall *call, const UmUse *use, const UmItem *item)
{
	const UmPriceList *list;
	const UmPrice *price;
	const UmRate *rate;
	UmPriceChoice choice;

	if (item->price->org == NULL)
		return item->rate->unit_price;
	/* the list that the item is from, which has what everybody pays too */
	list = um_price_list(call->org, call->provider, call->model);
	if (!um_price_choose(list, UM_EMPTY, call->tier, call->ts, &choice))
		return item->rate->unit_price;
	rate = um_use_rate(&choice, use, item->meter, call->ts, &price);
	if (rate == NULL || strcmp(price->currency, item->price->currency) != 0)
		return item->rate->unit_price;
	return rate->unit_price;
}

static bool
is_rate(const ChargeRate *rate, const UmItem *item, const UmCost *cost,
		Numeric list_price, Numeric multiplier)
{
	const UmWindow *window = item->rate->window;

	return rate->price_id == item->price->price_id &&
		rate->meter == item->meter &&
		rate->context_from == item->rate->context_from &&
		rate->has_window == (window != NULL) &&
		(window == NULL ||
		 (rate->window.start == window->start && rate->window.end == window->end &&
		  rate->window.days == window->days && rate->window.zone == window->zone)) &&
		is_same(rate->unit_price, item->rate->unit_price) &&
		is_same(rate->list_unit_price, list_price) &&
		is_same(rate->multiplier, multiplier) &&
		is_same(rate->discount, cost->discount) &&
		is_same(rate->exchange_rate, cost->exchange_rate);
}

static Datum
optional(Numeric value, bool *isnull)
{
	*isnull = value == NULL;
	return *isnull ? (Datum) 0 : NumericGetDatum(trimmed(value));
}

/* The rate of the item, a new one if need be; in the memory of the query. */
static ChargeRate *
find_rate(RateBook *book, const UmItem *item, const UmCost *cost,
		  Numeric list_price, Numeric multiplier)
{
	uint64		hash = ((uint64) item->price->price_id * 31 + item->meter) * 31 + item->rate->context_from;
	ChargeRate **bucket = &book->buckets[hash % RATE_BUCKETS];
	ChargeRate *rate;

	for (rate = *bucket; rate != NULL; rate = rate->next)
		if (is_rate(rate, item, cost, list_price, multiplier))
			return rate;

	rate = palloc0(sizeof(ChargeRate));
	rate->meter = item->meter;
	rate->tier = item->price->tier;
	rate->price_id = item->price->price_id;
	rate->context_from = item->rate->context_from;
	rate->has_window = item->rate->window != NULL;
	if (rate->has_window)
		rate->window = *item->rate->window;
	rate->unit_price = copy_numeric(item->rate->unit_price);
	rate->list_unit_price = copy_numeric(list_price);
	rate->multiplier = copy_numeric(multiplier);
	rate->discount = copy_numeric(cost->discount);
	rate->exchange_rate = copy_numeric(cost->exchange_rate);

	rate->listed = rate->list_unit_price;
	rate->billed = rate->unit_price;
	if (multiplier != NULL)
	{
		rate->listed = times(rate->listed, multiplier);
		rate->billed = times(rate->billed, multiplier);
	}
	rate->part[PART_METER] = CStringGetTextDatum(um_meters[rate->meter].name);
	rate->part[PART_AMOUNT] = NumericGetDatum(trimmed(item->rate->amount));
	rate->part[PART_PER] = NumericGetDatum(trimmed(item->rate->per));
	rate->part[PART_LIST_UNIT_PRICE] = NumericGetDatum(trimmed(rate->listed));
	rate->part[PART_UNIT_PRICE] = NumericGetDatum(trimmed(rate->billed));
	rate->part[PART_DISCOUNT] = optional(rate->discount, &rate->nulls[PART_DISCOUNT]);
	rate->part[PART_CURRENCY] = CStringGetTextDatum(item->price->currency);
	rate->part[PART_EXCHANGE_RATE] = optional(rate->exchange_rate, &rate->nulls[PART_EXCHANGE_RATE]);
	rate->part[PART_PRICE_ID] = Int64GetDatum(rate->price_id);
	rate->part[PART_SERVICE_TIER] = CStringGetTextDatum(um_tiers[rate->tier]);
	rate->part[PART_CONTEXT_FROM] = Int64GetDatum(rate->context_from);
	rate->nulls[PART_TIME_WINDOW] = !rate->has_window;
	if (rate->has_window)
		rate->part[PART_TIME_WINDOW] = CStringGetTextDatum(um_window_text(&rate->window));
	if (rate->discount != NULL)
		rate->billed = times(times(rate->billed, minus(int64_to_numeric(100), rate->discount)),
							 um_decimal_to_numeric(1, 2));

	rate->next = *bucket;
	*bucket = rate;
	return rate;
}

/* The charge that the item belongs to, a new one if need be. */
static Charge *
find_charge(ChargeList *list, RateBook *book, MemoryContext query, const UmItem *item,
			const UmCost *cost, Numeric list_price, Numeric multiplier)
{
	MemoryContext before;
	Charge	   *charge;

	for (int i = 0; i < list->count; i++)
		if (is_rate(list->charges[i].rate, item, cost, list_price, multiplier))
			return &list->charges[i];

	if (list->count == list->room)
	{
		list->room *= 2;
		list->charges = repalloc_huge(list->charges, sizeof(Charge) * list->room);
	}
	charge = &list->charges[list->count++];
	memset(charge, 0, sizeof(Charge));
	before = MemoryContextSwitchTo(query);
	charge->rate = find_rate(book, item, cost, list_price, multiplier);
	MemoryContextSwitchTo(before);
	return charge;
}

/* The arguments of cost(): takes in a call. */
Datum
usage_monitor_charge_add(PG_FUNCTION_ARGS)
{
	MemoryContext context;
	MemoryContext before;
	ChargeList *list = list_of(fcinfo, &context);
	UmCall		call = {0};
	UmUse		use = {0};
	UmCost		cost;
	UmItem		items[UM_METER_COUNT];
	Numeric		list_price[UM_METER_COUNT];
	int			nitems;

	/* hear of new prices once a query, not in the midst of it */
	if (fcinfo->flinfo->fn_extra == NULL)
	{
		AcceptInvalidationMessages();
		fcinfo->flinfo->fn_extra = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(RateBook));
	}

	if (list == NULL)
	{
		list = MemoryContextAllocZero(context, sizeof(ChargeList));
		list->room = 4;
		list->charges = MemoryContextAlloc(context, sizeof(Charge) * list->room);
	}
	if (!um_cost_arguments(fcinfo, 1, &call, &use))
		PG_RETURN_POINTER(list);
	nitems = um_cost_items(&call, &use, &cost, items);
	for (int i = 0; i < nitems; i++)
		list_price[i] = list_unit_price(&call, &use, &items[i]);

	before = MemoryContextSwitchTo(context);
	for (int i = 0; i < nitems; i++)
	{
		bool		is_token = um_meters[items[i].meter].side != UM_SIDE_OTHER;
		Charge	   *charge = find_charge(list, fcinfo->flinfo->fn_extra, fcinfo->flinfo->fn_mcxt,
										 &items[i], &cost, list_price[i],
										 is_token ? cost.multiplier : NULL);

		charge->requests++;
		if (items[i].quantity.scale == 0)
			charge->whole += items[i].quantity.value;
		else
		{
			Numeric		fraction = um_decimal_to_numeric(items[i].quantity.value,
														 items[i].quantity.scale);

			if (charge->fraction == NULL)
				charge->fraction = fraction;
			else
			{
				Numeric		sum = plus(charge->fraction, fraction);

				pfree(charge->fraction);
				pfree(fraction);
				charge->fraction = sum;
			}
		}
	}
	MemoryContextSwitchTo(before);
	PG_RETURN_POINTER(list);
}

/* By meter, as their names are sorted, and price. */
static int
compare_charges(const void *a, const void *b)
{
	const ChargeRate *one = ((const Charge *) a)->rate;
	const ChargeRate *other = ((const Charge *) b)->rate;
	int			order = strcmp(um_meters[one->meter].name, um_meters[other->meter].name);

	if (order == 0)
		order = strcmp(um_tiers[one->tier], um_tiers[other->tier]);
	if (order == 0)
		order = (one->context_from > other->context_from) - (one->context_from < other->context_from);
	if (order == 0)
		order = (one->window.start > other->window.start) - (one->window.start < other->window.start);
	if (order == 0)
		order = (one->price_id > other->price_id) - (one->price_id < other->price_id);
	if (order == 0)
		order = compare(one->list_unit_price, other->list_unit_price);
	return order;
}

/* A row of _charge_part; *cost becomes what it costs. */
static Datum
charge_part(const Charge *charge, TupleDesc desc, Numeric *cost)
{
	ChargeRate *rate = charge->rate;
	Numeric		quantity = um_decimal_to_numeric(charge->whole, 0);
	Numeric		list_cost;
	Numeric		price_cost;

	if (charge->fraction != NULL)
		quantity = plus(quantity, charge->fraction);
	list_cost = times(quantity, rate->listed);
	price_cost = times(quantity, rate->billed);
	*cost = price_cost;
	if (rate->exchange_rate != NULL)
	{
		list_cost = times(list_cost, rate->exchange_rate);
		*cost = times(*cost, rate->exchange_rate);
	}
	rate->part[PART_QUANTITY] = NumericGetDatum(trimmed(quantity));
	rate->part[PART_LIST_COST] = NumericGetDatum(trimmed(list_cost));
	rate->part[PART_PRICE_COST] = NumericGetDatum(trimmed(price_cost));
	rate->part[PART_COST] = NumericGetDatum(trimmed(*cost));
	rate->part[PART_REQUESTS] = Int64GetDatum(charge->requests);
	return HeapTupleGetDatum(heap_form_tuple(desc, rate->part, rate->nulls));
}

/*
 * An array of _charge_part: the charges, and at last what all of them cost,
 * which has no meter.
 */
Datum
usage_monitor_charge_final(PG_FUNCTION_ARGS)
{
	ChargeList *list = list_of(fcinfo, NULL);
	Oid			element = get_element_type(get_fn_expr_rettype(fcinfo->flinfo));
	Numeric		total = zero();
	TupleDesc	desc;
	Datum	   *rows;
	Datum		values[PART_NCOLUMNS] = {0};
	bool		nulls[PART_NCOLUMNS];

	if (list == NULL)
		PG_RETURN_NULL();
	desc = lookup_rowtype_tupdesc(element, -1);
	Assert(desc->natts == PART_NCOLUMNS);
	qsort(list->charges, list->count, sizeof(Charge), compare_charges);
	rows = palloc(sizeof(Datum) * (list->count + 1));
	for (int i = 0; i < list->count; i++)
	{
		Numeric		cost;

		rows[i] = charge_part(&list->charges[i], desc, &cost);
		total = plus(total, cost);
	}
	memset(nulls, true, sizeof(nulls));
	nulls[PART_COST] = false;
	values[PART_COST] = NumericGetDatum(trimmed(total));
	rows[list->count] = HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
	ReleaseTupleDesc(desc);
	PG_RETURN_ARRAYTYPE_P(construct_array(rows, list->count + 1, element, -1, false, TYPALIGN_DOUBLE));
}
