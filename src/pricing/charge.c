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

/*
 * A quantity at a price.  All of it is copied: the price book may be read anew
 * between two calls.
 */
typedef struct Charge
{
	UmMeter		meter;
	UmTier		tier;
	int64		price_id;
	int64		context_from;
	bool		has_window;
	UmWindow	window;
	Numeric		amount;
	Numeric		per;
	Numeric		unit_price;
	Numeric		list_unit_price;	/* everybody's, where the price is a contract's */
	Numeric		multiplier;		/* NULL: none */
	Numeric		discount;		/* percent, NULL: none */
	Numeric		exchange_rate;	/* NULL: the same currency */
	char	   *currency;
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

/* The columns of _charge_part. */
enum
{
	PART_METER, PART_QUANTITY, PART_AMOUNT, PART_PER, PART_LIST_UNIT_PRICE, PART_UNIT_PRICE,
	PART_DISCOUNT, PART_CURRENCY, PART_EXCHANGE_RATE, PART_PRICE_ID, PART_SERVICE_TIER,
	PART_CONTEXT_FROM, PART_TIME_WINDOW, PART_LIST_COST, PART_PRICE_COST, PART_COST,
	PART_REQUESTS, PART_NCOLUMNS
};

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
is_charge(const Charge *charge, const UmItem *item, const UmCost *cost,
		  Numeric list_price, Numeric multiplier)
{
	const UmWindow *window = item->rate->window;

	return charge->price_id == item->price->price_id &&
		charge->meter == item->meter &&
		charge->context_from == item->rate->context_from &&
		charge->has_window == (window != NULL) &&
		(window == NULL ||
		 (charge->window.start == window->start && charge->window.end == window->end &&
		  charge->window.days == window->days && charge->window.zone == window->zone)) &&
		is_same(charge->unit_price, item->rate->unit_price) &&
		is_same(charge->list_unit_price, list_price) &&
		is_same(charge->multiplier, multiplier) &&
		is_same(charge->discount, cost->discount) &&
		is_same(charge->exchange_rate, cost->exchange_rate);
}

/* The charge that the item belongs to, a new one if need be. */
static Charge *
find_charge(ChargeList *list, const UmItem *item, const UmCost *cost,
			Numeric list_price, Numeric multiplier)
{
	Charge	   *charge;

	for (int i = 0; i < list->count; i++)
		if (is_charge(&list->charges[i], item, cost, list_price, multiplier))
			return &list->charges[i];

	if (list->count == list->room)
	{
		list->room *= 2;
		list->charges = repalloc_huge(list->charges, sizeof(Charge) * list->room);
	}
	charge = &list->charges[list->count++];
	memset(charge, 0, sizeof(Charge));
	charge->meter = item->meter;
	charge->tier = item->price->tier;
	charge->price_id = item->price->price_id;
	charge->context_from = item->rate->context_from;
	charge->has_window = item->rate->window != NULL;
	if (charge->has_window)
		charge->window = *item->rate->window;
	charge->amount = copy_numeric(item->rate->amount);
	charge->per = copy_numeric(item->rate->per);
	charge->unit_price = copy_numeric(item->rate->unit_price);
	charge->list_unit_price = copy_numeric(list_price);
	charge->multiplier = copy_numeric(multiplier);
	charge->discount = copy_numeric(cost->discount);
	charge->exchange_rate = copy_numeric(cost->exchange_rate);
	charge->currency = pstrdup(item->price->currency);
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
		fcinfo->flinfo->fn_extra = fcinfo->flinfo;
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
		Charge	   *charge = find_charge(list, &items[i], &cost, list_price[i],
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
	const Charge *one = a;
	const Charge *other = b;
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

static Datum
optional(Numeric value, bool *isnull)
{
	*isnull = value == NULL;
	return *isnull ? (Datum) 0 : NumericGetDatum(trimmed(value));
}

/* A row of _charge_part; *cost becomes what it costs. */
static Datum
charge_part(const Charge *charge, TupleDesc desc, Numeric *cost)
{
	Numeric		quantity = um_decimal_to_numeric(charge->whole, 0);
	Numeric		list_price = charge->list_unit_price;
	Numeric		unit_price = charge->unit_price;
	Numeric		list_cost;
	Numeric		price_cost;
	Datum		values[PART_NCOLUMNS] = {0};
	bool		nulls[PART_NCOLUMNS] = {0};

	if (charge->fraction != NULL)
		quantity = plus(quantity, charge->fraction);
	if (charge->multiplier != NULL)
	{
		list_price = times(list_price, charge->multiplier);
		unit_price = times(unit_price, charge->multiplier);
	}
	list_cost = times(quantity, list_price);
	price_cost = times(quantity, unit_price);
	if (charge->discount != NULL)
		price_cost = times(times(price_cost, minus(int64_to_numeric(100), charge->discount)),
						   um_decimal_to_numeric(1, 2));
	*cost = price_cost;
	if (charge->exchange_rate != NULL)
	{
		list_cost = times(list_cost, charge->exchange_rate);
		*cost = times(*cost, charge->exchange_rate);
	}

	values[PART_METER] = CStringGetTextDatum(um_meters[charge->meter].name);
	values[PART_QUANTITY] = NumericGetDatum(trimmed(quantity));
	values[PART_AMOUNT] = NumericGetDatum(trimmed(charge->amount));
	values[PART_PER] = NumericGetDatum(trimmed(charge->per));
	values[PART_LIST_UNIT_PRICE] = NumericGetDatum(trimmed(list_price));
	values[PART_UNIT_PRICE] = NumericGetDatum(trimmed(unit_price));
	values[PART_DISCOUNT] = optional(charge->discount, &nulls[PART_DISCOUNT]);
	values[PART_CURRENCY] = CStringGetTextDatum(charge->currency);
	values[PART_EXCHANGE_RATE] = optional(charge->exchange_rate, &nulls[PART_EXCHANGE_RATE]);
	values[PART_PRICE_ID] = Int64GetDatum(charge->price_id);
	values[PART_SERVICE_TIER] = CStringGetTextDatum(um_tiers[charge->tier]);
	values[PART_CONTEXT_FROM] = Int64GetDatum(charge->context_from);
	nulls[PART_TIME_WINDOW] = !charge->has_window;
	if (charge->has_window)
		values[PART_TIME_WINDOW] = CStringGetTextDatum(um_window_text(&charge->window));
	values[PART_LIST_COST] = NumericGetDatum(trimmed(list_cost));
	values[PART_PRICE_COST] = NumericGetDatum(trimmed(price_cost));
	values[PART_COST] = NumericGetDatum(trimmed(*cost));
	values[PART_REQUESTS] = Int64GetDatum(charge->requests);
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
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
