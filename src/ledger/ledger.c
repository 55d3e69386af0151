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
#include "base/catalog.h"
#include "base/error.h"
#include "base/replicated.h"
#include "base/tuple_form.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
#include "counter/counter.h"
#include "counter/counter_recount.h"
#include "fmgr.h"
#include "ledger/duplicate_request.h"
#include "ledger/ledger.h"
#include "ledger/published.h"
#include "ledger/row_check.h"
#include "ledger/unpriced_alert.h"
#include "miscadmin.h"
#include "rollup/correction.h"
#include "rollup/refresh_worker.h"
#include "utils/acl.h"
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
							 &count_changes, true, PGC_SUSET, GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);
	DefineCustomBoolVariable("usage_monitor.write_corrections",
							 "Sets whether corrections may be written to the ledger and to quota_adjustment.",
							 "On in functions that keep counters and audit_log in step with them.",
							 &write_corrections, false, PGC_SUSET, GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);
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
	UmString	meant = um_check_org(UM_TO_RECORD, org);

	if (meant.data != org.data)
		SET(row, ORG, um_string_text(meant));
}

static bool
is_correction(const UmRow *row)
{
	return um_is_correction(um_row_text(row, UM_COL_OPERATION));
}

/* Is it one that a function of ours writes?  Its cost may be negative. */
static bool
may_be_negative(const UmRow *row)
{
	return write_corrections && is_correction(row);
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
	if (!may_be_negative(row))
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
		um_row_keep_cost(row, NULL, &use, may_be_negative(row));
	else
		um_row_price(row, &use);
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
		um_row_keep_cost(row, old, &use, may_be_negative(row)); /* somebody corrects the cost */
	else if (IS_NULL(row, COST) ||	/* not priced yet, or SET cost = NULL asks for it */
			 (!was_reported && changed(old, row, priced_by, lengthof(priced_by))))
		um_row_price(row, &use);
	else if (was_reported && changed(old, row, priced_by, lengthof(priced_by)))
		um_row_fill_list_cost(row, &use);
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
		um_unpriced_note(call.model, call.ts);
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
