/*
 * quota_change.c
 *		What the running transaction did to quotas, and the counters that are
 *		made for it.
 *
 * A trigger notes which quotas were made, changed or dropped.  Just before
 * commit their counters are summed up from the ledger, for the running period
 * and later ones; then, under the lock that keeps flushes out, those that there
 * are are dropped and the new ones made, with what came meanwhile.  Those of
 * earlier periods are made when a late row first needs them.
 *
 * The lock of births is that of table _quota_birth.  Who holds it alone makes
 * counters from the ledger, or changes what they are made by; it comes before
 * the lock of counters.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/catalog.h"
#include "base/replicated.h"
#include "catalog/pg_type.h"
#include "counter/counter_from_ledger.h"
#include "counter/quota_change.h"
#include "counter/reserved.h"
#include "fmgr.h"
#include "funcapi.h"
#include "quota/quota_cache.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(usage_monitor_quota_changed);
PG_FUNCTION_INFO_V1(usage_monitor_quota_adjusted);
PG_FUNCTION_INFO_V1(usage_monitor_recount_quota);
PG_FUNCTION_INFO_V1(usage_monitor_changed_quotas);
PG_FUNCTION_INFO_V1(usage_monitor_lock_counters);

typedef struct Change
{
	int64		quota_id;
	bool		recount;		/* it counts other rows than before */
	bool		restored;		/* from a dump, or in a copy: its alerts are there already */
	int			level;			/* the nesting level that did it */
	struct Change *next;
	struct Change *outer;		/* of the same quota, at an outer level */
} Change;

typedef struct QuotaEntry
{
	int64		quota_id;
	Change	   *change;			/* of the deepest level, which has it all */
} QuotaEntry;

/*
 * In TopTransactionContext: the changes of each level, the deepest first, and
 * the quotas that they are of.
 */
static Change *changes;
static HTAB *quotas;

static UmQuery drop_counters = {
	.text = "DELETE FROM _usage_monitor._counter_row WHERE quota_id = ANY ($1)",
	.argtypes = {INT8ARRAYOID}
};

static UmQuery drop_births = {
	.text = "DELETE FROM _usage_monitor._quota_birth WHERE quota_id = ANY ($1)",
	.argtypes = {INT8ARRAYOID}
};

static UmQuery insert_births = {
	.text = "INSERT INTO _usage_monitor._quota_birth (quota_id, counted_since)"
	" SELECT quota_id, usage_monitor.period_start(pg_catalog.now(), period, time_zone, billing_day)"
	" FROM usage_monitor.quota WHERE quota_id = ANY ($1) AND enabled",
	.argtypes = {INT8ARRAYOID}
};

static UmQuery read_counters = {
	.text = "SELECT c.quota_id, c.subject, c.period_start"
	" FROM _usage_monitor._counter_row c"
	" JOIN _usage_monitor._quota_birth b ON b.quota_id = c.quota_id"
	" JOIN usage_monitor.quota q ON q.quota_id = c.quota_id"
	" WHERE c.quota_id = ANY ($1) AND c.slot = 0 AND c.period_start >= b.counted_since"
	/* of periods that are over no limit is in force */
	" AND c.period_start >= usage_monitor.period_start(pg_catalog.now(), q.period, q.time_zone, q.billing_day)",
	.argtypes = {INT8ARRAYOID}
};

/* What was done to a quota; NULL: nothing. */
static Change *
find_change(int64 quota_id)
{
	QuotaEntry *entry = quotas == NULL ? NULL : hash_search(quotas, &quota_id, HASH_FIND, NULL);

	return entry == NULL ? NULL : entry->change;
}

/* Makes a change the one that has it all, or forgets the quota. */
static void
set_change(int64 quota_id, Change *change)
{
	QuotaEntry *entry = hash_search(quotas, &quota_id, change == NULL ? HASH_REMOVE : HASH_ENTER, NULL);

	if (change != NULL)
		entry->change = change;
}

static void
make_table(void)
{
	HASHCTL		control = {.keysize = sizeof(int64), .entrysize = sizeof(QuotaEntry), .hcxt = TopTransactionContext};

	quotas = hash_create("usage_monitor changed quotas", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Notes that a quota was changed. */
static Change *
note_change(int64 quota_id)
{
	int			level = GetCurrentTransactionNestLevel();
	Change	   *before = find_change(quota_id);
	Change	   *change;

	um_pending_refuse_closed("change quotas");
	/* who holds counters, and others wait for, must not wait until he is alone with them */
	if (um_reserving_any())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("cannot change quotas in a transaction that has reserved"),
				 errhint("COMMIT the reservation first, and change quotas in a transaction of their own.")));
	if (before != NULL && before->level == level)
		return before;
	change = MemoryContextAllocZero(TopTransactionContext, sizeof(Change));
	if (before != NULL)
		*change = *before;
	change->quota_id = quota_id;
	change->level = level;
	change->outer = before;
	if (quotas == NULL)
		make_table();
	set_change(quota_id, change);
	change->next = changes;
	changes = change;
	return change;
}

/* Notes that the quota that this one overrides, if it does, counts otherwise. */
static void
note_overridden(HeapTuple row, TupleDesc desc)
{
	int64		overridden = um_int64_column(row, desc, SPI_fnumber(desc, "overrides"));

	if (overridden != 0)
		note_change(overridden)->recount = true;
}

/*
 * Row trigger of quota.  Its argument says whether the change is one of what
 * is counted (recount) or only of limits.
 */
Datum
usage_monitor_quota_changed(PG_FUNCTION_ARGS)
{
	static const UmRelation table = UM_QUOTA;
	TriggerData *trigdata = um_trigger(fcinfo, "_quota_changed", TRIGGER_EVENT_ROW, &table, 1);
	TupleDesc	desc = RelationGetDescr(trigdata->tg_relation);
	Change	   *change;

	change = note_change(um_int64_column(trigdata->tg_trigtuple, desc, SPI_fnumber(desc, "quota_id")));
	if (trigdata->tg_trigger->tgnargs > 0 && strcmp(trigdata->tg_trigger->tgargs[0], "recount") == 0)
	{
		change->recount = true;
		/* what it stands in for counts its subject no more, or again */
		note_overridden(trigdata->tg_trigtuple, desc);
		if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
			note_overridden(trigdata->tg_newtuple, desc);
	}
	if (um_is_replicated())
		change->restored = !um_replicated_is_live();
	else if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
		change->restored = GetCurrentTransactionStartTimestamp() !=
			um_int64_column(trigdata->tg_trigtuple, desc, SPI_fnumber(desc, "created_at"));
	return PointerGetDatum(NULL);
}

/*
 * Row trigger of quota_adjustment: one that is restored, or replicated, may come after its
 * quota, whose counters were made without it.  Who adjusts otherwise sees to
 * the counters himself.
 */
Datum
usage_monitor_quota_adjusted(PG_FUNCTION_ARGS)
{
	static const UmRelation table = UM_QUOTA_ADJUSTMENT;
	TriggerData *trigdata = um_trigger(fcinfo, "_quota_adjusted", TRIGGER_EVENT_ROW, &table, 1);
	TupleDesc	desc = RelationGetDescr(trigdata->tg_relation);
	Change	   *change;
	int64		quota_id;

	if (um_is_restoring() || um_is_replicated())
	{
		quota_id = um_int64_column(trigdata->tg_trigtuple, desc, SPI_fnumber(desc, "quota_id"));
		change = find_change(quota_id);
		if (change == NULL)
		{
			change = note_change(quota_id);
			change->restored = true;
		}
		change->recount = true;
	}
	return PointerGetDatum(NULL);
}

/* _recount_quota(quota_id): treats a quota as if it had just been made. */
Datum
usage_monitor_recount_quota(PG_FUNCTION_ARGS)
{
	note_change(PG_GETARG_INT64(0))->recount = true;
	PG_RETURN_VOID();
}

/*
 * _lock_counters(): waits until nobody writes counters, and keeps others from
 * doing so until the transaction ends.
 */
Datum
usage_monitor_lock_counters(PG_FUNCTION_ARGS)
{
	if (um_reserving_any())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("cannot fold counters in a transaction that has reserved"),
				 errhint("COMMIT the reservation first.")));
	LockRelationOid(um_relation(UM_QUOTA_BIRTH), ShareRowExclusiveLock);
	LockRelationOid(um_relation(UM_COUNTER_ROW), ShareRowExclusiveLock);
	PG_RETURN_VOID();
}

/* _changed_quotas(): the quotas whose counters will be made anew. */
Datum
usage_monitor_changed_quotas(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	for (Change *change = changes; change != NULL; change = change->next)
	{
		Datum		value = Int64GetDatum(change->quota_id);
		bool		isnull = false;

		if (change->recount && find_change(change->quota_id) == change &&
			um_quota_may_see(change->quota_id, (UmString) {NULL, 0}))
			tuplestore_putvalues(result->setResult, result->setDesc, &value, &isnull);
	}
	return (Datum) 0;
}

/* Has the transaction changed quotas? */
bool
um_quota_change_any(void)
{
	return changes != NULL;
}

/*
 * The numbers of the changed quotas as an array: of those that count other rows
 * than before, or of the others.
 */
static Datum
changed_ids(bool recount)
{
	Datum	   *ids;
	int			count = 0;

	for (Change *change = changes; change != NULL; change = change->next)
		count++;
	ids = palloc(sizeof(Datum) * count);
	count = 0;
	for (Change *change = changes; change != NULL; change = change->next)
		if (change->recount == recount && find_change(change->quota_id) == change)
			ids[count++] = Int64GetDatum(change->quota_id);
	return PointerGetDatum(construct_array(ids, count, INT8OID, sizeof(int64),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* Has the transaction changed what a quota counts? */
static bool
is_any_recounted(void)
{
	for (Change *change = changes; change != NULL; change = change->next)
		if (change->recount)
			return true;
	return false;
}

/* Sums up what the counters of the changed quotas are to be; others may go on to count. */
void
um_quota_change_prepare(void)
{
	Datum		ids;

	if (!is_any_recounted())
		return;
	LockRelationOid(um_relation(UM_QUOTA_BIRTH), ShareRowExclusiveLock);
	ids = changed_ids(true);
	(void) um_spi_run(&drop_births, &ids, NULL);
	(void) um_spi_run(&insert_births, &ids, NULL);

	/* the births belong to what is cached of the quotas */
	CacheInvalidateRelcacheByRelid(um_relation(UM_QUOTA));
	CommandCounterIncrement();
	um_counters_expect_birth(ids);
}

/*
 * Makes the counters of the changed quotas what the ledger says; returns the
 * names of those that have reached a level.
 */
List *
um_quota_change_apply(UmCounters *counters)
{
	Datum		ids;

	if (!is_any_recounted())
		return NIL;
	ids = changed_ids(true);
	(void) um_spi_run(&drop_counters, &ids, NULL);
	CommandCounterIncrement();
	return um_counters_birth(counters, ids, um_quota_change_is_live);
}

/*
 * Has counters looked at, whether the transaction applies something to them or
 * not: all of the quotas whose limits have changed, and those that were made and
 * have reached a level.
 */
void
um_quota_change_look(const List *reached)
{
	Datum		ids = changed_ids(false);
	ListCell   *lc;
	UmSpi		spi;

	um_spi_read(&spi, &read_counters, &ids, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		char	   *subject = um_text_column(row, desc, 2);
		UmCounterName name = um_counter_name(um_int64_column(row, desc, 1), um_string_of(subject),
											 um_int64_column(row, desc, 3));

		(void) um_pending_want(&name);
	}
	um_spi_end(&spi);
	foreach(lc, reached)
		(void) um_pending_want(lfirst(lc));
}

/* Was the counter made by this transaction from the ledger's sum? */
bool
um_quota_change_is_born(const UmQuota *quota, TimestampTz period_start)
{
	Change	   *change = find_change(quota->quota_id);

	return change != NULL && change->recount && period_start >= quota->counted_since;
}

/* Will the quota's counters be made anew? */
bool
um_quota_change_recounts(const UmQuota *quota)
{
	Change	   *change = find_change(quota->quota_id);

	return change != NULL && change->recount;
}

/* Are the thresholds of a changed quota to be looked at, whoever recorded? */
bool
um_quota_change_is_live(const UmQuota *quota)
{
	Change	   *change = find_change(quota->quota_id);

	return change != NULL && !change->restored;
}

/* A subtransaction ends, which was the running nesting level. */
void
um_quota_change_end_level(bool committed)
{
	int			level = GetCurrentTransactionNestLevel();

	if (committed)
		for (Change *change = changes; change != NULL && change->level == level;
			 change = change->next)
			change->level = level - 1;
	else
		for (; changes != NULL && changes->level == level; changes = changes->next)
			set_change(changes->quota_id, changes->outer);
}

/* The transaction is over. */
void
um_quota_change_forget(void)
{
	changes = NULL;
	quotas = NULL;
}
