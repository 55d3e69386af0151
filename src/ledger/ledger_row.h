/*
 * ledger_row.h
 *		A row of the ledger, taken apart.
 */
#ifndef UM_LEDGER_ROW_H
#define UM_LEDGER_ROW_H

#include "base/ledger_columns.h"
#include "base/text_span.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/rel.h"

typedef struct UmRow
{
	const UmColumns *columns;
	TupleDesc	desc;
	Datum	   *values;
	bool	   *nulls;
} UmRow;

#define ATT(row, column)		((row)->columns->attnum[UM_COL_##column] - 1)
#define IS_NULL(row, column)	((row)->nulls[ATT(row, column)])
#define VALUE(row, column)		((row)->values[ATT(row, column)])

/* Sets a column. */
static inline void
um_row_set(UmRow *row, UmColumn column, Datum value, bool isnull)
{
	int			att = row->columns->attnum[column] - 1;

	row->values[att] = value;
	row->nulls[att] = isnull;
}

#define SET(row, column, value)	um_row_set(row, UM_COL_##column, value, false)
#define SET_NULL(row, column)	um_row_set(row, UM_COL_##column, (Datum) 0, true)
#define SET_DEFAULT(row, column, value) \
	do { if (IS_NULL(row, column)) SET(row, column, value); } while (0)

/* The bytes of a text column; NULL where it is null. */
static inline UmString
um_row_text(const UmRow *row, UmColumn column)
{
	int			att = row->columns->attnum[column] - 1;

	return um_text_string(row->values[att], row->nulls[att]);
}

/* Has an UPDATE changed the column? */
static inline bool
um_row_changed(const UmRow *old, const UmRow *row, UmColumn column)
{
	int			att = row->columns->attnum[column] - 1;
	Form_pg_attribute attribute = TupleDescAttr(row->desc, att);

	if (old->nulls[att] || row->nulls[att])
		return old->nulls[att] != row->nulls[att];
	return !datum_image_eq(old->values[att], row->values[att],
						   attribute->attbyval, attribute->attlen);
}

#endif							/* UM_LEDGER_ROW_H */
