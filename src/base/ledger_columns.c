/*
 * ledger_columns.c
 *		Where the columns of the ledger are in each of its partitions, cached.
 */
#include "postgres.h"

#include "access/genam.h"
#include "base/catalog.h"
#include "base/ledger_columns.h"
#include "base/version.h"
#include "catalog/partition.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_index.h"
#include "executor/spi.h"
#include "nodes/primnodes.h"
#include "storage/lockdefs.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

static const char *const names[UM_COLUMN_COUNT] = {
#define C(symbol, name, type) name,
	UM_LEDGER_COLUMNS(C)
#undef C
};

static const Oid types[UM_COLUMN_COUNT] = {
#define C(symbol, name, type) type,
	UM_LEDGER_COLUMNS(C)
#undef C
};

static HTAB *cache;
static UmColumns *last;			/* rows come in runs of one partition */

const char *
um_column_name(UmColumn column)
{
	return names[column];
}

/* Relcache callback: what is known of a changed table is void. */
static void
table_changed(Datum arg, Oid relid)
{
	UmColumns  *entry;

	if (OidIsValid(relid))
	{
		entry = hash_search(cache, &relid, HASH_FIND, NULL);
		if (entry != NULL)
			entry->valid = false;
	}
	else
	{
		HASH_SEQ_STATUS scan;

		hash_seq_init(&scan, cache);
		while ((entry = hash_seq_search(&scan)) != NULL)
			entry->valid = false;
	}
}

/* Is it unique over (org, request_id), of all rows that have one? */
static bool
is_request_index(Relation index, const AttrNumber *attnum)
{
	Form_pg_index form = index->rd_index;
	List	   *predicate;
	NullTest   *test;

	if (!form->indisunique || !form->indisvalid || !form->indimmediate || form->indnkeyatts != 2 ||
		form->indkey.values[0] != attnum[UM_COL_ORG] ||
		form->indkey.values[1] != attnum[UM_COL_REQUEST_ID] ||
		index->rd_indcollation[0] != C_COLLATION_OID || index->rd_indcollation[1] != C_COLLATION_OID)
		return false;
	predicate = RelationGetIndexPredicate(index);
	if (predicate == NIL)
		return true;
	test = linitial(predicate);
	return list_length(predicate) == 1 && IsA(test, NullTest) &&
		test->nulltesttype == IS_NOT_NULL && IsA(test->arg, Var) &&
		((Var *) test->arg)->varattno == attnum[UM_COL_REQUEST_ID];
}

/* The table's unique index over (org, request_id). */
static Oid
find_request_index(Relation relation, const AttrNumber *attnum)
{
	List	   *indexes = RelationGetIndexList(relation);
	ListCell   *lc;
	Oid			result = InvalidOid;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (is_request_index(index, attnum))
			result = RelationGetRelid(index);
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return result;
}

/*
 * Refuses what is not the ledger or one of its partitions: anybody can make a
 * table that looks like it, and have our triggers fire there.
 */
static void
check_is_ledger(Relation relation)
{
	Oid			ledger = um_relation(UM_USAGE);
	List	   *ancestors;

	if (RelationGetRelid(relation) == ledger)
		return;
	ancestors = relation->rd_rel->relispartition ?
		get_partition_ancestors(RelationGetRelid(relation)) : NIL;
	if (!list_member_oid(ancestors, ledger))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("table \"%s\" is not part of the ledger", RelationGetRelationName(relation)),
				 errhint("The triggers of usage_monitor are for its own tables alone.")));
	/* a request is looked for in the ledger's own partitions */
	if (linitial_oid(ancestors) != ledger)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" is a partition of the ledger's partition \"%s\"",
						RelationGetRelationName(relation), get_rel_name(linitial_oid(ancestors))),
				 errhint("Attach it to %s.usage itself, for a range of ts.", UM_SCHEMA)));
}

/* The columns of the ledger or of one of its partitions. */
const UmColumns *
um_columns(Relation relation)
{
	Oid			relid = RelationGetRelid(relation);
	UmColumns  *entry;
	bool		found;

	if (last != NULL && last->relid == relid && last->valid)
		return last;

	if (cache == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(Oid), .entrysize = sizeof(UmColumns)};

		cache = hash_create("usage_monitor ledger columns", 16, &control,
							HASH_ELEM | HASH_BLOBS);
		CacheRegisterRelcacheCallback(table_changed, (Datum) 0);
	}

	entry = hash_search(cache, &relid, HASH_ENTER, &found);
	last = entry;
	if (found && entry->valid)
		return entry;

	entry->valid = false;
	um_version_compare();
	check_is_ledger(relation);
	for (int c = 0; c < UM_COLUMN_COUNT; c++)
	{
		int			attnum = SPI_fnumber(RelationGetDescr(relation), names[c]);

		if (attnum <= 0)
			um_refuse_missing_column(names[c], relation);
		if (TupleDescAttr(RelationGetDescr(relation), attnum - 1)->atttypid != types[c])
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of table \"%s\" must be of type %s",
							names[c], RelationGetRelationName(relation), format_type_be(types[c])),
					 errhint("The ledger's own columns must stay as CREATE EXTENSION made them.")));
		entry->attnum[c] = attnum;
	}
	entry->valid = true;		/* an invalidation from here on counts */
	entry->request_index = find_request_index(relation, entry->attnum);
	return entry;
}
