/*
 * counter_row.h
 *		The rows that counters are made of: a header and slots.
 */
#ifndef UM_COUNTER_ROW_H
#define UM_COUNTER_ROW_H

#include "access/htup.h"
#include "base/table_indexes.h"
#include "executor/tuptable.h"
#include "quota/counter_name.h"
#include "storage/lockdefs.h"
#include "utils/numeric.h"
#include "utils/snapshot.h"

#define UM_HEADER	0
#define UM_SLOTS	64

/* Whether a delta could be taken from a row in place. */
typedef enum UmTaking
{
	UM_TAKEN,
	UM_NO_ROW,
	UM_NO_ROOM,
	UM_IN_USE					/* others were in the way */
} UmTaking;

/* The table of counters, opened. */
typedef struct UmCounters
{
	Relation	relation;
	LOCKMODE	lockmode;
	BlockNumber nblocks;		/* at least so many, while the lock is held */
	bool		in_place;		/* may write in place: only who never takes it back */
	MemoryContext context;		/* that lasts until they are closed */
	Relation	key;			/* the primary key; NULL: not needed yet */
	bool		has_indexes;	/* are all of them opened, to be written? */
	UmIndexes	indexes;
	TupleTableSlot *slot;
} UmCounters;

typedef struct UmCounterRow
{
	const UmCounterName *name;
	HeapTuple	tuple;			/* the version that was read or locked; NULL: none yet */
	uint64		writer;			/* who wrote into it last */
	bool		busy;			/* that one has not ended; it was read as it was before */
	bool		lost;			/* what is used is not known: ask the ledger */
	int			slot;			/* UM_HEADER, or 1 to UM_SLOTS */
	Numeric		used;
	Numeric		share;			/* of the header: the reserve */
	Numeric		next_threshold; /* of the header; NULL: no further one */
	int64		revision;		/* of the quota that share and threshold are for */
	const char *raised;			/* the levels that are reached; NULL: not known */
} UmCounterRow;

extern void um_counters_open(UmCounters *counters, LOCKMODE lockmode);
extern void um_counters_close(UmCounters *counters, LOCKMODE lockmode);
extern bool um_counter_read(UmCounters *counters, const UmCounterName *name, int slot,
							UmCounterRow *row);
extern int	um_counter_read_slots(UmCounters *counters, const UmCounterName *name,
								  UmCounterRow *rows);
extern bool um_counter_sum(UmCounters *counters, const UmCounterName *name, const UmCounterRow *header,
						   Numeric *used, Numeric *room, bool *lost);
extern bool um_counter_used(UmCounters *counters, const UmCounterName *name, Numeric *used);
extern bool um_counter_lock(UmCounters *counters, UmCounterRow *row);
extern UmTaking um_counter_take(UmCounters *counters, const UmCounterName *name, int slot,
								int64 revision, int128 delta, int decimals);
extern bool um_counter_withhold(UmCounters *counters, const UmCounterName *name, int slot,
								int64 revision, int128 amount, int128 beside, bool for_real);
extern bool um_counter_is_taken(UmCounters *counters, const UmCounterName *name, int slot);
extern void um_counter_write(UmCounters *counters, UmCounterRow *row);
extern void um_counters_settle(UmCounters *counters);
extern void um_counter_delete(UmCounters *counters, UmCounterRow *row);

#endif							/* UM_COUNTER_ROW_H */
