/*
 * charge.c
 *		What many calls are charged for: an aggregate that adds up their
 *		quantities by meter, price and rate.
 *
 * A cost is linear in the quantity while the rate, the discount and the
 * exchange rate are the same.  So the quantities are added up, as integers,
 * and multiplied by whoever asked: that is exact, and much quicker than to
 * price ten million calls meter by meter.
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

/* An array of _charge_part. */
Datum
usage_monitor_charge_final(PG_FUNCTION_ARGS)
{
	enum
	{
		METER, QUANTITY, AMOUNT, PER, UNIT_PRICE, LIST_UNIT_PRICE, MULTIPLIER, DISCOUNT,
		CURRENCY, EXCHANGE_RATE, PRICE_ID, SERVICE_TIER, CONTEXT_FROM, TIME_WINDOW,
		REQUESTS, NCOLUMNS
	};
	ChargeList *list = list_of(fcinfo, NULL);
	Oid			element = get_element_type(get_fn_expr_rettype(fcinfo->flinfo));
	TupleDesc	desc;
	Datum	   *rows;

	if (list == NULL)
		PG_RETURN_NULL();
	desc = lookup_rowtype_tupdesc(element, -1);
	Assert(desc->natts == NCOLUMNS);
	rows = palloc(sizeof(Datum) * list->count);
	for (int i = 0; i < list->count; i++)
	{
		const Charge *charge = &list->charges[i];
		Numeric		quantity = um_decimal_to_numeric(charge->whole, 0);
		Datum		values[NCOLUMNS];
		bool		nulls[NCOLUMNS] = {0};

		if (charge->fraction != NULL)
			quantity = plus(quantity, charge->fraction);
		values[METER] = CStringGetTextDatum(um_meters[charge->meter].name);
		values[QUANTITY] = NumericGetDatum(quantity);
		values[AMOUNT] = NumericGetDatum(charge->amount);
		values[PER] = NumericGetDatum(charge->per);
		values[UNIT_PRICE] = NumericGetDatum(charge->unit_price);
		values[LIST_UNIT_PRICE] = NumericGetDatum(charge->list_unit_price);
		values[MULTIPLIER] = NumericGetDatum(charge->multiplier);
		nulls[MULTIPLIER] = charge->multiplier == NULL;
		values[DISCOUNT] = NumericGetDatum(charge->discount);
		nulls[DISCOUNT] = charge->discount == NULL;
		values[CURRENCY] = CStringGetTextDatum(charge->currency);
		values[EXCHANGE_RATE] = NumericGetDatum(charge->exchange_rate);
		nulls[EXCHANGE_RATE] = charge->exchange_rate == NULL;
		values[PRICE_ID] = Int64GetDatum(charge->price_id);
		values[SERVICE_TIER] = CStringGetTextDatum(um_tiers[charge->tier]);
		values[CONTEXT_FROM] = Int64GetDatum(charge->context_from);
		nulls[TIME_WINDOW] = !charge->has_window;
		if (charge->has_window)
			values[TIME_WINDOW] = CStringGetTextDatum(um_window_text(&charge->window));
		values[REQUESTS] = Int64GetDatum(charge->requests);
		rows[i] = HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
	}
	ReleaseTupleDesc(desc);
	PG_RETURN_ARRAYTYPE_P(construct_array(rows, list->count, element, -1, false, TYPALIGN_DOUBLE));
}
