/*
 * counter.c
 *		The counters: what each quota's subject has used in each period.
 *
 * Just before commit the transaction's deltas are applied in one order that
 * all transactions share, each under its counter's row lock: so there is no
 * deadlock, and who crosses a threshold knows it.
 *
 * Two things make counters begin right.  A flush takes ROW EXCLUSIVE on the
 * table of counters and a transaction that changed quotas takes SHARE ROW
 * EXCLUSIVE, both only here, at the very end: so every flush either has
 * committed before a quota appears, and is in the ledger's sum that its
 * counters start from, or knows the quota.  And a counter whose period began
 * before its quota was complete starts from the ledger's sum, under a lock of
 * its own.
 *
 * Everything is read with the latest snapshot, never the transaction's, so
 * that REPEATABLE READ callers see the counters as they are.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "alert.h"
#include "catalog.h"
#include "catalog/indexing.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "counter.h"
#include "error.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "quota_change.h"
#include "recount.h"
#include "setting.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* The columns of quota_usage. */
enum
{
	COL_QUOTA_ID = 1,
	COL_SUBJECT,
	COL_PERIOD_START,
	COL_USED,
	COL_NEXT_THRESHOLD,
	COL_REVISION,
	COL_COUNT = COL_REVISION
};

/* The counters, opened for a flush. */
typedef struct Counters
{
	Relation	relation;
	Relation	index;			/* the primary key */
	CatalogIndexState indexes;
	TupleTableSlot *slot;
	bool		notify;
} Counters;

static UmQuery ledger_sum = {
	.text = "SELECT usage_monitor._ledger_sum($1, $2, $3)",
	.nargs = 3,
	.argtypes = {INT8OID, TEXTOID, TIMESTAMPTZOID}
};

static int
compare_numeric(Numeric a, Numeric b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a), NumericGetDatum(b)));
}

static Numeric
add_numeric(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_add, NumericGetDatum(a), NumericGetDatum(b)));
}

static Numeric
subtract_numeric(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_sub, NumericGetDatum(a), NumericGetDatum(b)));
}

static text *
subject_text(const UmPending *pending)
{
	return cstring_to_text_with_len(pending->subject.data, pending->subject.length);
}

/* Opens the counters. */
static void
open_counters(Counters *counters, LOCKMODE lockmode)
{
	counters->relation = table_open(um_relation(UM_QUOTA_USAGE), lockmode);
	counters->index = index_open(RelationGetPrimaryKeyIndex(counters->relation
#if PG_VERSION_NUM >= 180000
															,false
#endif
															), lockmode);
	counters->indexes = NULL;
	counters->slot = table_slot_create(counters->relation, NULL);
}

/* Closes them; what a flush locked stays locked until the transaction ends. */
static void
close_counters(Counters *counters, LOCKMODE lockmode)
{
	ExecDropSingleTupleTableSlot(counters->slot);
	if (counters->indexes != NULL)
		CatalogCloseIndexes(counters->indexes);
	index_close(counters->index, lockmode);
	table_close(counters->relation, lockmode);
}

/* Finds a counter's row, and locks its latest version; NULL if there is none. */
static HeapTuple
find_counter(Counters *counters, const UmPending *pending, bool lock)
{
	HeapTuple	result = NULL;
	bool		gone;

	do
	{
		Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
		ScanKeyData keys[3];
		IndexScanDesc scan;

		ScanKeyInit(&keys[0], COL_QUOTA_ID, BTEqualStrategyNumber, F_INT8EQ,
					Int64GetDatum(pending->quota_id));
		ScanKeyEntryInitialize(&keys[1], 0, COL_SUBJECT, BTEqualStrategyNumber, InvalidOid,
							   C_COLLATION_OID, F_TEXTEQ,
							   PointerGetDatum(subject_text(pending)));
		ScanKeyInit(&keys[2], COL_PERIOD_START, BTEqualStrategyNumber, F_TIMESTAMPTZ_EQ,
					TimestampTzGetDatum(pending->period_start));
		scan = index_beginscan(counters->relation, counters->index, snapshot,
#if PG_VERSION_NUM >= 180000
							   NULL,
#endif
							   3, 0);
		index_rescan(scan, keys, 3, NULL, 0);

		gone = false;
		if (index_getnext_slot(scan, ForwardScanDirection, counters->slot))
		{
			TM_FailureData failure;

			if (lock)
				switch (table_tuple_lock(counters->relation, &counters->slot->tts_tid, snapshot,
										 counters->slot, GetCurrentCommandId(false),
										 LockTupleNoKeyExclusive, LockWaitBlock,
										 TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure))
				{
					case TM_Ok:
						break;
					case TM_Deleted:
						gone = true;	/* by rebuild_counters(); look again */
						break;
					default:
						elog(ERROR, "unexpected state of a counter");
				}
			if (!gone)
				result = ExecCopySlotHeapTuple(counters->slot);
		}
		index_endscan(scan);
		UnregisterSnapshot(snapshot);
		CHECK_FOR_INTERRUPTS();
	} while (gone);
	return result;
}

/* Waits for whoever makes the same counter. */
static void
lock_creation(const UmPending *pending)
{
	LOCKTAG		tag;

	/* field 4 is 1 or 2 for the locks of SQL's advisory functions */
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId,
						 hash_combine(murmurhash32((uint32) pending->quota_id),
									  murmurhash32((uint32) (pending->period_start >> 20))),
						 hash_bytes((const unsigned char *) pending->subject.data,
									pending->subject.length),
						 0x554D);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* What the ledger holds for a counter, rows of this transaction included. */
static Numeric
sum_of_ledger(const UmPending *pending)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext old;
	Datum		values[3];
	Numeric		sum;
	bool		isnull;
	UmSpi		spi;

	values[0] = Int64GetDatum(pending->quota_id);
	values[1] = PointerGetDatum(subject_text(pending));
	values[2] = TimestampTzGetDatum(pending->period_start);
	um_spi_begin(&spi);
	um_spi_query(&ledger_sum, values, NULL);
	if (SPI_processed != 1)
		elog(ERROR, "the ledger gave no sum");
	old = MemoryContextSwitchTo(caller);
	sum = DatumGetNumericCopy(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
											1, &isnull));
	MemoryContextSwitchTo(old);
	um_spi_end(&spi);
	return sum;
}

/* Refuses what a blocking quota has no room for. */
static void
refuse(const UmQuota *quota, const UmPending *pending, Numeric used, Numeric delta)
{
	bool		may_see = pg_class_aclcheck(um_relation(UM_QUOTA), GetUserId(),
											ACL_SELECT) == ACLCHECK_OK;

	ereport(ERROR,
			(errcode(ERRCODE_UM_QUOTA_EXCEEDED),
			 quota->scope == UM_SCOPE_ALL ?
			 errmsg("quota \"%s\" is exceeded", quota->name) :
			 errmsg("quota \"%s\" of %s \"%s\" is exceeded", quota->name,
					um_scope_name(quota->scope), pending->subject.data),
	/* an application that only inserts need not know the figures */
			 may_see ? errdetail("%s of %s are used, and this adds %s.",
								 DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(used))),
								 DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(quota->amount))),
								 DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(delta)))) : 0,
			 errhint("Wait for the next period, or raise the quota with usage_monitor.set_quota().")));
}

/* Raises the levels that the usage has reached; returns where the next one is due, or NULL. */
static Numeric
raise_levels(Counters *counters, const UmQuota *quota, const UmPending *pending, Numeric used)
{
	for (int level = 0; level < UM_LEVELS; level++)
	{
		if (compare_numeric(used, quota->threshold[level]) < 0)
			return quota->threshold[level];
		um_alert_raise(pending, quota, level, used, counters->notify);
	}
	return NULL;
}

/* Writes a counter's new state, over the row that was locked or as a new one. */
static void
write_counter(Counters *counters, const UmQuota *quota, const UmPending *pending,
			  HeapTuple row, Numeric used, Numeric next, bool next_is_null, int revision)
{
	TupleDesc	desc = RelationGetDescr(counters->relation);
	Datum		values[COL_COUNT];
	bool		nulls[COL_COUNT] = {0};
	bool		replace[COL_COUNT] = {0};
	HeapTuple	tuple;

	if (counters->indexes == NULL)
		counters->indexes = CatalogOpenIndexes(counters->relation);

	values[COL_QUOTA_ID - 1] = Int64GetDatum(pending->quota_id);
	values[COL_SUBJECT - 1] = PointerGetDatum(subject_text(pending));
	values[COL_PERIOD_START - 1] = TimestampTzGetDatum(pending->period_start);
	values[COL_USED - 1] = NumericGetDatum(used);
	values[COL_NEXT_THRESHOLD - 1] = NumericGetDatum(next);
	nulls[COL_NEXT_THRESHOLD - 1] = next_is_null;
	values[COL_REVISION - 1] = Int32GetDatum(revision);

	if (row == NULL)
	{
		tuple = heap_form_tuple(desc, values, nulls);
		CatalogTupleInsertWithInfo(counters->relation, tuple, counters->indexes);
	}
	else
	{
		replace[COL_USED - 1] = replace[COL_NEXT_THRESHOLD - 1] = replace[COL_REVISION - 1] = true;
		tuple = heap_modify_tuple(row, desc, values, nulls, replace);
		CatalogTupleUpdateWithInfo(counters->relation, &row->t_self, tuple, counters->indexes);
	}
	heap_freetuple(tuple);
}

/*
 * Adds a delta to a counter: its row is locked, or made.  A delta that is not
 * live (restored rows) raises nothing and is never refused: what it brings
 * was raised where it comes from.
 */
static void
apply(Counters *counters, const UmQuota *quota, const UmPending *pending,
	  Numeric delta, bool live)
{
	HeapTuple	row = find_counter(counters, pending, true);
	Numeric		used;
	Numeric		next = NULL;
	bool		next_is_null = true;
	int			revision = 0;	/* no quota has it: thresholds are looked at */

	if (row == NULL)
	{
		lock_creation(pending);
		row = find_counter(counters, pending, true);
	}

	if (row != NULL)
	{
		TupleDesc	desc = RelationGetDescr(counters->relation);
		Datum		value;
		bool		isnull;

		value = heap_getattr(row, COL_USED, desc, &isnull);
		used = add_numeric(DatumGetNumeric(value), delta);
		value = heap_getattr(row, COL_NEXT_THRESHOLD, desc, &next_is_null);
		if (!next_is_null)
			next = DatumGetNumeric(value);
		revision = DatumGetInt32(heap_getattr(row, COL_REVISION, desc, &isnull));
	}
	else if (pending->period_start >= quota->counted_since)
		used = delta;
	else
		used = sum_of_ledger(pending);	/* has the delta in it */

	if (live)
	{
		if (quota->blocks &&
			compare_numeric(delta, int64_to_numeric(0)) > 0 &&
			compare_numeric(used, quota->amount) > 0)
			refuse(quota, pending, subtract_numeric(used, delta), delta);
		if (revision != quota->revision ||
			(!next_is_null && compare_numeric(used, next) >= 0))
		{
			next = raise_levels(counters, quota, pending, used);
			next_is_null = next == NULL;
			revision = quota->revision;
		}
	}
	write_counter(counters, quota, pending, row, used, next, next_is_null, revision);
}

/*
 * Looks whether a blocking quota has room for what the transaction adds, so
 * that the statement fails and not the commit.  What it read is kept: only
 * where that would not do it reads again.
 */
void
um_counter_check_room(const UmQuota *quota, UmPending *pending, MemoryContext context)
{
	bool		live;
	Numeric		delta = um_pending_sum(pending, &live);
	Numeric		used = int64_to_numeric(0);
	Counters	counters;
	HeapTuple	row;

	if (pending->room != NULL && compare_numeric(delta, pending->room) <= 0)
		return;

	open_counters(&counters, AccessShareLock);
	row = find_counter(&counters, pending, false);
	if (row != NULL)
	{
		bool		isnull;

		used = DatumGetNumeric(heap_getattr(row, COL_USED, RelationGetDescr(counters.relation),
											&isnull));
	}
	close_counters(&counters, AccessShareLock);

	if (compare_numeric(add_numeric(used, delta), quota->amount) > 0)
		refuse(quota, pending, used, delta);
	pending->room = DatumGetNumeric(datumCopy(NumericGetDatum(subtract_numeric(quota->amount, used)),
											  false, -1));
}

/* Applies what the transaction has pending, and what it did to quotas. */
void
um_counter_flush(bool is_prepare)
{
	bool		quotas_changed = um_quota_change_any();
	LOCKMODE	lockmode = quotas_changed ? ShareRowExclusiveLock : RowExclusiveLock;
	MemoryContext context;
	MemoryContext old;
	Counters	counters;
	UmPending **sorted;
	int			count;

	if (!(quotas_changed || um_pending_any()) || !OidIsValid(um_relation(UM_QUOTA_USAGE)))
		return;
	if (quotas_changed && is_prepare)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot PREPARE a transaction that has changed quotas"),
				 errhint("It would keep everybody from recording until it ends. Change quotas in a transaction of their own.")));

	/*
	 * Without any quota there is nothing to do, but whether there is one is
	 * known only under the lock.
	 */
	context = AllocSetContextCreate(TopTransactionContext, "usage_monitor flush",
									ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	PushActiveSnapshot(GetTransactionSnapshot());
	LockRelationOid(um_relation(UM_QUOTA_USAGE), lockmode);
	AcceptInvalidationMessages();

	if (quotas_changed)
		um_quota_change_apply();
	if (um_pending_stale())
		um_recount();

	sorted = um_pending_sorted(&count);
	if (quotas_changed)
		sorted = um_quota_change_merge(sorted, &count);
	if (count > 0)
	{
		open_counters(&counters, NoLock);
		counters.notify = !is_prepare;
		for (int i = 0; i < count; i++)
		{
			UmQuota    *quota = um_quota_by_id(sorted[i]->quota_id);
			Numeric		delta;
			bool		live;

			if (quota == NULL)
				continue;		/* it was dropped or disabled */
			delta = um_pending_sum(sorted[i], &live);
			if (um_quota_change_is_born(quota, sorted[i]->period_start))
				delta = int64_to_numeric(0);	/* the ledger's sum has it */
			apply(&counters, quota, sorted[i], delta,
				  live || um_quota_change_is_live(quota));
			/* make the write visible to what comes next, alerts included */
			CommandCounterIncrement();
		}
		close_counters(&counters, NoLock);
	}
	PopActiveSnapshot();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/* The transaction is over. */
void
um_counter_forget(void)
{
	um_quota_change_forget();
	um_recount_forget();
}
