/*
 * ledger.c
 *		The triggers of the ledger: a row is checked and priced before it is
 *		stored, and counted after.
 *
 * Column numbers are found by name for each table, for a partition that was
 * attached may have them in an order of its own.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "base/access.h"
#include "base/amount.h"
#include "base/catalog.h"
#include "base/decimal.h"
#include "base/error.h"
#include "base/replicated.h"
#include "base/setting.h"
#include "base/tuple_form.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
#include "counter/counter.h"
#include "counter/counter_recount.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "ledger/bounds.h"
#include "ledger/duplicate_request.h"
#include "ledger/ledger.h"
#include "ledger/published.h"
#include "ledger/row_check.h"
#include "ledger/unpriced_alert.h"
#include "miscadmin.h"
#include "pricing/cost.h"
#include "rollup/correction.h"
#include "rollup/refresh_worker.h"
#include "utils/acl.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(usage_monitor_usage_before);
PG_FUNCTION_INFO_V1(usage_monitor_usage_after);

/* The row that an UPDATE of this subtransaction is moving to another partition, if one is. */
static struct
{
	SubTransactionId subxact;
	int64		usage_id;
}			moving;

/* Are changes of rows counted?  Not while a person is renamed, whose counters are made anew. */
static bool count_changes;

/* May corrections be written, of calls and of counters?  Only by our own functions. */
static bool write_corrections;

/* Defines what functions of ours set, and nobody else should. */
void
um_ledger_init(void)
{
	DefineCustomBoolVariable("usage_monitor.count_changes",
							 "Sets whether changes of the ledger's rows are checked, priced and counted.",
							 "Off in erase_user(), which changes names alone and has their counters made anew.",
							 &count_changes,
							 true,
							 PGC_SUSET,
							 GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE,
							 NULL, NULL, NULL);
	DefineCustomBoolVariable("usage_monitor.write_corrections",
							 "Sets whether corrections may be written to the ledger and to quota_adjustment.",
							 "On in functions that keep counters and audit_log in step with them.",
							 &write_corrections,
							 false,
							 PGC_SUSET,
							 GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE,
							 NULL, NULL, NULL);
}

/* Takes a copy of what a slot holds, to be changed. */
static void
open_row(UmRow *row, Relation relation, TupleTableSlot *slot)
{
	slot_getallattrs(slot);
	row->columns = um_columns(relation);
	row->desc = RelationGetDescr(relation);
	row->values = palloc(sizeof(Datum) * row->desc->natts);
	row->nulls = palloc(sizeof(bool) * row->desc->natts);
	memcpy(row->values, slot->tts_values, sizeof(Datum) * row->desc->natts);
	memcpy(row->nulls, slot->tts_isnull, sizeof(bool) * row->desc->natts);
}

/*
 * Refuses a row of an organisation that who records is not for, before
 * anything is said of what that has.
 */
static void
confine(UmRow *row)
{
	UmString	org = um_row_text(row, UM_COL_ORG);
	text	   *instead = um_check_org(UM_TO_RECORD, org.data, org.length);

	if (instead != NULL)
		SET(row, ORG, PointerGetDatum(instead));
}

static void
set_numeric_or_null(UmRow *row, UmColumn column, Numeric value)
{
	um_row_set(row, column, NumericGetDatum(value), value == NULL);
}

/* Is this a correction, whose cost may be negative? */
static bool
is_correction(const UmRow *row)
{
	return um_is_correction(um_row_text(row, UM_COL_OPERATION));
}

/*
 * Refuses a correction that none of our functions writes: it is no request, so
 * that anybody could go round a quota of requests with it.
 */
static void
check_operation(const UmRow *row, const UmRow *old)
{
	if (write_corrections || (old != NULL && !um_row_changed(old, row, UM_COL_OPERATION)) ||
		!(is_correction(row) || (old != NULL && is_correction(old))))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_UM_READ_ONLY),
			 errmsg("operation \"%s\" is written by usage_monitor alone", UM_OPERATION_CORRECTION),
			 errhint("Give money back with usage_monitor.refund_call(usage_id, amount, reason); call an operation of your own otherwise, for example text_correction.")));
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
 * NULL where it is one.  The prices have been looked up.
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
	UmString	tier = um_row_text(row, UM_COL_SERVICE_TIER);

	call->provider = um_row_text(row, UM_COL_PROVIDER);
	call->model = um_row_text(row, UM_COL_MODEL);
	call->org = um_row_text(row, UM_COL_ORG);
	call->tier = um_tier_checked(tier.data, tier.length);
	call->ts = DatumGetTimestampTz(VALUE(row, TS));
}

/* Sets what a call with a reported cost would cost by the price book. */
static void
set_list_cost(UmRow *row, const UmUse *use)
{
	UmCall		call;
	UmCost		cost;

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
static void
keep_reported_cost(const UmRow *old, UmRow *row, const UmUse *use)
{
	static const UmColumn given[] = {UM_COL_COST, UM_COL_INPUT_COST, UM_COL_OUTPUT_COST};
	bool		may_be_negative = write_corrections && is_correction(row);
	Numeric		reported = DatumGetNumeric(VALUE(row, COST));
	bool		has_other = old == NULL ? !IS_NULL(row, OTHER_COST) :
		um_row_changed(old, row, UM_COL_OTHER_COST);
	Numeric		other = NULL;
	Numeric		rate;

	fill_names(row, true);
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
	else
		set_list_cost(row, use);
}

/* Prices the row by the price book. */
static void
compute_cost(UmRow *row, const UmUse *use)
{
	UmCall		call;
	UmCost		cost;
	UmString	provider = um_row_text(row, UM_COL_PROVIDER);
	UmString	model = um_row_text(row, UM_COL_MODEL);
	char	   *unread = um_row_unread(row);

	set_call(row, &call);
	if (DatumGetBool(VALUE(row, CACHED)))
	{
		/* answered by the application's own cache: nobody was asked */
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

	if (!cost.priced && unread != NULL && um_setting()->refuse_unpriced)
		ereport(ERROR,
				(errcode(ERRCODE_UM_UNPRICED),
				 errmsg("the call to model \"%s\" cannot be priced: %s",
						pnstrdup(model.data, model.length), unread),
				 errhint("Say what it means by a line of usage_monitor.usage_field, or record such calls unpriced with usage_monitor.configure(unpriced => 'record').")));
	if (!cost.priced && um_setting()->refuse_unpriced)
		ereport(ERROR,
				(errcode(ERRCODE_UM_UNPRICED),
				 errmsg("there is no price for model \"%s\"%s%s%s",
						pnstrdup(model.data, model.length),
						provider.data ? " of provider \"" : "",
						provider.data ? pnstrdup(provider.data, provider.length) : "",
						provider.data ? "\"" : ""),
				 errhint("Set one with usage_monitor.set_price(), or record such calls unpriced with usage_monitor.configure(unpriced => 'record').")));

	/* where the application's own cache has answered, no provider was asked */
	fill_names(row, !DatumGetBool(VALUE(row, CACHED)));
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

/* The transaction's number, of 64 bits. */
static Datum
own_xid(void)
{
	return Int64GetDatum((int64) U64FromFullTransactionId(GetTopFullTransactionId()));
}

/* Is this the row that an UPDATE of this transaction is moving? */
static bool
is_moving(UmRow *row)
{
	return moving.subxact == GetCurrentSubTransactionId() && !IS_NULL(row, USAGE_ID) &&
		moving.usage_id == DatumGetInt64(VALUE(row, USAGE_ID));
}

/*
 * A row that arrives with recorded_at is being restored or replicated, and is
 * stored as it is.  Only the ledger's owner may do that, for it would let
 * anybody write costs past the price book and the quotas.
 */
static void
check_may_restore(Relation relation)
{
	if (!has_privs_of_role(GetUserId(), relation->rd_rel->relowner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("column \"recorded_at\" is filled by usage_monitor"),
				 errhint("Leave it out. Only the owner of the ledger may restore rows with it.")));
}

/* The next number of a row.  The sequence is not the client's to read: he needs INSERT alone. */
static int64
next_number(void)
{
	return nextval_internal(um_relation(UM_USAGE_ID_SEQ), false);
}

/* Makes a new row of the ledger ready; false if it is a retry of a recorded one. */
static bool
before_insert(UmRow *row, Relation relation)
{
	int64		number;
	UmUse		use;

	if (is_moving(row))
	{
		moving.subxact = InvalidSubTransactionId;
		return true;			/* BEFORE UPDATE has seen it */
	}

	if (!IS_NULL(row, RECORDED_AT))
	{
		check_may_restore(relation);
		um_row_fill(row);
		SET(row, XID, own_xid());
		/* what is replicated has another ledger's number, and ours count on: they tell how long the tail is */
		number = IS_NULL(row, USAGE_ID) || um_is_replicated() ? next_number() :
			DatumGetInt64(VALUE(row, USAGE_ID));
		SET_DEFAULT(row, USAGE_ID, Int64GetDatum(number));
		um_refresh_note(number);
		return true;
	}

	um_row_check(row, NULL, &use);
	check_operation(row, NULL);
	/* who corrects has looked at that */
	if (!(write_corrections && is_correction(row)))
		confine(row);
	um_request_check_partition(relation);
	if (um_request_is_retry(relation, row))
		return false;

	number = next_number();
	um_refresh_note(number);
	SET(row, USAGE_ID, Int64GetDatum(number));
	SET(row, XID, own_xid());
	SET(row, RECORDED_AT, TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()));

	if (!IS_NULL(row, COST))
		keep_reported_cost(NULL, row, &use);
	else
		compute_cost(row, &use);
	return true;
}

/* Has an UPDATE changed one of these columns? */
static bool
changed(const UmRow *old, const UmRow *row, const UmColumn *columns, int ncolumns)
{
	for (int i = 0; i < ncolumns; i++)
		if (um_row_changed(old, row, columns[i]))
			return true;
	return false;
}

/* Makes a changed row ready: what it costs follows what was used. */
static void
before_update(UmRow *old, UmRow *row, Relation relation)
{
	static const UmColumn priced_by[] = {
		UM_COL_TS, UM_COL_ORG, UM_COL_PROVIDER, UM_COL_MODEL, UM_COL_SERVICE_TIER,
		UM_COL_INPUT_TOKENS, UM_COL_OUTPUT_TOKENS, UM_COL_CACHE_READ_INPUT_TOKENS,
		UM_COL_CACHE_CREATION_INPUT_TOKENS, UM_COL_CACHE_CREATION_1H_INPUT_TOKENS,
		UM_COL_REASONING_OUTPUT_TOKENS, UM_COL_INPUT_AUDIO_TOKENS,
		UM_COL_OUTPUT_AUDIO_TOKENS, UM_COL_UNITS, UM_COL_CACHED, UM_COL_UNREAD
	};
	static const UmColumn request[] = {UM_COL_ORG, UM_COL_REQUEST_ID};
	static const UmColumn costs[] = {
		UM_COL_COST, UM_COL_INPUT_COST, UM_COL_OUTPUT_COST
	};
	UmUse		use;
	bool		was_reported;
	bool		is_reported;

	is_reported = changed(old, row, costs, lengthof(costs)) && !IS_NULL(row, COST);
	um_row_check(row, old, &use);
	check_operation(row, old);
	confine(row);
	if (changed(old, row, request, lengthof(request)) &&
		um_request_is_retry(relation, row))
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("the ledger has a call of that \"request_id\" already"),
				 errhint("A request_id names one call of an organisation.")));

	was_reported = !IS_NULL(old, COST_SOURCE) &&
		strcmp(TextDatumGetCString(VALUE(old, COST_SOURCE)), "reported") == 0;
	if (is_reported)
		keep_reported_cost(old, row, &use); /* somebody corrects the cost */
	else if (IS_NULL(row, COST) ||	/* not priced yet, or SET cost = NULL asks for it */
			 (!was_reported && changed(old, row, priced_by, lengthof(priced_by))))
		compute_cost(row, &use);
	else if (was_reported && changed(old, row, priced_by, lengthof(priced_by)))
	{
		fill_names(row, true);
		set_list_cost(row, &use);
	}
}

/* If ts moves a changed row to another partition, INSERT triggers will see it. */
static void
note_moving(Relation relation, UmRow *old, UmRow *row)
{
	static const UmColumn moved_by[] = {UM_COL_TS};

	if (changed(old, row, moved_by, lengthof(moved_by)))
		um_request_moves(relation, row);
	moving.subxact = GetCurrentSubTransactionId();
	moving.usage_id = DatumGetInt64(VALUE(row, USAGE_ID));
}

/* BEFORE ROW trigger of the ledger and its partitions. */
Datum
usage_monitor_usage_before(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = um_trigger_fired(fcinfo, "_usage_before",
											 TRIGGER_EVENT_BEFORE | TRIGGER_EVENT_ROW);
	Relation	relation;
	UmRow		row;

	/* a price that has been committed by now is to be used */
	AcceptInvalidationMessages();

	relation = trigdata->tg_relation;
	if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
	{
		UmRow		old;

		open_row(&old, relation, trigdata->tg_trigslot);
		open_row(&row, relation, trigdata->tg_newslot);
		if (um_is_replicated() || !count_changes)
			/* checked and priced before, or where it was changed */
			um_row_set(&row, UM_COL_XID, VALUE(&old, XID), false);
		else
			before_update(&old, &row, relation);
		note_moving(relation, &old, &row);
	}
	else
	{
		open_row(&row, relation, trigdata->tg_trigslot);
		if (!before_insert(&row, relation))
			return PointerGetDatum(NULL);
	}
	return PointerGetDatum(um_form_tuple(row.desc, row.values, row.nulls));
}

/*
 * Is a row, that this transaction has inserted or not, to raise alerts, and to
 * be refused?  Not if it was before: one that is inserted with an earlier
 * recorded_at was restored or comes from another ledger.
 */
static bool
is_live(const UmRow *row, bool own)
{
	if (own && !IS_NULL(row, RECORDED_AT) &&
		DatumGetTimestampTz(VALUE(row, RECORDED_AT)) == GetCurrentTransactionStartTimestamp())
		return true;
	if (um_is_replicated())
		return um_replicated_is_live() && !um_replicated_is_copied();
	return !own || IS_NULL(row, RECORDED_AT);
}

/* Counts a row, or takes it back. */
static void
count_row(Relation relation, TupleTableSlot *slot, bool negative)
{
	Datum		values[UM_COUNTED_COLUMNS];
	bool		nulls[UM_COUNTED_COLUMNS];
	static const UmColumn counted[UM_COUNTED_COLUMNS] = {
		UM_COL_ORG, UM_COL_DEPARTMENT, UM_COL_PROJECT, UM_COL_USER_ID,
		UM_COL_SESSION_ID, UM_COL_MODEL, UM_COL_PROVIDER,
		UM_COL_TAGS, UM_COL_TS, UM_COL_COST, UM_COL_TOTAL_TOKENS, UM_COL_RESOLVED_MODEL,
		UM_COL_OPERATION
	};
	UmRow		row;
	UmCounted	call;
	int64		xid;
	bool		own;
	bool		live;

	slot_getallattrs(slot);
	row = (UmRow) {um_columns(relation), RelationGetDescr(relation), slot->tts_values, slot->tts_isnull};
	for (int i = 0; i < UM_COUNTED_COLUMNS; i++)
	{
		int			att = row.columns->attnum[counted[i]] - 1;

		values[i] = row.values[att];
		nulls[i] = row.nulls[att];
	}
	um_counted_set(&call, values, nulls);

	xid = DatumGetInt64(VALUE(&row, XID));
	own = xid == DatumGetInt64(own_xid());
	live = is_live(&row, own);

	if (!own)
		um_correction_write(relation, slot, xid, negative);
	if (!count_changes)
		return;
	um_recount_note(values, nulls, own, negative, live);
	um_counter_count(&call, negative, live);

	if (live && !negative && call.cost == NULL)
		um_unpriced_note(call.model.data, call.model.length, call.ts);
}

/* AFTER ROW trigger of the ledger and its partitions. */
Datum
usage_monitor_usage_after(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = um_trigger_fired(fcinfo, "_usage_after", TRIGGER_EVENT_ROW);

	um_request_stored();
	if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
		count_row(trigdata->tg_relation, trigdata->tg_trigslot, false);
	else
	{
		um_check_published(trigdata->tg_relation);
		/* the old row first: a correction downwards must not look like a rise */
		count_row(trigdata->tg_relation, trigdata->tg_trigslot, true);
		if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
			count_row(trigdata->tg_relation, trigdata->tg_newslot, false);
		moving.subxact = InvalidSubTransactionId;
	}
	return PointerGetDatum(NULL);
}

/* The transaction is over: it moves nothing any more. */
void
um_ledger_forget(void)
{
	moving.subxact = InvalidSubTransactionId;
}
