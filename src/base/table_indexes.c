/*
 * table_indexes.c
 *		The indexes of a table whose rows are written through the heap directly.
 *
 * Who writes so does what ExecInsertIndexTuples does: a row goes into every
 * index that is ready for it, also into those that somebody has added, and
 * while one is rebuilt concurrently, into both.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/stratnum.h"
#include "access/tableam.h"
#include "base/catalog.h"
#include "base/compat.h"
#include "base/table_indexes.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(usage_monitor_unindexed);

/* Opens the indexes of a table. */
void
um_indexes_open(UmIndexes *indexes, Relation relation)
{
	indexes->relation = CatalogOpenIndexes(relation);
	indexes->estate = NULL;
	indexes->slot = MakeSingleTupleTableSlot(RelationGetDescr(relation), &TTSOpsHeapTuple);
	indexes->context = CurrentMemoryContext;
}

/* Closes them. */
void
um_indexes_close(UmIndexes *indexes)
{
	ExecDropSingleTupleTableSlot(indexes->slot);
	if (indexes->estate != NULL)
		FreeExecutorState(indexes->estate);
	CatalogCloseIndexes(indexes->relation);
}

/* Where expressions of a row are evaluated. */
static ExprContext *
expressions_of(UmIndexes *indexes, TupleTableSlot *row)
{
	ExprContext *context;

	if (indexes->estate == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(indexes->context);

		indexes->estate = CreateExecutorState();
		MemoryContextSwitchTo(old);
	}
	context = GetPerTupleExprContext(indexes->estate);
	ResetExprContext(context);
	context->ecxt_scantuple = row;
	return context;
}

/* Makes a row's entry of an index; false if that is to have none. */
bool
um_index_form(UmIndexes *indexes, int i, TupleTableSlot *row, UmIndexing indexing,
			  Datum *values, bool *nulls)
{
	IndexInfo  *info = indexes->relation->ri_IndexRelationInfo[i];

	/* one that is being made concurrently may not want it yet */
	if (!info->ii_ReadyForInserts)
		return false;
#if PG_VERSION_NUM >= 160000
	if (indexing == UM_INDEX_SUMMARY && !info->ii_Summarizing)
		return false;
#endif
	if (info->ii_Predicate != NIL || info->ii_Expressions != NIL)
	{
		ExprContext *context = expressions_of(indexes, row);

		if (info->ii_PredicateState == NULL)
			info->ii_PredicateState = ExecPrepareQual(info->ii_Predicate, indexes->estate);
		if (!ExecQual(info->ii_PredicateState, context))
			return false;
	}
	FormIndexDatum(info, row, indexes->estate, values, nulls);
	return true;
}

/* Puts an entry into an index. */
void
um_index_put(UmIndexes *indexes, int i, Datum *values, bool *nulls, ItemPointer tid,
			 UmIndexing indexing)
{
	Relation	index = indexes->relation->ri_IndexRelationDescs[i];

	/* where the row only moved, old entries may go */
	index_insert(index, values, nulls, tid, indexes->relation->ri_RelationDesc,
				 index->rd_index->indisunique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO,
				 indexing != UM_INDEX_NEW, indexes->relation->ri_IndexRelationInfo[i]);
}

/* Puts a row that was written into the indexes. */
void
um_indexes_put(UmIndexes *indexes, HeapTuple row, UmIndexing indexing)
{
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];

	if (indexing == UM_INDEX_NONE)
		return;
	ExecStoreHeapTuple(row, indexes->slot, false);
	for (int i = 0; i < indexes->relation->ri_NumIndices; i++)
		if (um_index_form(indexes, i, indexes->slot, indexing, values, nulls))
			um_index_put(indexes, i, values, nulls, &row->t_self, indexing);
	ExecClearTuple(indexes->slot);
}

/* Writes a row in place of one that nobody else is writing; returns which indexes are to have it. */
UmIndexing
um_heap_update(Relation relation, ItemPointer tid, HeapTuple row)
{
#if PG_VERSION_NUM >= 160000
	TU_UpdateIndexes indexes;

	simple_heap_update(relation, tid, row, &indexes);
	return indexes == TU_All ? UM_INDEX_MOVED :
		indexes == TU_Summarizing ? UM_INDEX_SUMMARY : UM_INDEX_NONE;
#else
	simple_heap_update(relation, tid, row);
	return HeapTupleIsHeapOnly(row) ? UM_INDEX_NONE : UM_INDEX_MOVED;
#endif
}

/* Has an index, a tree over columns alone, an entry of the row in the slot?  Others are not looked into. */
static bool
is_indexed(Relation relation, Relation index, Snapshot snapshot, TupleTableSlot *row,
		   TupleTableSlot *found)
{
	int			nkeys = index->rd_index->indnkeyatts;
	ScanKeyData keys[INDEX_MAX_KEYS];
	IndexScanDesc scan;
	bool		result = false;

	for (int k = 0; k < nkeys; k++)
	{
		bool		isnull;
		Datum		value = slot_getattr(row, index->rd_index->indkey.values[k], &isnull);
		Oid			type = index->rd_opcintype[k];
		Oid			operator = get_opfamily_member(index->rd_opfamily[k], type, type,
												   BTEqualStrategyNumber);

		if (!OidIsValid(operator))
			elog(ERROR, "missing equality of type %u in operator family %u", type,
				 index->rd_opfamily[k]);
		ScanKeyEntryInitialize(&keys[k], isnull ? SK_ISNULL | SK_SEARCHNULL : 0, k + 1,
							   isnull ? InvalidStrategy : BTEqualStrategyNumber,
							   isnull ? InvalidOid : type, index->rd_indcollation[k],
							   isnull ? InvalidOid : get_opcode(operator), value);
	}
	scan = index_beginscan(relation, index, snapshot, NULL, nkeys, 0);
	index_rescan(scan, keys, nkeys, NULL, 0);
	while (!result && index_getnext_slot(scan, ForwardScanDirection, found))
		result = ItemPointerEquals(&found->tts_tid, &row->tts_tid);
	index_endscan(scan);
	return result;
}

/* _unindexed(table): the rows that an index of it lacks, as the statement's snapshot sees them. */
Datum
usage_monitor_unindexed(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Relation	relation = try_relation_open(PG_GETARG_OID(0), AccessShareLock);
	Snapshot	snapshot = GetActiveSnapshot();
	TupleTableSlot *row;
	TupleTableSlot *found;
	List	   *indexes;
	ListCell   *lc;

	if (relation == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("there is no table with OID %u", PG_GETARG_OID(0))));
	if (relation->rd_rel->relkind != RELKIND_RELATION ||
		RelationGetNamespace(relation) != get_namespace_oid(UM_PRIVATE_SCHEMA, false))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table of schema \"%s\"",
						RelationGetRelationName(relation), UM_PRIVATE_SCHEMA),
				 errhint("Name one that usage_monitor writes by itself, such as _usage_monitor._counter_row.")));
	InitMaterializedSRF(fcinfo, 0);
	row = table_slot_create(relation, NULL);
	found = table_slot_create(relation, NULL);
	indexes = RelationGetIndexList(relation);
	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		TableScanDesc scan;

		/* one that is not valid yet may lack rows, and nobody reads it */
		if (index->rd_index->indisvalid && index->rd_rel->relam == BTREE_AM_OID &&
			RelationGetIndexExpressions(index) == NIL && RelationGetIndexPredicate(index) == NIL)
		{
			scan = table_beginscan(relation, snapshot, 0, NULL);
			while (table_scan_getnextslot(scan, ForwardScanDirection, row))
			{
				Datum		values[2];
				bool		nulls[2] = {0};

				CHECK_FOR_INTERRUPTS();
				if (is_indexed(relation, index, snapshot, row, found))
					continue;
				values[0] = CStringGetTextDatum(RelationGetRelationName(index));
				values[1] = PointerGetDatum(&row->tts_tid);
				tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
			}
			table_endscan(scan);
		}
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	ExecDropSingleTupleTableSlot(found);
	ExecDropSingleTupleTableSlot(row);
	relation_close(relation, AccessShareLock);
	return (Datum) 0;
}
