/*
 * reservation_row.c
 *		The rows of reservation: each is stored once, and ended once.
 *
 * They go through the heap directly, for to start the executor takes longer
 * than all the rest.  What others have given the table, triggers for one, is the
 * executor's.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "admission/reservation_row.h"
#include "base/access.h"
#include "base/compat.h"
#include "base/heap_row.h"
#include "base/table_columns.h"
#include "base/table_indexes.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

static const char *const names[UM_RES_COLUMNS] = {
	"reservation_id", "state", "org", "department", "project", "user_id", "session_id", "provider",
	"model", "tags", "cost", "tokens", "requests", "created_at", "expires_at", "ended_at", "usage_id"
};

static UmTableColumns columns = {
	.table = UM_RESERVATION,
	.count = UM_RES_COLUMNS,
	.names = names
};

/* The columns in their order, of these types. */
static UmQuery insert_reservation = {
	.text = "INSERT INTO usage_monitor.reservation (reservation_id, state, org, department, project, user_id,"
	" session_id, provider, model, tags, cost, tokens, requests, created_at, expires_at, ended_at, usage_id)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
	.argtypes = {UUIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
	TEXTOID, JSONBOID, NUMERICOID, INT8OID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID},
	.generic = true
};

static UmQuery end_reservation = {
	.text = "UPDATE usage_monitor.reservation r SET state = $2, ended_at = $3, usage_id = $4"
	" WHERE r.reservation_id = $1",
	.argtypes = {UUIDOID, TEXTOID, TIMESTAMPTZOID, INT8OID},
	.generic = true
};

/* Opens the table, and finds its columns. */
static Relation
open_table(void)
{
	Relation	relation = table_open(um_relation(UM_RESERVATION), RowExclusiveLock);

	um_table_columns(&columns, relation);
	return relation;
}

/* May a row be written through the heap? */
static bool
is_plain(Relation relation, const UmReservation *row)
{
	if (!columns.as_listed || !um_table_is_plain(relation, insert_reservation.argtypes))
		return false;
	/* who refuses a null, that was allowed, is the executor, too */
	for (int i = 0; i < UM_RES_COLUMNS; i++)
		if (row->nulls[i] && TupleDescAttr(RelationGetDescr(relation), i)->attnotnull)
			return false;
	return true;
}

/* Puts a row into all indexes. */
static void
put_into_indexes(Relation relation, HeapTuple tuple, UmIndexing indexing)
{
	UmIndexes	indexes;

	if (indexing == UM_INDEX_NONE)
		return;
	um_indexes_open(&indexes, relation);
	um_indexes_put(&indexes, tuple, indexing);
	um_indexes_close(&indexes);
}

/* Stores a new row. */
void
um_reservation_store(UmReservation *row)
{
	Relation	relation = open_table();

	PreventCommandIfReadOnly("INSERT");
	if (is_plain(relation, row))
	{
		row->tuple = um_tuple_form(&columns, relation, NULL, row->values, row->nulls);
		simple_heap_insert(relation, row->tuple);
		put_into_indexes(relation, row->tuple, UM_INDEX_NEW);
		CommandCounterIncrement();
	}
	else
	{
		char		nulls[UM_RES_COLUMNS];

		for (int i = 0; i < UM_RES_COLUMNS; i++)
			nulls[i] = row->nulls[i] ? 'n' : ' ';
		(void) um_spi_run(&insert_reservation, row->values, nulls);
	}
	table_close(relation, NoLock);
}

/* Takes the row in a slot apart; false if it is not open, or not of that organisation. */
static bool
read_open(Relation relation, TupleTableSlot *slot, UmString org, UmReservation *row)
{
	UmString	state;
	UmString	whose;

	row->tuple = ExecCopySlotHeapTuple(slot);
	um_tuple_deform(&columns, relation, row->tuple, row->values, row->nulls);
	state = um_text_string(row->values[UM_RES_STATE], false);
	whose = um_text_string(row->values[UM_RES_ORG], false);
	/* another tenant's is as one that does not exist */
	return um_string_equal(state, um_string_of("open")) &&
		(org.data == NULL || um_string_equal(whose, org)) && um_caller_has(UM_TO_RECORD, whose);
}

/*
 * Locks an open reservation, of that organisation if one is named, which is
 * to be ended; false if there is none.
 */
bool
um_reservation_lock_open(Datum reservation_id, UmString org, UmReservation *row)
{
	Relation	relation = open_table();
	Oid			key_oid = RelationGetPrimaryKeyIndex(relation, false);
	Relation	key;
	TupleTableSlot *slot;
	Snapshot	snapshot;
	IndexScanDesc scan;
	ScanKeyData id;
	bool		result;

	PreventCommandIfReadOnly("UPDATE");
	if (!OidIsValid(key_oid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has no primary key", RelationGetRelationName(relation)),
				 errhint("Run ALTER TABLE usage_monitor.reservation ADD PRIMARY KEY (reservation_id).")));
	key = index_open(key_oid, RowExclusiveLock);
	slot = table_slot_create(relation, NULL);
	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	ScanKeyInit(&id, 1, BTEqualStrategyNumber, F_UUID_EQ, reservation_id);
	scan = index_beginscan(relation, key, snapshot, NULL, 1, 0);
	index_rescan(scan, &id, 1, NULL, 0);
	result = index_getnext_slot(scan, ForwardScanDirection, slot) &&
		read_open(relation, slot, org, row) &&
		um_heap_lock(relation, snapshot, slot) &&
		/* after the wait */
		read_open(relation, slot, org, row);
	index_endscan(scan);
	UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(slot);
	index_close(key, NoLock);
	table_close(relation, NoLock);
	return result;
}

/* Is the row that was locked the latest of its versions?  A trigger may have changed it. */
static bool
is_latest(Relation relation, ItemPointer tid)
{
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	bool		result = table_tuple_fetch_row_version(relation, tid, SnapshotSelf, slot);

	ExecDropSingleTupleTableSlot(slot);
	return result;
}

/* Ends a reservation that is locked, with the row of the ledger that settled it or without. */
void
um_reservation_end(UmReservation *row, const char *state, Datum usage_id, bool has_usage_id)
{
	Relation	relation = open_table();

	CommandCounterIncrement();
	row->values[UM_RES_STATE] = CStringGetTextDatum(state);
	row->values[UM_RES_ENDED_AT] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	row->values[UM_RES_USAGE_ID] = usage_id;
	row->nulls[UM_RES_ENDED_AT] = false;
	row->nulls[UM_RES_USAGE_ID] = !has_usage_id;
	if (is_plain(relation, row) && is_latest(relation, &row->tuple->t_self))
	{
		HeapTuple	tuple = um_tuple_form(&columns, relation, row->tuple, row->values, row->nulls);

		CheckCmdReplicaIdentity(relation, CMD_UPDATE);
		put_into_indexes(relation, tuple, um_heap_update(relation, &row->tuple->t_self, tuple));
		CommandCounterIncrement();
	}
	else
	{
		Datum		values[] = {
			row->values[UM_RES_RESERVATION_ID], row->values[UM_RES_STATE],
			row->values[UM_RES_ENDED_AT], row->values[UM_RES_USAGE_ID]
		};

		um_spi_modify_seen(&end_reservation, values, has_usage_id ? NULL : "   n");
	}
	table_close(relation, NoLock);
}
