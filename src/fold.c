/*
 * fold.c
 *		Summing up calls for the rollups.
 *
 * Calls are added up in memory, for each rollup by the names of its rows, and
 * now and then what was collected is added to the tables, in the order of
 * their indexes.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "fold.h"
#include "miscadmin.h"
#include "setting.h"
#include "tag.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/*
 * When so much is collected, it is added to the tables.  What a processor's
 * cache holds serves better than more: rows come in the order of time.
 */
#define ENTRY_MEMORY	((Size) 32 * 1024 * 1024)

/* The columns of _correction behind its first three. */
const UmColumn um_fold_columns[UM_FOLD_COLUMNS] = {
	UM_COL_TS, UM_COL_ORG, UM_COL_DEPARTMENT, UM_COL_PROJECT, UM_COL_USER_ID,
	UM_COL_PROVIDER, UM_COL_MODEL, UM_COL_OPERATION, UM_COL_SOURCE, UM_COL_SERVICE_TIER,
	UM_COL_TAGS, UM_COL_INPUT_TOKENS, UM_COL_OUTPUT_TOKENS, UM_COL_CACHE_READ_INPUT_TOKENS,
	UM_COL_CACHE_CREATION_INPUT_TOKENS, UM_COL_REASONING_OUTPUT_TOKENS, UM_COL_TOTAL_TOKENS,
	UM_COL_INPUT_COST, UM_COL_OUTPUT_COST, UM_COL_OTHER_COST, UM_COL_COST,
	UM_COL_DURATION_MS, UM_COL_SUCCESS, UM_COL_CACHED
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
typedef struct UmEntry
{
	UmRollupName name;
	UmMeasures	measures;
} UmEntry;

static UmQuery read_dimensions = {
	.text = "SELECT name, by_hour, by_org, keys FROM usage_monitor._rollup_dimension"
};

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
	for (int i = 0; i < UM_FOLD_COLUMNS; i++)
		if (strcmp(um_column_name(um_fold_columns[i]), name) == 0)
			return um_fold_columns[i];
	elog(ERROR, "no rollup can be kept by \"%s\"", name);
}

/* Reads what there are rollups by. */
static void
load_dimensions(UmFold *fold)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid			namespace = get_namespace_oid("usage_monitor", false);
	UmSpi		spi;

	um_spi_begin(&spi);
	um_spi_query(&read_dimensions, NULL, NULL);
	fold->ndimensions = (int) SPI_processed;
	fold->dimensions = MemoryContextAllocZero(caller, sizeof(UmDimension) * (SPI_processed + 1));
	for (int i = 0; i < fold->ndimensions; i++)
	{
		UmDimension  *dimension = &fold->dimensions[i];
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
start_entries(UmFold *fold)
{
	for (int i = 0; i < fold->ndimensions; i++)
	{
		HASHCTL		control = {0};

		control.keysize = sizeof(UmRollupName);
		control.entrysize = sizeof(UmEntry);
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
	const UmRollupName *x = &(*(UmEntry *const *) a)->name;
	const UmRollupName *y = &(*(UmEntry *const *) b)->name;

	if (x->day != y->day)
		return x->day < y->day ? -1 : 1;
	return x->hash < y->hash ? -1 : x->hash > y->hash;
}

/* Adds entries to a table, or takes them from it. */
static void
add_entries(UmFold *fold, Oid relid, UmEntry **entries, long count, int sign)
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
flush_dimension(UmFold *fold, UmDimension *dimension)
{
	long		count = hash_get_num_entries(dimension->entries);
	UmEntry	  **sorted;
	UmEntry	   *entry;
	HASH_SEQ_STATUS scan;
	long		n = 0;

	if (count == 0)
		return;
	sorted = MemoryContextAllocHuge(fold->entry_context, sizeof(UmEntry *) * count);
	hash_seq_init(&scan, dimension->entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
		sorted[n++] = entry;
	qsort(sorted, n, sizeof(UmEntry *), compare_entries);

	add_entries(fold, dimension->relid, sorted, n, fold->to_archive ? -1 : 1);
	if (fold->to_archive)
		add_entries(fold, dimension->archive, sorted, n, 1);
}

/* Adds what was collected to the tables. */
static void
flush(UmFold *fold)
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
own_string(UmFold *fold, UmString *string)
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
add_to_entry(UmFold *fold, UmDimension *dimension, const Call *call, UmRollupName *name)
{
	UmEntry	   *entry = dimension->last;
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
add_to_tags(UmFold *fold, UmDimension *dimension, const Call *call, UmRollupName *name)
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
add_call(UmFold *fold, const Call *call)
{
	for (int i = 0; i < fold->ndimensions; i++)
	{
		UmDimension  *dimension = &fold->dimensions[i];
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

/* Starts a fold. */
UmFold *
um_fold_start(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "usage_monitor fold",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	UmFold	   *fold = palloc0(sizeof(UmFold));

	fold->context = context;
	fold->entry_context = AllocSetContextCreate(context, "usage_monitor fold entries",
												ALLOCSET_DEFAULT_SIZES);
	fold->row_context = AllocSetContextCreate(context, "usage_monitor fold row",
											  ALLOCSET_DEFAULT_SIZES);
	load_dimensions(fold);
	start_entries(fold);
	MemoryContextSwitchTo(old);
	return fold;
}

/* Adds a call, or with sign -1 takes it back. */
void
um_fold_add(UmFold *fold, const Datum *values, const bool *nulls, int sign)
{
	MemoryContext old = MemoryContextSwitchTo(fold->row_context);
	Call		call;

	for (int i = 0; i < UM_FOLD_COLUMNS; i++)
	{
		call.values[um_fold_columns[i]] = values[i];
		call.nulls[um_fold_columns[i]] = nulls[i];
	}
	call.sign = sign;
	measure(&call);
	add_call(fold, &call);
	MemoryContextSwitchTo(old);
	MemoryContextReset(fold->row_context);

	if (MemoryContextMemAllocated(fold->entry_context, true) > ENTRY_MEMORY)
		flush(fold);
}

/* Ends a fold, and returns how many calls it got. */
int64
um_fold_end(UmFold *fold)
{
	int64		rows = fold->rows;

	flush(fold);
	MemoryContextDelete(fold->context);
	return rows;
}

/* Empties all rollups: as rows, for older snapshots must go on to see them. */
void
um_fold_empty_rollups(UmFold *fold)
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

