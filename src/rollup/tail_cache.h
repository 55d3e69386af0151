#ifndef UM_TAIL_CACHE_H
#define UM_TAIL_CACHE_H

#include "nodes/pg_list.h"
#include "rollup/rollup_sums.h"
#include "utils/snapshot.h"
#include "utils/tuplestore.h"

extern const UmSums *um_tail_sums_open(const char *name, const List *others, Snapshot snapshot,
									   TupleDesc desc, Tuplestorestate **rows);
extern int64 um_tail_sums_count(const char *name);

#endif							/* UM_TAIL_CACHE_H */
