/*
 * counter_row.c
 *		Reading, locking and writing the rows of counters.
 *
 * Rows are read as they are now, never as the transaction's snapshot saw them,
 * so that a REPEATABLE READ caller sees the counters of all; and without
 * predicate locks, so that a SERIALIZABLE one does not depend on who else
 * counts.  Writes go through the heap directly: no permissions, no triggers,
 * and an update that finds another in its way says so.
 *
 * Where a row was found the backend remembers, and looks there first: the
 * index has an entry for each page that a row has been on, and while a
 * transaction is held open none of them goes away.
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
#include "common/hashfn.h"
#include "counter_row.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/freespace.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
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

/* Where a row was when it was last seen.  A hint: what is there is looked at. */
typedef struct Place
{
	uint32		hash;
	ItemPointerData root;		/* what the index points at */
	OffsetNumber last;			/* the version that was current, on the same page */
} Place;

/* of rows of the same last bits of the hash, so many are remembered, the latest first */
#define WAYS 4
#define SETS 2048

static Place (*places)[WAYS];
static Oid	places_file;		/* of which they are */

/*
 * A page with less room than this is pruned.  The server would do it as soon
 * as the room is less than the fillfactor leaves, which is at every write.
 */
#define PRUNE_BELOW (BLCKSZ / 2)

/*
 * Pages that rows have moved away from, the first one first.  Nobody looks at
 * them any more, so their room would be lost until the next VACUUM; and it
 * cannot be given back at once, for others may still see what is there.
 */
#define VACATED 64

/* So many are kept, for rows that move next. */
#define VACATED_KEPT 4

/* A page is looked at so often; if it has too much that is alive by then, it is left to VACUUM. */
#define VACATED_LOOKS 16

typedef struct Vacated
{
	BlockNumber block;
	int			looks;
} Vacated;

static Vacated vacated[VACATED];
static int	nvacated;

/* How much room a page must have to be moved to: more than the fillfactor wants left, and the row. */
#define ROOM_TO_MOVE (BLCKSZ / 8 * 7)

/* Prunes a page, and returns what room it has then. */
static Size
prune(UmCounters *counters, BlockNumber block)
{
	Buffer		buffer;
	Size		room;

	/* it may have been cut off */
	if (block >= counters->nblocks)
		return 0;
	buffer = ReadBuffer(counters->relation, block);
	heap_page_prune_opt(counters->relation, buffer);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	room = PageGetHeapFreeSpace(BufferGetPage(buffer));
	UnlockReleaseBuffer(buffer);
	return room;
}

/*
 * Takes the page that was left first, if nobody sees any more what was there;
 * if not, that page is the last one from now on.
 */
static BlockNumber
take_vacated(UmCounters *counters, Size *room)
{
	Vacated		first = vacated[0];

	if (nvacated == 0)
		return InvalidBlockNumber;
	memmove(&vacated[0], &vacated[1], sizeof(Vacated) * --nvacated);
	*room = prune(counters, first.block);
	if (*room >= ROOM_TO_MOVE)
		return first.block;
	if (++first.looks < VACATED_LOOKS)
		vacated[nvacated++] = first;
	return InvalidBlockNumber;
}

/* Gives a page back for others. */
static void
reclaim(UmCounters *counters)
{
	BlockNumber block;
	Size		room;

	if (nvacated <= VACATED_KEPT ||
		!BlockNumberIsValid(block = take_vacated(counters, &room)))
		return;
	RecordPageWithFreeSpace(counters->relation, block, room);
	FreeSpaceMapVacuumRange(counters->relation, block, block + 1);
}

/* Notes that a row has moved to another page. */
static void
note_vacated(BlockNumber block)
{
	if (nvacated < VACATED && (nvacated == 0 || vacated[nvacated - 1].block != block))
		vacated[nvacated++] = (Vacated) {block, 0};
}

/* Makes a new page at the end of the table, one and no more. */
static BlockNumber
extend(UmCounters *counters)
{
	Buffer		buffer;
	BlockNumber block;

#if PG_VERSION_NUM >= 160000
	buffer = ExtendBufferedRel(BMR_REL(counters->relation), MAIN_FORKNUM, NULL, EB_LOCK_FIRST);
#else
	LockRelationForExtension(counters->relation, ExclusiveLock);
	buffer = ReadBuffer(counters->relation, P_NEW);
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	UnlockRelationForExtension(counters->relation, ExclusiveLock);
#endif
	/* as heap_update would: the first row that comes logs it */
	PageInit(BufferGetPage(buffer), BufferGetPageSize(buffer), 0);
	MarkBufferDirty(buffer);
	block = BufferGetBlockNumber(buffer);
	UnlockReleaseBuffer(buffer);
	return block;
}

/* What room a page has.  A wrong answer, for want of a lock, does no harm. */
static Size
room_of(UmCounters *counters, BlockNumber block)
{
	Buffer		buffer = ReadBuffer(counters->relation, block);
	Size		room = PageGetHeapFreeSpace(BufferGetPage(buffer));

	ReleaseBuffer(buffer);
	return room;
}

/*
 * Says where a row is to go that has no place yet, or not any more: where the
 * last one went, to a page that was left, or to a new one.  The server would
 * make some hundred pages at once, if as many backends need one.
 */
static void
aim(UmCounters *counters, Size length)
{
	Size		need = Min(length + RelationGetTargetPageFreeSpace(counters->relation, 100),
						   MaxHeapTupleSize);
	BlockNumber block = RelationGetTargetBlock(counters->relation);
	Size		room;

	if (BlockNumberIsValid(block) && room_of(counters, block) >= need)
		return;
	block = take_vacated(counters, &room);
	if (!BlockNumberIsValid(block) || room < need)
		block = GetPageWithFreeSpace(counters->relation, need);
	if (!BlockNumberIsValid(block))
		block = extend(counters);
	RelationSetTargetBlock(counters->relation, block);
}

/* Opens the table of counters. */
void
um_counters_open(UmCounters *counters, LOCKMODE lockmode)
{
	counters->relation = table_open(um_relation(UM_QUOTA_USAGE), lockmode);
	counters->lockmode = lockmode;
	counters->nblocks = RelationGetNumberOfBlocks(counters->relation);
	counters->index = NULL;
	counters->index_info = NULL;
	counters->slot = NULL;

	if (places == NULL)
		places = MemoryContextAllocZero(TopMemoryContext, sizeof(Place) * WAYS * SETS);
	if (places_file != counters->relation->rd_rel->relfilenode)
	{
		memset(places, 0, sizeof(Place) * WAYS * SETS);
		places_file = counters->relation->rd_rel->relfilenode;
		nvacated = 0;
	}
	if (lockmode >= RowExclusiveLock)
		reclaim(counters);
}

/* Closes it; the mode is that of opening, or NoLock to keep the locks. */
void
um_counters_close(UmCounters *counters, LOCKMODE lockmode)
{
	if (counters->slot != NULL)
		ExecDropSingleTupleTableSlot(counters->slot);
	if (counters->index != NULL)
		index_close(counters->index, lockmode);
	table_close(counters->relation, lockmode);
}

/* Opens the index, if that has not been done. */
static Relation
need_index(UmCounters *counters)
{
	if (counters->index == NULL)
#if PG_VERSION_NUM >= 180000
		counters->index = index_open(RelationGetPrimaryKeyIndex(counters->relation, false),
									 counters->lockmode);
#else
		counters->index = index_open(RelationGetPrimaryKeyIndex(counters->relation),
									 counters->lockmode);
#endif
	return counters->index;
}

/* What is remembered of a row; NULL if nothing. */
static Place *
find_place(const UmPending *name, int slot)
{
	uint32		hash = hash_combine(name->hash, murmurhash32((uint32) slot));
	Place	   *set = places[hash % SETS];

	for (int i = 0; i < WAYS; i++)
		if (set[i].hash == hash && ItemPointerIsValid(&set[i].root))
			return &set[i];
	return NULL;
}

/* Remembers where a row is: its current version, and what the index points at. */
static void
remember_place(const UmPending *name, int slot, ItemPointer root, ItemPointer current)
{
	Place	   *place = find_place(name, slot);

	if (place == NULL)
	{
		uint32		hash = hash_combine(name->hash, murmurhash32((uint32) slot));

		place = places[hash % SETS];
		memmove(place + 1, place, sizeof(Place) * (WAYS - 1));
		place->hash = hash;
	}
	place->root = *root;
	place->last = ItemPointerGetOffsetNumber(current);
}

/* Remembers where a row is that was written. */
static void
remember_written(const UmCounterRow *row, HeapTuple tuple)
{
	Place	   *place;

	if (!HeapTupleIsHeapOnly(tuple))
		remember_place(row->name, row->slot, &tuple->t_self, &tuple->t_self);
	else if ((place = find_place(row->name, row->slot)) != NULL &&
			 ItemPointerGetBlockNumber(&place->root) == ItemPointerGetBlockNumber(&tuple->t_self))
		place->last = ItemPointerGetOffsetNumber(&tuple->t_self);
}

/* Takes a row apart; false if it is another's. */
static bool
read_tuple(UmCounters *counters, HeapTuple tuple, const UmPending *name, UmCounterRow *row)
{
	Datum		values[COL_COUNT];
	bool		nulls[COL_COUNT];
	text	   *subject;

	heap_deform_tuple(tuple, RelationGetDescr(counters->relation), values, nulls);
	subject = DatumGetTextPP(values[COL_SUBJECT - 1]);
	if (DatumGetInt64(values[COL_QUOTA_ID - 1]) != name->quota_id ||
		DatumGetTimestampTz(values[COL_PERIOD_START - 1]) != name->period_start ||
		(int) VARSIZE_ANY_EXHDR(subject) != name->subject.length ||
		memcmp(VARDATA_ANY(subject), name->subject.data, name->subject.length) != 0)
		return false;

	row->name = name;
	row->tuple = tuple;
	row->room = 0;
	row->taken = false;
	row->slot = DatumGetInt16(values[COL_SLOT - 1]);
	row->used = DatumGetNumeric(values[COL_USED - 1]);
	row->share = DatumGetNumeric(values[COL_SHARE - 1]);
	row->next_threshold = nulls[COL_NEXT_THRESHOLD - 1] ? NULL :
		DatumGetNumeric(values[COL_NEXT_THRESHOLD - 1]);
	row->revision = DatumGetInt64(values[COL_REVISION - 1]);
	return true;
}

/* Points a tuple at an item of a locked page, or at what it redirects to; false if there is none. */
static bool
point_at(UmCounters *counters, Buffer buffer, OffsetNumber offset, HeapTuple tuple)
{
	Page		page = BufferGetPage(buffer);
	ItemId		item;

	if (offset < FirstOffsetNumber || offset > PageGetMaxOffsetNumber(page))
		return false;
	item = PageGetItemId(page, offset);
	if (ItemIdIsRedirected(item))
	{
		offset = ItemIdGetRedirect(item);
		item = PageGetItemId(page, offset);
	}
	if (!ItemIdIsNormal(item))
		return false;
	tuple->t_data = (HeapTupleHeader) PageGetItem(page, item);
	tuple->t_len = ItemIdGetLength(item);
	tuple->t_tableOid = RelationGetRelid(counters->relation);
	ItemPointerSet(&tuple->t_self, BufferGetBlockNumber(buffer), offset);
	return true;
}

/*
 * Follows the versions of a row from one of them to the current one: that
 * which nobody has replaced, or is yet about to.  False if it is not found so.
 * Keeps *buffer locked and pinned, whichever page it gets to.
 */
static bool
follow(UmCounters *counters, Buffer *buffer, OffsetNumber offset, HeapTuple tuple, bool *taken)
{
	CommandId	command = GetCurrentCommandId(false);
	TransactionId replaced_by = InvalidTransactionId;
	ItemPointerData next;

	while (point_at(counters, *buffer, offset, tuple))
	{
		if (TransactionIdIsValid(replaced_by) &&
			!TransactionIdEquals(replaced_by, HeapTupleHeaderGetXmin(tuple->t_data)))
			return false;

		switch (HeapTupleSatisfiesUpdate(tuple, command, *buffer))
		{
			case TM_Ok:
				*taken = false;
				return true;
			case TM_BeingModified:
				*taken = true;
				return true;
			default:
				break;
		}

		/* deleted, or made by who has failed: that is not for here to tell */
		if ((tuple->t_data->t_infomask & HEAP_XMAX_INVALID) ||
			ItemPointerEquals(&tuple->t_self, &tuple->t_data->t_ctid) ||
			HeapTupleHeaderIndicatesMovedPartitions(tuple->t_data))
			return false;
		replaced_by = HeapTupleHeaderGetUpdateXid(tuple->t_data);
		next = tuple->t_data->t_ctid;
		offset = ItemPointerGetOffsetNumber(&next);
		if (ItemPointerGetBlockNumber(&next) != BufferGetBlockNumber(*buffer))
		{
			LockBuffer(*buffer, BUFFER_LOCK_UNLOCK);
			*buffer = ReleaseAndReadBuffer(*buffer, counters->relation,
										   ItemPointerGetBlockNumber(&next));
			LockBuffer(*buffer, BUFFER_LOCK_SHARE);
		}
	}
	return false;
}

/* Reads a row where it was last seen; false if it is not there any more. */
static bool
read_at_place(UmCounters *counters, const UmPending *name, int slot, UmCounterRow *row)
{
	Place	   *place = find_place(name, slot);
	BlockNumber block;
	Buffer		buffer;
	HeapTupleData tuple;
	HeapTuple	copy = NULL;
	bool		taken;
	Size		room;

	if (place == NULL)
		return false;
	block = ItemPointerGetBlockNumber(&place->root);
	if (block >= counters->nblocks)
		return false;

	buffer = ReadBuffer(counters->relation, block);
	/* a wrong answer, for want of a lock, does no harm */
	if (PageGetFreeSpace(BufferGetPage(buffer)) < PRUNE_BELOW)
		heap_page_prune_opt(counters->relation, buffer);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);

	/* the last version is the current one, if nobody else has written it */
	if (follow(counters, &buffer, place->last, &tuple, &taken))
		copy = heap_copytuple(&tuple);
	else if (BufferGetBlockNumber(buffer) == block &&
			 follow(counters, &buffer, ItemPointerGetOffsetNumber(&place->root), &tuple, &taken))
		copy = heap_copytuple(&tuple);
	room = PageGetHeapFreeSpace(BufferGetPage(buffer));
	UnlockReleaseBuffer(buffer);

	if (copy == NULL || !read_tuple(counters, copy, name, row) || row->slot != slot)
		return false;
	row->room = room;
	row->taken = taken;
	if (ItemPointerGetBlockNumber(&copy->t_self) == block)
		place->last = ItemPointerGetOffsetNumber(&copy->t_self);
	else
		remember_place(name, slot, &copy->t_self, &copy->t_self);
	return true;
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
	while (point_at(counters, buffer, offset, &tuple))
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
find_rows(UmCounters *counters, const UmPending *name, int slot, UmCounterRow *rows, int max)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	ScanKeyData keys[KEY_COUNT + 1];
	IndexScanDesc scan;
	ItemPointer tid;
	int			nkeys = KEY_COUNT;
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
	{
		ScanKeyInit(&keys[3], COL_SLOT, BTGreaterStrategyNumber, F_INT2GT,
					Int16GetDatum(UM_HEADER));
		ScanKeyInit(&keys[4], COL_SLOT, BTLessStrategyNumber, F_INT2LT,
					Int16GetDatum(UM_SLOTS + 1));
		nkeys = KEY_COUNT + 1;
	}

	/*
	 * Only index entries are asked for: what they lead to is looked at here,
	 * without predicate locks.  Backwards, for the later a version, the
	 * further behind it is, mostly; and each slot anew from its end.
	 */
	scan = index_beginscan(counters->relation, need_index(counters), SnapshotAny,
#if PG_VERSION_NUM >= 180000
						   NULL,
#endif
						   nkeys, 0);
	index_rescan(scan, keys, nkeys, NULL, 0);
	while (count < max && (tid = index_getnext_tid(scan, BackwardScanDirection)) != NULL)
	{
		ItemPointerData root = *tid;
		HeapTuple	tuple = visible_version(counters, &root, snapshot);

		CHECK_FOR_INTERRUPTS();
		if (tuple == NULL || !read_tuple(counters, tuple, name, &rows[count]))
			continue;
		remember_place(name, rows[count].slot, &root, &tuple->t_self);
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

/* Has another transaction written this version of the row, or is it about to? */
static bool
is_taken(UmCounters *counters, UmCounterRow *row)
{
	ItemPointer tid = &row->tuple->t_self;
	Buffer		buffer = ReadBuffer(counters->relation, ItemPointerGetBlockNumber(tid));
	HeapTupleData tuple;
	bool		taken;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	taken = !point_at(counters, buffer, ItemPointerGetOffsetNumber(tid), &tuple) ||
		HeapTupleSatisfiesUpdate(&tuple, GetCurrentCommandId(false), buffer) != TM_Ok;
	UnlockReleaseBuffer(buffer);
	return taken;
}

/* Reads the header or a slot of a counter as it is now; false if there is none. */
bool
um_counter_read(UmCounters *counters, const UmPending *name, int slot, UmCounterRow *row)
{
	if (read_at_place(counters, name, slot, row))
		return true;
	if (find_rows(counters, name, slot, row, 1) == 0)
		return false;
	row->taken = is_taken(counters, row);
	return true;
}

/* Reads all slots of a counter, in their order, into UM_SLOTS rows. */
int
um_counter_read_slots(UmCounters *counters, const UmPending *name, UmCounterRow *rows)
{
	return find_rows(counters, name, -1, rows, UM_SLOTS);
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
			return true;
		case TM_Deleted:
			return false;
		default:
			elog(ERROR, "unexpected result %d of locking a counter", (int) result);
	}
}

/* Makes a tuple of a row. */
static HeapTuple
make_tuple(UmCounters *counters, const UmCounterRow *row, Datum *values, bool *nulls)
{
	memset(nulls, false, sizeof(bool) * COL_COUNT);
	values[COL_QUOTA_ID - 1] = Int64GetDatum(row->name->quota_id);
	values[COL_SUBJECT - 1] = PointerGetDatum(cstring_to_text_with_len(row->name->subject.data,
																	   row->name->subject.length));
	values[COL_PERIOD_START - 1] = TimestampTzGetDatum(row->name->period_start);
	values[COL_SLOT - 1] = Int16GetDatum(row->slot);
	values[COL_USED - 1] = NumericGetDatum(row->used);
	values[COL_SHARE - 1] = NumericGetDatum(row->share);
	values[COL_NEXT_THRESHOLD - 1] = NumericGetDatum(row->next_threshold);
	nulls[COL_NEXT_THRESHOLD - 1] = row->next_threshold == NULL;
	values[COL_REVISION - 1] = Int64GetDatum(row->revision);
	return heap_form_tuple(RelationGetDescr(counters->relation), values, nulls);
}

/* Makes the index entry of a row, new or on another page; its values begin with the key. */
static void
insert_index_entry(UmCounters *counters, HeapTuple tuple, Datum *values, bool *nulls, bool is_new)
{
	need_index(counters);
	if (counters->index_info == NULL)
		counters->index_info = BuildIndexInfo(counters->index);
	/* where the row only moved there is nothing to check, and old entries may go */
	index_insert(counters->index, values, nulls, &tuple->t_self, counters->relation,
				 is_new ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO, !is_new, counters->index_info);
}

/* Writes a row over the very version that was read or locked, or returns false. */
static bool
update(UmCounters *counters, UmCounterRow *row)
{
	Datum		values[COL_COUNT];
	bool		nulls[COL_COUNT];
	HeapTuple	tuple = make_tuple(counters, row, values, nulls);
	TM_FailureData failure;
	LockTupleMode mode;
	TM_Result	result;
#if PG_VERSION_NUM >= 160000
	TU_UpdateIndexes update_indexes;
#endif

	if (row->room < MAXALIGN(tuple->t_len) &&
		room_of(counters, ItemPointerGetBlockNumber(&row->tuple->t_self)) < MAXALIGN(tuple->t_len))
		aim(counters, tuple->t_len);
	result = heap_update(counters->relation, &row->tuple->t_self, tuple,
						 GetCurrentCommandId(true), InvalidSnapshot, true, &failure, &mode
#if PG_VERSION_NUM >= 160000
						 ,&update_indexes
#endif
		);
	if (result != TM_Ok)
		return false;
	if (!HeapTupleIsHeapOnly(tuple))
	{
		insert_index_entry(counters, tuple, values, nulls, false);
		note_vacated(ItemPointerGetBlockNumber(&row->tuple->t_self));
	}
	remember_written(row, tuple);
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
	return !row->taken && update(counters, row);
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
	bool		nulls[COL_COUNT];

	row->name = name;
	row->tuple = make_tuple(counters, row, values, nulls);
	aim(counters, row->tuple->t_len);
	simple_heap_insert(counters->relation, row->tuple);
	insert_index_entry(counters, row->tuple, values, nulls, true);
	remember_written(row, row->tuple);
}

/* Deletes a row that um_counter_lock has locked. */
void
um_counter_delete(UmCounters *counters, UmCounterRow *row)
{
	simple_heap_delete(counters->relation, &row->tuple->t_self);
	note_vacated(ItemPointerGetBlockNumber(&row->tuple->t_self));
}
