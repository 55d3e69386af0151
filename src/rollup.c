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

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog.h"
#include "catalog/pg_am.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "fold.h"
#include "ledger_columns.h"
#include "miscadmin.h"
#include "rollup.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "watermark.h"

PG_FUNCTION_INFO_V1(usage_monitor_refresh);
PG_FUNCTION_INFO_V1(usage_monitor_rebuild_rollups);
PG_FUNCTION_INFO_V1(usage_monitor_lock_rollups);
PG_FUNCTION_INFO_V1(usage_monitor_archive_partition);
PG_FUNCTION_INFO_V1(usage_monitor_reset_rollups);

/* Both queries have these before it. */
enum
{
	ATT_XID,
	ATT_ROW_XID,
	ATT_SIGN,
	ATT_READ
};

/* A receiver of a query's rows that folds them. */
typedef struct FoldReceiver
{
	DestReceiver pub;
	UmFold	   *fold;
	const UmWatermark *folded;
	bool		corrections;	/* of rows, or rows? */
} FoldReceiver;

static const char *read_list;	/* the columns that they read, each after a comma */

static UmQuery read_rows;

/* in the order of time where there are not all: each day's rows are written once then */
static UmQuery read_tail = {
	.nargs = 2,
	.argtypes = {INT8OID, INT8ARRAYOID}
};

static UmQuery read_corrections;

static UmQuery delete_corrections = {
	.text = "DELETE FROM usage_monitor._correction"
};

static UmQuery store_mark = {
	.text = "UPDATE usage_monitor._rollup_state"
	" SET next_xid = $1, running_xids = $2, usage_id = $3, refreshed_at = pg_catalog.clock_timestamp()",
	.nargs = 3,
	.argtypes = {INT8OID, INT8ARRAYOID, INT8OID}
};

static UmQuery read_last_usage_id = {
	.text = "SELECT last_value FROM usage_monitor.usage_usage_id_seq"
};

/* Writes that a row of another transaction counts less, or more. */
void
um_correction_write(Relation relation, HeapTuple tuple, int64 row_xid, bool negative)
{
	const UmColumns *columns = um_columns(relation);
	TupleDesc	desc = RelationGetDescr(relation);
	Relation	corrections = table_open(um_relation(UM_CORRECTION), RowExclusiveLock);
	Datum		values[ATT_READ + UM_FOLD_COLUMNS];
	bool		nulls[ATT_READ + UM_FOLD_COLUMNS] = {0};

	values[ATT_XID] = Int64GetDatum((int64) U64FromFullTransactionId(GetTopFullTransactionId()));
	values[ATT_ROW_XID] = Int64GetDatum(row_xid);
	values[ATT_SIGN] = Int64GetDatum(negative ? -1 : 1);
	for (int i = 0; i < UM_FOLD_COLUMNS; i++)
		values[ATT_READ + i] = heap_getattr(tuple, columns->attnum[um_fold_columns[i]], desc,
											&nulls[ATT_READ + i]);
	simple_heap_insert(corrections, heap_form_tuple(RelationGetDescr(corrections), values, nulls));
	table_close(corrections, NoLock);
}

/* The queries name the columns as the ledger does. */
static void
make_queries(void)
{
	MemoryContext old;
	StringInfoData columns;

	if (read_list != NULL)
		return;
	old = MemoryContextSwitchTo(TopMemoryContext);
	initStringInfo(&columns);
	for (int i = 0; i < UM_FOLD_COLUMNS; i++)
		appendStringInfo(&columns, ", %s", um_column_name(um_fold_columns[i]));
	read_corrections.text = psprintf("SELECT xid, row_xid, sign%s FROM usage_monitor._correction",
									 columns.data);
	read_rows.text = psprintf("SELECT xid, xid, 1::bigint%s FROM usage_monitor.usage",
							  columns.data);
	read_tail.text = psprintf("%s WHERE xid >= $1 OR xid = ANY ($2) ORDER BY ts", read_rows.text);
	read_list = columns.data;
	MemoryContextSwitchTo(old);
}

/* Folds a row of one of the queries, if it is to be. */
static bool
fold_row(TupleTableSlot *slot, DestReceiver *self)
{
	FoldReceiver *receiver = (FoldReceiver *) self;

	CHECK_FOR_INTERRUPTS();
	slot_getallattrs(slot);

	/* a row that is not folded yet is read as it is now; one that is, is corrected */
	if (um_watermark_covers(receiver->folded, DatumGetInt64(slot->tts_values[ATT_ROW_XID])) ==
		receiver->corrections)
		um_fold_add(receiver->fold, slot->tts_values + ATT_READ, slot->tts_isnull + ATT_READ,
					(int) DatumGetInt64(slot->tts_values[ATT_SIGN]));
	return true;
}

static void
start_receiver(DestReceiver *self, int operation, TupleDesc typeinfo)
{
}

static void
end_receiver(DestReceiver *self)
{
}

/* Folds what a query finds that is not folded, or the corrections of what is. */
static void
fold_query(UmFold *fold, const UmWatermark *folded, UmQuery *query, Datum *values,
		   bool corrections)
{
	FoldReceiver receiver = {0};
	UmSpi		spi;

	receiver.pub.receiveSlot = fold_row;
	receiver.pub.rStartup = start_receiver;
	receiver.pub.rShutdown = end_receiver;
	receiver.pub.rDestroy = end_receiver;
	receiver.pub.mydest = DestNone;
	receiver.fold = fold;
	receiver.folded = folded;
	receiver.corrections = corrections;
	um_spi_begin(&spi);
	/* sorts like an index build; um_spi_end takes it back */
	(void) set_config_option("work_mem", psprintf("%dkB", maintenance_work_mem), PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	um_spi_stream(query, values, &receiver.pub);
	um_spi_end(&spi);
}

static Datum
xids_datum(const int64 *xids, int count)
{
	Datum	   *values = palloc(sizeof(Datum) * (count + 1));

	for (int i = 0; i < count; i++)
		values[i] = Int64GetDatum(xids[i]);
	return PointerGetDatum(construct_array(values, count, INT8OID, sizeof(int64),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* Reads how far usage_id has come. */
static int64
last_usage_id(void)
{
	bool		isnull;
	int64		result;
	UmSpi		spi;

	um_spi_begin(&spi);
	um_spi_query(&read_last_usage_id, NULL, NULL);
	result = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	um_spi_end(&spi);
	return result;
}

/* Stores the new mark. */
static void
store(const UmWatermark *mark)
{
	Datum		values[3];
	UmSpi		spi;

	values[0] = Int64GetDatum(mark->xmax);
	values[1] = xids_datum(mark->xip, mark->nxip);
	values[2] = Int64GetDatum(mark->usage_id);
	um_spi_begin(&spi);
	um_spi_modify(&store_mark, values, NULL);
	if (SPI_processed != 1)
		elog(ERROR, "the state of the rollups is missing");
	um_spi_end(&spi);
}

/* Drops the corrections that the snapshot sees: they are in the new mark. */
static void
drop_corrections(Snapshot snapshot)
{
	UmSpi		spi;

	um_spi_begin(&spi);
	um_spi_modify_as_of(&delete_corrections, NULL, NULL, snapshot);
	um_spi_end(&spi);
}

/*
 * Has the ledger's block range indexes learn of the pages that were added.  A
 * partition that somebody is vacuuming is left for the next time.
 */
static void
summarize_ledger(void)
{
	Oid			ledger = um_relation(UM_USAGE);
	List	   *partitions = find_all_inheritors(ledger, NoLock, NULL);
	ListCell   *lc;
	UmSpi		spi;

	um_spi_begin(&spi);
	foreach(lc, partitions)
	{
		Oid			relid = lfirst_oid(lc);
		Relation	relation;
		ListCell   *lc2;

		if (get_rel_relkind(relid) != RELKIND_RELATION ||
			!ConditionalLockRelationOid(relid, ShareUpdateExclusiveLock))
			continue;
		relation = try_relation_open(relid, NoLock);
		if (relation == NULL)
			continue;
		if (has_privs_of_role(GetUserId(), relation->rd_rel->relowner))
			foreach(lc2, RelationGetIndexList(relation))
			{
				HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(lfirst_oid(lc2)));
				Oid			method = ((Form_pg_class) GETSTRUCT(tuple))->relam;

				ReleaseSysCache(tuple);
				if (method == BRIN_AM_OID)
					(void) DirectFunctionCall1(brin_summarize_new_values,
											   ObjectIdGetDatum(lfirst_oid(lc2)));
			}
		relation_close(relation, NoLock);
	}
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
				 errhint("SET TRANSACTION ISOLATION LEVEL READ COMMITTED.")));
}

/* With the lock: folds what is not folded yet, or all anew; returns how many rows. */
static int64
fold_tail(bool rebuild)
{
	int64		usage_id = last_usage_id();
	UmFold	   *fold = um_fold_start();
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	UmWatermark folded = {0};
	UmWatermark mark;
	Datum		values[2];
	int64		rows;
	int			stragglers;

	make_queries();
	PushActiveSnapshot(snapshot);
	um_watermark_of_snapshot(&mark, snapshot);
	mark.usage_id = usage_id;
	if (rebuild)
		um_fold_empty_rollups(fold);
	else
		um_watermark_read(&folded, snapshot);

	if (folded.xmax == 0)
		fold_query(fold, &folded, &read_rows, NULL, false);
	else
	{
		stragglers = um_watermark_stragglers(&folded);
		values[0] = Int64GetDatum(stragglers < folded.nxip ? folded.xip[stragglers] : folded.xmax);
		values[1] = xids_datum(folded.xip, stragglers);
		fold_query(fold, &folded, &read_tail, values, false);
	}
	fold_query(fold, &folded, &read_corrections, NULL, true);
	rows = um_fold_end(fold);
	drop_corrections(snapshot);
	store(&mark);
	PopActiveSnapshot();
	UnregisterSnapshot(snapshot);
	summarize_ledger();
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
	return fold_tail(rebuild);
}

/* Folds the tail, unless somebody else does. */
int64
um_rollup_try_refresh(void)
{
	if (RecoveryInProgress() ||
		!ConditionalLockRelationOid(um_relation(UM_ROLLUP_STATE), ShareUpdateExclusiveLock))
		return 0;
	return fold_tail(false);
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

/*
 * _archive_partition(partition): folds the tail, and moves what a partition of
 * the ledger has in the rollups to the archive.  The caller holds the locks
 * that keep it as it is.
 */
Datum
usage_monitor_archive_partition(PG_FUNCTION_ARGS)
{
	Oid			partition = PG_GETARG_OID(0);
	UmWatermark nothing = {0};
	UmQuery		query = {0};
	UmFold	   *fold;

	/* managers may execute all functions, and this one alone would count things twice */
	if (!has_privs_of_role(GetUserId(), um_owner()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("only the owner of the ledger may archive it")));
	(void) fold_tail(false);
	fold = um_fold_start();
	fold->to_archive = true;
	query.text = psprintf("SELECT xid, xid, 1::bigint%s FROM %s", read_list,
						  quote_qualified_identifier(get_namespace_name(get_rel_namespace(partition)),
													 get_rel_name(partition)));
	PushActiveSnapshot(GetLatestSnapshot());
	fold_query(fold, &nothing, &query, NULL, false);
	PopActiveSnapshot();
	SPI_freeplan(query.plan);
	PG_RETURN_INT64(um_fold_end(fold));
}

/*
 * Trigger of setting: what is kept by the days of another time zone is void.
 * All of the ledger is tail again.
 */
Datum
usage_monitor_reset_rollups(PG_FUNCTION_ARGS)
{
	UmWatermark nothing = {0};

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by trigger manager", "_reset_rollups")));

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
