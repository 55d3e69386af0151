/*
 * fold.h
 *		Summing up calls for the rollups, in memory and then in their tables.
 */
#ifndef UM_FOLD_H
#define UM_FOLD_H

#include "ledger_columns.h"
#include "rollup_row.h"

/* What a fold reads of a row, in this order; see um_fold_columns. */
#define UM_FOLD_COLUMNS 24

/* A rollup that is being folded into: a row of _rollup_dimension. */
typedef struct UmDimension
{
	Oid			relid;
	Oid			archive;
	bool		by_hour;
	bool		by_org;
	int			nkeys;
	UmColumn	key[UM_ROLLUP_KEYS];	/* UM_COL_TAGS alone: each tag */
	HTAB	   *entries;
	struct UmEntry *last;		/* rows come in runs */
} UmDimension;

typedef struct UmFold
{
	int			ndimensions;
	UmDimension *dimensions;
	bool		to_archive;		/* moves what it gets from the rollups to the archive */
	MemoryContext context;		/* of all that follows */
	MemoryContext entry_context;	/* emptied by a flush */
	MemoryContext row_context;	/* emptied by each row */
	int64		rows;
} UmFold;

extern const UmColumn um_fold_columns[UM_FOLD_COLUMNS];

extern UmFold *um_fold_start(void);
extern void um_fold_add(UmFold *fold, const Datum *values, const bool *nulls, int sign);
extern int64 um_fold_end(UmFold *fold);
extern void um_fold_empty_rollups(UmFold *fold);

#endif							/* UM_FOLD_H */
