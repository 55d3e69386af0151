/*
 * tail_fdw.c
 *		The foreign tables _tail_...: the tail summed up for each rollup.
 *
 * They are foreign tables, and not functions, for a query's conditions to
 * reach them: of very many sums only those are made rows of that one may show.
 * Conditions on day, organisation and first key are looked at before; that
 * lets some through that do not fulfil them, so the executor looks at all again.
 */
#include "postgres.h"

#include "base/table_columns.h"
#include "commands/defrem.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "foreign/fdwapi.h"
#include "foreign/foreign.h"
#include "optimizer/clauses.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/planmain.h"
#include "optimizer/restrictinfo.h"
#include "rollup/tail_cache.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(usage_monitor_tail_handler);

/* What a condition says. */
typedef enum TailLimit
{
	DAY_FROM,
	DAY_TO,
	DAY_IS,
	ORG_IS,
	KEY_IS
} TailLimit;

/* What a plan has in fdw_private; fdw_exprs has the limits' values. */
enum
{
	PLAN_LIMITS,				/* list of TailLimit */
	PLAN_WANTED					/* list of columns */
};

/* What a foreign table's options say. */
typedef struct TailOptions
{
	const char *dimension;
	double		rows;			/* that are expected, unless a session knows of more */
} TailOptions;

/* A scan. */
typedef struct TailScan
{
	TailOptions options;
	bool		wanted[UM_ROLLUP_COLUMNS];
	List	   *limits;
	List	   *limit_values;	/* ExprStates */
	UmFilter	filter;
	bool		has_filter;		/* false: to be made of the limits */
	const UmSums *sums;			/* NULL: not opened yet */
	int64		place;
	Tuplestorestate *rows;		/* in place of the sums; NULL: they are there */
	TupleTableSlot *row;		/* one of those */
} TailScan;

/*
 * The dimensions of the scans of a query, the one that has begun a scan last:
 * what reads the tail for one of them reads it for all.
 */
static EState *asking;			/* NULL: none */
static List *asked;				/* their names, in its memory */

/* Reads the options of a foreign table. */
static TailOptions
options_of(Oid relid)
{
	TailOptions options = {NULL, 1};
	ListCell   *lc;

	foreach(lc, GetForeignTable(relid)->options)
	{
		DefElem    *option = lfirst(lc);

		if (strcmp(option->defname, "dimension") == 0)
			options.dimension = defGetString(option);
		else if (strcmp(option->defname, "rows") == 0)
			options.rows = atof(defGetString(option));
	}
	if (options.dimension == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
				 errmsg("foreign table \"%s\" has no option \"dimension\"", get_rel_name(relid)),
				 errhint("Set it to one of SELECT name FROM _usage_monitor._rollup_dimension.")));
	return options;
}

/* Estimates how many rows there are: of a tail that is not summed up yet nothing is known. */
static void
get_size(PlannerInfo *root, RelOptInfo *rel, Oid relid)
{
	TailOptions options = options_of(relid);

	rel->tuples = Max(options.rows, (double) um_tail_sums_count(options.dimension));
	set_baserel_size_estimates(root, rel);
}

/* There is one way to read them. */
static void
get_paths(PlannerInfo *root, RelOptInfo *rel, Oid relid)
{
	Cost		startup = rel->baserestrictcost.startup;
	Cost		total = startup + cpu_operator_cost * rel->tuples +
		(cpu_tuple_cost + rel->baserestrictcost.per_tuple) * rel->rows;

	add_path(rel, (Path *) create_foreignscan_path(root, rel, NULL, rel->rows,
#if PG_VERSION_NUM >= 180000
												   0,
#endif
												   startup, total, NIL, rel->lateral_relids, NULL,
#if PG_VERSION_NUM >= 170000
												   NIL,
#endif
												   NIL));
}

/* The column that an expression is; 0: none. */
static AttrNumber
column_of(Node *node, Index relid)
{
	Var		   *var = (Var *) node;

	return IsA(node, Var) && var->varno == (int) relid && var->varlevelsup == 0 ? var->varattno : 0;
}

/* Does a condition limit a column to what is known before the scan?  Then how, and to what. */
static bool
is_limit(PlannerInfo *root, Index relid, Node *condition, TailLimit *limit, Node **value)
{
	OpExpr	   *expr = (OpExpr *) condition;
	Oid			operator;
	AttrNumber	column;

	if (!IsA(condition, OpExpr) || list_length(expr->args) != 2)
		return false;
	operator = expr->opno;
	column = column_of(linitial(expr->args), relid);
	*value = lsecond(expr->args);
	if (column == 0)
	{
		operator = get_commutator(operator);
		column = column_of(lsecond(expr->args), relid);
		*value = linitial(expr->args);
	}
	if (column == 0 || !OidIsValid(operator) ||
		bms_is_member(relid, pull_varnos(root, *value)) ||
		contain_volatile_functions(*value) || contain_subplans(*value))
		return false;

	switch (get_opcode(operator))
	{
		case F_DATE_EQ:
			*limit = DAY_IS;
			return column == UM_ROLLUP_DAY;
		case F_DATE_GE:
		case F_DATE_GT:
			*limit = DAY_FROM;
			return column == UM_ROLLUP_DAY;
		case F_DATE_LE:
		case F_DATE_LT:
			*limit = DAY_TO;
			return column == UM_ROLLUP_DAY;
		case F_TEXTEQ:
			*limit = column == UM_ROLLUP_ORG ? ORG_IS : KEY_IS;
			/* equal by other rules would have another hash */
			return (column == UM_ROLLUP_ORG || column == UM_ROLLUP_KEY) &&
				get_collation_isdeterministic(expr->inputcollid);
		default:
			return false;
	}
}

/* Makes the plan of a scan. */
static ForeignScan *
get_plan(PlannerInfo *root, RelOptInfo *rel, Oid relid, ForeignPath *path, List *tlist,
		 List *clauses, Plan *outer_plan)
{
	List	   *conditions = extract_actual_clauses(clauses, false);
	List	   *limits = NIL;
	List	   *values = NIL;
	List	   *wanted = NIL;
	Bitmapset  *columns = NULL;
	ListCell   *lc;

	foreach(lc, conditions)
	{
		TailLimit	limit;
		Node	   *value;

		if (is_limit(root, rel->relid, lfirst(lc), &limit, &value))
		{
			limits = lappend_int(limits, limit);
			values = lappend(values, value);
		}
	}

	/* the target list may be all columns, whatever is made of them */
	pull_varattnos((Node *) rel->reltarget->exprs, rel->relid, &columns);
	pull_varattnos((Node *) conditions, rel->relid, &columns);
	for (int column = 1; column <= UM_ROLLUP_COLUMNS; column++)
		if (bms_is_member(column - FirstLowInvalidHeapAttributeNumber, columns) ||
			bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, columns))
			wanted = lappend_int(wanted, column);
	return make_foreignscan(tlist, conditions, rel->relid, values, list_make2(limits, wanted),
							NIL, NIL, outer_plan);
}

/* Called as a query's memory goes. */
static void
forget_asked(void *arg)
{
	if (asking == arg)
		asking = NULL;
}

/* Notes that a query scans a dimension; the current memory is the query's. */
static void
note_asked(EState *estate, const char *dimension)
{
	if (asking != estate)
	{
		MemoryContextCallback *callback = palloc(sizeof(MemoryContextCallback));

		callback->func = forget_asked;
		callback->arg = estate;
		MemoryContextRegisterResetCallback(estate->es_query_cxt, callback);
		asking = estate;
		asked = NIL;
	}
	asked = lappend(asked, unconstify(char *, dimension));
}

/* Starts a scan.  The tail is summed up when it is asked for a row, which EXPLAIN does not. */
static void
begin_scan(ForeignScanState *node, int eflags)
{
	ForeignScan *plan = (ForeignScan *) node->ss.ps.plan;
	Relation	relation = node->ss.ss_currentRelation;
	TailScan   *scan = palloc0(sizeof(TailScan));
	ListCell   *lc;

	um_check_first_columns(relation, UM_ROLLUP_COLUMNS);
	scan->options = options_of(RelationGetRelid(relation));
	scan->limits = list_nth(plan->fdw_private, PLAN_LIMITS);
	scan->limit_values = ExecInitExprList(plan->fdw_exprs, &node->ss.ps);
	foreach(lc, (List *) list_nth(plan->fdw_private, PLAN_WANTED))
		scan->wanted[lfirst_int(lc) - 1] = true;
	scan->row = ExecInitExtraTupleSlot(node->ss.ps.state, RelationGetDescr(relation),
									   &TTSOpsMinimalTuple);
	note_asked(node->ss.ps.state, scan->options.dimension);
	node->fdw_state = scan;
}

/* The next of the rows that are in place of sums. */
static TupleTableSlot *
next_written_row(ForeignScanState *node)
{
	TailScan   *scan = node->fdw_state;

	/* one that is read from a file is the slot's, for longer than a row's memory lasts */
	MemoryContext old = MemoryContextSwitchTo(node->ss.ps.state->es_query_cxt);

	(void) tuplestore_gettupleslot(scan->rows, true, false, scan->row);
	MemoryContextSwitchTo(old);
	return scan->row;
}

/* Has the tail summed up. */
static void
open_sums(ForeignScanState *node)
{
	TailScan   *scan = node->fdw_state;
	EState	   *estate = node->ss.ps.state;
	MemoryContext old = MemoryContextSwitchTo(estate->es_query_cxt);

	scan->sums = um_tail_sums_open(scan->options.dimension, asking == estate ? asked : NIL,
								   estate->es_snapshot, RelationGetDescr(node->ss.ss_currentRelation), &scan->rows);
	MemoryContextSwitchTo(old);
}

/* The hash that a filter has of a text. */
static uint32
hash_of(Datum value)
{
	text	   *string = DatumGetTextPP(value);

	return um_string_hash((UmString) {VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string)});
}

/* Adds a limit to a filter. */
static void
add_limit(UmFilter *filter, TailLimit limit, Datum value)
{
	if ((limit == DAY_FROM || limit == DAY_IS) && filter->first_day < DatumGetDateADT(value))
		filter->first_day = DatumGetDateADT(value);
	if ((limit == DAY_TO || limit == DAY_IS) && filter->last_day > DatumGetDateADT(value))
		filter->last_day = DatumGetDateADT(value);
	if (limit == ORG_IS)
	{
		filter->has_org = true;
		filter->org = hash_of(value);
	}
	if (limit == KEY_IS)
	{
		filter->has_key = true;
		filter->key = hash_of(value);
	}
}

/* Makes the filter of the limits, as their values are now. */
static void
make_filter(ForeignScanState *node)
{
	TailScan   *scan = node->fdw_state;
	ListCell   *lc;
	ListCell   *lc2;

	scan->filter = um_no_filter;
	forboth(lc, scan->limits, lc2, scan->limit_values)
	{
		bool		isnull;
		Datum		value = ExecEvalExpr((ExprState *) lfirst(lc2), node->ss.ps.ps_ExprContext,
										 &isnull);

		if (!isnull)
			add_limit(&scan->filter, (TailLimit) lfirst_int(lc), value);
		else
		{
			/* nothing compares to NULL */
			scan->filter.first_day = DATEVAL_NOEND;
			scan->filter.last_day = DATEVAL_NOBEGIN;
			break;
		}
	}
	scan->has_filter = true;
}

/* The next row. */
static TupleTableSlot *
next_row(ForeignScanState *node)
{
	TailScan   *scan = node->fdw_state;
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;
	const UmEntry *entry;

	if (scan->sums == NULL)
		open_sums(node);
	if (scan->rows != NULL)
		return next_written_row(node);
	if (!scan->has_filter)
		make_filter(node);
	ExecClearTuple(slot);
	entry = um_sums_next(scan->sums, &scan->filter, &scan->place);
	if (entry != NULL)
	{
		/* columns that somebody has added */
		for (int i = UM_ROLLUP_COLUMNS; i < slot->tts_tupleDescriptor->natts; i++)
			slot->tts_isnull[i] = true;
		um_rollup_form(&entry->name, &entry->measures, scan->wanted,
					   slot->tts_values, slot->tts_isnull);
		ExecStoreVirtualTuple(slot);
	}
	return slot;
}

/* Starts from the beginning, with new values of parameters. */
static void
rescan(ForeignScanState *node)
{
	TailScan   *scan = node->fdw_state;

	scan->place = 0;
	scan->has_filter = false;
	if (scan->rows != NULL)
		tuplestore_rescan(scan->rows);
}

/* Ends a scan; sums are released as the query's memory goes. */
static void
end_scan(ForeignScanState *node)
{
	TailScan   *scan = node->fdw_state;

	if (scan != NULL && scan->rows != NULL)
		tuplestore_end(scan->rows);
}

/* _tail_handler(): what the server calls to read the foreign tables; none of them is written. */
Datum
usage_monitor_tail_handler(PG_FUNCTION_ARGS)
{
	FdwRoutine *routine = makeNode(FdwRoutine);

	routine->GetForeignRelSize = get_size;
	routine->GetForeignPaths = get_paths;
	routine->GetForeignPlan = get_plan;
	routine->BeginForeignScan = begin_scan;
	routine->IterateForeignScan = next_row;
	routine->ReScanForeignScan = rescan;
	routine->EndForeignScan = end_scan;
	PG_RETURN_POINTER(routine);
}
