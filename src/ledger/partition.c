/*
 * partition.c
 *		Moving calls from the default partition into one of their month.
 *
 * A call that moves stays what it is: nothing is checked, priced or counted,
 * and its transaction's number stays, by which rollups know it.  So it goes
 * from heap to heap, past all triggers.  Between, the partition is attached:
 * the default one must not have such rows any more then, and what comes after
 * is a row of the ledger to whoever decodes it (a subscriber would miss it
 * otherwise).
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/heaptoast.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/tupconvert.h"
#include "access/xact.h"
#include "base/catalog.h"
#include "base/compat.h"
#include "base/table_indexes.h"
#include "catalog/indexing.h"
#include "catalog/objectaccess.h"
#include "catalog/objectaddress.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(usage_monitor_move_calls);
PG_FUNCTION_INFO_V1(usage_monitor_trust_constraint);

static UmQuery find_calls = {
	.text = "SELECT ctid FROM ONLY usage_monitor.usage_default WHERE ts >= $1 AND ts < $2",
	.argtypes = {TIMESTAMPTZOID, TIMESTAMPTZOID}
};

/* The calls that were found, and their rows once they are taken. */
typedef struct Calls
{
	MemoryContext context;
	ItemPointerData *tids;
	int64		count;
	int64		allocated;
	Tuplestorestate *rows;
} Calls;

/* Only the owner does this, however it came to be granted. */
static void
check_is_owner(const char *name)
{
	if (!has_privs_of_role(GetUserId(), um_owner()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("only the owner of the ledger may call %s", name)));
}

/* Notes where a call is. */
static void
note_call(void *arg, TupleTableSlot *slot)
{
	Calls	   *calls = arg;

	if (calls->count == calls->allocated)
	{
		calls->allocated *= 2;
		calls->tids = repalloc_huge(calls->tids, sizeof(ItemPointerData) * calls->allocated);
	}
	calls->tids[calls->count++] = *(ItemPointer) DatumGetPointer(slot->tts_values[0]);
}

/* Takes the calls out of the default partition. */
static void
take_calls(Calls *calls, Relation source)
{
	TupleTableSlot *slot = table_slot_create(source, NULL);
	MemoryContext row_context = AllocSetContextCreate(calls->context, "usage_monitor row",
													  ALLOCSET_DEFAULT_SIZES);

	for (int64 i = 0; i < calls->count; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(row_context);
		HeapTuple	tuple;

		CHECK_FOR_INTERRUPTS();
		if (!table_tuple_fetch_row_version(source, &calls->tids[i], GetActiveSnapshot(), slot))
			elog(ERROR, "a call of a locked table disappeared");
		tuple = ExecFetchSlotHeapTuple(slot, false, NULL);
		/* what is stored beside the row goes with it */
		if (HeapTupleHasExternal(tuple))
			tuple = toast_flatten_tuple(tuple, RelationGetDescr(source));
		tuplestore_puttuple(calls->rows, tuple);
		ExecClearTuple(slot);
		simple_heap_delete(source, &calls->tids[i]);
		MemoryContextSwitchTo(old);
		MemoryContextReset(row_context);
	}
	MemoryContextDelete(row_context);
	ExecDropSingleTupleTableSlot(slot);
}

/* Puts them into the partition, which may have its columns in another order. */
static void
put_calls(Calls *calls, TupleDesc source, Relation target)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(source, &TTSOpsMinimalTuple);
	TupleConversionMap *map = convert_tuples_by_name(source, RelationGetDescr(target));
	BulkInsertState bulk = GetBulkInsertState();
	MemoryContext row_context = AllocSetContextCreate(calls->context, "usage_monitor row",
													  ALLOCSET_DEFAULT_SIZES);
	UmIndexes	indexes;

	um_indexes_open(&indexes, target);
	while (tuplestore_gettupleslot(calls->rows, true, false, slot))
	{
		MemoryContext old = MemoryContextSwitchTo(row_context);
		HeapTuple	tuple = ExecFetchSlotHeapTuple(slot, false, NULL);

		CHECK_FOR_INTERRUPTS();
		if (map != NULL)
			tuple = execute_attr_map_tuple(tuple, map);
		heap_insert(target, tuple, GetCurrentCommandId(true), 0, bulk);
		um_indexes_put(&indexes, tuple, UM_INDEX_NEW);
		MemoryContextSwitchTo(old);
		MemoryContextReset(row_context);
	}
	um_indexes_close(&indexes);
	FreeBulkInsertState(bulk);
	MemoryContextDelete(row_context);
	ExecDropSingleTupleTableSlot(slot);
}

/* _move_calls(partition, since, before, attach): see sql/ledger/partitions.sql. */
Datum
usage_monitor_move_calls(PG_FUNCTION_ARGS)
{
	Oid			partition = PG_GETARG_OID(0);
	char	   *attach = text_to_cstring(PG_GETARG_TEXT_PP(3));
	Datum		range[2] = {PG_GETARG_DATUM(1), PG_GETARG_DATUM(2)};
	Calls		calls = {.context = CurrentMemoryContext, .allocated = 1024};
	Relation	source;
	Relation	target;
	TupleDesc	desc;
	UmSpi		spi;

	check_is_owner("_move_calls()");
	source = table_open(um_relation(UM_USAGE_DEFAULT), AccessShareLock);
	if (!CheckRelationLockedByMe(source, AccessExclusiveLock, false))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the default partition is not locked"),
				 errhint("LOCK TABLE usage_monitor.usage IN ACCESS EXCLUSIVE MODE.")));

	calls.tids = palloc(sizeof(ItemPointerData) * calls.allocated);
	calls.rows = tuplestore_begin_heap(false, false, maintenance_work_mem);
	desc = CreateTupleDescCopy(RelationGetDescr(source));
	PushActiveSnapshot(GetLatestSnapshot());
	um_spi_begin(&spi);
	um_spi_stream(&find_calls, range, note_call, &calls);
	um_spi_end(&spi);
	take_calls(&calls, source);
	PopActiveSnapshot();
	table_close(source, NoLock);
	CommandCounterIncrement();

	um_spi_begin(&spi);
	if (SPI_execute(attach, false, 0) < 0)
		elog(ERROR, "the partition cannot be attached");
	um_spi_end(&spi);
	CommandCounterIncrement();

	target = table_open(partition, RowExclusiveLock);
	if (target->rd_rel->relkind != RELKIND_RELATION || !target->rd_rel->relispartition ||
		get_partition_parent(partition, false) != um_relation(UM_USAGE))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a partition of the ledger with rows of its own",
						RelationGetRelationName(target))));
	put_calls(&calls, desc, target);
	table_close(target, NoLock);
	tuplestore_end(calls.rows);
	PG_RETURN_INT64(calls.count);
}

/* _trust_constraint(relation, name): what VALIDATE CONSTRAINT does when it has looked. */
Datum
usage_monitor_trust_constraint(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	Relation	relation;
	Relation	catalog;
	HeapTuple	tuple;
	Oid			constraint;

	check_is_owner("_trust_constraint()");
	relation = table_open(relid, AccessShareLock);
	if (!object_ownercheck(RelationRelationId, relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(relation->rd_rel->relkind),
					   RelationGetRelationName(relation));
	if (!CheckRelationLockedByMe(relation, AccessExclusiveLock, false))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" is not locked", RelationGetRelationName(relation))));

	constraint = get_relation_constraint_oid(relid, NameStr(*PG_GETARG_NAME(1)), false);
	catalog = table_open(ConstraintRelationId, RowExclusiveLock);
	tuple = SearchSysCacheCopy1(CONSTROID, ObjectIdGetDatum(constraint));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for constraint %u", constraint);
	((Form_pg_constraint) GETSTRUCT(tuple))->convalidated = true;
	CatalogTupleUpdate(catalog, &tuple->t_self, tuple);
	InvokeObjectPostAlterHook(ConstraintRelationId, constraint, 0);
	CacheInvalidateRelcache(relation);
	table_close(catalog, RowExclusiveLock);
	table_close(relation, NoLock);
	CommandCounterIncrement();
	PG_RETURN_VOID();
}
