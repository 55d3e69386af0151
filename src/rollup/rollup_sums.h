#ifndef UM_ROLLUP_SUMS_H
#define UM_ROLLUP_SUMS_H

#include "base/ledger_columns.h"
#include "rollup/rollup_row.h"

/* What is read of a call to sum it up, in this order; see um_sums_columns. */
#define UM_SUMS_COLUMNS 24

/* What a rollup is by: a row of _rollup_dimension. */
typedef struct UmDimension
{
	char	   *name;
	Oid			relid;
	Oid			archive;
	bool		by_hour;
	bool		by_org;
	int			nkeys;
	UmColumn	key[UM_ROLLUP_KEYS];	/* UM_COL_TAGS alone: each tag */
} UmDimension;

/* A call, by the ledger's columns, and what it adds to sums. */
typedef struct UmAddend
{
	Datum		values[UM_COLUMN_COUNT];
	bool		nulls[UM_COLUMN_COUNT];
	UmMeasures	measures;		/* but the histogram */
	int			bucket;			/* of its duration; -1: it has none */
	int			sign;			/* -1: it is taken back */
	DateADT		day;
	TimestampTz hour;
} UmAddend;

/* What calls add to a row of a rollup. */
typedef struct UmEntry
{
	UmRollupName name;
	UmMeasures	measures;
} UmEntry;

/* An entry, and what entries are looked for and sorted by: they lie too far apart to look at each. */
typedef struct UmEntryRef
{
	UmEntry    *entry;
	int64		hash;			/* the name's */
	DateADT		day;
	uint32		key;			/* the hash of the first key */
} UmEntryRef;

/* What calls add to a rollup. */
typedef struct UmSums
{
	const UmDimension *dimension;
	MemoryContext context;		/* the caller's, who empties it */
	UmEntryRef *entries;
	int64		count;
	int64		space;			/* for so many */
	struct um_slots_hash *slots;	/* the entries by their names */
	UmEntry    *last;			/* calls come in runs */
} UmSums;

/* Which entries are looked for; some others come along. */
typedef struct UmFilter
{
	DateADT		first_day;
	DateADT		last_day;
	bool		has_org;
	bool		has_key;
	uint32		org;			/* hashes, as by um_string_hash */
	uint32		key;
} UmFilter;

extern const UmColumn um_sums_columns[UM_SUMS_COLUMNS];
extern const UmFilter um_no_filter;

extern UmDimension *um_dimensions(int *count);
extern void um_addend_read(UmAddend *call, const Datum *values, const bool *nulls, int sign);
extern void um_sums_start(UmSums *sums, const UmDimension *dimension, MemoryContext context);
extern void um_sums_add(UmSums *sums, const UmAddend *call);
extern void um_sums_add_to_all(UmSums *sums, int count, const UmAddend *call);
extern const UmEntry *um_sums_next(const UmSums *sums, const UmFilter *filter, int64 *place);

#endif							/* UM_ROLLUP_SUMS_H */
