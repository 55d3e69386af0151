/*
 * heap_row.c
 *		Locking and deleting rows of the extension's own tables through the heap
 *		directly, with what FOR NO KEY UPDATE and DELETE do about others.
 *
 * The latest snapshot has found them; but where the transaction keeps to its
 * own, it may not change what that does not see (see um_spi_modify_seen).
 */
#include "postgres.h"

#include "access/tableam.h"
#include "access/xact.h"
#include "base/compat.h"
#include "base/heap_row.h"
#include "catalog/pg_am.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/*
 * May rows of a table, whose columns are to be of these types, be written
 * through the heap?  Not if somebody has given it what the executor alone looks
 * after.
 */
bool
um_table_is_plain(Relation relation, const Oid *types)
{
	TupleDesc	desc = RelationGetDescr(relation);
	TupleConstr *constr = desc->constr;
	List	   *indexes;
	ListCell   *lc;
	bool		result;

	if (relation->rd_rel->relkind != RELKIND_RELATION || relation->rd_rel->relam != HEAP_TABLE_AM_OID ||
		relation->rd_rel->relhassubclass || relation->trigdesc != NULL || relation->rd_rules != NULL ||
		(constr != NULL && (constr->num_check > 0 || constr->has_generated_stored)))
		return false;
	for (int i = 0; i < desc->natts; i++)
		if (TupleDescAttr(desc, i)->atttypid != types[i] || TupleDescAttr(desc, i)->atttypmod != -1)
			return false;

	indexes = RelationGetIndexList(relation);
	result = true;
	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		result &= !index->rd_index->indisexclusion;
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return result;
}

pg_noreturn static void
refuse_concurrent(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access due to concurrent update")));
}

/*
 * Locks the row in a slot, and reads into it what that has become; false if it
 * is gone.
 */
bool
um_heap_lock(Relation relation, Snapshot snapshot, TupleTableSlot *slot)
{
	bool		keeps = IsolationUsesXactSnapshot();
	ItemPointerData tid = slot->tts_tid;
	TM_FailureData failure;
	TM_Result	result;

	if (keeps && !table_tuple_satisfies_snapshot(relation, slot, GetTransactionSnapshot()))
		refuse_concurrent();
	result = table_tuple_lock(relation, &tid, snapshot, slot, GetCurrentCommandId(false),
							  LockTupleNoKeyExclusive, LockWaitBlock,
							  keeps ? 0 : TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);
	if (keeps && (result == TM_Updated || result == TM_Deleted))
		refuse_concurrent();
	return result == TM_Ok;
}

/* Deletes a row; false if somebody else has changed it, so that it is to be looked for again. */
bool
um_heap_delete(Relation relation, ItemPointer tid, Snapshot snapshot)
{
	bool		keeps = IsolationUsesXactSnapshot();
	TM_FailureData failure;
	TM_Result	result = table_tuple_delete(relation, tid, GetCurrentCommandId(true), snapshot,
											keeps ? GetTransactionSnapshot() : InvalidSnapshot,
											true, &failure, false);

	if (keeps && (result == TM_Updated || result == TM_Deleted))
		refuse_concurrent();
	return result != TM_Updated;
}
