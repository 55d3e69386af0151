/*
 * tail_read.h
 *		Reading what a mark does not cover.
 */
#ifndef UM_TAIL_READ_H
#define UM_TAIL_READ_H

#include "rollup/watermark.h"

/*
 * Gets a call, by the columns of um_sums_columns; with sign -1 it is to be
 * taken back.
 */
typedef void (*UmTailVisitor) (void *arg, const Datum *values, const bool *nulls, int sign);

/* Learns that from now on it gets late calls, from an earlier day on. */
typedef void (*UmTailLate) (void *arg);

extern void um_tail_read(const UmWatermark *mark, UmTailVisitor visit, void *arg);
extern void um_tail_read_in_order(const UmWatermark *mark, UmTailVisitor visit,
								  UmTailLate late_begin, void *arg);
extern void um_tail_read_partition(Oid partition, UmTailVisitor visit, void *arg);

#endif							/* UM_TAIL_READ_H */
