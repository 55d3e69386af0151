/*
 * watermark.c
 *		Which transactions of the ledger are in the rollups.
 *
 * The mark is the snapshot of the last fold, kept in one row that the fold
 * writes in its own transaction.  A reader takes the mark that its snapshot
 * sees: it is the one of the rollups that the same snapshot sees.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "base/catalog.h"
#include "base/table_columns.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "rollup/watermark.h"
#include "utils/array.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/*
 * A transaction that was in progress, and is older than the mark by more than
 * this, is looked for by itself, or one that stays open for long would have
 * everybody read all that was recorded since it began.
 */
#define FAR_BEHIND	10000

/* More of them than this are not worth a search each. */
#define MAX_STRAGGLERS	16

/* The columns of _rollup_state. */
enum
{
	COL_NEXT_XID,
	COL_RUNNING_XIDS,
	COL_USAGE_ID,
	COL_REFRESHED_AT,
	COL_MAINTAINED_AT,
	COL_COUNT
};

static const char *const names[COL_COUNT] = {"next_xid", "running_xids", "usage_id", "refreshed_at", "maintained_at"};

static UmTableColumns columns = {
	.table = UM_ROLLUP_STATE,
	.count = COL_COUNT,
	.names = names
};

static int
compare_xids(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return x < y ? -1 : x > y ? 1 : 0;
}

/* Reads the mark that a snapshot sees; memory is the caller's. */
void
um_watermark_read(UmWatermark *mark, Snapshot snapshot)
{
	Relation	relation = table_open(um_relation(UM_ROLLUP_STATE), AccessShareLock);
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	TableScanDesc scan = table_beginscan(relation, snapshot, 0, NULL);

	memset(mark, 0, sizeof(UmWatermark));
	um_table_columns(&columns, relation);
	if (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;
		Datum	   *xip;

		mark->xmax = DatumGetInt64(slot_getattr(slot, columns.attnum[COL_NEXT_XID], &isnull));
		mark->usage_id = DatumGetInt64(slot_getattr(slot, columns.attnum[COL_USAGE_ID], &isnull));
		mark->refreshed_at = DatumGetTimestampTz(slot_getattr(slot, columns.attnum[COL_REFRESHED_AT], &isnull));
		mark->maintained_at = DatumGetTimestampTz(slot_getattr(slot, columns.attnum[COL_MAINTAINED_AT], &isnull));
		deconstruct_array(DatumGetArrayTypeP(slot_getattr(slot, columns.attnum[COL_RUNNING_XIDS], &isnull)),
						  INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
						  &xip, NULL, &mark->nxip);
		mark->xip = palloc(sizeof(int64) * (mark->nxip + 1));
		for (int i = 0; i < mark->nxip; i++)
			mark->xip[i] = DatumGetInt64(xip[i]);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	table_close(relation, AccessShareLock);
}

/* The number of 64 bits of a transaction that is in a snapshot taken just now. */
static int64
full_xid(TransactionId xid)
{
	FullTransactionId next = ReadNextFullTransactionId();
	uint32		epoch = EpochFromFullTransactionId(next);

	if (xid > XidFromFullTransactionId(next))
		epoch--;
	return (int64) U64FromFullTransactionId(FullTransactionIdFromEpochAndXid(epoch, xid));
}

/* The mark of a fold by that snapshot, which does not tell that oneself is in progress. */
void
um_watermark_of_snapshot(UmWatermark *mark, Snapshot snapshot)
{
	FullTransactionId own = GetTopFullTransactionIdIfAny();

	/* on a standby the second list has all that are in progress, and the first none */
	const TransactionId *running = snapshot->takenDuringRecovery ? snapshot->subxip : snapshot->xip;
	int			nrunning = snapshot->takenDuringRecovery ? snapshot->subxcnt : (int) snapshot->xcnt;

	memset(mark, 0, sizeof(UmWatermark));
	mark->xmax = full_xid(snapshot->xmax);
	mark->xip = palloc(sizeof(int64) * (nrunning + 1));
	if (FullTransactionIdIsValid(own) && (int64) U64FromFullTransactionId(own) < mark->xmax)
		mark->xip[mark->nxip++] = (int64) U64FromFullTransactionId(own);
	for (int i = 0; i < nrunning; i++)
		mark->xip[mark->nxip++] = full_xid(running[i]);
	qsort(mark->xip, mark->nxip, sizeof(int64), compare_xids);
}

/* Copies a mark into the caller's memory. */
void
um_watermark_copy(UmWatermark *copy, const UmWatermark *mark)
{
	*copy = *mark;
	copy->xip = palloc(sizeof(int64) * (mark->nxip + 1));
	if (mark->nxip > 0)
		memcpy(copy->xip, mark->xip, sizeof(int64) * mark->nxip);
}

/* Do both cover the same transactions? */
bool
um_watermark_equal(const UmWatermark *a, const UmWatermark *b)
{
	return a->xmax == b->xmax && a->nxip == b->nxip &&
		(a->nxip == 0 || memcmp(a->xip, b->xip, sizeof(int64) * a->nxip) == 0);
}

/* Does a mark cover all that an earlier one does? */
bool
um_watermark_includes(const UmWatermark *mark, const UmWatermark *earlier)
{
	if (earlier->xmax > mark->xmax)
		return false;
	for (int i = 0; i < mark->nxip; i++)
		if (um_watermark_covers(earlier, mark->xip[i]))
			return false;
	return true;
}

/* Is what a transaction recorded in the rollups? */
bool
um_watermark_covers(const UmWatermark *mark, int64 xid)
{
	return xid < mark->xmax &&
		(mark->nxip == 0 || xid < mark->xip[0] ||
		 bsearch(&xid, mark->xip, mark->nxip, sizeof(int64), compare_xids) == NULL);
}

/* How many of the first xids in progress are stragglers: all else that is not covered comes later. */
int
um_watermark_stragglers(const UmWatermark *mark)
{
	int			count = 0;

	while (count < mark->nxip && mark->xip[count] < mark->xmax - FAR_BEHIND)
		count++;
	return count <= MAX_STRAGGLERS ? count : 0;
}

/* From which transaction on all is that the mark does not cover, but for stragglers. */
int64
um_watermark_start(const UmWatermark *mark)
{
	int			stragglers = um_watermark_stragglers(mark);

	return stragglers < mark->nxip ? mark->xip[stragglers] : mark->xmax;
}

/* Some of a mark's xids as an array of SQL. */
Datum
um_watermark_xids(const int64 *xids, int count)
{
	Datum	   *values = palloc(sizeof(Datum) * (count + 1));

	for (int i = 0; i < count; i++)
		values[i] = Int64GetDatum(xids[i]);
	return PointerGetDatum(construct_array(values, count, INT8OID, sizeof(int64),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}
