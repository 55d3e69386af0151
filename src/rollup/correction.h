#ifndef UM_CORRECTION_H
#define UM_CORRECTION_H

#include "executor/tuptable.h"
#include "utils/relcache.h"

extern void um_correction_write(Relation relation, TupleTableSlot *slot, int64 row_xid, bool negative);

#endif							/* UM_CORRECTION_H */
