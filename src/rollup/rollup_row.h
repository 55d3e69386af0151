#ifndef UM_ROLLUP_ROW_H
#define UM_ROLLUP_ROW_H

#include "access/genam.h"
#include "base/decimal.h"
#include "base/table_indexes.h"
#include "base/text_span.h"
#include "datatype/timestamp.h"
#include "executor/tuptable.h"
#include "utils/date.h"
#include "utils/relcache.h"
#include "utils/tuplesort.h"

/* Sums of money, and of durations. */
typedef enum UmSumColumn
{
	UM_SUM_COST,
	UM_SUM_INPUT_COST,
	UM_SUM_OUTPUT_COST,
	UM_SUM_OTHER_COST,
	UM_SUM_DURATION_MS,
	UM_SUM_COUNT
} UmSumColumn;

/* Sums of whole numbers. */
typedef enum UmCountColumn
{
	UM_COUNT_INPUT_TOKENS,
	UM_COUNT_OUTPUT_TOKENS,
	UM_COUNT_CACHE_READ,
	UM_COUNT_CACHE_CREATION,
	UM_COUNT_REASONING,
	UM_COUNT_ERRORS,
	UM_COUNT_UNPRICED,
	UM_COUNT_CACHED,
	UM_COUNT_UNKNOWN_INPUT,
	UM_COUNT_UNKNOWN_OUTPUT,
	UM_COUNT_UNTIMED,
	UM_COUNT_COUNT
} UmCountColumn;

/* By the upper bounds of their durations; the last one has none. */
#define UM_DURATION_BUCKETS 19

/* An exact number: an integer of 128 bits where it fits, and a numeric beyond. */
typedef struct UmNumber
{
	int128		mantissa;		/* as in UmDecimal, which would be larger */
	Numeric		large;			/* what comes on top; NULL: nothing */
	int			scale;
} UmNumber;

/* What calls add up to. */
typedef struct UmMeasures
{
	UmNumber	sum[UM_SUM_COUNT];
	int64		requests;
	int64		count[UM_COUNT_COUNT];
	int64		histogram[UM_DURATION_BUCKETS];
} UmMeasures;

#define UM_ROLLUP_KEYS 3

/* day, name_hash, requests, hour and org, keys, and sums */
#define UM_ROLLUP_COLUMNS \
	(5 + UM_ROLLUP_KEYS + UM_SUM_COUNT + UM_COUNT_COUNT + UM_DURATION_BUCKETS)

/* Columns of _rollup that readers look for; src/rollup/rollup_row.c knows them all. */
#define UM_ROLLUP_DAY	1
#define UM_ROLLUP_ORG	7
#define UM_ROLLUP_KEY	8		/* the first one */

/* The name of a row of a rollup. */
typedef struct UmRollupName
{
	int64		hash;			/* of all but the day; set by um_rollup_hash */
	DateADT		day;
	TimestampTz hour;			/* DT_NOBEGIN: the rollup is not by hour */
	UmString	org;
	UmString	key[UM_ROLLUP_KEYS];	/* NULL: the rollup has fewer, or the call names none */
} UmRollupName;

/* The hash of the organisation, as by um_string_hash, in that of a name. */
static inline uint32
um_rollup_org_hash(int64 hash)
{
	return (uint32) ((uint64) hash >> 32);
}

/* New rows are written so many at a time. */
#define UM_NEW_ROWS 1000

/* A table of rollups, opened. */
typedef struct UmRollupTable
{
	Relation	relation;
	Relation	index;
	UmIndexes	indexes;
	IndexScanDesc scan;
	MemoryContext context;		/* of the scan, which allocates as it goes */
	TupleTableSlot *slot;
	TupleTableSlot *updated;	/* what an index is to have of it */
	Tuplesortstate **later;		/* what an index gets when the table is closed; NULL: nothing */
	TupleTableSlot *new_rows[UM_NEW_ROWS];	/* that are kept back, to be written together */
	int			nnew;
} UmRollupTable;

extern void um_number_set(UmNumber *number, Numeric value);
extern void um_number_add(UmNumber *number, const UmNumber *value, int sign);
extern void um_number_set_duration(UmNumber *number, double duration_ms);
extern Numeric um_number_to_numeric(const UmNumber *number);
extern int	um_duration_bucket(double duration_ms);
extern uint32 um_string_hash(UmString string);
extern void um_rollup_hash(UmRollupName *name);
extern bool um_rollup_same(const UmRollupName *a, const UmRollupName *b);
extern void um_rollup_form(const UmRollupName *name, const UmMeasures *measures,
						   const bool *wanted, Datum *values, bool *nulls);
extern void um_rollup_open(UmRollupTable *table, Oid relid);
extern void um_rollup_add(UmRollupTable *table, const UmRollupName *name,
						  const UmMeasures *measures, int sign);
extern void um_rollup_flush(UmRollupTable *table);
extern void um_rollup_close(UmRollupTable *table);

#endif							/* UM_ROLLUP_ROW_H */
