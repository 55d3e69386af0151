/*
 * row_cost.c
 *		What a row of the ledger costs: by the price book, or as the client
 *		reported it.
 */
#include "postgres.h"

#include "base/amount.h"
#include "base/error.h"
#include "base/setting.h"
#include "fmgr.h"
#include "ledger/bounds.h"
#include "ledger/row_check.h"
#include "pricing/cost.h"
#include "utils/timestamp.h"

static void
set_numeric_or_null(UmRow *row, UmColumn column, Numeric value)
{
	um_row_set(row, column, NumericGetDatum(value), value == NULL);
}

/* Fills what the price book calls the model, and if wanted its provider where the client names none. */
static void
fill_names(UmRow *row, bool with_provider)
{
	UmString	org = um_row_text(row, UM_COL_ORG);
	UmString	provider = um_row_text(row, UM_COL_PROVIDER);
	UmString	model = um_row_text(row, UM_COL_MODEL);
	const UmPriceList *list = um_price_list(org, provider, model);

	if (list->model != NULL)
		SET(row, RESOLVED_MODEL, CStringGetTextDatum(list->model));
	else
		SET(row, RESOLVED_MODEL, VALUE(row, MODEL));
	if (with_provider && provider.data == NULL && list->provider != NULL)
		SET(row, PROVIDER, CStringGetTextDatum(list->provider));
}

/*
 * The rate by which a reported cost becomes one in the ledger's currency;
 * NULL where it is one.  The price book has been asked.
 */
static Numeric
rate_of_reported(const UmRow *row)
{
	char	   *currency;
	const char *own = um_setting()->currency;
	Numeric		rate;

	if (IS_NULL(row, CURRENCY))
		return NULL;
	currency = TextDatumGetCString(VALUE(row, CURRENCY));
	if (strcmp(currency, own) == 0)
		return NULL;
	if (strlen(currency) != 3 || strspn(currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 3)
		ereport(ERROR,
				(errcode(ERRCODE_UM_UNKNOWN_KEYWORD),
				 errmsg("column \"currency\" must be a currency code, but is \"%s\"", currency),
				 errhint("Write the ISO 4217 code in capitals, for example USD or CNY.")));
	if (!um_exchange_rate(currency, own, DatumGetTimestampTz(VALUE(row, TS)), &rate))
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_COST),
				 errmsg("there is no exchange rate from %s to %s at %s",
						currency, own, timestamptz_to_str(DatumGetTimestampTz(VALUE(row, TS)))),
				 errhint("Add it to usage_monitor.exchange_rate, or give the cost in %s.", own)));
	return rate;
}

/* A cost in the ledger's currency. */
static Numeric
converted(Numeric cost, Numeric rate)
{
	return rate == NULL ? cost : trimmed(times(cost, rate));
}

/* The call as the price book asks for it. */
static void
set_call(const UmRow *row, UmCall *call)
{
	call->provider = um_row_text(row, UM_COL_PROVIDER);
	call->model = um_row_text(row, UM_COL_MODEL);
	call->org = um_row_text(row, UM_COL_ORG);
	call->tier = um_tier_checked(um_row_text(row, UM_COL_SERVICE_TIER));
	call->ts = DatumGetTimestampTz(VALUE(row, TS));
}

/* Fills what the price book says of a call whose cost was reported: its names, and what it would cost. */
void
um_row_fill_list_cost(UmRow *row, const UmUse *use)
{
	UmCall		call;
	UmCost		cost;

	fill_names(row, true);
	SET_NULL(row, LIST_COST);
	if (!IS_NULL(row, UNREAD) || DatumGetBool(VALUE(row, CACHED)))
		return;
	set_call(row, &call);
	um_cost(&call, use, &cost);
	set_numeric_or_null(row, UM_COL_LIST_COST, cost.priced ? cost.total : NULL);
}

/*
 * Keeps the cost that the client gave, in the ledger's currency, with what the
 * price book says beside it; old as in um_row_check.
 */
void
um_row_keep_cost(UmRow *row, const UmRow *old, const UmUse *use, bool may_be_negative)
{
	static const UmColumn given[] = {UM_COL_COST, UM_COL_INPUT_COST, UM_COL_OUTPUT_COST};
	Numeric		reported = DatumGetNumeric(VALUE(row, COST));
	bool		has_other = old == NULL ? !IS_NULL(row, OTHER_COST) :
		um_row_changed(old, row, UM_COL_OTHER_COST);
	Numeric		other = NULL;
	Numeric		rate;

	/* last of what looks into the price book, whose memory the rate is in */
	um_row_fill_list_cost(row, use);
	rate = rate_of_reported(row);
	for (int i = 0; i < (int) lengthof(given); i++)
	{
		int			att = row->columns->attnum[given[i]] - 1;
		Numeric		value = row->nulls[att] ? zero() :
			converted(DatumGetNumeric(row->values[att]), rate);

		if (!may_be_negative)
			um_check_cost(um_column_name(given[i]), value);
		um_row_set(row, given[i], NumericGetDatum(value), false);
		other = i == 0 ? value : minus(other, value);
	}
	if (compare(other, zero()) < 0 && !may_be_negative)
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_COST),
				 errmsg("\"input_cost\" and \"output_cost\" exceed \"cost\""),
				 errhint("They are parts of it; leave them out if you know only the whole.")));
	if (has_other && compare(other, converted(DatumGetNumeric(VALUE(row, OTHER_COST)), rate)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_COST),
				 errmsg("\"input_cost\", \"output_cost\" and \"other_cost\" together are not \"cost\""),
				 errhint("They are parts of it; leave \"other_cost\" out, and it is what remains.")));

	SET(row, OTHER_COST, NumericGetDatum(other));
	SET(row, COST_SOURCE, CStringGetTextDatum("reported"));
	SET_NULL(row, UNPRICED_REASON);
	SET_NULL(row, PRICE_ID);
	set_numeric_or_null(row, UM_COL_PRICE_COST, rate != NULL ? reported : NULL);
	set_numeric_or_null(row, UM_COL_EXCHANGE_RATE, rate);
	um_row_set(row, UM_COL_PRICE_CURRENCY, VALUE(row, CURRENCY), rate == NULL);
	SET(row, CURRENCY, CStringGetTextDatum(um_setting()->currency));
	if (may_be_negative)
		SET_NULL(row, LIST_COST);
}

static void
refuse_unpriced(const UmCall *call, const char *unread)
{
	char	   *model = pnstrdup(call->model.data, call->model.length);

	if (unread != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UM_UNPRICED),
				 errmsg("the call to model \"%s\" cannot be priced: %s", model, unread),
				 errhint("Say what it means by a line of usage_monitor.usage_field, or record such calls unpriced with usage_monitor.configure(unpriced => 'record').")));
	ereport(ERROR,
			(errcode(ERRCODE_UM_UNPRICED),
			 errmsg("there is no price for model \"%s\"%s%s%s", model,
					call->provider.data ? " of provider \"" : "",
					call->provider.data ? pnstrdup(call->provider.data, call->provider.length) : "",
					call->provider.data ? "\"" : ""),
			 errhint("Set one with usage_monitor.set_price(), or record such calls unpriced with usage_monitor.configure(unpriced => 'record').")));
}

/* Prices the row by the price book. */
void
um_row_price(UmRow *row, const UmUse *use)
{
	UmCall		call;
	UmCost		cost;
	char	   *unread = um_row_unread(row);
	bool		cached = DatumGetBool(VALUE(row, CACHED));

	set_call(row, &call);
	/* first, for the cost is in the price book's memory until that is asked again */
	fill_names(row, !cached);
	if (cached)
	{
		/* answered by the application's own cache: no provider was asked */
		memset(&cost, 0, sizeof(cost));
		cost.priced = true;
		for (int s = 0; s < UM_SIDES; s++)
			cost.side[s] = int64_to_numeric(0);
		cost.total = int64_to_numeric(0);
	}
	else if (unread != NULL)
		memset(&cost, 0, sizeof(cost));
	else
		um_cost(&call, use, &cost);

	if (!cost.priced && um_setting()->refuse_unpriced)
		refuse_unpriced(&call, unread);

	um_row_set(row, UM_COL_PRICE_ID, Int64GetDatum(cost.price_id), cost.price_id == 0);
	set_numeric_or_null(row, UM_COL_PRICE_COST, cost.priced ? cost.price_total : NULL);
	set_numeric_or_null(row, UM_COL_EXCHANGE_RATE, cost.priced ? cost.exchange_rate : NULL);
	if (cost.priced && cost.exchange_rate != NULL)
		SET(row, PRICE_CURRENCY, CStringGetTextDatum(cost.price_currency));
	else
		SET_NULL(row, PRICE_CURRENCY);
	set_numeric_or_null(row, UM_COL_INPUT_COST, cost.priced ? cost.side[UM_SIDE_INPUT] : NULL);
	set_numeric_or_null(row, UM_COL_OUTPUT_COST, cost.priced ? cost.side[UM_SIDE_OUTPUT] : NULL);
	set_numeric_or_null(row, UM_COL_OTHER_COST, cost.priced ? cost.side[UM_SIDE_OTHER] : NULL);
	set_numeric_or_null(row, UM_COL_COST, cost.priced ? cost.total : NULL);
	SET(row, CURRENCY, CStringGetTextDatum(um_setting()->currency));
	SET(row, COST_SOURCE, CStringGetTextDatum(cost.priced ? "computed" : "unpriced"));
	if (cost.priced)
		SET_NULL(row, UNPRICED_REASON);
	else
		SET(row, UNPRICED_REASON, CStringGetTextDatum(unread ? unread : um_unpriced_reason(&cost)));
	SET_NULL(row, LIST_COST);
}
