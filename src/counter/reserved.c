/*
 * reserved.c
 *		What open reservations hold of a counter, and whether the running
 *		transaction has made any.
 *
 * A reservation counts from the statement on that made it: who shares out room
 * must not give away what a transaction that has not ended is about to hold.
 * So rows are read as they are, also those that are not committed yet.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/amount.h"
#include "base/catalog.h"
#include "base/compat.h"
#include "base/heap_row.h"
#include "base/table_columns.h"
#include "base/table_indexes.h"
#include "counter/reserved.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* The columns of _reservation_part. */
enum
{
	COL_QUOTA_ID,
	COL_SUBJECT,
	COL_PERIOD_START,
	COL_RESERVATION_ID,
	COL_AMOUNT,
	COL_EXPIRES_AT,
	COL_COUNT
};

static const char *const names[COL_COUNT] = {
	"quota_id", "subject", "period_start", "reservation_id", "amount", "expires_at"
};

static UmTableColumns columns = {
	.table = UM_RESERVATION_PART,
	.count = COL_COUNT,
	.names = names
};

/* The outermost nesting level of the transaction that has done it; 0: none has. */
static int	reserved_at;		/* reserved anything */
static int	holding_at;			/* and holds the locks of counters by that */

/*
 * What open reservations hold, those in flight included or not.  They stop at
 * the very instant of their end; what is being given back counts until it is.
 */
Numeric
um_reserved(const UmCounterName *name, bool in_flight)
{
	Relation	relation = table_open(um_relation(UM_RESERVATION_PART), AccessShareLock);
	Relation	index = index_open(um_relation(UM_RESERVATION_PART_COUNTER), AccessShareLock);
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	TimestampTz now = GetCurrentTimestamp();
	Numeric		sum = zero();
	ScanKeyData keys[UM_KEY_COUNT];
	SnapshotData dirty;
	IndexScanDesc scan;

	um_table_columns(&columns, relation);
	InitDirtySnapshot(dirty);
	um_counter_name_keys(name, keys);
	scan = index_beginscan(relation, index, &dirty, NULL, UM_KEY_COUNT, 0);
	index_rescan(scan, keys, UM_KEY_COUNT, NULL, 0);
	while (index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		if (!in_flight && TransactionIdIsValid(dirty.xmin))
			continue;
		if (DatumGetTimestampTz(slot_getattr(slot, columns.attnum[COL_EXPIRES_AT], &isnull)) > now)
			sum = plus(sum, DatumGetNumeric(slot_getattr(slot, columns.attnum[COL_AMOUNT], &isnull)));
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, AccessShareLock);
	table_close(relation, AccessShareLock);
	return sum;
}

/* Stores what a reservation holds of each counter. */
void
um_reserved_store(const UmCounterName *counters, const Numeric *amounts, int count,
				  Datum reservation_id, Datum expires_at)
{
	Relation	relation = table_open(um_relation(UM_RESERVATION_PART), RowExclusiveLock);
	UmIndexes	indexes;

	um_table_columns(&columns, relation);
	um_indexes_open(&indexes, relation);
	for (int i = 0; i < count; i++)
	{
		Datum		values[COL_COUNT];
		bool		nulls[COL_COUNT] = {0};
		HeapTuple	tuple;

		values[COL_QUOTA_ID] = Int64GetDatum(counters[i].quota_id);
		values[COL_SUBJECT] = um_string_text(counters[i].subject);
		values[COL_PERIOD_START] = TimestampTzGetDatum(counters[i].period_start);
		values[COL_RESERVATION_ID] = reservation_id;
		values[COL_AMOUNT] = NumericGetDatum(amounts[i]);
		values[COL_EXPIRES_AT] = expires_at;
		tuple = um_tuple_form(&columns, relation, NULL, values, nulls);
		simple_heap_insert(relation, tuple);
		um_indexes_put(&indexes, tuple, UM_INDEX_NEW);
	}
	um_indexes_close(&indexes);
	table_close(relation, NoLock);
}

/*
 * Gives back what a reservation holds, of which somebody else may be about to
 * remove what has expired: that is not waited for.
 */
void
um_reserved_give_back(Datum reservation_id)
{
	Relation	relation = table_open(um_relation(UM_RESERVATION_PART), RowExclusiveLock);
	Relation	index = index_open(um_relation(UM_RESERVATION_PART_PKEY), RowExclusiveLock);
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	TimestampTz now = GetCurrentTimestamp();
	ScanKeyData key;
	bool		done;

	um_table_columns(&columns, relation);
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_UUID_EQ, reservation_id);
	do
	{
		Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
		IndexScanDesc scan = index_beginscan(relation, index, snapshot, NULL, 1, 0);

		done = true;
		index_rescan(scan, &key, 1, NULL, 0);
		while (index_getnext_slot(scan, ForwardScanDirection, slot))
		{
			bool		isnull;

			CHECK_FOR_INTERRUPTS();
			if (DatumGetTimestampTz(slot_getattr(slot, columns.attnum[COL_EXPIRES_AT], &isnull)) > now)
				done &= um_heap_delete(relation, &slot->tts_tid, snapshot);
		}
		index_endscan(scan);
		UnregisterSnapshot(snapshot);
	} while (!done);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, NoLock);
	table_close(relation, NoLock);
	CommandCounterIncrement();
}

/* Notes that the transaction reserves. */
void
um_reserving_note(bool holds_counters)
{
	if (reserved_at == 0)
		reserved_at = GetCurrentTransactionNestLevel();
	if (holds_counters && holding_at == 0)
		holding_at = GetCurrentTransactionNestLevel();
}

/* Has the transaction reserved? */
bool
um_reserving_any(void)
{
	return reserved_at != 0;
}

/* Does it hold the locks of counters by that? */
bool
um_reserving_holds_counters(void)
{
	return holding_at != 0;
}

/* A nesting level of the transaction ends: what it did is its parent's, or undone. */
void
um_reserving_end_level(bool committed)
{
	int			level = GetCurrentTransactionNestLevel();

	if (reserved_at == level)
		reserved_at = committed ? level - 1 : 0;
	if (holding_at == level)
		holding_at = committed ? level - 1 : 0;
}

/* The transaction is over. */
void
um_reserving_forget(void)
{
	reserved_at = holding_at = 0;
}
