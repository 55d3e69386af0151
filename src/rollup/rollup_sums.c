/*
 * rollup_sums.c
 *		Summing up calls in memory, by the names of a rollup's rows.
 */
#include "postgres.h"

#include "base/catalog.h"
#include "base/setting.h"
#include "base/tag.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "common/int.h"
#include "rollup/rollup_sums.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* The columns of _correction behind its first three. */
const UmColumn um_sums_columns[UM_SUMS_COLUMNS] = {
	UM_COL_TS, UM_COL_ORG, UM_COL_DEPARTMENT, UM_COL_PROJECT, UM_COL_USER_ID,
	UM_COL_PROVIDER, UM_COL_MODEL, UM_COL_RESOLVED_MODEL, UM_COL_OPERATION, UM_COL_SOURCE,
	UM_COL_SERVICE_TIER,
	UM_COL_TAGS, UM_COL_INPUT_TOKENS, UM_COL_OUTPUT_TOKENS, UM_COL_CACHE_READ_INPUT_TOKENS,
	UM_COL_CACHE_CREATION_INPUT_TOKENS, UM_COL_REASONING_OUTPUT_TOKENS,
	UM_COL_INPUT_COST, UM_COL_OUTPUT_COST, UM_COL_OTHER_COST, UM_COL_COST,
	UM_COL_DURATION_MS, UM_COL_SUCCESS, UM_COL_CACHED
};

const UmFilter um_no_filter = {
	.first_day = DATEVAL_NOBEGIN,
	.last_day = DATEVAL_NOEND
};

/* What the counts are counts of. */
static const char *const count_names[UM_COUNT_COUNT] = {
	[UM_COUNT_INPUT_TOKENS] = "input_tokens",
	[UM_COUNT_OUTPUT_TOKENS] = "output_tokens",
	[UM_COUNT_CACHE_READ] = "cache_read_input_tokens",
	[UM_COUNT_CACHE_CREATION] = "cache_creation_input_tokens",
	[UM_COUNT_REASONING] = "reasoning_output_tokens",
	[UM_COUNT_ERRORS] = "success",
	[UM_COUNT_UNPRICED] = "cost",
	[UM_COUNT_CACHED] = "cached",
	[UM_COUNT_UNKNOWN_INPUT] = "input_tokens",
	[UM_COUNT_UNKNOWN_OUTPUT] = "output_tokens",
	[UM_COUNT_UNTIMED] = "duration_ms"
};

static UmQuery read_dimensions = {
	.text = "SELECT name, by_hour, by_org, keys FROM _usage_monitor._rollup_dimension"
};

static uint32
name_hash(const UmRollupName *name)
{
	return hash_combine(murmurhash32((uint32) name->day),
						(uint32) (name->hash ^ (name->hash >> 32)));
}

/* Where an entry is found. */
typedef struct Slot
{
	const UmRollupName *name;	/* the entry's */
	UmEntry    *entry;
	uint32		hash;
	char		status;
} Slot;

#define SH_PREFIX um_slots
#define SH_ELEMENT_TYPE Slot
#define SH_KEY_TYPE const UmRollupName *
#define SH_KEY name
#define SH_HASH_KEY(slots, key) name_hash(key)
#define SH_EQUAL(slots, a, b) um_rollup_same(a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(slots, slot) (slot)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* The ledger's column of that name. */
static UmColumn
column_by_name(const char *name)
{
	for (int i = 0; i < UM_SUMS_COLUMNS; i++)
		if (strcmp(um_column_name(um_sums_columns[i]), name) == 0)
			return um_sums_columns[i];
	elog(ERROR, "no rollup can be kept by \"%s\"", name);
}

static void
read_dimension(void *to, HeapTuple row, TupleDesc desc)
{
	UmDimension *dimension = to;
	Oid			namespace = get_namespace_oid(UM_PRIVATE_SCHEMA, false);
	Datum	   *keys;
	bool		isnull;

	dimension->name = um_text_column(row, desc, 1);
	dimension->relid = get_relname_relid(psprintf("_rollup_%s", dimension->name), namespace);
	dimension->archive = get_relname_relid(psprintf("_archive_%s", dimension->name), namespace);
	if (!OidIsValid(dimension->relid) || !OidIsValid(dimension->archive))
		elog(ERROR, "rollup \"%s\" has no table", dimension->name);
	dimension->by_hour = DatumGetBool(SPI_getbinval(row, desc, 2, &isnull));
	dimension->by_org = DatumGetBool(SPI_getbinval(row, desc, 3, &isnull));
	deconstruct_array(DatumGetArrayTypeP(SPI_getbinval(row, desc, 4, &isnull)),
					  TEXTOID, -1, false, TYPALIGN_INT, &keys, NULL, &dimension->nkeys);
	if (dimension->nkeys > UM_ROLLUP_KEYS)
		elog(ERROR, "too many keys of rollup \"%s\"", dimension->name);
	for (int k = 0; k < dimension->nkeys; k++)
		dimension->key[k] = column_by_name(TextDatumGetCString(keys[k]));
}

/* Reads what there are rollups by. */
UmDimension *
um_dimensions(int *count)
{
	return um_spi_load(&read_dimensions, count, sizeof(UmDimension), read_dimension);
}

static UmString
string_of(const UmAddend *call, UmColumn column)
{
	return um_text_string(call->values[column], call->nulls[column]);
}

/* Reads what a call adds to sums, as the view _call does. */
static void
measure(UmAddend *call)
{
	static const struct
	{
		UmCountColumn count;
		UmColumn	column;
	}			counts[] = {
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
	measures->requests = 1;
	for (int i = 0; i < (int) lengthof(counts); i++)
		if (!call->nulls[counts[i].column])
			measures->count[counts[i].count] = DatumGetInt64(call->values[counts[i].column]);
	for (int i = 0; i < (int) lengthof(sums); i++)
		if (!call->nulls[sums[i].column])
			um_number_set(&measures->sum[sums[i].sum],
						  UM_STORED_NUMERIC(call->values[sums[i].column]));
	measures->count[UM_COUNT_ERRORS] = !call->nulls[UM_COL_SUCCESS] &&
		!DatumGetBool(call->values[UM_COL_SUCCESS]);
	measures->count[UM_COUNT_UNPRICED] = call->nulls[UM_COL_COST];
	measures->count[UM_COUNT_CACHED] = !call->nulls[UM_COL_CACHED] &&
		DatumGetBool(call->values[UM_COL_CACHED]);
	measures->count[UM_COUNT_UNKNOWN_INPUT] = call->nulls[UM_COL_INPUT_TOKENS];
	measures->count[UM_COUNT_UNKNOWN_OUTPUT] = call->nulls[UM_COL_OUTPUT_TOKENS];
	measures->count[UM_COUNT_UNTIMED] = call->nulls[UM_COL_DURATION_MS];
	if (um_is_correction(string_of(call, UM_COL_OPERATION)))
	{
		/* money, and no call */
		measures->requests = 0;
		for (int i = UM_COUNT_ERRORS; i < UM_COUNT_COUNT; i++)
			measures->count[i] = 0;
	}
	call->bucket = -1;
	if (!call->nulls[UM_COL_DURATION_MS])
	{
		Datum		duration = call->values[UM_COL_DURATION_MS];

		call->bucket = um_duration_bucket(DatumGetFloat8(duration));
		um_number_set_duration(&measures->sum[UM_SUM_DURATION_MS], DatumGetFloat8(duration));
	}
	call->day = um_ledger_day(DatumGetTimestampTz(call->values[UM_COL_TS]));
	call->hour = um_ledger_hour(DatumGetTimestampTz(call->values[UM_COL_TS]));
}

/* Reads a call from the columns of um_sums_columns, which it goes on pointing into. */
void
um_addend_read(UmAddend *call, const Datum *values, const bool *nulls, int sign)
{
	for (int i = 0; i < UM_SUMS_COLUMNS; i++)
	{
		call->values[um_sums_columns[i]] = values[i];
		call->nulls[um_sums_columns[i]] = nulls[i];
	}
	call->sign = sign;
	measure(call);
}

/* Starts to sum up; all that is collected is in that memory. */
void
um_sums_start(UmSums *sums, const UmDimension *dimension, MemoryContext context)
{
	sums->dimension = dimension;
	sums->context = context;
	sums->count = 0;
	sums->space = 256;
	sums->entries = MemoryContextAlloc(context, sizeof(UmEntryRef) * sums->space);
	sums->slots = um_slots_create(context, sums->space, NULL);
	sums->last = NULL;
}

/* The next entry that may pass a filter, from a place on, which moves behind it; NULL: there is no more. */
const UmEntry *
um_sums_next(const UmSums *sums, const UmFilter *filter, int64 *place)
{
	while (*place < sums->count)
	{
		const UmEntryRef *ref = &sums->entries[(*place)++];

		if (ref->day >= filter->first_day && ref->day <= filter->last_day &&
			(!filter->has_org || um_rollup_org_hash(ref->hash) == filter->org) &&
			(!filter->has_key || ref->key == filter->key))
			return ref->entry;
	}
	return NULL;
}

/* Takes an entry's name into its own memory. */
static void
own_string(UmSums *sums, UmString *string)
{
	if (string->data != NULL)
	{
		char	   *copy = MemoryContextAlloc(sums->context, string->length + 1);

		memcpy(copy, string->data, string->length);
		string->data = copy;
	}
}

/* Makes an entry of that name; it has almost the 512 bytes that the allocator rounds up to. */
static UmEntry *
make_entry(UmSums *sums, const UmRollupName *name)
{
	UmEntry    *entry = MemoryContextAllocZero(sums->context, sizeof(UmEntry));
	UmEntryRef *ref;

	entry->name = *name;
	own_string(sums, &entry->name.org);
	for (int i = 0; i < UM_ROLLUP_KEYS; i++)
		own_string(sums, &entry->name.key[i]);

	if (sums->count == sums->space)
	{
		sums->space *= 2;
		sums->entries = repalloc_huge(sums->entries, sizeof(UmEntryRef) * sums->space);
	}
	ref = &sums->entries[sums->count++];
	ref->entry = entry;
	ref->day = name->day;
	ref->hash = name->hash;
	ref->key = um_string_hash(name->key[0]);
	return entry;
}

/* Adds to a sum of whole numbers. */
static void
add_count(int64 *sum, int64 value, const char *name)
{
	if (pg_add_s64_overflow(*sum, value, sum))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("a sum of column \"%s\" is out of range", name),
				 errhint("Look for calls of impossible size in usage_monitor.usage.")));
}

/* Adds a call to the entry of that name, whose hash is set. */
static void
add_to_entry(UmSums *sums, const UmAddend *call, const UmRollupName *name)
{
	UmEntry    *entry = sums->last;
	MemoryContext old;

	if (entry == NULL || !um_rollup_same(&entry->name, name))
	{
		bool		found;
		Slot	   *slot = um_slots_insert(sums->slots, name, &found);

		if (!found)
		{
			slot->entry = make_entry(sums, name);
			slot->name = &slot->entry->name;
		}
		sums->last = entry = slot->entry;
	}

	add_count(&entry->measures.requests, call->sign * call->measures.requests, "requests");
	for (int i = 0; i < UM_COUNT_COUNT; i++)
		add_count(&entry->measures.count[i], call->sign * call->measures.count[i], count_names[i]);
	if (call->bucket >= 0)
		add_count(&entry->measures.histogram[call->bucket], call->sign, "duration_ms");
	old = MemoryContextSwitchTo(sums->context);
	for (int i = 0; i < UM_SUM_COUNT; i++)
		um_number_add(&entry->measures.sum[i], &call->measures.sum[i], call->sign);
	MemoryContextSwitchTo(old);
}

/* Adds a call to the entry of each of its tags. */
static void
add_to_tags(UmSums *sums, const UmAddend *call, UmRollupName *name)
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
		um_rollup_hash(name);
		add_to_entry(sums, call, name);
	}
}

/* Adds a call, or takes it back. */
void
um_sums_add(UmSums *sums, const UmAddend *call)
{
	const UmDimension *dimension = sums->dimension;
	UmRollupName name = {0};

	name.day = call->day;
	name.hour = dimension->by_hour ? call->hour : DT_NOBEGIN;
	if (dimension->by_org)
		name.org = string_of(call, UM_COL_ORG);
	if (dimension->nkeys == 1 && dimension->key[0] == UM_COL_TAGS)
	{
		/* of which a call has any number */
		add_to_tags(sums, call, &name);
		return;
	}
	for (int k = 0; k < dimension->nkeys; k++)
		name.key[k] = string_of(call, dimension->key[k]);
	um_rollup_hash(&name);
	add_to_entry(sums, call, &name);
}

/* Adds a call to the sums of several rollups, or takes it back. */
void
um_sums_add_to_all(UmSums *sums, int count, const UmAddend *call)
{
	for (int i = 0; i < count; i++)
		um_sums_add(&sums[i], call);
}
