#ifndef UM_TAIL_READ_H
#define UM_TAIL_READ_H

#include "rollup/watermark.h"

/*
 * Gets a call, by the columns of um_sums_columns, to be added (sign 1) or
 * subtracted (sign -1, the old row of a correction).
 */
typedef void (*UmTailVisitor) (void *arg, const Datum *values, const bool *nulls, int sign);

/*
 * Is called once, when the calls in order of time are read: those that follow
 * are late ones, again in order of time, and begin with an earlier day.
 */
typedef void (*UmTailLate) (void *arg);

extern void um_tail_read(const UmWatermark *mark, UmTailVisitor visit, void *arg);
extern void um_tail_read_in_order(const UmWatermark *mark, UmTailVisitor visit,
								  UmTailLate late_begin, void *arg);
extern void um_tail_read_partition(Oid partition, UmTailVisitor visit, void *arg);

#endif							/* UM_TAIL_READ_H */
