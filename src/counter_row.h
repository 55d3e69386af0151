/*
 * counter_row.h
 *		The rows that counters are made of: a header and slots.
 */
#ifndef UM_COUNTER_ROW_H
#define UM_COUNTER_ROW_H

#include "access/htup.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "pending.h"
#include "storage/lockdefs.h"
#include "utils/snapshot.h"

#define UM_HEADER	0
#define UM_SLOTS	64

/* The table of counters, opened. */
typedef struct UmCounters
{
	Relation	relation;
	LOCKMODE	lockmode;
	BlockNumber nblocks;		/* at least so many, while the lock is held */
	Relation	index;			/* NULL: not needed yet; so is the next */
	IndexInfo  *index_info;
	TupleTableSlot *slot;
} UmCounters;

typedef struct UmCounterRow
{
	const UmPending *name;
	HeapTuple	tuple;			/* the version that was read or locked; NULL: none yet */
	Size		room;			/* on its page, when it was read; 0: not known */
	bool		taken;			/* somebody else is writing it */
	int			slot;			/* UM_HEADER, or 1 to UM_SLOTS */
	Numeric		used;
	Numeric		share;			/* of the header: the reserve */
	Numeric		next_threshold; /* of the header; NULL: no further one */
	int64		revision;		/* of the quota that share and threshold are for */
} UmCounterRow;

extern void um_counters_open(UmCounters *counters, LOCKMODE lockmode);
extern void um_counters_close(UmCounters *counters, LOCKMODE lockmode);
extern bool um_counter_read(UmCounters *counters, const UmPending *name, int slot,
							UmCounterRow *row);
extern int	um_counter_read_slots(UmCounters *counters, const UmPending *name,
								  UmCounterRow *rows);
extern bool um_counter_lock(UmCounters *counters, UmCounterRow *row);
extern bool um_counter_try_update(UmCounters *counters, UmCounterRow *row);
extern void um_counter_update(UmCounters *counters, UmCounterRow *row);
extern void um_counter_insert(UmCounters *counters, const UmPending *name,
							  UmCounterRow *row);
extern void um_counter_delete(UmCounters *counters, UmCounterRow *row);

#endif							/* UM_COUNTER_ROW_H */
