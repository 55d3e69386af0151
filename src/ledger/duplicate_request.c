/*
 * duplicate_request.c
 *		Recognising a request that is in the ledger already.
 *
 * Within a partition its unique index does that.  The parent has none (a
 * user's partition could not be restored then), so a retry whose time falls
 * into another partition is looked for there.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/catalog.h"
#include "base/compat.h"
#include "base/ledger_columns.h"
#include "base/limits.h"
#include "catalog/pg_collation.h"
#include "common/hashfn.h"
#include "executor/tuptable.h"
#include "ledger/duplicate_request.h"
#include "miscadmin.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/*
 * record() is inserting, at this depth of triggers: it replaces whatever call
 * has the request.  What a user's trigger inserts meanwhile is deeper.
 */
static int	replacing = -1;

/*
 * A row that is about to be stored in one partition is not seen by who looks
 * there for one in another.  So a request is locked from the look until its row
 * is in: who looks next finds it, and waits for its transaction.  One lock at a
 * time suffices, however many rows there are, for the row before is in when the
 * next one comes; but triggers of a row can store others before it is in.
 */
typedef struct Held
{
	LOCKTAG		tag;
	int			depth;			/* of triggers */
	int			level;			/* of subtransactions */
} Held;

static Held held[8];
static int	nheld;

/* How many triggers are running, one in another. */
static int
trigger_depth(void)
{
	return DatumGetInt32(DirectFunctionCall1(pg_trigger_depth, (Datum) 0));
}

/* The caller's INSERT replaces whatever call has the request; returns what to give to um_request_replaced(). */
int
um_request_replace(void)
{
	int			outer = replacing;

	replacing = trigger_depth() + 1;
	return outer;
}

/* It has been done. */
void
um_request_replaced(int outer)
{
	replacing = outer;
}

/* Lets go of the last lock. */
static void
release_last(void)
{
	nheld--;
	(void) LockRelease(&held[nheld].tag, ExclusiveLock, true);
}

/* The rows before are stored: lets go of their locks. */
void
um_request_stored(void)
{
	if (nheld == 0)
		return;
	while (nheld > 0 && held[nheld - 1].depth >= trigger_depth())
		release_last();
}

/* Lets nobody else look for the request until the row is stored. */
static void
lock_request(UmString org, UmString request_id)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) request_id.data,
										   request_id.length,
										   hash_bytes((const unsigned char *) org.data, org.length));
	Held		next = {.depth = trigger_depth(), .level = GetCurrentTransactionNestLevel()};

	um_request_stored();
	if (nheld == lengthof(held))
		ereport(ERROR,
				(errcode(ERRCODE_STATEMENT_TOO_COMPLEX),
				 errmsg("triggers record calls more than %d deep", (int) lengthof(held)),
				 errhint("Let a trigger of the ledger not record what fires it again.")));
	/* field 4 is 1 or 2 for the locks of SQL's advisory functions */
	SET_LOCKTAG_ADVISORY(next.tag, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash, 0x5552);
	/* the session's: it is let go before the transaction ends, in whatever part of that */
	(void) LockAcquire(&next.tag, ExclusiveLock, true, false);
	held[nheld++] = next;
}

/* A nesting level of the transaction ends: what failed in it stores nothing. */
void
um_request_end_level(bool committed)
{
	int			level = GetCurrentTransactionNestLevel();

	for (int i = nheld - 1; i >= 0 && held[i].level >= level; i--)
		if (committed)
			held[i].level = level - 1;
		else
			release_last();
}

/* The transaction is over. */
void
um_request_forget(void)
{
	while (nheld > 0)
		release_last();
}

/* Refuses a partition that cannot tell whether it has a request already. */
static void
refuse_partition(Relation partition)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("partition \"%s\" has no unique index over (org, request_id)",
					RelationGetRelationName(partition)),
			 errhint("Run CREATE UNIQUE INDEX ON %s (org, request_id) WHERE request_id IS NOT NULL; or make partitions with LIKE usage_monitor.usage_default INCLUDING ALL.",
					 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(partition)),
												RelationGetRelationName(partition)))));
}

/* Refuses a partition without that index, before it gets a row. */
void
um_request_check_partition(Relation partition)
{
	if (partition->rd_rel->relispartition && !OidIsValid(um_columns(partition)->request_index))
		refuse_partition(partition);
}

/*
 * Finds the request in a partition, whether or not its transaction has
 * committed: one in flight is waited for.
 */
static HeapTuple
find_request(Relation partition, Oid index_oid, UmString org, UmString request_id)
{
	Relation	index = index_open(index_oid, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(partition, NULL);
	ScanKeyData keys[2];
	HeapTuple	result = NULL;
	TransactionId in_flight;

	ScanKeyEntryInitialize(&keys[0], 0, 1, BTEqualStrategyNumber, InvalidOid,
						   C_COLLATION_OID, F_TEXTEQ,
						   um_string_text(org));
	ScanKeyEntryInitialize(&keys[1], 0, 2, BTEqualStrategyNumber, InvalidOid,
						   C_COLLATION_OID, F_TEXTEQ,
						   um_string_text(request_id));
	do
	{
		SnapshotData dirty;
		IndexScanDesc scan;

		InitDirtySnapshot(dirty);
		scan = index_beginscan(partition, index, &dirty, NULL, 2, 0);
		index_rescan(scan, keys, 2, NULL, 0);
		in_flight = InvalidTransactionId;
		if (index_getnext_slot(scan, ForwardScanDirection, slot))
		{
			in_flight = TransactionIdIsValid(dirty.xmin) ? dirty.xmin : dirty.xmax;
			if (!TransactionIdIsValid(in_flight))
				result = ExecCopySlotHeapTuple(slot);
		}
		ExecClearTuple(slot);
		index_endscan(scan);
		if (TransactionIdIsValid(in_flight))
			XactLockTableWait(in_flight, NULL, NULL, XLTW_None);
	} while (TransactionIdIsValid(in_flight));

	ExecDropSingleTupleTableSlot(slot);
	index_close(index, NoLock);
	return result;
}

/* Do both rows, one that is about to be stored and one that is, tell of the same use of the same model? */
static bool
same_call(const UmRow *row, Relation sibling, HeapTuple twin)
{
	static const UmColumn compared[] = {
		UM_COL_MODEL, UM_COL_INPUT_TOKENS, UM_COL_OUTPUT_TOKENS
	};

	for (int i = 0; i < (int) lengthof(compared); i++)
	{
		int			att = row->columns->attnum[compared[i]] - 1;
		Form_pg_attribute form = TupleDescAttr(row->desc, att);
		bool		isnull;
		Datum		value = heap_getattr(twin, um_columns(sibling)->attnum[compared[i]],
										 RelationGetDescr(sibling), &isnull);

		if (row->nulls[att] != isnull ||
			(!isnull && !datum_image_eq(row->values[att], value, form->attbyval, form->attlen)))
			return false;
	}
	return true;
}

/* Is a time before the end of a partition, the boundary after which is the one of that number? */
static bool
ends_after(PartitionBoundInfo bounds, int boundary, TimestampTz ts)
{
	return boundary == bounds->ndatums ||
		bounds->kind[boundary][0] == PARTITION_RANGE_DATUM_MAXVALUE ||
		(bounds->kind[boundary][0] == PARTITION_RANGE_DATUM_VALUE &&
		 ts < DatumGetTimestampTz(bounds->datums[boundary][0]));
}

/* Opens a partition, if it is another one. */
static List *
open_sibling(List *siblings, Oid relid, Relation relation)
{
	return relid == RelationGetRelid(relation) ? siblings :
		lappend(siblings, table_open(relid, AccessShareLock));
}

/*
 * The other partitions beside this one that have times within the window of
 * that one, opened; none where there is but one.
 */
static List *
open_siblings(Relation relation, TimestampTz ts)
{
	Relation	ledger = table_open(um_relation(UM_USAGE), AccessShareLock);
	PartitionDesc partitions = RelationGetPartitionDesc(ledger, true);
	PartitionBoundInfo bounds = partitions->boundinfo;
	int64		window = (int64) um_request_id_window * SECS_PER_MINUTE * USECS_PER_SEC;
	TimestampTz from = window == 0 ? DT_NOBEGIN : ts - window;
	TimestampTz until = window == 0 ? DT_NOEND : ts + window;
	List	   *siblings = NIL;

	/* between two boundaries is a partition, or nothing */
	for (int i = 0; i <= bounds->ndatums; i++)
		if (bounds->indexes[i] >= 0 && ends_after(bounds, i, from) &&
			!(i > 0 && ends_after(bounds, i - 1, until)))
			siblings = open_sibling(siblings, partitions->oids[bounds->indexes[i]], relation);
	if (partition_bound_has_default(bounds))
		siblings = open_sibling(siblings, partitions->oids[bounds->default_index], relation);
	table_close(ledger, NoLock);
	return siblings;
}

/*
 * Is the request in another partition already?  True for a retry of the same
 * call, which is then passed over; another call of the same name is refused.
 * If not, nobody else finds that out until the row is stored.
 */
bool
um_request_is_retry(Relation relation, const UmRow *row)
{
	UmString	org = um_row_text(row, UM_COL_ORG);
	UmString	request_id = um_row_text(row, UM_COL_REQUEST_ID);
	List	   *siblings;
	ListCell   *lc;
	bool		is_retry = false;

	if (request_id.data == NULL || !relation->rd_rel->relispartition)
		return false;

	siblings = open_siblings(relation, DatumGetTimestampTz(VALUE(row, TS)));
	if (siblings != NIL)
		lock_request(org, request_id);
	foreach(lc, siblings)
	{
		Relation	sibling = lfirst(lc);
		Oid			index;
		HeapTuple	twin;

		/* what is no table has no rows that are ours: see um_columns() */
		if (is_retry || sibling->rd_rel->relkind != RELKIND_RELATION ||
			RelationGetNumberOfBlocks(sibling) == 0)
			continue;
		index = um_columns(sibling)->request_index;
		if (!OidIsValid(index))
			refuse_partition(sibling);
		twin = find_request(sibling, index, org, request_id);
		if (twin != NULL)
		{
			if (replacing != trigger_depth() && !same_call(row, sibling, twin))
				ereport(ERROR,
						(errcode(ERRCODE_UNIQUE_VIOLATION),
						 errmsg("request \"%s\" of organisation \"%s\" is already recorded, as another call",
								pnstrdup(request_id.data, request_id.length),
								pnstrdup(org.data, org.length)),
						 errhint("A request_id names one call of an organisation. record() replaces an earlier version.")));
			is_retry = true;
		}
	}
	foreach(lc, siblings)
		table_close((Relation) lfirst(lc), NoLock);
	list_free(siblings);
	if (is_retry)
		um_request_stored();
	return is_retry;
}

/*
 * The row of a request may move to another partition: who looks into one after
 * the other, meanwhile, would find it in none.
 */
void
um_request_moves(Relation relation, const UmRow *row)
{
	UmString	org = um_row_text(row, UM_COL_ORG);
	UmString	request_id = um_row_text(row, UM_COL_REQUEST_ID);
	Relation	ledger;

	if (request_id.data == NULL || !relation->rd_rel->relispartition)
		return;
	ledger = table_open(um_relation(UM_USAGE), AccessShareLock);
	if (RelationGetPartitionDesc(ledger, true)->nparts > 1)
		lock_request(org, request_id);
	table_close(ledger, NoLock);
}
