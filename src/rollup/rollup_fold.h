#ifndef UM_ROLLUP_FOLD_H
#define UM_ROLLUP_FOLD_H

#include "rollup/rollup_sums.h"

typedef struct UmFold
{
	int			ndimensions;
	UmDimension *dimensions;
	UmSums	   *sums;			/* of each dimension, in entry_context */
	UmRollupTable **tables;		/* of each dimension; NULL: not opened yet */
	UmRollupTable **archives;	/* the same of the archive */
	bool		to_archive;		/* moves what it gets from the rollups to the archive */
	MemoryContext context;		/* of all that follows */
	MemoryContext entry_context;	/* emptied by a flush */
	MemoryContext call_context; /* emptied by each call */
	MemoryContext row_context;	/* emptied by each row of a table */
	DateADT		last_day;		/* of the calls so far; of late ones, so far of these */
	int64		rows;
} UmFold;

extern UmFold *um_fold_start(void);
extern void um_fold_add(UmFold *fold, const Datum *values, const bool *nulls, int sign);
extern void um_fold_go_back(UmFold *fold);
extern int64 um_fold_end(UmFold *fold);
extern void um_fold_empty_rollups(UmFold *fold);

#endif							/* UM_ROLLUP_FOLD_H */
