#ifndef UM_TABLE_COLUMNS_H
#define UM_TABLE_COLUMNS_H

#include "access/attnum.h"
#include "access/htup.h"
#include "base/catalog.h"

#define UM_MAX_COLUMNS	32

/* The columns of a table that C reads or writes, by their names. */
typedef struct UmTableColumns
{
	UmRelation	table;
	int			count;
	const char *const *names;
	/* what follows is found by um_table_columns */
	bool		as_listed;		/* are they all that there are, in this order? */
	AttrNumber	attnum[UM_MAX_COLUMNS];
	Oid			relid;
	uint64		generation;
} UmTableColumns;

extern void um_table_columns(UmTableColumns *columns, Relation relation);
extern void um_tuple_deform(const UmTableColumns *columns, Relation relation, HeapTuple tuple,
							Datum *values, bool *nulls);
extern HeapTuple um_tuple_form(const UmTableColumns *columns, Relation relation, HeapTuple before,
							   Datum *values, bool *nulls);
extern void um_check_first_columns(Relation relation, int count);
extern HeapTuple um_tuple_form_first(Relation relation, int count, HeapTuple before,
									 Datum *values, bool *nulls);

#endif							/* UM_TABLE_COLUMNS_H */
