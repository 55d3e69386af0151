/*
 * counter_row.c
 *		Reading, locking and writing the rows of counters.
 *
 * Rows are read as they are now, never as the transaction's snapshot saw them,
 * so that a REPEATABLE READ caller sees the counters of all; and without
 * predicate locks, so that a SERIALIZABLE one does not depend on who else
 * counts.  Writes go through the heap directly: no permissions, no triggers,
 * and one that finds another in its way says so.
 *
 * What changes with every call, used and share, is written in place, into the
 * row's cell (counter_cell.c), under the page's lock and logged as a change of
 * bytes.  Nobody does so who finds the row locked or its cell's last writer
 * running; who locks the row waits for that one.  Only what else changes, or
 * has too many digits, makes a new version of the row.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/amount.h"
#include "base/catalog.h"
#include "base/compat.h"
#include "base/page_log.h"
#include "base/table_columns.h"
#include "counter/counter_cell.h"
#include "counter/counter_place.h"
#include "counter/counter_row.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "quota/quota_cache.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(usage_monitor_added);

/* The columns of _counter_row. */
enum
{
	COL_QUOTA_ID,
	COL_SUBJECT,
	COL_PERIOD_START,
	COL_SLOT,
	COL_USED,
	COL_SHARE,
	COL_NEXT_THRESHOLD,
	COL_REVISION,
	COL_RAISED,
	COL_RECENT,
	COL_COUNT
};

static const char *const names[COL_COUNT] = {
	"quota_id", "subject", "period_start", "slot", "used", "share", "next_threshold",
	"revision", "raised", "recent"
};

static UmTableColumns columns = {
	.table = UM_COUNTER_ROW,
	.count = COL_COUNT,
	.names = names
};

/* The columns of its primary key, behind those of a counter's name. */
enum
{
	KEY_SLOT = UM_KEY_COUNT + 1,
	KEY_COUNT = KEY_SLOT
};

#ifndef SETTLE_AGE				/* test/attack has less of both, to see more of it */
/* A cell that was written so many transactions ago forgets by whom. */
#define SETTLE_AGE 10000000

/* One of so many transactions looks for such cells, on one page. */
#define SETTLE_EVERY 64
#endif

/* The current version of a row, on its page, which is pinned and locked. */
typedef struct Located
{
	Buffer		buffer;
	HeapTupleData tuple;
	bool		taken;			/* somebody has locked the row, or is replacing it */
	Datum		values[COL_COUNT];
	bool		nulls[COL_COUNT];
} Located;

/* Opens the table of counters. */
void
um_counters_open(UmCounters *counters, LOCKMODE lockmode)
{
	counters->relation = table_open(um_relation(UM_COUNTER_ROW), lockmode);
	counters->lockmode = lockmode;
	counters->nblocks = RelationGetNumberOfBlocks(counters->relation);
	counters->in_place = false;
	counters->context = CurrentMemoryContext;
	counters->key = NULL;
	counters->has_indexes = false;
	counters->slot = NULL;
	um_table_columns(&columns, counters->relation);

	um_places_begin(counters->relation);
}

/* Closes it; the mode is that of opening, or NoLock to keep the locks. */
void
um_counters_close(UmCounters *counters, LOCKMODE lockmode)
{
	if (counters->slot != NULL)
		ExecDropSingleTupleTableSlot(counters->slot);
	if (counters->has_indexes)
		um_indexes_close(&counters->indexes);
	if (counters->key != NULL)
		index_close(counters->key, lockmode);
	table_close(counters->relation, lockmode);
}

/* Opens the primary key, if that has not been done. */
static Relation
need_key(UmCounters *counters)
{
	if (counters->key == NULL)
	{
		Oid			key = RelationGetPrimaryKeyIndex(counters->relation, false);

		if (!OidIsValid(key))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table \"%s\" has no primary key",
							RelationGetRelationName(counters->relation)),
					 errhint("Run ALTER TABLE _usage_monitor._counter_row ADD PRIMARY KEY (quota_id, subject, period_start, slot).")));
		counters->key = index_open(key, counters->lockmode);
	}
	return counters->key;
}

/* Takes a row apart; false if it is another's. */
static bool
take_apart(UmCounters *counters, HeapTuple tuple, const UmCounterName *name, Datum *values, bool *nulls)
{
	text	   *subject;

	um_tuple_deform(&columns, counters->relation, tuple, values, nulls);
	subject = DatumGetTextPP(values[COL_SUBJECT]);
	return DatumGetInt64(values[COL_QUOTA_ID]) == name->quota_id &&
		DatumGetTimestampTz(values[COL_PERIOD_START]) == name->period_start &&
		(int) VARSIZE_ANY_EXHDR(subject) == name->subject.length &&
		memcmp(VARDATA_ANY(subject), name->subject.data, name->subject.length) == 0;
}

/* Where the cell of a row is. */
static char *
cell_of(const Datum *values)
{
	struct varlena *recent = (struct varlena *) DatumGetPointer(values[COL_RECENT]);

	if (VARATT_IS_EXTENDED(recent) || VARSIZE(recent) != VARHDRSZ + sizeof(UmCell))
		elog(ERROR, "a counter has no cell");
	return VARDATA(recent);
}

/* Copies a cell. */
static UmCell
read_cell(const Datum *values)
{
	UmCell		cell;

	memcpy(&cell, cell_of(values), sizeof(UmCell));
	return cell;
}

/* What a column of the row is, with what was added to it in place. */
static Numeric
added_to(Datum value, int128 added)
{
	if (added == 0)
		return DatumGetNumeric(value);
	return plus(DatumGetNumeric(value), um_decimal_to_numeric(added, UM_CELL_SCALE));
}

/* Takes a copy of a row apart, as it is now; false if it is another's. */
static bool
read_tuple(UmCounters *counters, HeapTuple tuple, const UmCounterName *name, UmCounterRow *row)
{
	Datum		values[COL_COUNT];
	bool		nulls[COL_COUNT];
	UmCell		cell;
	UmCellStatus status;

	if (!take_apart(counters, tuple, name, values, nulls))
		return false;
	cell = read_cell(values);
	row->writer = um_cell_state(&cell, 0)->xid;
	status = um_cell_settle(&cell);
	row->name = name;
	row->tuple = tuple;
	row->busy = status == UM_CELL_BUSY;
	row->lost = status == UM_CELL_LOST;
	row->slot = DatumGetInt16(values[COL_SLOT]);
	row->used = added_to(values[COL_USED], um_cell_state(&cell, 0)->used);
	row->share = added_to(values[COL_SHARE], *um_cell_share(&cell, 0));
	row->next_threshold = nulls[COL_NEXT_THRESHOLD] ? NULL :
		DatumGetNumeric(values[COL_NEXT_THRESHOLD]);
	row->revision = DatumGetInt64(values[COL_REVISION]);
	row->raised = nulls[COL_RAISED] ? NULL : TextDatumGetCString(values[COL_RAISED]);
	return true;
}

/*
 * Goes to the current version of a row where it was last seen, keeps its page
 * locked, and takes the row apart.  False if it is not there any more.
 */
static bool
go_to_place(UmCounters *counters, const UmCounterName *name, int slot, int lockmode, Located *at)
{
	UmPlace    *place = um_place_find(name, slot);
	OffsetNumber offsets[2];

	if (place == NULL || ItemPointerGetBlockNumber(&place->root) >= counters->nblocks)
		return false;

	/* the last version is the current one, if nobody else has written it */
	offsets[0] = place->last;
	offsets[1] = ItemPointerGetOffsetNumber(&place->root);
	for (int i = 0; i < 2; i++)
	{
		at->buffer = ReadBuffer(counters->relation, ItemPointerGetBlockNumber(&place->root));
		LockBuffer(at->buffer, lockmode);
		if (um_place_follow(counters->relation, counters->nblocks, &at->buffer, lockmode, offsets[i],
							&at->tuple, &at->taken) &&
			take_apart(counters, &at->tuple, name, at->values, at->nulls) &&
			DatumGetInt16(at->values[COL_SLOT]) == slot)
		{
			if (BufferGetBlockNumber(at->buffer) == ItemPointerGetBlockNumber(&place->root))
				place->last = ItemPointerGetOffsetNumber(&at->tuple.t_self);
			else
				um_place_remember(name, slot, &at->tuple.t_self, &at->tuple.t_self);
			return true;
		}
		UnlockReleaseBuffer(at->buffer);
	}
	return false;
}

/* Copies the version of a row that a snapshot sees, of those that an index entry leads to. */
static HeapTuple
visible_version(UmCounters *counters, ItemPointer root, Snapshot snapshot)
{
	Buffer		buffer = ReadBuffer(counters->relation, ItemPointerGetBlockNumber(root));
	OffsetNumber offset = ItemPointerGetOffsetNumber(root);
	TransactionId replaced_by = InvalidTransactionId;
	HeapTupleData tuple;
	HeapTuple	copy = NULL;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	while (um_place_point_at(counters->relation, buffer, offset, &tuple))
	{
		if (TransactionIdIsValid(replaced_by) ?
			!TransactionIdEquals(replaced_by, HeapTupleHeaderGetXmin(tuple.t_data)) :
			/* the item may be another row's by now */
			offset == ItemPointerGetOffsetNumber(&tuple.t_self) && HeapTupleIsHeapOnly(&tuple))
			break;
		if (HeapTupleSatisfiesVisibility(&tuple, snapshot, buffer))
		{
			copy = heap_copytuple(&tuple);
			break;
		}
		if (!HeapTupleIsHotUpdated(&tuple))
			break;
		replaced_by = HeapTupleHeaderGetUpdateXid(tuple.t_data);
		offset = ItemPointerGetOffsetNumber(&tuple.t_data->t_ctid);
	}
	UnlockReleaseBuffer(buffer);
	return copy;
}

/*
 * Finds rows of a counter by the index, as the latest snapshot sees them: one
 * slot, or with slot -1 all but the header, in their order.
 */
static int
find_rows(UmCounters *counters, const UmCounterName *name, int slot, UmCounterRow *rows, int max)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	ScanKeyData keys[KEY_COUNT + 1];
	IndexScanDesc scan;
	ItemPointer tid;
	int			nkeys = KEY_COUNT;
	int			count = 0;

	um_counter_name_keys(name, keys);
	if (slot >= 0)
		ScanKeyInit(&keys[3], KEY_SLOT, BTEqualStrategyNumber, F_INT2EQ, Int16GetDatum(slot));
	else
	{
		ScanKeyInit(&keys[3], KEY_SLOT, BTGreaterStrategyNumber, F_INT2GT,
					Int16GetDatum(UM_HEADER));
		ScanKeyInit(&keys[4], KEY_SLOT, BTLessStrategyNumber, F_INT2LT,
					Int16GetDatum(UM_SLOTS + 1));
		nkeys = KEY_COUNT + 1;
	}

	/*
	 * Only index entries are asked for: what they lead to is looked at here,
	 * without predicate locks.  Backwards, for the later a version, the
	 * further behind it is, mostly; and each slot anew from its end.
	 */
	scan = index_beginscan(counters->relation, need_key(counters), SnapshotAny, NULL, nkeys, 0);
	index_rescan(scan, keys, nkeys, NULL, 0);
	while (count < max && (tid = index_getnext_tid(scan, BackwardScanDirection)) != NULL)
	{
		ItemPointerData root = *tid;
		HeapTuple	tuple = visible_version(counters, &root, snapshot);

		CHECK_FOR_INTERRUPTS();
		if (tuple == NULL || !read_tuple(counters, tuple, name, &rows[count]))
			continue;
		um_place_remember(name, rows[count].slot, &root, &tuple->t_self);
		count++;
		if (slot >= 0 || count == max)
			break;
		keys[4].sk_argument = Int16GetDatum(rows[count - 1].slot);
		index_rescan(scan, keys, nkeys, NULL, 0);
	}
	index_endscan(scan);
	UnregisterSnapshot(snapshot);

	for (int i = 0; i < count / 2; i++)
	{
		UmCounterRow row = rows[i];

		rows[i] = rows[count - 1 - i];
		rows[count - 1 - i] = row;
	}
	return count;
}

/* Reads the header or a slot of a counter as it is now; false if there is none. */
bool
um_counter_read(UmCounters *counters, const UmCounterName *name, int slot, UmCounterRow *row)
{
	Located		at;

	if (go_to_place(counters, name, slot, BUFFER_LOCK_SHARE, &at))
	{
		HeapTuple	copy = heap_copytuple(&at.tuple);

		UnlockReleaseBuffer(at.buffer);
		return read_tuple(counters, copy, name, row);
	}
	return find_rows(counters, name, slot, row, 1) > 0;
}

/* Reads all slots of a counter, in their order, into UM_SLOTS rows. */
int
um_counter_read_slots(UmCounters *counters, const UmCounterName *name, UmCounterRow *rows)
{
	return find_rows(counters, name, -1, rows, UM_SLOTS);
}

/* Is a row as it was when it was read before? */
static bool
is_same(const UmCounterRow *a, const UmCounterRow *b)
{
	return ItemPointerEquals(&a->tuple->t_self, &b->tuple->t_self) &&
		a->writer == b->writer && a->busy == b->busy &&
		compare(a->used, b->used) == 0 && compare(a->share, b->share) == 0;
}

/*
 * Adds up what a header that was read and the slots have: what is used, what may
 * be used before anybody collects the shares, if that is asked for, and whether
 * it is known.  False if somebody moved it from one to another meanwhile: who
 * does writes the header.
 */
bool
um_counter_sum(UmCounters *counters, const UmCounterName *name, const UmCounterRow *header,
			   Numeric *used, Numeric *room, bool *lost)
{
	UmCounterRow rows[UM_SLOTS + 1];
	UmCounterRow again;
	int			nrows = 1 + find_rows(counters, name, -1, &rows[1], UM_SLOTS);

	rows[0] = *header;
	*used = zero();
	*lost = false;
	if (room != NULL)
		*room = zero();
	for (int i = 0; i < nrows; i++)
	{
		*used = plus(*used, rows[i].used);
		if (room != NULL && compare(rows[i].share, zero()) > 0)
			*room = plus(*room, rows[i].share);
		*lost |= rows[i].lost;
	}
	return um_counter_read(counters, name, UM_HEADER, &again) && is_same(header, &again);
}

/* What is used of a counter, as it is now; false if that is not known: ask the ledger. */
bool
um_counter_used(UmCounters *counters, const UmCounterName *name, Numeric *used)
{
	UmCounterRow header;
	bool		lost;

	do
	{
		CHECK_FOR_INTERRUPTS();
		*used = zero();
		if (!um_counter_read(counters, name, UM_HEADER, &header))
			return true;
	} while (!um_counter_sum(counters, name, &header, used, NULL, &lost));
	return !lost;
}

/*
 * Locks the latest version of a row, and reads it anew; false if it is gone.
 * Waits for whoever is writing it, or has written into its cell: nobody else
 * does so from here on.
 */
bool
um_counter_lock(UmCounters *counters, UmCounterRow *row)
{
	TM_FailureData failure;
	ItemPointerData tid = row->tuple->t_self;
	TM_Result	result;

	if (counters->slot == NULL)
		counters->slot = table_slot_create(counters->relation, NULL);
	result = table_tuple_lock(counters->relation, &tid, GetLatestSnapshot(), counters->slot,
							  GetCurrentCommandId(true), LockTupleNoKeyExclusive,
							  LockWaitBlock, TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);
	switch (result)
	{
		case TM_Ok:
			if (!read_tuple(counters, ExecCopySlotHeapTuple(counters->slot), row->name, row))
				elog(ERROR, "a counter changed its name");
			ExecClearTuple(counters->slot);
			if (row->busy)
			{
				XactLockTableWait(XidFromFullTransactionId(FullTransactionIdFromU64(row->writer)),
								  counters->relation, &row->tuple->t_self, XLTW_Lock);
				(void) read_tuple(counters, row->tuple, row->name, row);
			}
			return true;
		case TM_Deleted:
			return false;
		default:
			elog(ERROR, "unexpected result %d of locking a counter", (int) result);
	}
}

/* The cell of a row to which nothing was added yet. */
static bytea *
empty_cell(void)
{
	Size		length = VARHDRSZ + sizeof(UmCell);
	bytea	   *recent = palloc0(length);

	SET_VARSIZE(recent, length);
	return recent;
}

/* Makes a tuple of a row; before is what it replaces. */
static HeapTuple
make_tuple(UmCounters *counters, const UmCounterRow *row, HeapTuple before)
{
	Datum		values[COL_COUNT];
	bool		nulls[COL_COUNT] = {0};

	values[COL_QUOTA_ID] = Int64GetDatum(row->name->quota_id);
	values[COL_SUBJECT] = um_string_text(row->name->subject);
	values[COL_PERIOD_START] = TimestampTzGetDatum(row->name->period_start);
	values[COL_SLOT] = Int16GetDatum(row->slot);
	values[COL_USED] = NumericGetDatum(row->used);
	values[COL_SHARE] = NumericGetDatum(row->share);
	values[COL_NEXT_THRESHOLD] = NumericGetDatum(row->next_threshold);
	nulls[COL_NEXT_THRESHOLD] = row->next_threshold == NULL;
	values[COL_REVISION] = Int64GetDatum(row->revision);
	if (row->raised != NULL)
		values[COL_RAISED] = CStringGetTextDatum(row->raised);
	nulls[COL_RAISED] = row->raised == NULL;
	values[COL_RECENT] = PointerGetDatum(empty_cell());
	return um_tuple_form(&columns, counters->relation, before, values, nulls);
}

/* Makes the index entries of a row that was written. */
static void
put_into_indexes(UmCounters *counters, HeapTuple tuple, UmIndexing indexing)
{
	if (indexing == UM_INDEX_NONE)
		return;
	if (!counters->has_indexes)
	{
		MemoryContext old = MemoryContextSwitchTo(counters->context);

		um_indexes_open(&counters->indexes, counters->relation);
		MemoryContextSwitchTo(old);
		counters->has_indexes = true;
	}
	um_indexes_put(&counters->indexes, tuple, indexing);
}

/* Goes to a row, by the index where that is needed, and locks its page exclusively; UM_TAKEN: it is there. */
static UmTaking
go_to_row(UmCounters *counters, const UmCounterName *name, int slot, Located *at)
{
	UmCounterRow row;

	if (go_to_place(counters, name, slot, BUFFER_LOCK_EXCLUSIVE, at))
		return UM_TAKEN;
	if (find_rows(counters, name, slot, &row, 1) == 0)
		return UM_NO_ROW;
	return go_to_place(counters, name, slot, BUFFER_LOCK_EXCLUSIVE, at) ? UM_TAKEN : UM_IN_USE;
}

/* Overwrites the cell of a row on a page that is locked exclusively. */
static void
write_cell(UmCounters *counters, Buffer buffer, const Datum *values, const UmCell *cell)
{
	StaticAssertStmt(sizeof(UmCell) <= UM_MAX_OVERWRITTEN, "a cell is written at once");
	um_page_overwrite(counters->relation, buffer, cell_of(values), cell, sizeof(UmCell));
}

/* Adds a delta to a cell, and takes it from its share, if it stays below that. */
static bool
take(UmCell *cell, Numeric base_share, int128 delta)
{
	int128		used;
	int128		share;
	int128		base = 0;
	int128		left;

	if (__builtin_add_overflow(um_cell_state(cell, 0)->used, delta, &used))
		return false;
	if (numeric_is_inf(base_share))
		share = 0;
	else if (!um_cell_units(base_share, &base) ||
			 __builtin_add_overflow(base, *um_cell_share(cell, 0), &left) ||
			 left <= 0 || delta >= left ||
			 __builtin_sub_overflow(*um_cell_share(cell, 0), delta, &share))
		return false;
	um_cell_write(cell, used, share);
	return true;
}

/*
 * Takes a delta from the header or a slot in place, if it stays below its
 * share and nobody else is at it.  A share of zero is closed, also to
 * corrections downwards: only a collection knows what room they make, and, where
 * thresholds were reached, whether they are left.  What has more decimals than
 * the row shows has no room either.
 */
UmTaking
um_counter_take(UmCounters *counters, const UmCounterName *name, int slot, int64 revision,
				int128 delta, int decimals)
{
	Located		at;
	UmCell		cell;
	UmTaking	result = go_to_row(counters, name, slot, &at);

	if (result != UM_TAKEN)
		return result;
	cell = read_cell(at.values);
	if (at.taken || um_cell_settle(&cell) != UM_CELL_FREE)
		result = UM_IN_USE;
	else if (DatumGetInt64(at.values[COL_REVISION]) != revision ||
			 decimals > um_cell_decimals(DatumGetNumeric(at.values[COL_USED])) ||
			 (delta < 0 && (at.nulls[COL_RAISED] || VARSIZE_ANY_EXHDR(DatumGetPointer(at.values[COL_RAISED])) > 0)) ||
			 !take(&cell, DatumGetNumeric(at.values[COL_SHARE]), delta))
		result = UM_NO_ROOM;
	else
		write_cell(counters, at.buffer, at.values, &cell);
	UnlockReleaseBuffer(at.buffer);
	return result;
}

/*
 * Takes from the share of the header or a slot what a reservation holds, if it
 * stays below it.  Nobody's writing is in the way, nor does this stay in
 * anybody's: what is held is a row of its own, and should that go, all that is
 * lost is some room until the shares are collected.  Not for real: would it?
 */
bool
um_counter_withhold(UmCounters *counters, const UmCounterName *name, int slot, int64 revision,
					int128 amount, int128 beside, bool for_real)
{
	Located		at;
	int128		base = 0;
	UmCell		cell;
	bool		result;

	if (go_to_row(counters, name, slot, &at) != UM_TAKEN)
		return false;
	cell = read_cell(at.values);
	result = !at.taken && DatumGetInt64(at.values[COL_REVISION]) == revision &&
		!numeric_is_inf(DatumGetNumeric(at.values[COL_SHARE])) &&
		um_cell_units(DatumGetNumeric(at.values[COL_SHARE]), &base) &&
		um_cell_withhold(&cell, base, amount, beside);
	if (result && for_real)
		write_cell(counters, at.buffer, at.values, &cell);
	UnlockReleaseBuffer(at.buffer);
	return result;
}

/* Has somebody locked the header or a slot, or is it not where it was read? */
bool
um_counter_is_taken(UmCounters *counters, const UmCounterName *name, int slot)
{
	Located		at;

	if (!go_to_place(counters, name, slot, BUFFER_LOCK_SHARE, &at))
		return true;
	UnlockReleaseBuffer(at.buffer);
	return at.taken;
}

/* By how much a column was changed, in units of a cell; false if that is not to be told. */
static bool
difference(Numeric now, Datum before, int128 *units)
{
	if (numeric_is_inf(now) && numeric_is_inf(DatumGetNumeric(before)))
	{
		*units = 0;
		return true;
	}
	return !numeric_is_inf(now) && !numeric_is_inf(DatumGetNumeric(before)) &&
		um_cell_units(minus(now, DatumGetNumeric(before)), units);
}

/* Writes a locked row in place; false if more than used and share have changed. */
static bool
update_in_place(UmCounters *counters, UmCounterRow *row)
{
	Datum		values[COL_COUNT];
	bool		nulls[COL_COUNT];
	Buffer		buffer;
	HeapTupleData tuple;
	UmCell		cell;
	int128		used;
	int128		share;

	um_tuple_deform(&columns, counters->relation, row->tuple, values, nulls);
	if (row->lost || row->revision != DatumGetInt64(values[COL_REVISION]) ||
		(row->raised == NULL) != nulls[COL_RAISED] ||
		(row->raised != NULL && strcmp(row->raised, TextDatumGetCString(values[COL_RAISED])) != 0) ||
		(row->next_threshold == NULL) != nulls[COL_NEXT_THRESHOLD] ||
		(row->next_threshold != NULL &&
		 !DatumGetBool(DirectFunctionCall2(numeric_eq, NumericGetDatum(row->next_threshold),
										   values[COL_NEXT_THRESHOLD]))) ||
		um_cell_decimals(row->used) != um_cell_decimals(DatumGetNumeric(values[COL_USED])) ||
		!difference(row->used, values[COL_USED], &used) ||
		!difference(row->share, values[COL_SHARE], &share))
		return false;

	buffer = ReadBuffer(counters->relation, ItemPointerGetBlockNumber(&row->tuple->t_self));
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	if (!um_place_point_at(counters->relation, buffer, ItemPointerGetOffsetNumber(&row->tuple->t_self), &tuple) ||
		!take_apart(counters, &tuple, row->name, values, nulls))
		elog(ERROR, "a locked counter went away");
	cell = read_cell(values);
	if (um_cell_settle(&cell) != UM_CELL_FREE)
		elog(ERROR, "a locked counter was changed");
	um_cell_write(&cell, used, share);
	write_cell(counters, buffer, values, &cell);
	UnlockReleaseBuffer(buffer);
	return true;
}

/* Makes a new version of a locked row. */
static void
update(UmCounters *counters, UmCounterRow *row)
{
	HeapTuple	tuple = make_tuple(counters, row, row->tuple);

	put_into_indexes(counters, tuple,
					 um_heap_update(counters->relation, &row->tuple->t_self, tuple));
	um_place_written(row->name, row->slot, tuple);
}

static void
insert(UmCounters *counters, UmCounterRow *row)
{
	row->tuple = make_tuple(counters, row, NULL);
	simple_heap_insert(counters->relation, row->tuple);
	put_into_indexes(counters, row->tuple, UM_INDEX_NEW);
	um_place_written(row->name, row->slot, row->tuple);
}

/* Writes a row that um_counter_lock has locked, or a new one. */
void
um_counter_write(UmCounters *counters, UmCounterRow *row)
{
	if (row->tuple == NULL)
		insert(counters, row);
	else if (!counters->in_place || !update_in_place(counters, row))
		update(counters, row);
}

/* Deletes a row that um_counter_lock has locked. */
void
um_counter_delete(UmCounters *counters, UmCounterRow *row)
{
	simple_heap_delete(counters->relation, &row->tuple->t_self);
}

/* Is there, on a locked page, a row whose cell was written before the horizon? */
static bool
is_unsettled(UmCounters *counters, Buffer buffer, OffsetNumber offset, TransactionId horizon,
			 UmCell *cell, Datum *values)
{
	HeapTupleData tuple;
	bool		nulls[COL_COUNT];

	if (!ItemIdIsNormal(PageGetItemId(BufferGetPage(buffer), offset)) ||
		!um_place_point_at(counters->relation, buffer, offset, &tuple))
		return false;
	um_tuple_deform(&columns, counters->relation, &tuple, values, nulls);
	*cell = read_cell(values);
	return um_cell_is_old(cell, horizon) &&
		HeapTupleSatisfiesUpdate(&tuple, GetCurrentCommandId(false), buffer) == TM_Ok &&
		um_cell_settle(cell) == UM_CELL_FREE;
}

/*
 * Looks after a page, now and then: cells that were written long ago, and by
 * whom everybody sees, forget their writers before the server does.
 */
void
um_counters_settle(UmCounters *counters)
{
	uint64		xid = U64FromFullTransactionId(GetTopFullTransactionId());
	TransactionId horizon;
	Buffer		buffer;
	Datum		values[COL_COUNT];
	UmCell		cell;
	OffsetNumber first;
	OffsetNumber last;

	if (xid % SETTLE_EVERY != 0 || xid < SETTLE_AGE || counters->nblocks == 0)
		return;
	horizon = XidFromFullTransactionId(FullTransactionIdFromU64(xid - SETTLE_AGE));
	if (!TransactionIdIsNormal(horizon))
		return;

	buffer = ReadBuffer(counters->relation, (xid / SETTLE_EVERY) % counters->nblocks);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
	for (first = FirstOffsetNumber; first <= last; first++)
		if (is_unsettled(counters, buffer, first, horizon, &cell, values))
			break;
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);

	if (first <= last)
	{
		TransactionId oldest = GetOldestNonRemovableTransactionId(counters->relation);

		if (TransactionIdPrecedes(oldest, horizon))
			horizon = oldest;
		LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
		last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
		for (OffsetNumber offset = first; offset <= last; offset++)
			if (is_unsettled(counters, buffer, offset, horizon, &cell, values))
			{
				um_cell_forget_writers(&cell);
				write_cell(counters, buffer, values, &cell);
			}
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	}
	ReleaseBuffer(buffer);
}

/* Has the table such a block?  It is asked for its size only where it must have grown. */
static bool
has_block(Relation relation, BlockNumber block)
{
	static Oid	file;
	static BlockNumber nblocks;

	if (file != relation->rd_rel->relfilenode || block >= nblocks)
	{
		file = relation->rd_rel->relfilenode;
		nblocks = RelationGetNumberOfBlocks(relation);
	}
	return block < nblocks;
}

/*
 * _added(ctid): what was added to a row of a counter in place, as the statement's
 * snapshot sees it; NaN if that is not known any more, or not the user's to know.
 */
Datum
usage_monitor_added(PG_FUNCTION_ARGS)
{
	ItemPointer tid = (ItemPointer) PG_GETARG_POINTER(0);
	bool		found = false;
	Relation	relation = table_open(um_relation(UM_COUNTER_ROW), AccessShareLock);
	UmCell		cell;
	int128		used;
	int64		quota_id = 0;
	text	   *subject = NULL;

	if (ItemPointerIsValid(tid) && has_block(relation, ItemPointerGetBlockNumber(tid)))
	{
		Buffer		buffer = ReadBuffer(relation, ItemPointerGetBlockNumber(tid));
		HeapTupleData tuple;
		Datum		values[COL_COUNT];
		bool		nulls[COL_COUNT];

		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		found = um_place_point_at(relation, buffer, ItemPointerGetOffsetNumber(tid), &tuple);
		if (found)
		{
			um_table_columns(&columns, relation);
			um_tuple_deform(&columns, relation, &tuple, values, nulls);
			cell = read_cell(values);
			quota_id = DatumGetInt64(values[COL_QUOTA_ID]);
			subject = DatumGetTextPCopy(values[COL_SUBJECT]);
		}
		UnlockReleaseBuffer(buffer);
	}
	table_close(relation, AccessShareLock);

	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no row of a counter is at %s",
						DatumGetCString(DirectFunctionCall1(tidout, PointerGetDatum(tid)))),
				 errhint("Give the ctid of a row of _usage_monitor._counter_row.")));
	if (!um_quota_may_see(quota_id, (UmString) {VARDATA_ANY(subject), VARSIZE_ANY_EXHDR(subject)}) ||
		!um_cell_as_of(&cell, GetActiveSnapshot(), &used))
		PG_RETURN_NUMERIC(amount_of_text("NaN"));
	PG_RETURN_NUMERIC(um_decimal_to_numeric(used, UM_CELL_SCALE));
}
