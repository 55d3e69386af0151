/*
 * counter_row.c
 *		Reading, locking and writing the rows of counters.
 *
 * Rows are read by the latest snapshot, never the transaction's, so that a
 * REPEATABLE READ caller sees the counters as they are; and through a scan
 * that takes no predicate locks, so that a SERIALIZABLE one does not depend
 * on who else counts.  Writes go through the heap directly: no permissions,
 * no triggers, and an update that finds another in its way says so.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog.h"
#include "catalog/index.h"
#include "catalog/pg_collation.h"
#include "counter_row.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* The columns of quota_usage. */
enum
{
	COL_QUOTA_ID = 1,
	COL_SUBJECT,
	COL_PERIOD_START,
	COL_SLOT,
	COL_USED,
	COL_SHARE,
	COL_NEXT_THRESHOLD,
	COL_REVISION,
	COL_COUNT = COL_REVISION,
	KEY_COUNT = COL_SLOT
};

/* Opens the table of counters. */
void
um_counters_open(UmCounters *counters, LOCKMODE lockmode)
{
	counters->relation = table_open(um_relation(UM_QUOTA_USAGE), lockmode);
#if PG_VERSION_NUM >= 180000
	counters->index = index_open(RelationGetPrimaryKeyIndex(counters->relation, false), lockmode);
#else
	counters->index = index_open(RelationGetPrimaryKeyIndex(counters->relation), lockmode);
#endif
	counters->index_info = NULL;
	counters->slot = table_slot_create(counters->relation, NULL);
	counters->snapshot = RegisterSnapshot(GetLatestSnapshot());
}

/* Closes it; the mode is that of opening, or NoLock to keep the locks. */
void
um_counters_close(UmCounters *counters, LOCKMODE lockmode)
{
	UnregisterSnapshot(counters->snapshot);
	ExecDropSingleTupleTableSlot(counters->slot);
	index_close(counters->index, lockmode);
	table_close(counters->relation, lockmode);
}

/* Takes a row apart. */
static void
read_tuple(UmCounters *counters, HeapTuple tuple, UmCounterRow *row)
{
	Datum		values[COL_COUNT];
	bool		nulls[COL_COUNT];

	heap_deform_tuple(tuple, RelationGetDescr(counters->relation), values, nulls);
	row->tuple = tuple;
	row->slot = DatumGetInt16(values[COL_SLOT - 1]);
	row->used = DatumGetNumeric(values[COL_USED - 1]);
	row->share = DatumGetNumeric(values[COL_SHARE - 1]);
	row->next_threshold = nulls[COL_NEXT_THRESHOLD - 1] ? NULL :
		DatumGetNumeric(values[COL_NEXT_THRESHOLD - 1]);
	row->revision = DatumGetInt32(values[COL_REVISION - 1]);
}

/* Does the snapshot see what the slot holds? */
static bool
is_visible(TupleTableSlot *slot, Snapshot snapshot)
{
	BufferHeapTupleTableSlot *buffer_slot = (BufferHeapTupleTableSlot *) slot;
	bool		visible;

	LockBuffer(buffer_slot->buffer, BUFFER_LOCK_SHARE);
	visible = HeapTupleSatisfiesVisibility(buffer_slot->base.tuple, snapshot, buffer_slot->buffer);
	LockBuffer(buffer_slot->buffer, BUFFER_LOCK_UNLOCK);
	return visible;
}

/* Reads a counter's rows: one slot, or with slot -1 all but the header. */
static int
read_rows(UmCounters *counters, const UmPending *name, int slot, Snapshot snapshot,
		  UmCounterRow *rows, int max)
{
	ScanKeyData keys[KEY_COUNT];
	IndexScanDesc scan;
	int			count = 0;

	ScanKeyInit(&keys[0], COL_QUOTA_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(name->quota_id));
	ScanKeyEntryInitialize(&keys[1], 0, COL_SUBJECT, BTEqualStrategyNumber, InvalidOid,
						   C_COLLATION_OID, F_TEXTEQ,
						   PointerGetDatum(cstring_to_text_with_len(name->subject.data,
																	name->subject.length)));
	ScanKeyInit(&keys[2], COL_PERIOD_START, BTEqualStrategyNumber, F_TIMESTAMPTZ_EQ,
				TimestampTzGetDatum(name->period_start));
	if (slot >= 0)
		ScanKeyInit(&keys[3], COL_SLOT, BTEqualStrategyNumber, F_INT2EQ, Int16GetDatum(slot));
	else
		ScanKeyInit(&keys[3], COL_SLOT, BTGreaterStrategyNumber, F_INT2GT,
					Int16GetDatum(UM_HEADER));

	/*
	 * SnapshotAny shows every version, and takes no predicate locks; which
	 * one is ours to see the registered snapshot tells.
	 */
	scan = index_beginscan(counters->relation, counters->index, SnapshotAny,
#if PG_VERSION_NUM >= 180000
						   NULL,
#endif
						   KEY_COUNT, 0);
	index_rescan(scan, keys, KEY_COUNT, NULL, 0);
	while (count < max && index_getnext_slot(scan, ForwardScanDirection, counters->slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (is_visible(counters->slot, snapshot))
			read_tuple(counters, ExecCopySlotHeapTuple(counters->slot), &rows[count++]);
	}
	ExecClearTuple(counters->slot);
	index_endscan(scan);
	return count;
}

/*
 * Reads the header or a slot of a counter as it was when the flush began, for
 * um_counter_try_update, which tells if it has changed since.
 */
bool
um_counter_glance(UmCounters *counters, const UmPending *name, int slot, UmCounterRow *row)
{
	return read_rows(counters, name, slot, counters->snapshot, row, 1) == 1;
}

/* Reads the header or a slot of a counter as it is now; false if there is none. */
bool
um_counter_read(UmCounters *counters, const UmPending *name, int slot, UmCounterRow *row)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	int			count = read_rows(counters, name, slot, snapshot, row, 1);

	UnregisterSnapshot(snapshot);
	return count == 1;
}

/* Reads all slots of a counter, in their order, into UM_SLOTS rows. */
int
um_counter_read_slots(UmCounters *counters, const UmPending *name, UmCounterRow *rows)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	int			count = read_rows(counters, name, -1, snapshot, rows, UM_SLOTS);

	UnregisterSnapshot(snapshot);
	return count;
}

/*
 * Locks the latest version of a row, and reads it anew; false if it is gone.
 * Waits for whoever is writing it.
 */
bool
um_counter_lock(UmCounters *counters, UmCounterRow *row)
{
	TM_FailureData failure;
	ItemPointerData tid = row->tuple->t_self;
	TM_Result	result;

	result = table_tuple_lock(counters->relation, &tid, GetLatestSnapshot(), counters->slot,
							  GetCurrentCommandId(true), LockTupleNoKeyExclusive,
							  LockWaitBlock, TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);
	switch (result)
	{
		case TM_Ok:
			read_tuple(counters, ExecCopySlotHeapTuple(counters->slot), row);
			ExecClearTuple(counters->slot);
			return true;
		case TM_Deleted:
			return false;
		default:
			elog(ERROR, "unexpected result %d of locking a counter", (int) result);
	}
}

/* Makes the index entry of a row that moved to another page. */
static void
insert_index_entry(UmCounters *counters, HeapTuple tuple)
{
	Datum		values[KEY_COUNT];
	bool		nulls[KEY_COUNT];

	if (counters->index_info == NULL)
		counters->index_info = BuildIndexInfo(counters->index);
	for (int key = 0; key < KEY_COUNT; key++)
		values[key] = heap_getattr(tuple, key + 1, RelationGetDescr(counters->relation),
								   &nulls[key]);
	index_insert(counters->index, values, nulls, &tuple->t_self, counters->relation,
				 UNIQUE_CHECK_YES, false, counters->index_info);
}

/* Makes a tuple of a row's state, by the old one for its name. */
static HeapTuple
make_tuple(UmCounters *counters, UmCounterRow *row)
{
	Datum		values[COL_COUNT];
	bool		nulls[COL_COUNT] = {0};
	bool		replace[COL_COUNT] = {0};

	values[COL_USED - 1] = NumericGetDatum(row->used);
	values[COL_SHARE - 1] = NumericGetDatum(row->share);
	values[COL_NEXT_THRESHOLD - 1] = NumericGetDatum(row->next_threshold);
	nulls[COL_NEXT_THRESHOLD - 1] = row->next_threshold == NULL;
	values[COL_REVISION - 1] = Int32GetDatum(row->revision);
	for (int col = COL_USED; col <= COL_REVISION; col++)
		replace[col - 1] = true;
	return heap_modify_tuple(row->tuple, RelationGetDescr(counters->relation),
							 values, nulls, replace);
}

/* Has another transaction written this version of the row, or is it about to? */
static bool
is_taken(UmCounters *counters, UmCounterRow *row)
{
	ItemPointer tid = &row->tuple->t_self;
	HeapTupleData tuple;
	Buffer		buffer = ReadBuffer(counters->relation, ItemPointerGetBlockNumber(tid));
	ItemId		item;
	TM_Result	result;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	item = PageGetItemId(BufferGetPage(buffer), ItemPointerGetOffsetNumber(tid));
	Assert(ItemIdIsNormal(item));
	tuple.t_data = (HeapTupleHeader) PageGetItem(BufferGetPage(buffer), item);
	tuple.t_len = ItemIdGetLength(item);
	tuple.t_self = *tid;
	tuple.t_tableOid = RelationGetRelid(counters->relation);
	result = HeapTupleSatisfiesUpdate(&tuple, GetCurrentCommandId(true), buffer);
	UnlockReleaseBuffer(buffer);
	return result != TM_Ok;
}

/* Writes a row over the very version that was read or locked, or returns false. */
static bool
update(UmCounters *counters, UmCounterRow *row)
{
	HeapTuple	tuple = make_tuple(counters, row);
	TM_FailureData failure;
	LockTupleMode mode;
	TM_Result	result;
#if PG_VERSION_NUM >= 160000
	TU_UpdateIndexes update_indexes;
#endif

	result = heap_update(counters->relation, &row->tuple->t_self, tuple,
						 GetCurrentCommandId(true), InvalidSnapshot, true, &failure, &mode
#if PG_VERSION_NUM >= 160000
						 ,&update_indexes
#endif
		);
	if (result != TM_Ok)
		return false;
	if (!HeapTupleIsHeapOnly(tuple))
		insert_index_entry(counters, tuple);
	return true;
}

/*
 * Writes a row over the version that was read.  False, and nothing is held, if
 * somebody else has written it or is about to.
 */
bool
um_counter_try_update(UmCounters *counters, UmCounterRow *row)
{
	/*
	 * heap_update has a "wait" that could be false, but asserts that nobody is
	 * in its way then.  So look first: whoever comes between is waited for.
	 */
	return !is_taken(counters, row) && update(counters, row);
}

/* Writes a row that um_counter_lock has locked. */
void
um_counter_update(UmCounters *counters, UmCounterRow *row)
{
	if (!update(counters, row))
		elog(ERROR, "a locked counter was changed");
}

/* Stores a new row. */
void
um_counter_insert(UmCounters *counters, const UmPending *name, UmCounterRow *row)
{
	Datum		values[COL_COUNT];
	bool		nulls[COL_COUNT] = {0};

	values[COL_QUOTA_ID - 1] = Int64GetDatum(name->quota_id);
	values[COL_SUBJECT - 1] = PointerGetDatum(cstring_to_text_with_len(name->subject.data,
																	   name->subject.length));
	values[COL_PERIOD_START - 1] = TimestampTzGetDatum(name->period_start);
	values[COL_SLOT - 1] = Int16GetDatum(row->slot);
	values[COL_USED - 1] = NumericGetDatum(row->used);
	values[COL_SHARE - 1] = NumericGetDatum(row->share);
	values[COL_NEXT_THRESHOLD - 1] = NumericGetDatum(row->next_threshold);
	nulls[COL_NEXT_THRESHOLD - 1] = row->next_threshold == NULL;
	values[COL_REVISION - 1] = Int32GetDatum(row->revision);

	row->tuple = heap_form_tuple(RelationGetDescr(counters->relation), values, nulls);
	simple_heap_insert(counters->relation, row->tuple);
	insert_index_entry(counters, row->tuple);
}
