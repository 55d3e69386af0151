/*
 * rollup.c
 *		Folding the tail of the ledger into the rollups.
 *
 * A fold takes a snapshot, and adds to the rollups what that sees and the
 * mark of the last fold did not: rows that were recorded since, and corrections
 * of rows that are folded already.  The snapshot is the new mark, stored in
 * the same transaction: who sees the fold sees the mark.
 *
 * It is exact, whatever commits when: a transaction is in the mark or is not;
 * one that is not is in the tail, which each reader looks at by himself.  The
 * lock that lets one fold run at a time is taken before the snapshot, so marks
 * only grow; a correction is in the mark only if the row that it corrects is.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "base/catalog.h"
#include "base/progress.h"
#include "catalog/partition.h"
#include "catalog/pg_am.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "rollup/rollup.h"
#include "rollup/rollup_fold.h"
#include "rollup/tail_read.h"
#include "rollup/watermark.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(usage_monitor_refresh);
PG_FUNCTION_INFO_V1(usage_monitor_rebuild_rollups);
PG_FUNCTION_INFO_V1(usage_monitor_lock_rollups);
PG_FUNCTION_INFO_V1(usage_monitor_fold_tail);
PG_FUNCTION_INFO_V1(usage_monitor_archive_partition);
PG_FUNCTION_INFO_V1(usage_monitor_reset_rollups);

static UmQuery delete_corrections = {
	.text = "DELETE FROM _usage_monitor._correction"
};

static UmQuery store_mark = {
	.text = "UPDATE _usage_monitor._rollup_state"
	" SET next_xid = $1, running_xids = $2, usage_id = $3, refreshed_at = pg_catalog.clock_timestamp()",
	.argtypes = {INT8OID, INT8ARRAYOID, INT8OID}
};

static UmQuery read_last_usage_id = {
	.text = "SELECT last_value FROM usage_monitor.usage_usage_id_seq"
};

/* Folds a call. */
static void
fold_call(void *arg, const Datum *values, const bool *nulls, int sign)
{
	UmFold	   *fold = arg;

	um_fold_add(fold, values, nulls, sign);
	um_progress_done(fold->rows);
}

/* Is to fold late calls. */
static void
late_begin(void *arg)
{
	um_fold_go_back((UmFold *) arg);
}

/* Stores the new mark. */
static void
store(const UmWatermark *mark)
{
	Datum		values[] = {
		Int64GetDatum(mark->xmax), um_watermark_xids(mark->xip, mark->nxip), Int64GetDatum(mark->usage_id)
	};

	if (um_spi_run(&store_mark, values, NULL) != 1)
		elog(ERROR, "the state of the rollups is missing");
}

/*
 * Drops the corrections that the snapshot sees: they are in the new mark.  Not
 * while somebody sums up the ledger who has yet to read them; the next fold
 * finds them.
 */
static void
drop_corrections(Snapshot snapshot)
{
	UmSpi		spi;

	if (!ConditionalLockRelationOid(um_relation(UM_QUOTA_BIRTH), ShareRowExclusiveLock))
		return;
	um_spi_begin(&spi);
	um_spi_modify_as_of(&delete_corrections, NULL, NULL, snapshot);
	um_spi_end(&spi);
}

/* Has the BRIN indexes of a table cover the pages that were filled since. */
static void
summarize_indexes(Relation relation)
{
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(relation))
	{
		Oid			index = lfirst_oid(lc);
		HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(index));
		Oid			method = ((Form_pg_class) GETSTRUCT(tuple))->relam;

		ReleaseSysCache(tuple);
		if (method == BRIN_AM_OID)
			(void) DirectFunctionCall1(brin_summarize_new_values, ObjectIdGetDatum(index));
	}
}

/*
 * Has a table's block range indexes learn of the pages that were added.  One
 * that somebody is vacuuming is left for the next time.  (autosummarize would
 * leave it to autovacuum, which notes 256 requests at most, and logs each that
 * it cannot.)
 */
static void
summarize(Oid relid)
{
	Relation	relation;

	if (get_rel_relkind(relid) != RELKIND_RELATION ||
		!ConditionalLockRelationOid(relid, ShareUpdateExclusiveLock))
		return;
	relation = try_relation_open(relid, NoLock);
	if (relation == NULL)
		return;
	if (has_privs_of_role(GetUserId(), relation->rd_rel->relowner))
		summarize_indexes(relation);
	relation_close(relation, NoLock);
}

/* Does so for the ledger. */
void
um_summarize_ledger(void)
{
	List	   *partitions = find_all_inheritors(um_relation(UM_USAGE), NoLock, NULL);
	ListCell   *lc;
	UmSpi		spi;

	um_spi_begin(&spi);
	foreach(lc, partitions)
		summarize(lfirst_oid(lc));
	um_spi_end(&spi);
}

/* Does so for the ledger and the rollups. */
static void
summarize_all(void)
{
	UmDimension *dimensions;
	int			ndimensions;
	UmSpi		spi;

	um_summarize_ledger();
	dimensions = um_dimensions(&ndimensions);
	um_spi_begin(&spi);
	for (int i = 0; i < ndimensions; i++)
		summarize(dimensions[i].relid);
	um_spi_end(&spi);
}

/* Refuses where a fold would not be exact, or cannot be. */
static void
check_may_fold(const char *function)
{
	PreventCommandIfReadOnly(function);
	PreventCommandDuringRecovery(function);
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s cannot be called by a transaction that has written", function),
				 errhint("Call it in a transaction of its own.")));
	if (XactIsoLevel != XACT_READ_COMMITTED)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s must be called at isolation level READ COMMITTED", function),
				 errhint("SET TRANSACTION ISOLATION LEVEL READ COMMITTED;")));
}

/*
 * With the lock: folds what is not folded yet, or all anew, and drops the
 * corrections or leaves that to the next fold; returns how many rows.
 */
static int64
fold_tail(bool rebuild, bool drops_corrections)
{
	int64		usage_id = DatumGetInt64(um_spi_value(&read_last_usage_id, NULL));
	UmFold	   *fold = um_fold_start();
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	UmWatermark folded = {0};
	UmWatermark mark;
	int64		rows;
	bool		begun = um_progress_begin(rebuild ? "rebuild rollups" : "refresh");

	PushActiveSnapshot(snapshot);
	um_watermark_of_snapshot(&mark, snapshot);
	mark.usage_id = usage_id;
	if (rebuild)
		um_fold_empty_rollups(fold);
	else
		um_watermark_read(&folded, snapshot);

	um_progress_phase("folding calls",
					  rebuild ? um_progress_ledger_calls() : usage_id - folded.usage_id);
	um_tail_read_in_order(&folded, fold_call, late_begin, fold);
	rows = um_fold_end(fold);
	if (drops_corrections)
		drop_corrections(snapshot);
	store(&mark);
	PopActiveSnapshot();
	UnregisterSnapshot(snapshot);
	um_progress_phase("summarizing indexes", 0);
	summarize_all();
	um_progress_end(begun);
	return rows;
}

/* One fold at a time, and each before it takes its snapshot. */
static void
lock_rollups(void)
{
	LockRelationOid(um_relation(UM_ROLLUP_STATE), ShareUpdateExclusiveLock);
}

/* Folds the tail into the rollups, or all of the ledger. */
static int64
refresh(bool rebuild)
{
	check_may_fold(rebuild ? "rebuild_rollups()" : "refresh()");
	lock_rollups();
	return fold_tail(rebuild, true);
}

/* Folds the tail, unless somebody else does. */
int64
um_rollup_try_refresh(void)
{
	if (RecoveryInProgress() ||
		!ConditionalLockRelationOid(um_relation(UM_ROLLUP_STATE), ShareUpdateExclusiveLock))
		return 0;
	return fold_tail(false, true);
}

/* refresh(): folds the tail; returns the number of rows. */
Datum
usage_monitor_refresh(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(refresh(false));
}

/* rebuild_rollups(): makes the rollups anew; returns the number of rows. */
Datum
usage_monitor_rebuild_rollups(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(refresh(true));
}

/*
 * _lock_rollups(): lets nobody else fold until the transaction ends.  Whoever
 * locks the ledger and is to fold does this first, as every fold does.
 */
Datum
usage_monitor_lock_rollups(PG_FUNCTION_ARGS)
{
	check_may_fold("drop_usage_before()");
	lock_rollups();
	PG_RETURN_VOID();
}

/* A part of archiving alone would count things twice: to execute the function is not enough. */
static void
check_may_archive(void)
{
	if (!has_privs_of_role(GetUserId(), um_owner()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("only the owner of the ledger may archive it")));
}

/* _fold_tail(): folds the tail, as a part of archiving; returns the number of rows. */
Datum
usage_monitor_fold_tail(PG_FUNCTION_ARGS)
{
	check_may_archive();
	lock_rollups();
	/* not the corrections: the lock that takes comes behind the ledger's, which is taken later */
	PG_RETURN_INT64(fold_tail(false, false));
}

/*
 * _archive_partition(partition): moves what a partition of the ledger has, all
 * of which is folded, from the rollups to the archive; returns its number of rows.
 */
Datum
usage_monitor_archive_partition(PG_FUNCTION_ARGS)
{
	Oid			partition = PG_GETARG_OID(0);
	UmFold	   *fold;

	check_may_archive();
	if (!get_rel_relispartition(partition) || get_partition_parent(partition, false) != um_relation(UM_USAGE))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("relation %u is not a partition of the ledger", partition)));
	lock_rollups();
	fold = um_fold_start();
	fold->to_archive = true;
	PushActiveSnapshot(GetLatestSnapshot());
	um_tail_read_partition(partition, fold_call, fold);
	PopActiveSnapshot();
	PG_RETURN_INT64(um_fold_end(fold));
}

/*
 * Trigger of setting: what is kept by the days of another time zone is void.
 * All of the ledger is tail again.
 */
Datum
usage_monitor_reset_rollups(PG_FUNCTION_ARGS)
{
	static const UmRelation table = UM_SETTING;
	UmWatermark nothing = {0};

	(void) um_trigger(fcinfo, "_reset_rollups", TRIGGER_EVENT_ROW, &table, 1);
	/* not in CREATE EXTENSION, which has no rollups yet */
	if (OidIsValid(um_relation(UM_ROLLUP_STATE)))
	{
		UmFold	   *fold;

		lock_rollups();
		fold = um_fold_start();
		um_fold_empty_rollups(fold);
		(void) um_fold_end(fold);
		store(&nothing);
	}
	PG_RETURN_POINTER(NULL);
}
