#ifndef UM_COUNTER_CELL_H
#define UM_COUNTER_CELL_H

#include "base/decimal.h"
#include "utils/snapshot.h"

/* decimals of what is added in place; what has more is stored anew */
#define UM_CELL_SCALE	18

/* So many states of a row are remembered, for those who see the past. */
#define UM_CELL_STATES	4

/*
 * The column "recent", the same in the table and in memory.  The latest state
 * comes first; only one writer at a time has not ended, so the state before it
 * is all that can be fallen back on.
 */
typedef struct UmCell
{
	int128		used[UM_CELL_STATES];	/* added to the column used */
	int128		share[2];		/* added to the column share */
	uint64		xid[UM_CELL_STATES];	/* by whom; 0: everybody sees it */
} UmCell;

/* Whether the latest state is one to go on from. */
typedef enum UmCellStatus
{
	UM_CELL_FREE,
	UM_CELL_BUSY,				/* its writer has not ended */
	UM_CELL_LOST				/* nobody knows how its writer ended */
} UmCellStatus;

extern UmCellStatus um_cell_settle(UmCell *cell);
extern void um_cell_write(UmCell *cell, int128 used, int128 share);
extern bool um_cell_withhold(UmCell *cell, int128 base, int128 amount, int128 beside);
extern bool um_cell_as_of(const UmCell *cell, Snapshot snapshot, int128 *used);
extern bool um_cell_is_old(const UmCell *cell, TransactionId horizon);
extern void um_cell_forget_writers(UmCell *cell);
extern int	um_cell_decimals(Numeric value);
extern bool um_cell_units(Numeric value, int128 *units);

#endif							/* UM_COUNTER_CELL_H */
