/*
 * correction.c
 *		What an UPDATE or a DELETE of a row of another transaction means to the
 *		rollups: see sql/rollup/rollup.sql.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/xact.h"
#include "base/catalog.h"
#include "base/table_columns.h"
#include "base/table_indexes.h"
#include "rollup/correction.h"
#include "rollup/rollup_sums.h"

/* The columns of _correction; behind them those of um_sums_columns. */
enum
{
	COL_XID,
	COL_ROW_XID,
	COL_SIGN,
	COL_SESSION_ID,				/* no rollup is by it, but quotas may be */
	COL_CALL,
	COL_COUNT = COL_CALL + UM_SUMS_COLUMNS
};

static const char *names[COL_COUNT] = {"xid", "row_xid", "sign", "session_id"};

static UmTableColumns own_columns = {
	.table = UM_CORRECTION,
	.count = COL_COUNT,
	.names = names
};

/* Writes that a row of another transaction counts less, or more. */
void
um_correction_write(Relation relation, TupleTableSlot *slot, int64 row_xid, bool negative)
{
	const UmColumns *columns = um_columns(relation);
	Relation	corrections = table_open(um_relation(UM_CORRECTION), RowExclusiveLock);
	Datum		values[COL_COUNT];
	bool		nulls[COL_COUNT] = {0};
	HeapTuple	correction;
	UmIndexes	indexes;

	values[COL_XID] = Int64GetDatum((int64) U64FromFullTransactionId(GetTopFullTransactionId()));
	values[COL_ROW_XID] = Int64GetDatum(row_xid);
	values[COL_SIGN] = Int64GetDatum(negative ? -1 : 1);
	values[COL_SESSION_ID] = slot_getattr(slot, columns->attnum[UM_COL_SESSION_ID],
										  &nulls[COL_SESSION_ID]);
	for (int i = 0; i < UM_SUMS_COLUMNS; i++)
	{
		names[COL_CALL + i] = um_column_name(um_sums_columns[i]);
		values[COL_CALL + i] = slot_getattr(slot, columns->attnum[um_sums_columns[i]],
											&nulls[COL_CALL + i]);
	}
	um_table_columns(&own_columns, corrections);
	correction = um_tuple_form(&own_columns, corrections, NULL, values, nulls);
	simple_heap_insert(corrections, correction);
	um_indexes_open(&indexes, corrections);
	um_indexes_put(&indexes, correction, UM_INDEX_NEW);
	um_indexes_close(&indexes);
	table_close(corrections, NoLock);
}
