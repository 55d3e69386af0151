/*
 * rollup.c
 *		Folding the tail of the ledger into the rollups.
 *
 * A fold takes a snapshot, and adds to the rollups what that sees and the
 * mark of the last fold did not: rows that were recorded since, and corrections
 * of rows that are folded already.  The snapshot is the new mark, stored in
 * the same transaction: who sees the fold sees the mark.
 *
 * It is exact, whatever commits when: a transaction is in the mark or is not;
 * one that is not is in the tail, which each reader looks at by himself.  The
 * lock that lets one fold run at a time is taken before the snapshot, so marks
 * only grow; a correction is in the mark only if the row that it corrects is.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "ledger_columns.h"
#include "miscadmin.h"
#include "rollup.h"
#include "rollup_row.h"
#include "setting.h"
#include "storage/lmgr.h"
#include "tag.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "watermark.h"

PG_FUNCTION_INFO_V1(usage_monitor_refresh);
PG_FUNCTION_INFO_V1(usage_monitor_rebuild_rollups);
PG_FUNCTION_INFO_V1(usage_monitor_lock_rollups);
PG_FUNCTION_INFO_V1(usage_monitor_archive_partition);
PG_FUNCTION_INFO_V1(usage_monitor_reset_rollups);

/*
 * When so much is collected, it is added to the tables.  What a processor's
 * cache holds serves better than more: rows come in the order of time.
 */
#define ENTRY_MEMORY	((Size) 32 * 1024 * 1024)

/* What a fold reads of a row: the columns of _correction behind its first three. */
static const UmColumn read_columns[] = {
	UM_COL_TS, UM_COL_ORG, UM_COL_DEPARTMENT, UM_COL_PROJECT, UM_COL_USER_ID,
	UM_COL_PROVIDER, UM_COL_MODEL, UM_COL_OPERATION, UM_COL_SOURCE, UM_COL_SERVICE_TIER,
	UM_COL_TAGS, UM_COL_INPUT_TOKENS, UM_COL_OUTPUT_TOKENS, UM_COL_CACHE_READ_INPUT_TOKENS,
	UM_COL_CACHE_CREATION_INPUT_TOKENS, UM_COL_REASONING_OUTPUT_TOKENS, UM_COL_TOTAL_TOKENS,
	UM_COL_INPUT_COST, UM_COL_OUTPUT_COST, UM_COL_OTHER_COST, UM_COL_COST,
	UM_COL_DURATION_MS, UM_COL_SUCCESS, UM_COL_CACHED
};

#define READ_COUNT ((int) lengthof(read_columns))

/* Both queries have these before it. */
enum
{
	ATT_XID,
	ATT_ROW_XID,
	ATT_SIGN,
	ATT_READ
};

/* The row that is being folded, by the ledger's columns. */
typedef struct Call
{
	Datum		values[UM_COLUMN_COUNT];
	bool		nulls[UM_COLUMN_COUNT];
	UmMeasures	measures;
	int			sign;
	DateADT		day;
	TimestampTz hour;
} Call;

/* What the rows since the last flush add to a row of a rollup. */
typedef struct Entry
{
	UmRollupName name;
	UmMeasures	measures;
} Entry;

/* A rollup that is being folded into: a row of _rollup_dimension. */
typedef struct Dimension
{
	Oid			relid;
	Oid			archive;
	bool		by_hour;
	bool		by_org;
	int			nkeys;
	UmColumn	key[UM_ROLLUP_KEYS];	/* UM_COL_TAGS alone: each tag */
	HTAB	   *entries;
	Entry	   *last;			/* rows come in runs */
} Dimension;

typedef struct Fold
{
	UmWatermark old;
	UmWatermark new;
	int			ndimensions;
	Dimension  *dimensions;
	bool		to_archive;		/* moves what it finds from the rollups to the archive */
	MemoryContext entry_context;	/* emptied by a flush */
	MemoryContext row_context;	/* emptied by each row */
	int64		rows;
} Fold;

/* A receiver of a query's rows that folds them. */
typedef struct FoldReceiver
{
	DestReceiver pub;
	Fold	   *fold;
	bool		corrections;	/* of rows, or rows? */
} FoldReceiver;

static UmQuery read_dimensions = {
	.text = "SELECT name, by_hour, by_org, keys FROM usage_monitor._rollup_dimension"
};

static const char *read_list;	/* the columns that they read, each after a comma */

static UmQuery read_rows;

/* in the order of time where there are not all: each day's rows are written once then */
static UmQuery read_tail = {
	.nargs = 2,
	.argtypes = {INT8OID, INT8ARRAYOID}
};

static UmQuery read_corrections;

static UmQuery delete_corrections = {
	.text = "DELETE FROM usage_monitor._correction"
};

static UmQuery store_mark = {
	.text = "UPDATE usage_monitor._rollup_state"
	" SET next_xid = $1, running_xids = $2, usage_id = $3, refreshed_at = pg_catalog.clock_timestamp()",
	.nargs = 3,
	.argtypes = {INT8OID, INT8ARRAYOID, INT8OID}
};

static UmQuery read_last_usage_id = {
	.text = "SELECT last_value FROM usage_monitor.usage_usage_id_seq"
};

/* Writes that a row of another transaction counts less, or more. */
void
um_correction_write(Relation relation, HeapTuple tuple, int64 row_xid, bool negative)
{
	const UmColumns *columns = um_columns(relation);
	TupleDesc	desc = RelationGetDescr(relation);
	Relation	corrections = table_open(um_relation(UM_CORRECTION), RowExclusiveLock);
	Datum		values[ATT_READ + READ_COUNT];
	bool		nulls[ATT_READ + READ_COUNT] = {0};

	values[ATT_XID] = Int64GetDatum((int64) U64FromFullTransactionId(GetTopFullTransactionId()));
	values[ATT_ROW_XID] = Int64GetDatum(row_xid);
	values[ATT_SIGN] = Int64GetDatum(negative ? -1 : 1);
	for (int i = 0; i < READ_COUNT; i++)
		values[ATT_READ + i] = heap_getattr(tuple, columns->attnum[read_columns[i]], desc,
											&nulls[ATT_READ + i]);
	simple_heap_insert(corrections, heap_form_tuple(RelationGetDescr(corrections), values, nulls));
	table_close(corrections, NoLock);
}

/* The queries name the columns as the ledger does. */
static void
make_queries(void)
{
	MemoryContext old;
	StringInfoData columns;

	if (read_list != NULL)
		return;
	old = MemoryContextSwitchTo(TopMemoryContext);
	initStringInfo(&columns);
	for (int i = 0; i < READ_COUNT; i++)
		appendStringInfo(&columns, ", %s", um_column_name(read_columns[i]));
	read_corrections.text = psprintf("SELECT xid, row_xid, sign%s FROM usage_monitor._correction",
									 columns.data);
	read_rows.text = psprintf("SELECT xid, xid, 1::bigint%s FROM usage_monitor.usage",
							  columns.data);
	read_tail.text = psprintf("%s WHERE xid >= $1 OR xid = ANY ($2) ORDER BY ts", read_rows.text);
	read_list = columns.data;
	MemoryContextSwitchTo(old);
}

static uint32
name_hash(const void *key, Size keysize)
{
	const UmRollupName *name = key;

	return hash_combine(murmurhash32((uint32) name->day),
						(uint32) (name->hash ^ (name->hash >> 32)));
}

static int
name_match(const void *a, const void *b, Size keysize)
{
	return !um_rollup_same(a, b);
}

/* The ledger's column of that name. */
static UmColumn
column_by_name(const char *name)
{
	for (int i = 0; i < READ_COUNT; i++)
		if (strcmp(um_column_name(read_columns[i]), name) == 0)
			return read_columns[i];
	elog(ERROR, "no rollup can be kept by \"%s\"", name);
}

/* Reads what there are rollups by. */
static void
load_dimensions(Fold *fold)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid			namespace = get_namespace_oid("usage_monitor", false);
	UmSpi		spi;

	um_spi_begin(&spi);
	um_spi_query(&read_dimensions, NULL, NULL);
	fold->ndimensions = (int) SPI_processed;
	fold->dimensions = MemoryContextAllocZero(caller, sizeof(Dimension) * (SPI_processed + 1));
	for (int i = 0; i < fold->ndimensions; i++)
	{
		Dimension  *dimension = &fold->dimensions[i];
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		char	   *name = um_text_column(row, desc, 1);
		Datum	   *keys;
		bool		isnull;

		dimension->relid = get_relname_relid(psprintf("_rollup_%s", name), namespace);
		dimension->archive = get_relname_relid(psprintf("_archive_%s", name), namespace);
		if (!OidIsValid(dimension->relid) || !OidIsValid(dimension->archive))
			elog(ERROR, "rollup \"%s\" has no table", name);
		dimension->by_hour = DatumGetBool(SPI_getbinval(row, desc, 2, &isnull));
		dimension->by_org = DatumGetBool(SPI_getbinval(row, desc, 3, &isnull));
		deconstruct_array(DatumGetArrayTypeP(SPI_getbinval(row, desc, 4, &isnull)),
						  TEXTOID, -1, false, TYPALIGN_INT, &keys, NULL, &dimension->nkeys);
		if (dimension->nkeys > UM_ROLLUP_KEYS)
			elog(ERROR, "too many keys of rollup \"%s\"", name);
		for (int k = 0; k < dimension->nkeys; k++)
			dimension->key[k] = column_by_name(TextDatumGetCString(keys[k]));
	}
	um_spi_end(&spi);
}

/* Starts to collect. */
static void
start_entries(Fold *fold)
{
	for (int i = 0; i < fold->ndimensions; i++)
	{
		HASHCTL		control = {0};

		control.keysize = sizeof(UmRollupName);
		control.entrysize = sizeof(Entry);
		control.hash = name_hash;
		control.match = name_match;
		control.hcxt = fold->entry_context;
		fold->dimensions[i].entries = hash_create("usage_monitor rollup", 256, &control,
												  HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
		fold->dimensions[i].last = NULL;
	}
}

/* The order of the index that the rows are found by. */
static int
compare_entries(const void *a, const void *b)
{
	const UmRollupName *x = &(*(Entry *const *) a)->name;
	const UmRollupName *y = &(*(Entry *const *) b)->name;

	if (x->day != y->day)
		return x->day < y->day ? -1 : 1;
	return x->hash < y->hash ? -1 : x->hash > y->hash;
}

/* Adds entries to a table, or takes them from it. */
static void
add_entries(Fold *fold, Oid relid, Entry **entries, long count, int sign)
{
	UmRollupTable table;

	um_rollup_open(&table, relid);
	for (long i = 0; i < count; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(fold->row_context);

		CHECK_FOR_INTERRUPTS();
		um_rollup_add(&table, &entries[i]->name, &entries[i]->measures, sign);
		MemoryContextSwitchTo(old);
		MemoryContextReset(fold->row_context);
	}
	um_rollup_close(&table);
}

/* Adds what was collected for a rollup to its table, in the order of its index. */
static void
flush_dimension(Fold *fold, Dimension *dimension)
{
	long		count = hash_get_num_entries(dimension->entries);
	Entry	  **sorted;
	Entry	   *entry;
	HASH_SEQ_STATUS scan;
	long		n = 0;

	if (count == 0)
		return;
	sorted = MemoryContextAllocHuge(fold->entry_context, sizeof(Entry *) * count);
	hash_seq_init(&scan, dimension->entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
		sorted[n++] = entry;
	qsort(sorted, n, sizeof(Entry *), compare_entries);

	add_entries(fold, dimension->relid, sorted, n, fold->to_archive ? -1 : 1);
	if (fold->to_archive)
		add_entries(fold, dimension->archive, sorted, n, 1);
}

/* Adds what was collected to the tables. */
static void
flush(Fold *fold)
{
	MemoryContext old = MemoryContextSwitchTo(fold->entry_context);

	for (int i = 0; i < fold->ndimensions; i++)
		flush_dimension(fold, &fold->dimensions[i]);
	MemoryContextSwitchTo(old);
	/* the next flush may write the same rows */
	CommandCounterIncrement();
	MemoryContextReset(fold->entry_context);
	start_entries(fold);
}

static UmString
string_of(const Call *call, UmColumn column)
{
	UmString	string = {NULL, 0};

	if (!call->nulls[column])
	{
		text	   *value = DatumGetTextPP(call->values[column]);

		string.data = VARDATA_ANY(value);
		string.length = VARSIZE_ANY_EXHDR(value);
	}
	return string;
}

/* Takes an entry's name into its own memory. */
static void
own_string(Fold *fold, UmString *string)
{
	if (string->data != NULL)
	{
		char	   *copy = MemoryContextAlloc(fold->entry_context, string->length + 1);

		memcpy(copy, string->data, string->length);
		string->data = copy;
	}
}

/* Adds a call to the entry of that name. */
static void
add_to_entry(Fold *fold, Dimension *dimension, const Call *call, UmRollupName *name)
{
	Entry	   *entry = dimension->last;
	MemoryContext old;

	um_rollup_hash(name);
	if (entry == NULL || !um_rollup_same(&entry->name, name))
	{
		bool		found;

		entry = hash_search(dimension->entries, name, HASH_ENTER, &found);
		if (!found)
		{
			own_string(fold, &entry->name.org);
			for (int i = 0; i < UM_ROLLUP_KEYS; i++)
				own_string(fold, &entry->name.key[i]);
			memset(&entry->measures, 0, sizeof(UmMeasures));
		}
		dimension->last = entry;
	}

	entry->measures.requests += call->sign;
	for (int i = 0; i < UM_COUNT_COUNT; i++)
		entry->measures.count[i] += call->sign * call->measures.count[i];
	for (int i = 0; i < UM_DURATION_BUCKETS; i++)
		entry->measures.histogram[i] += call->sign * call->measures.histogram[i];
	old = MemoryContextSwitchTo(fold->entry_context);
	for (int i = 0; i < UM_SUM_COUNT; i++)
		um_number_add(&entry->measures.sum[i], &call->measures.sum[i], call->sign);
	MemoryContextSwitchTo(old);
}

/* Adds a call to the entry of each of its tags. */
static void
add_to_tags(Fold *fold, Dimension *dimension, const Call *call, UmRollupName *name)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;

	if (call->nulls[UM_COL_TAGS])
		return;
	it = JsonbIteratorInit(&DatumGetJsonbP(call->values[UM_COL_TAGS])->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		name->key[0].data = value.val.string.val;
		name->key[0].length = value.val.string.len;
		JsonbIteratorNext(&it, &value, true);
		name->key[1] = um_tag_value(&value);
		add_to_entry(fold, dimension, call, name);
	}
}

/* Adds a call to all rollups. */
static void
add_call(Fold *fold, const Call *call)
{
	for (int i = 0; i < fold->ndimensions; i++)
	{
		Dimension  *dimension = &fold->dimensions[i];
		UmRollupName name;

		memset(&name, 0, sizeof(name));
		name.day = call->day;
		name.hour = dimension->by_hour ? call->hour : DT_NOBEGIN;
		if (dimension->by_org)
			name.org = string_of(call, UM_COL_ORG);
		if (dimension->nkeys == 1 && dimension->key[0] == UM_COL_TAGS)
		{
			add_to_tags(fold, dimension, call, &name);
			continue;
		}
		for (int k = 0; k < dimension->nkeys; k++)
			name.key[k] = string_of(call, dimension->key[k]);
		add_to_entry(fold, dimension, call, &name);
	}
	fold->rows++;
}

/* Reads what a call adds to sums, as the view _call does. */
static void
measure(Call *call)
{
	static const struct
	{
		UmCountColumn count;
		UmColumn	column;
	}			counts[] = {
		{UM_COUNT_TOTAL_TOKENS, UM_COL_TOTAL_TOKENS},
		{UM_COUNT_INPUT_TOKENS, UM_COL_INPUT_TOKENS},
		{UM_COUNT_OUTPUT_TOKENS, UM_COL_OUTPUT_TOKENS},
		{UM_COUNT_CACHE_READ, UM_COL_CACHE_READ_INPUT_TOKENS},
		{UM_COUNT_CACHE_CREATION, UM_COL_CACHE_CREATION_INPUT_TOKENS},
		{UM_COUNT_REASONING, UM_COL_REASONING_OUTPUT_TOKENS}
	};
	static const struct
	{
		UmSumColumn sum;
		UmColumn	column;
	}			sums[] = {
		{UM_SUM_COST, UM_COL_COST},
		{UM_SUM_INPUT_COST, UM_COL_INPUT_COST},
		{UM_SUM_OUTPUT_COST, UM_COL_OUTPUT_COST},
		{UM_SUM_OTHER_COST, UM_COL_OTHER_COST}
	};
	UmMeasures *measures = &call->measures;

	memset(measures, 0, sizeof(UmMeasures));
	for (int i = 0; i < (int) lengthof(counts); i++)
		if (!call->nulls[counts[i].column])
			measures->count[counts[i].count] = DatumGetInt64(call->values[counts[i].column]);
	for (int i = 0; i < (int) lengthof(sums); i++)
		if (!call->nulls[sums[i].column])
			um_number_set(&measures->sum[sums[i].sum],
						  DatumGetNumeric(call->values[sums[i].column]));
	measures->count[UM_COUNT_ERRORS] = !call->nulls[UM_COL_SUCCESS] &&
		!DatumGetBool(call->values[UM_COL_SUCCESS]);
	measures->count[UM_COUNT_UNPRICED] = call->nulls[UM_COL_COST];
	measures->count[UM_COUNT_CACHED] = !call->nulls[UM_COL_CACHED] &&
		DatumGetBool(call->values[UM_COL_CACHED]);
	measures->count[UM_COUNT_UNKNOWN_INPUT] = call->nulls[UM_COL_INPUT_TOKENS];
	measures->count[UM_COUNT_UNKNOWN_OUTPUT] = call->nulls[UM_COL_OUTPUT_TOKENS];
	measures->count[UM_COUNT_UNTIMED] = call->nulls[UM_COL_DURATION_MS];
	if (!call->nulls[UM_COL_DURATION_MS])
	{
		Datum		duration = call->values[UM_COL_DURATION_MS];

		measures->histogram[um_duration_bucket(DatumGetFloat8(duration))] = 1;
		um_number_set_duration(&measures->sum[UM_SUM_DURATION_MS], DatumGetFloat8(duration));
	}
	call->day = um_ledger_day(DatumGetTimestampTz(call->values[UM_COL_TS]));
	call->hour = um_ledger_hour(DatumGetTimestampTz(call->values[UM_COL_TS]));
}

/* Folds a row of one of the queries, if it is to be. */
static bool
fold_row(TupleTableSlot *slot, DestReceiver *self)
{
	FoldReceiver *receiver = (FoldReceiver *) self;
	Fold	   *fold = receiver->fold;
	MemoryContext old;
	Call		call;

	CHECK_FOR_INTERRUPTS();
	slot_getallattrs(slot);

	/* a row that is not folded yet is read as it is now; one that is, is corrected */
	if (um_watermark_covers(&fold->old, DatumGetInt64(slot->tts_values[ATT_ROW_XID])) !=
		receiver->corrections)
		return true;

	old = MemoryContextSwitchTo(fold->row_context);
	for (int i = 0; i < READ_COUNT; i++)
	{
		call.values[read_columns[i]] = slot->tts_values[ATT_READ + i];
		call.nulls[read_columns[i]] = slot->tts_isnull[ATT_READ + i];
	}
	call.sign = (int) DatumGetInt64(slot->tts_values[ATT_SIGN]);
	measure(&call);
	add_call(fold, &call);
	MemoryContextSwitchTo(old);
	MemoryContextReset(fold->row_context);

	if (MemoryContextMemAllocated(fold->entry_context, true) > ENTRY_MEMORY)
		flush(fold);
	return true;
}

static void
start_receiver(DestReceiver *self, int operation, TupleDesc typeinfo)
{
}

static void
end_receiver(DestReceiver *self)
{
}

/* Folds what a query finds. */
static void
fold_query(Fold *fold, UmQuery *query, Datum *values, bool corrections)
{
	FoldReceiver receiver = {0};
	UmSpi		spi;

	receiver.pub.receiveSlot = fold_row;
	receiver.pub.rStartup = start_receiver;
	receiver.pub.rShutdown = end_receiver;
	receiver.pub.rDestroy = end_receiver;
	receiver.pub.mydest = DestNone;
	receiver.fold = fold;
	receiver.corrections = corrections;
	um_spi_begin(&spi);
	/* sorts like an index build; um_spi_end takes it back */
	(void) set_config_option("work_mem", psprintf("%dkB", maintenance_work_mem), PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	um_spi_stream(query, values, &receiver.pub);
	um_spi_end(&spi);
}

static Datum
xids_datum(const int64 *xids, int count)
{
	Datum	   *values = palloc(sizeof(Datum) * (count + 1));

	for (int i = 0; i < count; i++)
		values[i] = Int64GetDatum(xids[i]);
	return PointerGetDatum(construct_array(values, count, INT8OID, sizeof(int64),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* Reads how far usage_id has come. */
static int64
last_usage_id(void)
{
	bool		isnull;
	int64		result;
	UmSpi		spi;

	um_spi_begin(&spi);
	um_spi_query(&read_last_usage_id, NULL, NULL);
	result = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	um_spi_end(&spi);
	return result;
}

/* Stores the new mark. */
static void
store(const UmWatermark *mark)
{
	Datum		values[3];
	UmSpi		spi;

	values[0] = Int64GetDatum(mark->xmax);
	values[1] = xids_datum(mark->xip, mark->nxip);
	values[2] = Int64GetDatum(mark->usage_id);
	um_spi_begin(&spi);
	um_spi_modify(&store_mark, values, NULL);
	if (SPI_processed != 1)
		elog(ERROR, "the state of the rollups is missing");
	um_spi_end(&spi);
}

/* Drops the corrections that the snapshot sees: they are in the new mark. */
static void
drop_corrections(Snapshot snapshot)
{
	UmSpi		spi;

	um_spi_begin(&spi);
	um_spi_modify_as_of(&delete_corrections, NULL, NULL, snapshot);
	um_spi_end(&spi);
}

/* Empties all rollups: as rows, for older snapshots must go on to see them. */
static void
empty_rollups(Fold *fold)
{
	UmSpi		spi;

	um_spi_begin(&spi);
	for (int i = 0; i < fold->ndimensions; i++)
	{
		UmQuery		query = {0};

		query.text = psprintf("DELETE FROM usage_monitor.%s",
							  quote_identifier(get_rel_name(fold->dimensions[i].relid)));
		um_spi_modify(&query, NULL, NULL);
		SPI_freeplan(query.plan);
	}
	um_spi_end(&spi);
	CommandCounterIncrement();
}

/*
 * Has the ledger's block range indexes learn of the pages that were added.  A
 * partition that somebody is vacuuming is left for the next time.
 */
static void
summarize_ledger(void)
{
	Oid			ledger = um_relation(UM_USAGE);
	List	   *partitions = find_all_inheritors(ledger, NoLock, NULL);
	ListCell   *lc;
	UmSpi		spi;

	um_spi_begin(&spi);
	foreach(lc, partitions)
	{
		Oid			relid = lfirst_oid(lc);
		Relation	relation;
		ListCell   *lc2;

		if (get_rel_relkind(relid) != RELKIND_RELATION ||
			!ConditionalLockRelationOid(relid, ShareUpdateExclusiveLock))
			continue;
		relation = try_relation_open(relid, NoLock);
		if (relation == NULL)
			continue;
		if (has_privs_of_role(GetUserId(), relation->rd_rel->relowner))
			foreach(lc2, RelationGetIndexList(relation))
			{
				HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(lfirst_oid(lc2)));
				Oid			method = ((Form_pg_class) GETSTRUCT(tuple))->relam;

				ReleaseSysCache(tuple);
				if (method == BRIN_AM_OID)
					(void) DirectFunctionCall1(brin_summarize_new_values,
											   ObjectIdGetDatum(lfirst_oid(lc2)));
			}
		relation_close(relation, NoLock);
	}
	um_spi_end(&spi);
}

/* Refuses where a fold would not be exact, or cannot be. */
static void
check_may_fold(const char *function)
{
	PreventCommandIfReadOnly(function);
	PreventCommandDuringRecovery(function);
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s cannot be called by a transaction that has written", function),
				 errhint("Call it in a transaction of its own.")));
	if (XactIsoLevel != XACT_READ_COMMITTED)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s must be called at isolation level READ COMMITTED", function),
				 errhint("SET TRANSACTION ISOLATION LEVEL READ COMMITTED.")));
}

/* Starts a fold; its memory is a context of its own, which is made current. */
static Fold *
start_fold(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "usage_monitor fold",
												  ALLOCSET_DEFAULT_SIZES);
	Fold	   *fold;

	MemoryContextSwitchTo(context);
	fold = palloc0(sizeof(Fold));
	fold->entry_context = AllocSetContextCreate(context, "usage_monitor fold entries",
												ALLOCSET_DEFAULT_SIZES);
	fold->row_context = AllocSetContextCreate(context, "usage_monitor fold row",
											  ALLOCSET_DEFAULT_SIZES);
	make_queries();
	load_dimensions(fold);
	start_entries(fold);
	return fold;
}

/* Ends it, and returns how many rows it folded. */
static int64
end_fold(Fold *fold, MemoryContext caller)
{
	int64		rows;

	flush(fold);
	rows = fold->rows;
	MemoryContextDelete(MemoryContextSwitchTo(caller));
	return rows;
}

/* With the lock: folds what is not folded yet, or all anew; returns how many rows. */
static int64
fold_tail(bool rebuild)
{
	MemoryContext caller = CurrentMemoryContext;
	int64		usage_id = last_usage_id();
	Fold	   *fold = start_fold();
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	Datum		values[2];
	int64		rows;
	int			stragglers;

	PushActiveSnapshot(snapshot);
	um_watermark_of_snapshot(&fold->new, snapshot);
	fold->new.usage_id = usage_id;
	if (rebuild)
		empty_rollups(fold);
	else
		um_watermark_read(&fold->old, snapshot);

	if (fold->old.xmax == 0)
		fold_query(fold, &read_rows, NULL, false);
	else
	{
		stragglers = um_watermark_stragglers(&fold->old);
		values[0] = Int64GetDatum(stragglers < fold->old.nxip ? fold->old.xip[stragglers] : fold->old.xmax);
		values[1] = xids_datum(fold->old.xip, stragglers);
		fold_query(fold, &read_tail, values, false);
	}
	fold_query(fold, &read_corrections, NULL, true);
	drop_corrections(snapshot);
	store(&fold->new);
	rows = end_fold(fold, caller);
	PopActiveSnapshot();
	UnregisterSnapshot(snapshot);
	summarize_ledger();
	return rows;
}

/* One fold at a time, and each before it takes its snapshot. */
static void
lock_rollups(void)
{
	LockRelationOid(um_relation(UM_ROLLUP_STATE), ShareUpdateExclusiveLock);
}

/* Folds the tail into the rollups, or all of the ledger. */
int64
um_rollup_refresh(bool rebuild)
{
	check_may_fold(rebuild ? "rebuild_rollups()" : "refresh()");
	lock_rollups();
	return fold_tail(rebuild);
}

/* Folds the tail, unless somebody else does. */
int64
um_rollup_try_refresh(void)
{
	if (RecoveryInProgress() ||
		!ConditionalLockRelationOid(um_relation(UM_ROLLUP_STATE), ShareUpdateExclusiveLock))
		return 0;
	return fold_tail(false);
}

/* refresh(): folds the tail; returns the number of rows. */
Datum
usage_monitor_refresh(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(um_rollup_refresh(false));
}

/* rebuild_rollups(): makes the rollups anew; returns the number of rows. */
Datum
usage_monitor_rebuild_rollups(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(um_rollup_refresh(true));
}

/*
 * _lock_rollups(): lets nobody else fold until the transaction ends.  Whoever
 * locks the ledger and is to fold does this first, as every fold does.
 */
Datum
usage_monitor_lock_rollups(PG_FUNCTION_ARGS)
{
	check_may_fold("drop_usage_before()");
	lock_rollups();
	PG_RETURN_VOID();
}

/*
 * _archive_partition(partition): folds the tail, and moves what a partition of
 * the ledger has in the rollups to the archive.  The caller holds the locks
 * that keep it as it is.
 */
Datum
usage_monitor_archive_partition(PG_FUNCTION_ARGS)
{
	Oid			partition = PG_GETARG_OID(0);
	MemoryContext caller = CurrentMemoryContext;
	UmQuery		query = {0};
	Fold	   *fold;
	int64		rows;

	/* managers may execute all functions, and this one alone would count things twice */
	if (!has_privs_of_role(GetUserId(), um_owner()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("only the owner of the ledger may archive it")));
	(void) fold_tail(false);
	fold = start_fold();
	fold->to_archive = true;
	query.text = psprintf("SELECT xid, xid, 1::bigint%s FROM %s", read_list,
						  quote_qualified_identifier(get_namespace_name(get_rel_namespace(partition)),
													 get_rel_name(partition)));
	PushActiveSnapshot(GetLatestSnapshot());
	fold_query(fold, &query, NULL, false);
	SPI_freeplan(query.plan);
	rows = end_fold(fold, caller);
	PopActiveSnapshot();
	PG_RETURN_INT64(rows);
}

/*
 * Trigger of setting: what is kept by the days of another time zone is void.
 * All of the ledger is tail again.
 */
Datum
usage_monitor_reset_rollups(PG_FUNCTION_ARGS)
{
	Fold		fold = {0};
	UmWatermark nothing = {0};

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by trigger manager", "_reset_rollups")));

	/* not in CREATE EXTENSION, which has no rollups yet */
	if (OidIsValid(um_relation(UM_ROLLUP_STATE)))
	{
		lock_rollups();
		load_dimensions(&fold);
		empty_rollups(&fold);
		store(&nothing);
	}
	PG_RETURN_POINTER(NULL);
}
