#ifndef UM_HEAP_ROW_H
#define UM_HEAP_ROW_H

#include "executor/tuptable.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

extern bool um_table_is_plain(Relation relation, const Oid *types);
extern bool um_heap_lock(Relation relation, Snapshot snapshot, TupleTableSlot *slot);
extern bool um_heap_delete(Relation relation, ItemPointer tid, Snapshot snapshot);

#endif							/* UM_HEAP_ROW_H */
