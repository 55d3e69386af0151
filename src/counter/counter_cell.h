#ifndef UM_COUNTER_CELL_H
#define UM_COUNTER_CELL_H

#include "base/decimal.h"
#include "utils/snapshot.h"

/* decimals of what is added in place; what has more is stored anew */
#define UM_CELL_SCALE	18

/* So many states of a row are remembered, for those who see the past. */
#define UM_CELL_STATES	4

/* One of them: what was added to the column used, and by whom; 0: everybody sees it. */
typedef struct UmCellState
{
	uint64		xid;
	int128		used;
} UmCellState;

/*
 * The column "recent", the same in the table and in memory.  The states are a
 * ring: a writer overwrites the oldest, and no other's bytes change, which are
 * logged.  Only one writer at a time has not ended, so the state before the
 * latest is all that can be fallen back on; only of these two the share is kept.
 */
typedef struct UmCell
{
	UmCellState states[UM_CELL_STATES];
	int128		share[2];		/* added to the column share, by the state's number modulo 2 */
	uint64		latest;			/* the number of the latest state */
} UmCell;

/* Whether the latest state is one to go on from. */
typedef enum UmCellStatus
{
	UM_CELL_FREE,
	UM_CELL_BUSY,				/* its writer has not ended */
	UM_CELL_LOST				/* nobody knows how its writer ended */
} UmCellStatus;

/* The state that was so many before the latest, and the share then. */
static inline UmCellState *
um_cell_state(UmCell *cell, int before)
{
	return &cell->states[(cell->latest - before) % UM_CELL_STATES];
}

static inline int128 *
um_cell_share(UmCell *cell, int before)
{
	return &cell->share[(cell->latest - before) % 2];
}

extern UmCellStatus um_cell_settle(UmCell *cell);
extern void um_cell_write(UmCell *cell, int128 used, int128 share);
extern bool um_cell_withhold(UmCell *cell, int128 base, int128 amount, int128 beside);
extern bool um_cell_as_of(UmCell *cell, Snapshot snapshot, int128 *used);
extern bool um_cell_is_old(UmCell *cell, TransactionId horizon);
extern void um_cell_forget_writers(UmCell *cell);
extern int	um_cell_decimals(Numeric value);
extern bool um_cell_units(Numeric value, int128 *units);

#endif							/* UM_COUNTER_CELL_H */
