/*
 * rollup.h
 *		Keeping the rollups.
 */
#ifndef UM_ROLLUP_H
#define UM_ROLLUP_H

#include "access/htup.h"
#include "utils/relcache.h"

extern void um_correction_write(Relation relation, HeapTuple tuple, int64 row_xid, bool negative);
extern int64 um_rollup_try_refresh(void);

#endif							/* UM_ROLLUP_H */
