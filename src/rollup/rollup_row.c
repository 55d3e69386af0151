/*
 * rollup_row.c
 *		The rows of rollups: exact sums over calls, and adding them to what a
 *		table has.
 *
 * Rows are written through the heap directly, as those of the catalogs are:
 * whoever folds is alone, and a fold writes very many.
 */
#include "postgres.h"

#include <math.h>

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/amount.h"
#include "base/compat.h"
#include "base/error.h"
#include "base/table_columns.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "common/int.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "rollup/rollup_row.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* The columns of _rollup, in sql/rollup/rollup.sql. */
enum
{
	COL_DAY = 1,
	COL_NAME_HASH,
	COL_REQUESTS,
	COL_TOKENS,					/* of input and output */
	COL_COST = COL_TOKENS + 2,
	COL_ORG,
	COL_KEYS,
	COL_HOUR = COL_KEYS + UM_ROLLUP_KEYS,
	COL_OTHER_SUMS,				/* behind that of the cost */
	COL_OTHER_COUNTS = COL_OTHER_SUMS + UM_SUM_COUNT - 1,	/* behind those of tokens */
	COL_HISTOGRAM = COL_OTHER_COUNTS + UM_COUNT_COUNT - 2,
	COL_LAST = COL_HISTOGRAM + UM_DURATION_BUCKETS - 1
};

StaticAssertDecl(COL_LAST == UM_ROLLUP_COLUMNS, "the columns of a rollup are not as many as expected");
StaticAssertDecl(COL_DAY == UM_ROLLUP_DAY && COL_ORG == UM_ROLLUP_ORG && COL_KEYS == UM_ROLLUP_KEY,
				 "the columns of a rollup are not where they are expected");

#define COL_SUM(i)		((i) == UM_SUM_COST ? COL_COST : COL_OTHER_SUMS + (i) - 1)
#define COL_COUNT(i)	((i) <= UM_COUNT_OUTPUT_TOKENS ? COL_TOKENS + (i) : COL_OTHER_COUNTS + (i) - 2)

/* The columns of the index _rollup_..._name, in their order. */
enum
{
	KEY_DAY,
	KEY_NAME_HASH,
	KEY_COUNT
};

/* So much is sorted in memory of what an index gets, in kB. */
#define LATER_MEMORY	(8 * 1024)

static const double bounds[UM_DURATION_BUCKETS - 1] = {
	10, 20, 40, 80, 160, 320, 640, 1000, 1280, 2000, 2560, 3000, 5000, 5120,
	10240, 20480, 40960, 81920
};

PG_FUNCTION_INFO_V1(usage_monitor_duration_percentile);
PG_FUNCTION_INFO_V1(usage_monitor_exact_ms);

/* The bucket of a duration: the first whose bound it does not exceed. */
int
um_duration_bucket(double duration_ms)
{
	int			low = 0;
	int			high = UM_DURATION_BUCKETS - 1;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (duration_ms <= bounds[middle])
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* Sets a number; the value may be UM_STORED_NUMERIC. */
void
um_number_set(UmNumber *number, Numeric value)
{
	UmDecimal	decimal;

	if (um_decimal_from_numeric(value, &decimal))
		*number = (UmNumber) {decimal.mantissa, NULL, decimal.scale};
	else
		*number = (UmNumber) {0, DatumGetNumeric(NumericGetDatum(value)), 0};
}

/*
 * Sets a number to a duration, as float8_numeric() reads it: the decimal of 15
 * digits that it is shown as.  Mostly that has few decimals, which is quicker
 * found out than written and read.
 */
void
um_number_set_duration(UmNumber *number, double duration_ms)
{
	double		micro = rint(duration_ms * 1000.0);

	if (micro < 1e15 && micro / 1000.0 == duration_ms)
		*number = (UmNumber) {(int64) micro, NULL, 3};
	else
		um_number_set(number, DatumGetNumeric(DirectFunctionCall1(float8_numeric,
																  Float8GetDatum(duration_ms))));
}

/* The number. */
Numeric
um_number_to_numeric(const UmNumber *number)
{
	Numeric		small = um_decimal_to_numeric(number->mantissa, number->scale);

	return number->large == NULL ? small :
		trimmed(plus(small, number->large));
}

/* Adds to a number, or with sign -1 takes from it; memory is the caller's. */
void
um_number_add(UmNumber *number, const UmNumber *value, int sign)
{
	UmDecimal	sum = {number->mantissa, number->scale};
	UmDecimal	more = {sign < 0 ? -value->mantissa : value->mantissa, value->scale};

	if (value->large != NULL)
	{
		Numeric		large = sign > 0 ? value->large :
			DatumGetNumeric(DirectFunctionCall1(numeric_uminus, NumericGetDatum(value->large)));

		number->large = plus(number->large ? number->large : zero(), large);
	}
	if (more.mantissa == 0)
		return;
	if (um_decimal_rescale(more.scale < sum.scale ? &more : &sum, Max(more.scale, sum.scale)) &&
		!__builtin_add_overflow(sum.mantissa, more.mantissa, &sum.mantissa))
	{
		number->mantissa = sum.mantissa;
		number->scale = sum.scale;
		return;
	}
	/* what there was goes on top; the rest begins with the value */
	number->large = plus(number->large ? number->large : zero(),
						 um_decimal_to_numeric(number->mantissa, number->scale));
	number->mantissa = sign < 0 ? -value->mantissa : value->mantissa;
	number->scale = value->scale;
}

/* Is it zero, whatever it was made of? */
static bool
number_is_zero(const UmNumber *number)
{
	if (number->large == NULL)
		return number->mantissa == 0;
	return compare(um_number_to_numeric(number), zero()) == 0;
}

/* The hash of a name's part. */
uint32
um_string_hash(UmString string)
{
	return string.data == NULL ? 0 : hash_bytes((const unsigned char *) string.data, string.length);
}

/* Sets a name's hash: the rows of an organisation are neighbours by it. */
void
um_rollup_hash(UmRollupName *name)
{
	uint32		hash = murmurhash32((uint32) (name->hour / USECS_PER_MINUTE));

	for (int i = 0; i < UM_ROLLUP_KEYS; i++)
		hash = hash_combine(hash, um_string_hash(name->key[i]));
	name->hash = (int64) ((uint64) um_string_hash(name->org) << 32 | hash);
}

/*
 * The hash as it is stored, in half the space.  A few bits suffice to have an
 * organisation's rows close together; the others tell its names apart.
 */
static int32
stored_hash(int64 hash)
{
	return (int32) ((um_rollup_org_hash(hash) & 0xff000000) | (uint32) hash >> 8);
}

/* Is it the name of the same row? */
bool
um_rollup_same(const UmRollupName *a, const UmRollupName *b)
{
	if (a->hash != b->hash || a->day != b->day || a->hour != b->hour ||
		!um_string_equal(a->org, b->org))
		return false;
	for (int i = 0; i < UM_ROLLUP_KEYS; i++)
		if (!um_string_equal(a->key[i], b->key[i]))
			return false;
	return true;
}

/*
 * Starts to keep what readers' indexes get for when the table is closed: then
 * they get it in their own order, each of their pages once.  The index of names
 * gets everything at once, for rows are found by it; what is not a tree has no
 * order.
 */
static void
start_later(UmRollupTable *table)
{
	table->later = palloc0(sizeof(Tuplesortstate *) * table->indexes.relation->ri_NumIndices);
	for (int i = 0; i < table->indexes.relation->ri_NumIndices; i++)
	{
		Relation	index = table->indexes.relation->ri_IndexRelationDescs[i];

		if (index->rd_rel->relam == BTREE_AM_OID &&
			RelationGetRelid(index) != RelationGetRelid(table->index))
			table->later[i] = tuplesort_begin_index_btree(table->relation, index, false, false,
														  LATER_MEMORY, NULL, TUPLESORT_NONE);
	}
}

/* Opens a table of rollups to add to it. */
void
um_rollup_open(UmRollupTable *table, Oid relid)
{
	List	   *indexes;
	ListCell   *lc;

	table->context = CurrentMemoryContext;
	table->relation = table_open(relid, RowExclusiveLock);
	um_check_first_columns(table->relation, COL_LAST);
	table->index = NULL;
	indexes = RelationGetIndexList(table->relation);
	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), RowExclusiveLock);

		/* while one is rebuilt concurrently, there are two */
		if (table->index == NULL && index->rd_index->indisvalid &&
			index->rd_index->indnkeyatts == KEY_COUNT &&
			index->rd_index->indkey.values[KEY_NAME_HASH] == COL_NAME_HASH)
			table->index = index;
		else
			index_close(index, NoLock);
	}
	if (table->index == NULL)
		elog(ERROR, "table \"%s\" has no index of names", RelationGetRelationName(table->relation));
	um_indexes_open(&table->indexes, table->relation);
	start_later(table);
	table->slot = table_slot_create(table->relation, NULL);
	table->updated = MakeSingleTupleTableSlot(RelationGetDescr(table->relation), &TTSOpsHeapTuple);
	table->nnew = 0;
	memset(table->new_rows, 0, sizeof(table->new_rows));
	/* what is committed, and what this transaction has written: nobody else writes */
	table->scan = index_beginscan(table->relation, table->index, SnapshotSelf, NULL, KEY_COUNT, 0);
}

/* A text of a row. */
static UmString
slot_string(TupleTableSlot *slot, int column)
{
	bool		isnull;
	Datum		value = slot_getattr(slot, column, &isnull);

	return um_text_string(value, isnull);
}

/* Puts a row that was written into the indexes, or keeps it for those that get theirs later. */
static void
index_row(UmRollupTable *table, TupleTableSlot *slot, UmIndexing indexing)
{
	for (int i = 0; i < table->indexes.relation->ri_NumIndices; i++)
	{
		Datum		values[INDEX_MAX_KEYS];
		bool		nulls[INDEX_MAX_KEYS];

		if (!um_index_form(&table->indexes, i, slot, indexing, values, nulls))
			continue;
		if (table->later[i] != NULL)
			tuplesort_putindextuplevalues(table->later[i],
										  table->indexes.relation->ri_IndexRelationDescs[i],
										  &slot->tts_tid, values, nulls);
		else
			um_index_put(&table->indexes, i, values, nulls, &slot->tts_tid, indexing);
	}
}

/* Writes the new rows that are kept back; from then on they are found. */
void
um_rollup_flush(UmRollupTable *table)
{
	if (table->nnew == 0)
		return;
	heap_multi_insert(table->relation, table->new_rows, table->nnew, GetCurrentCommandId(true), 0, NULL);
	for (int i = 0; i < table->nnew; i++)
	{
		index_row(table, table->new_rows[i], UM_INDEX_NEW);
		ExecClearTuple(table->new_rows[i]);
	}
	table->nnew = 0;
}

/* Puts into an index what was kept for it, in its order. */
static void
insert_later(UmRollupTable *table, int i)
{
	TupleDesc	desc = RelationGetDescr(table->indexes.relation->ri_IndexRelationDescs[i]);
	IndexTuple	entry;

	tuplesort_performsort(table->later[i]);
	while ((entry = tuplesort_getindextuple(table->later[i], true)) != NULL)
	{
		Datum		values[INDEX_MAX_KEYS];
		bool		nulls[INDEX_MAX_KEYS];

		CHECK_FOR_INTERRUPTS();
		index_deform_tuple(entry, desc, values, nulls);
		um_index_put(&table->indexes, i, values, nulls, &entry->t_tid, UM_INDEX_NEW);
	}
	tuplesort_end(table->later[i]);
}

/* Closes it; locks stay. */
void
um_rollup_close(UmRollupTable *table)
{
	um_rollup_flush(table);
	for (int i = 0; i < table->indexes.relation->ri_NumIndices; i++)
		if (table->later[i] != NULL)
			insert_later(table, i);
	for (int i = 0; i < UM_NEW_ROWS && table->new_rows[i] != NULL; i++)
		ExecDropSingleTupleTableSlot(table->new_rows[i]);
	index_endscan(table->scan);
	ExecDropSingleTupleTableSlot(table->slot);
	ExecDropSingleTupleTableSlot(table->updated);
	um_indexes_close(&table->indexes);
	index_close(table->index, NoLock);
	table_close(table->relation, NoLock);
}

/* Is the row in the table's slot, found by its hash, the one of that name? */
static bool
slot_is(UmRollupTable *table, const UmRollupName *name)
{
	UmRollupName other = *name;
	bool		isnull;
	Datum		hour = slot_getattr(table->slot, COL_HOUR, &isnull);

	other.hour = isnull ? DT_NOBEGIN : DatumGetTimestampTz(hour);
	other.org = slot_string(table->slot, COL_ORG);
	for (int i = 0; i < UM_ROLLUP_KEYS; i++)
		other.key[i] = slot_string(table->slot, COL_KEYS + i);
	return um_rollup_same(&other, name);
}

/* Finds a row by its name, into table->slot. */
static bool
find(UmRollupTable *table, const UmRollupName *name)
{
	ScanKeyData keys[KEY_COUNT];
	MemoryContext old = MemoryContextSwitchTo(table->context);
	bool		found;

	ScanKeyInit(&keys[KEY_DAY], KEY_DAY + 1, BTEqualStrategyNumber, F_DATE_EQ,
				DateADTGetDatum(name->day));
	ScanKeyInit(&keys[KEY_NAME_HASH], KEY_NAME_HASH + 1, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(stored_hash(name->hash)));
	index_rescan(table->scan, keys, KEY_COUNT, NULL, 0);
	do
		found = index_getnext_slot(table->scan, ForwardScanDirection, table->slot);
	while (found && !slot_is(table, name));
	MemoryContextSwitchTo(old);
	return found;
}

/*
 * Makes a row of a name and sums.  A zero is NULL, which takes no space; but
 * for the cost, which is NULL where no call has one.  The arrays have
 * UM_ROLLUP_COLUMNS places; columns that are not wanted are NULL (none told: all
 * are).
 */
void
um_rollup_form(const UmRollupName *name, const UmMeasures *measures, const bool *wanted,
			   Datum *values, bool *nulls)
{
	bool		priced = measures->requests != measures->count[UM_COUNT_UNPRICED];

	memset(nulls, true, sizeof(bool) * UM_ROLLUP_COLUMNS);
#define WANTED(column) (wanted == NULL || wanted[(column) - 1])
#define SET(column, value) (values[(column) - 1] = (value), nulls[(column) - 1] = false)
	if (WANTED(COL_DAY))
		SET(COL_DAY, DateADTGetDatum(name->day));
	if (WANTED(COL_NAME_HASH))
		SET(COL_NAME_HASH, Int32GetDatum(stored_hash(name->hash)));
	if (WANTED(COL_REQUESTS))
		SET(COL_REQUESTS, Int64GetDatum(measures->requests));
	if (WANTED(COL_HOUR) && !TIMESTAMP_IS_NOBEGIN(name->hour))
		SET(COL_HOUR, TimestampTzGetDatum(name->hour));
	if (WANTED(COL_ORG) && name->org.data != NULL)
		SET(COL_ORG, um_string_text(name->org));
	for (int i = 0; i < UM_ROLLUP_KEYS; i++)
		if (WANTED(COL_KEYS + i) && name->key[i].data != NULL)
			SET(COL_KEYS + i, um_string_text(name->key[i]));
	for (int i = 0; i < UM_SUM_COUNT; i++)
		if (WANTED(COL_SUM(i)) &&
			(!number_is_zero(&measures->sum[i]) || (priced && i != UM_SUM_DURATION_MS)))
			SET(COL_SUM(i), NumericGetDatum(um_number_to_numeric(&measures->sum[i])));
	for (int i = 0; i < UM_COUNT_COUNT; i++)
		if (WANTED(COL_COUNT(i)) && measures->count[i] != 0)
			SET(COL_COUNT(i), Int64GetDatum(measures->count[i]));
	for (int i = 0; i < UM_DURATION_BUCKETS; i++)
		if (WANTED(COL_HISTOGRAM + i) && measures->histogram[i] != 0)
			SET(COL_HISTOGRAM + i, Int64GetDatum(measures->histogram[i]));
#undef SET
#undef WANTED
}

/* A whole number of the row in the table's slot, and that much more or less. */
static int64
add_to_column(UmRollupTable *table, int column, int64 value)
{
	if (!table->slot->tts_isnull[column - 1] &&
		pg_add_s64_overflow(value, DatumGetInt64(table->slot->tts_values[column - 1]), &value))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("a sum of column \"%s\" of table \"%s\" is out of range",
						NameStr(TupleDescAttr(RelationGetDescr(table->relation), column - 1)->attname),
						RelationGetRelationName(table->relation))));
	return value;
}

/* The sums of the row in the table's slot, with others added, or with sign -1 taken away. */
static void
add_to_slot(UmRollupTable *table, const UmMeasures *more, int sign, UmMeasures *sums)
{
	slot_getallattrs(table->slot);
	sums->requests = add_to_column(table, COL_REQUESTS, sign * more->requests);
	for (int i = 0; i < UM_COUNT_COUNT; i++)
		sums->count[i] = add_to_column(table, COL_COUNT(i), sign * more->count[i]);
	for (int i = 0; i < UM_DURATION_BUCKETS; i++)
		sums->histogram[i] = add_to_column(table, COL_HISTOGRAM + i, sign * more->histogram[i]);
	memset(sums->sum, 0, sizeof(sums->sum));
	for (int i = 0; i < UM_SUM_COUNT; i++)
	{
		if (!table->slot->tts_isnull[COL_SUM(i) - 1])
			um_number_set(&sums->sum[i], UM_STORED_NUMERIC(table->slot->tts_values[COL_SUM(i) - 1]));
		um_number_add(&sums->sum[i], &more->sum[i], sign);
	}
}

/*
 * Has a row no more to say?  One that has only corrections has money, and no
 * calls.
 */
static bool
is_nothing(const UmMeasures *measures)
{
	if (measures->requests != 0)
		return false;
	for (int i = 0; i < UM_SUM_COUNT; i++)
		if (!number_is_zero(&measures->sum[i]))
			return false;
	return true;
}

/* Makes a new row, and keeps it back to be written with others. */
static void
add_new_row(UmRollupTable *table, Datum *values, bool *nulls)
{
	MemoryContext old = MemoryContextSwitchTo(table->context);
	TupleTableSlot *slot;

	if (table->nnew == UM_NEW_ROWS)
		um_rollup_flush(table);
	if (table->new_rows[table->nnew] == NULL)
		table->new_rows[table->nnew] = MakeSingleTupleTableSlot(RelationGetDescr(table->relation),
																&TTSOpsHeapTuple);
	slot = table->new_rows[table->nnew++];
	ExecStoreHeapTuple(um_tuple_form_first(table->relation, COL_LAST, NULL, values, nulls), slot, true);
	MemoryContextSwitchTo(old);
}

/* Writes a row in place of the one in the table's slot. */
static void
update_row(UmRollupTable *table, Datum *values, bool *nulls)
{
	HeapTuple	before = RelationGetDescr(table->relation)->natts == COL_LAST ? NULL :
		ExecCopySlotHeapTuple(table->slot);
	HeapTuple	row = um_tuple_form_first(table->relation, COL_LAST, before, values, nulls);
	ItemPointerData tid = table->slot->tts_tid;
	UmIndexing	indexing = um_heap_update(table->relation, &tid, row);

	if (indexing == UM_INDEX_NONE)
		return;
	ExecStoreHeapTuple(row, table->updated, false);
	index_row(table, table->updated, indexing);
	ExecClearTuple(table->updated);
}

/*
 * Adds to the row of that name, or with sign -1 takes from it; makes it if
 * there is none, and drops it with its last call.  A name may come but once
 * until the table is flushed.
 */
void
um_rollup_add(UmRollupTable *table, const UmRollupName *name, const UmMeasures *measures, int sign)
{
	Datum		values[UM_ROLLUP_COLUMNS];
	bool		nulls[UM_ROLLUP_COLUMNS];
	UmMeasures	sums;

	if (!find(table, name))
	{
		/* corrections that added up to nothing have no row to take one from */
		if (sign < 0 && measures->requests != 0)
			ereport(ERROR,
					(errcode(ERRCODE_UM_NOT_VERIFIED),
					 errmsg("a row of table \"%s\" is missing", RelationGetRelationName(table->relation)),
					 errhint("Calls that are not folded cannot be archived: SELECT usage_monitor.refresh(). If verify() finds differences, SELECT usage_monitor.rebuild_rollups().")));
		sums = *measures;
		for (int i = 0; i < UM_SUM_COUNT && sign < 0; i++)
		{
			memset(&sums.sum[i], 0, sizeof(UmNumber));
			um_number_add(&sums.sum[i], &measures->sum[i], sign);
		}
		if (!is_nothing(&sums))
		{
			um_rollup_form(name, &sums, NULL, values, nulls);
			add_new_row(table, values, nulls);
		}
		return;
	}

	add_to_slot(table, measures, sign, &sums);
	if (is_nothing(&sums))
		simple_heap_delete(table->relation, &table->slot->tts_tid);
	else
	{
		um_rollup_form(name, &sums, NULL, values, nulls);
		update_row(table, values, nulls);
	}
	ExecClearTuple(table->slot);
}

/* duration_percentile(percentile, VARIADIC histogram) */
Datum
usage_monitor_duration_percentile(PG_FUNCTION_ARGS)
{
	double		percentile;
	Datum	   *values;
	bool	   *nulls;
	int			count;
	double		calls[UM_DURATION_BUCKETS];
	double		total = 0;
	double		rank;
	double		before = 0;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	percentile = PG_GETARG_FLOAT8(0);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), INT8OID, sizeof(int64), FLOAT8PASSBYVAL,
					  TYPALIGN_DOUBLE, &values, &nulls, &count);
	if (!(percentile >= 0 && percentile <= 1) || count != UM_DURATION_BUCKETS)
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_COUNT),
				 errmsg("no percentile %g of a histogram of %d buckets", percentile, count),
				 errhint("A percentile is a share from 0 to 1, of %d buckets.", UM_DURATION_BUCKETS)));
	for (int i = 0; i < count; i++)
	{
		calls[i] = nulls[i] ? 0 : (double) DatumGetInt64(values[i]);
		total += calls[i];
	}
	if (total <= 0)
		PG_RETURN_NULL();

	rank = percentile * total;
	for (int i = 0; i < UM_DURATION_BUCKETS - 1; i++)
	{
		double		lower = i == 0 ? 0 : bounds[i - 1];

		if (calls[i] > 0 && before + calls[i] >= rank)
			PG_RETURN_FLOAT8(lower + (bounds[i] - lower) * (rank - before) / calls[i]);
		before += calls[i];
	}
	PG_RETURN_FLOAT8(bounds[UM_DURATION_BUCKETS - 2]);
}

/* _exact_ms(duration_ms) */
Datum
usage_monitor_exact_ms(PG_FUNCTION_ARGS)
{
	UmNumber	number;

	um_number_set_duration(&number, PG_GETARG_FLOAT8(0));
	PG_RETURN_NUMERIC(um_number_to_numeric(&number));
}
