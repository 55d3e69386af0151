/*
 * correction.c
 *		What an UPDATE or a DELETE of a row of another transaction means to the
 *		rollups: see sql/rollup/rollup.sql.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "base/catalog.h"
#include "rollup/correction.h"
#include "rollup/rollup_sums.h"
#include "utils/rel.h"

/* The columns of _correction; behind them those of um_sums_columns. */
enum
{
	COL_XID,
	COL_ROW_XID,
	COL_SIGN,
	COL_CALL
};

/* Writes that a row of another transaction counts less, or more. */
void
um_correction_write(Relation relation, HeapTuple tuple, int64 row_xid, bool negative)
{
	const UmColumns *columns = um_columns(relation);
	TupleDesc	desc = RelationGetDescr(relation);
	Relation	corrections = table_open(um_relation(UM_CORRECTION), RowExclusiveLock);
	Datum		values[COL_CALL + UM_SUMS_COLUMNS];
	bool		nulls[COL_CALL + UM_SUMS_COLUMNS] = {0};

	values[COL_XID] = Int64GetDatum((int64) U64FromFullTransactionId(GetTopFullTransactionId()));
	values[COL_ROW_XID] = Int64GetDatum(row_xid);
	values[COL_SIGN] = Int64GetDatum(negative ? -1 : 1);
	for (int i = 0; i < UM_SUMS_COLUMNS; i++)
		values[COL_CALL + i] = heap_getattr(tuple, columns->attnum[um_sums_columns[i]], desc,
											&nulls[COL_CALL + i]);
	simple_heap_insert(corrections, heap_form_tuple(RelationGetDescr(corrections), values, nulls));
	table_close(corrections, NoLock);
}
