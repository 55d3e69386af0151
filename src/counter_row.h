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
	Relation	index;
	IndexInfo  *index_info;
	TupleTableSlot *slot;
	Snapshot	snapshot;		/* good enough for a row whose update tells if it was not */
} UmCounters;

typedef struct UmCounterRow
{
	HeapTuple	tuple;			/* the version that was read or locked; NULL: none yet */
	int			slot;			/* UM_HEADER, or 1 to UM_SLOTS */
	Numeric		used;
	Numeric		share;			/* of the header: the reserve */
	Numeric		next_threshold; /* of the header; NULL: no further one */
	int			revision;		/* of the quota that share and threshold are for */
} UmCounterRow;

extern void um_counters_open(UmCounters *counters, LOCKMODE lockmode);
extern void um_counters_close(UmCounters *counters, LOCKMODE lockmode);
extern bool um_counter_glance(UmCounters *counters, const UmPending *name, int slot,
							  UmCounterRow *row);
extern bool um_counter_read(UmCounters *counters, const UmPending *name, int slot,
							UmCounterRow *row);
extern int	um_counter_read_slots(UmCounters *counters, const UmPending *name,
								  UmCounterRow *rows);
extern bool um_counter_lock(UmCounters *counters, UmCounterRow *row);
extern bool um_counter_try_update(UmCounters *counters, UmCounterRow *row);
extern void um_counter_update(UmCounters *counters, UmCounterRow *row);
extern void um_counter_insert(UmCounters *counters, const UmPending *name,
							  UmCounterRow *row);

#endif							/* UM_COUNTER_ROW_H */
