/*
 * table_columns.c
 *		Where the columns of the extension's own tables are.
 *
 * They are found by name, once until the table is altered: a later version may
 * have added some, or a version before it may yet be loaded.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "base/table_columns.h"
#include "base/tuple_form.h"
#include "base/version.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "rewrite/rewriteHandler.h"
#include "utils/datum.h"
#include "utils/rel.h"

/* Finds the columns of an opened table, unless they are known. */
void
um_table_columns(UmTableColumns *columns, Relation relation)
{
	TupleDesc	desc = RelationGetDescr(relation);
	uint64		generation = um_relation_generation(columns->table);

	if (columns->relid == RelationGetRelid(relation) && columns->generation == generation)
		return;

	Assert(columns->count <= UM_MAX_COLUMNS);
	columns->generation = 0;
	columns->as_listed = desc->natts == columns->count;
	for (int c = 0; c < columns->count; c++)
	{
		int			attnum = SPI_fnumber(desc, columns->names[c]);

		if (attnum <= 0)
			um_refuse_missing_column(columns->names[c], relation);
		columns->attnum[c] = attnum;
		columns->as_listed &= attnum == c + 1;
	}
	columns->relid = RelationGetRelid(relation);
	columns->generation = generation;
}

/* Takes a row apart; the arrays have a place for each of the columns. */
void
um_tuple_deform(const UmTableColumns *columns, Relation relation, HeapTuple tuple,
				Datum *values, bool *nulls)
{
	TupleDesc	desc = RelationGetDescr(relation);
	Datum	   *all_values;
	bool	   *all_nulls;

	if (columns->as_listed)
	{
		heap_deform_tuple(tuple, desc, values, nulls);
		return;
	}
	all_values = palloc(sizeof(Datum) * desc->natts);
	all_nulls = palloc(sizeof(bool) * desc->natts);
	heap_deform_tuple(tuple, desc, all_values, all_nulls);
	for (int c = 0; c < columns->count; c++)
	{
		values[c] = all_values[columns->attnum[c] - 1];
		nulls[c] = all_nulls[columns->attnum[c] - 1];
	}
	pfree(all_values);
	pfree(all_nulls);
}

/* The default of a column that is not ours. */
static Datum
default_of(Relation relation, AttrNumber attnum, bool *isnull)
{
	Node	   *expr = build_column_default(relation, attnum);
	EState	   *estate;
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(relation), attnum - 1);
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext old;
	Datum		value;

	*isnull = true;
	if (expr == NULL)
		return (Datum) 0;
	estate = CreateExecutorState();
	value = ExecEvalExprSwitchContext(ExecPrepareExpr((Expr *) expr, estate),
									  GetPerTupleExprContext(estate), isnull);
	old = MemoryContextSwitchTo(caller);
	if (!*isnull)
		value = datumCopy(value, attribute->attbyval, attribute->attlen);
	MemoryContextSwitchTo(old);
	FreeExecutorState(estate);
	return value;
}

/*
 * Makes a row of our columns, which have these numbers (none told: are the
 * first), and others: as they were before, or by their defaults.
 */
static HeapTuple
form(Relation relation, const AttrNumber *attnum, int count, HeapTuple before,
	 Datum *values, bool *nulls)
{
	TupleDesc	desc = RelationGetDescr(relation);
	Datum	   *all_values;
	bool	   *all_nulls;

	all_values = palloc0(sizeof(Datum) * desc->natts);
	all_nulls = palloc(sizeof(bool) * desc->natts);
	memset(all_nulls, true, sizeof(bool) * desc->natts);
	if (before != NULL)
		heap_deform_tuple(before, desc, all_values, all_nulls);
	for (int i = 0; before == NULL && i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			all_values[i] = default_of(relation, i + 1, &all_nulls[i]);
	for (int c = 0; c < count; c++)
	{
		int			att = attnum == NULL ? c : attnum[c] - 1;

		all_values[att] = values[c];
		all_nulls[att] = nulls[c];
	}
	return um_form_tuple(desc, all_values, all_nulls);
}

/*
 * Makes a row; columns that are not ours are as they were before, or have
 * their defaults.
 */
HeapTuple
um_tuple_form(const UmTableColumns *columns, Relation relation, HeapTuple before,
			  Datum *values, bool *nulls)
{
	if (columns->as_listed)
		return um_form_tuple(RelationGetDescr(relation), values, nulls);
	return form(relation, columns->attnum, columns->count, before, values, nulls);
}

/* The same, of a table whose first columns are ours. */
HeapTuple
um_tuple_form_first(Relation relation, int count, HeapTuple before, Datum *values, bool *nulls)
{
	if (RelationGetDescr(relation)->natts == count)
		return um_form_tuple(RelationGetDescr(relation), values, nulls);
	return form(relation, NULL, count, before, values, nulls);
}

/* Refuses a table whose first columns are not ours. */
void
um_check_first_columns(Relation relation, int count)
{
	TupleDesc	desc = RelationGetDescr(relation);

	for (int i = 0; i < count; i++)
		if (i >= desc->natts || TupleDescAttr(desc, i)->attisdropped)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column %d of relation \"%s\" does not exist",
							i + 1, RelationGetRelationName(relation)),
					 errhint("usage_monitor cannot do without the columns of its own tables.")));
}
