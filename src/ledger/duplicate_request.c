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
#include "base/ledger_columns.h"
#include "catalog/partition.h"
#include "catalog/pg_collation.h"
#include "executor/tuptable.h"
#include "ledger/duplicate_request.h"
#include "miscadmin.h"
#include "partitioning/partdesc.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* record() is inserting: it replaces whatever call has the request. */
bool		um_request_any_is_retry = false;

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
						   PointerGetDatum(cstring_to_text_with_len(org.data, org.length)));
	ScanKeyEntryInitialize(&keys[1], 0, 2, BTEqualStrategyNumber, InvalidOid,
						   C_COLLATION_OID, F_TEXTEQ,
						   PointerGetDatum(cstring_to_text_with_len(request_id.data, request_id.length)));
	do
	{
		SnapshotData dirty;
		IndexScanDesc scan;

		InitDirtySnapshot(dirty);
		scan = index_beginscan(partition, index, &dirty,
#if PG_VERSION_NUM >= 180000
							   NULL,
#endif
							   2, 0);
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

/* Do both rows tell of the same use of the same model? */
static bool
same_call(Relation a, HeapTuple row_a, Relation b, HeapTuple row_b)
{
	static const UmColumn compared[] = {
		UM_COL_MODEL, UM_COL_INPUT_TOKENS, UM_COL_OUTPUT_TOKENS
	};

	for (int i = 0; i < (int) lengthof(compared); i++)
	{
		AttrNumber	att_a = um_columns(a)->attnum[compared[i]];
		AttrNumber	att_b = um_columns(b)->attnum[compared[i]];
		Form_pg_attribute form = TupleDescAttr(RelationGetDescr(a), att_a - 1);
		bool		null_a,
					null_b;
		Datum		value_a = heap_getattr(row_a, att_a, RelationGetDescr(a), &null_a);
		Datum		value_b = heap_getattr(row_b, att_b, RelationGetDescr(b), &null_b);

		if (null_a != null_b ||
			(!null_a && !datum_image_eq(value_a, value_b, form->attbyval, form->attlen)))
			return false;
	}
	return true;
}

/*
 * Is the request in another partition already?  True for a retry of the same
 * call, which is then passed over; another call of the same name is refused.
 */
bool
um_request_is_retry(Relation relation, HeapTuple row, UmString org, UmString request_id)
{
	Relation	parent;
	PartitionDesc partitions;
	bool		is_retry = false;

	if (request_id.data == NULL || !relation->rd_rel->relispartition)
		return false;

	parent = table_open(get_partition_parent(RelationGetRelid(relation), false), AccessShareLock);
	partitions = RelationGetPartitionDesc(parent, true);
	for (int i = 0; i < partitions->nparts && !is_retry; i++)
	{
		Relation	sibling;
		HeapTuple	twin;
		Oid			index;

		if (partitions->oids[i] == RelationGetRelid(relation))
			continue;
		sibling = table_open(partitions->oids[i], AccessShareLock);
		index = um_columns(sibling)->request_index;
		if (!OidIsValid(index))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("partition \"%s\" has no unique index over (org, request_id)",
							RelationGetRelationName(sibling)),
					 errhint("Make partitions with LIKE usage_monitor.usage_default INCLUDING ALL.")));
		twin = find_request(sibling, index, org, request_id);
		if (twin != NULL)
		{
			if (!um_request_any_is_retry && !same_call(relation, row, sibling, twin))
				ereport(ERROR,
						(errcode(ERRCODE_UNIQUE_VIOLATION),
						 errmsg("request \"%s\" of organisation \"%s\" is already recorded, as another call",
								pnstrdup(request_id.data, request_id.length),
								pnstrdup(org.data, org.length)),
						 errhint("A request_id names one call of an organisation. record() replaces an earlier version.")));
			is_retry = true;
		}
		table_close(sibling, NoLock);
	}
	table_close(parent, NoLock);
	return is_retry;
}
