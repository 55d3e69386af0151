/*
 * counter_place.c
 *		Where the rows of counters are.
 *
 * The backend remembers where it found a row, and looks there first: the index
 * has an entry for each page that a row has been on, and while a transaction
 * is held open none of them goes away.  To ask it each time would make a tenth
 * more of an INSERT with two quotas, even where there is but one entry
 * (test/bench/instructions).
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "counter/counter_place.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* of rows of the same last bits of the hash, so many are remembered, the latest first */
#define WAYS 4
#define SETS 2048

static UmPlace (*places)[WAYS];
static Oid	places_file;		/* of which they are */

/* Forgets all places, if the table is another one now. */
void
um_places_begin(Relation relation)
{
	if (places == NULL)
		places = MemoryContextAllocZero(TopMemoryContext, sizeof(UmPlace) * WAYS * SETS);
	if (places_file != relation->rd_rel->relfilenode)
	{
		memset(places, 0, sizeof(UmPlace) * WAYS * SETS);
		places_file = relation->rd_rel->relfilenode;
	}
}

/* What is remembered of a row; NULL if nothing. */
UmPlace *
um_place_find(const UmCounterName *name, int slot)
{
	uint32		hash = hash_combine(name->hash, murmurhash32((uint32) slot));
	UmPlace    *set = places[hash % SETS];

	for (int i = 0; i < WAYS; i++)
		if (set[i].hash == hash && ItemPointerIsValid(&set[i].root))
			return &set[i];
	return NULL;
}

/* Remembers where a row is: its current version, and what the index points at. */
void
um_place_remember(const UmCounterName *name, int slot, ItemPointer root, ItemPointer current)
{
	UmPlace    *place = um_place_find(name, slot);

	if (place == NULL)
	{
		uint32		hash = hash_combine(name->hash, murmurhash32((uint32) slot));

		place = places[hash % SETS];
		memmove(place + 1, place, sizeof(UmPlace) * (WAYS - 1));
		place->hash = hash;
	}
	place->root = *root;
	place->last = ItemPointerGetOffsetNumber(current);
}

/* Remembers where a row is that was written. */
void
um_place_written(const UmCounterName *name, int slot, HeapTuple tuple)
{
	UmPlace    *place;

	if (!HeapTupleIsHeapOnly(tuple))
		um_place_remember(name, slot, &tuple->t_self, &tuple->t_self);
	else if ((place = um_place_find(name, slot)) != NULL &&
			 ItemPointerGetBlockNumber(&place->root) == ItemPointerGetBlockNumber(&tuple->t_self))
		place->last = ItemPointerGetOffsetNumber(&tuple->t_self);
}

/* Points a tuple at an item of a locked page, or at what it redirects to; false if there is none. */
bool
um_place_point_at(Relation relation, Buffer buffer, OffsetNumber offset, HeapTuple tuple)
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
	tuple->t_tableOid = RelationGetRelid(relation);
	ItemPointerSet(&tuple->t_self, BufferGetBlockNumber(buffer), offset);
	return true;
}

/*
 * Follows the versions of a row from one of them to the current one: that
 * which nobody has replaced, or is yet about to.  False if it is not found so.
 * Keeps *buffer locked and pinned, whichever page it gets to.
 */
bool
um_place_follow(Relation relation, BlockNumber nblocks, Buffer *buffer, int lockmode,
				OffsetNumber offset, HeapTuple tuple, bool *taken)
{
	CommandId	command = GetCurrentCommandId(false);
	TransactionId replaced_by = InvalidTransactionId;
	ItemPointerData next;

	while (um_place_point_at(relation, *buffer, offset, tuple))
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
			/* VACUUM may have dropped the version that it leads to, and its page with it */
			if (ItemPointerGetBlockNumber(&next) >= nblocks)
				return false;
			LockBuffer(*buffer, BUFFER_LOCK_UNLOCK);
			*buffer = ReleaseAndReadBuffer(*buffer, relation,
										   ItemPointerGetBlockNumber(&next));
			LockBuffer(*buffer, lockmode);
		}
	}
	return false;
}
