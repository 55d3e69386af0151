/*
 * counter_cell.c
 *		What was added to a row of a counter in place, since it was stored.
 *
 * A version of a row for each commit is what MVCC would make, and while any
 * snapshot is held, none of them goes away.  So a row has room for its last
 * few states, each with the transaction that wrote it, and is overwritten.
 * A writer waits for the one before it to end; so whoever sees a state sees all
 * that were before it, and one that failed leaves the state before it.  Who
 * sees a past that is not here any more asks rollups or ledger instead.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "base/compat.h"
#include "counter/counter_cell.h"
#include "fmgr.h"
#include "storage/lwlock.h"
#include "storage/procarray.h"
#include "utils/fmgrprotos.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* In place of a writer: a state that nobody can go back to. */
#define NO_STATE	PG_UINT64_MAX

StaticAssertDecl(sizeof(UmCell) == 136, "a cell is stored as it is, without padding");
StaticAssertDecl(UM_CELL_STATES % 2 == 0, "the ring of shares ends where that of states does");

typedef enum WriterStatus
{
	WRITER_RUNS,
	WRITER_COMMITTED,
	WRITER_ABORTED,
	WRITER_UNKNOWN				/* the server has forgotten it */
} WriterStatus;

static uint64 written_by;		/* the last transaction of this backend that wrote into a cell */

/*
 * Is the transaction near enough for its number to be compared with others'?
 * What number comes next is asked once a statement: its lock is a busy one.
 */
static bool
is_comparable(uint64 xid)
{
	static TimestampTz asked_at;
	static uint64 next;

	if (next == 0 || asked_at != GetCurrentStatementStartTimestamp())
	{
		asked_at = GetCurrentStatementStartTimestamp();
		next = U64FromFullTransactionId(ReadNextFullTransactionId());
	}
	return (int64) (next - xid) < PG_INT32_MAX;
}

/* How a transaction ended, if the server has not forgotten it. */
static WriterStatus
status_of_ended(TransactionId xid)
{
	WriterStatus status = WRITER_UNKNOWN;

	LWLockAcquire(XactTruncationLock, LW_SHARED);
	if (TransactionIdFollowsOrEquals(xid, TransamVariables->oldestClogXid))
		status = TransactionIdDidCommit(xid) ? WRITER_COMMITTED : WRITER_ABORTED;
	LWLockRelease(XactTruncationLock);
	return status;
}

/* How did the writer end, if it has?  The running transaction counts as committed. */
static WriterStatus
status_of(uint64 xid)
{
	TransactionId short_xid = XidFromFullTransactionId(FullTransactionIdFromU64(xid));

	if (xid == 0 || xid == U64FromFullTransactionId(GetTopFullTransactionIdIfAny()))
		return WRITER_COMMITTED;
	if (xid == NO_STATE || !is_comparable(xid))
		return WRITER_UNKNOWN;
	if (TransactionIdPrecedes(short_xid, TransactionXmin))
		return status_of_ended(short_xid);

	/* what a snapshot may ask for the server cannot have forgotten */
	if (xid == written_by && TransactionIdDidCommit(short_xid))
		return WRITER_COMMITTED;
	if (TransactionIdIsInProgress(short_xid))
		return WRITER_RUNS;
	return TransactionIdDidCommit(short_xid) ? WRITER_COMMITTED : WRITER_ABORTED;
}

/* Drops the latest state: that before it is the latest then. */
static void
drop_latest(UmCell *cell)
{
	um_cell_state(cell, 0)->xid = NO_STATE;
	cell->latest = (cell->latest - 1) % UM_CELL_STATES;
}

/*
 * Makes the latest state the one that a writer goes on from: without what
 * failed, and, if its writer has not ended, as it was before.
 */
UmCellStatus
um_cell_settle(UmCell *cell)
{
	switch (status_of(um_cell_state(cell, 0)->xid))
	{
		case WRITER_COMMITTED:
			return UM_CELL_FREE;
		case WRITER_ABORTED:
			drop_latest(cell);
			return UM_CELL_FREE;
		case WRITER_RUNS:
			drop_latest(cell);
			return UM_CELL_BUSY;
		default:
			return UM_CELL_LOST;
	}
}

/* Adds the running transaction's state to a settled cell. */
void
um_cell_write(UmCell *cell, int128 used, int128 share)
{
	uint64		xid = U64FromFullTransactionId(GetTopFullTransactionId());

	if (um_cell_state(cell, 0)->xid != xid)
		cell->latest = (cell->latest + 1) % UM_CELL_STATES;
	*um_cell_state(cell, 0) = (UmCellState) {.xid = xid, .used = used};
	*um_cell_share(cell, 0) = share;
	written_by = xid;
}

/*
 * Takes an amount from the share, which base is added to, if it stays below it
 * together with what is beside.  Of each state that may yet be gone on from:
 * this is nobody's, and is not taken back.
 */
bool
um_cell_withhold(UmCell *cell, int128 base, int128 amount, int128 beside)
{
	int			nstates = 1;

	switch (status_of(um_cell_state(cell, 0)->xid))
	{
		case WRITER_COMMITTED:
			break;
		case WRITER_ABORTED:
			drop_latest(cell);
			break;
		case WRITER_RUNS:
			nstates = 2;
			break;
		default:
			return false;
	}
	for (int i = 0; i < nstates; i++)
	{
		int128		left;

		if (__builtin_add_overflow(base, *um_cell_share(cell, i), &left) || left <= 0 ||
			__builtin_sub_overflow(left, amount, &left) || left <= beside)
			return false;
	}
	for (int i = 0; i < nstates; i++)
		*um_cell_share(cell, i) -= amount;
	return true;
}

/* What a snapshot sees; false if that is not known any more. */
bool
um_cell_as_of(UmCell *cell, Snapshot snapshot, int128 *used)
{
	for (int i = 0; i < UM_CELL_STATES && um_cell_state(cell, i)->xid != NO_STATE; i++)
	{
		uint64		xid = um_cell_state(cell, i)->xid;
		TransactionId short_xid = XidFromFullTransactionId(FullTransactionIdFromU64(xid));

		if (xid != 0 && is_comparable(xid) && XidInMVCCSnapshot(short_xid, snapshot))
			continue;
		switch (status_of(xid))
		{
			case WRITER_COMMITTED:
				*used = um_cell_state(cell, i)->used;
				return true;
			case WRITER_ABORTED:
				break;
			default:
				return false;
		}
	}
	return false;
}

/* Has the cell a writer that has ended for everybody, and long ago? */
bool
um_cell_is_old(UmCell *cell, TransactionId horizon)
{
	uint64		xid = um_cell_state(cell, 0)->xid;

	return xid != 0 &&
		(!is_comparable(xid) ||
		 TransactionIdPrecedes(XidFromFullTransactionId(FullTransactionIdFromU64(xid)), horizon));
}

/* Makes the latest state of a settled cell the only one: everybody sees it. */
void
um_cell_forget_writers(UmCell *cell)
{
	um_cell_state(cell, 0)->xid = 0;
	for (int i = 1; i < UM_CELL_STATES; i++)
		um_cell_state(cell, i)->xid = NO_STATE;
}

/* The decimals that a number is shown with. */
int
um_cell_decimals(Numeric value)
{
	return DatumGetInt32(DirectFunctionCall1(numeric_scale, NumericGetDatum(value)));
}

/* A number in units of a cell; false if it has too many digits. */
bool
um_cell_units(Numeric value, int128 *units)
{
	UmDecimal	decimal;

	if (!um_decimal_from_numeric(value, &decimal) ||
		decimal.scale > UM_CELL_SCALE ||
		!um_decimal_rescale(&decimal, UM_CELL_SCALE))
		return false;
	*units = decimal.mantissa;
	return true;
}
