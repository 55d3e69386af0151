/*
 * tail_cache.c
 *		The tail summed up for a rollup, as a session remembers it.
 *
 * A dashboard asks the same again and again, and reading the tail takes longer
 * than reading the rollups.  So each session keeps the sums that it made, with
 * a mark of its own, up to which they go: the next time it reads only what has
 * come since, by the very rules by which a fold goes on from the last one (see
 * rollup.c).  A new fold, which moves the rollups' mark, makes it begin anew.
 *
 * Reading a call takes longer than adding it up, so one reading is for all
 * rollups that the query asks for, or that somebody has told of beforehand.
 *
 * What is not remembered is summed up as it is asked for: by who is subject to
 * row security, for what he sees can depend on anything; in a transaction that
 * has written, for its rows are in no mark; and what would take more memory
 * than some hash tables may (work_mem times hash_mem_multiplier).  That is
 * written away as rows, in parts, so names come back more than once: whoever
 * reads them groups them anyway.
 *
 * A query reads sums as it goes along, and others may be asked meanwhile, as
 * of another snapshot: by a cursor's session, by functions that it calls.  So
 * sums that are read are never added to, nor dropped: if they are not what the
 * other query is to see, it begins anew, and those before go with their last
 * reader.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/access.h"
#include "base/catalog.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "rollup/tail_cache.h"
#include "rollup/tail_read.h"
#include "rollup/watermark.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(usage_monitor_ledger_sums);
PG_FUNCTION_INFO_V1(usage_monitor_sum_up_tail);

/* Sums that are kept may take as much as so many hash tables: one saves reading the tail many times. */
#define HASH_TABLES	4

/* Memory is looked at once in so many calls. */
#define LOOK_EACH	256

/* The tail as summed up for a dimension. */
typedef struct TailSums
{
	UmDimension dimension;
	MemoryContext context;		/* of all that follows */
	MemoryContext sums_context; /* emptied when they have become too large */
	MemoryContext row_context;	/* emptied by each row */
	UmSums		sums;
	UmWatermark base;			/* what the rollups have */
	UmWatermark seen;			/* what they and the sums have together */
	bool		is_right;		/* false: an error has left them halfway, or they are rows */
	bool		is_remembered;
	int			readers;		/* queries that have not ended yet */

	/* where what memory does not suffice for goes, as rows */
	Tuplestorestate *rows;		/* NULL: there was enough */
	TupleDesc	rows_desc;		/* NULL: nobody asks for them yet, so they are given up */
	MemoryContext rows_context;

	/* of when and for whom they were begun */
	Oid			user;
	ArrayType  *orgs;			/* that he is confined to; NULL: he is not */
	uint64		setting;
	uint64		ledger;
} TailSums;

static List *remembered;		/* of TailSums */

/* A reading of the tail. */
typedef struct Reading
{
	List	   *tails;			/* of TailSums that have seen the same */
	MemoryContext row_context;
	int64		calls;
} Reading;

/* Begins to collect. */
static void
start_sums(TailSums *tail)
{
	MemoryContextReset(tail->sums_context);
	um_sums_start(&tail->sums, &tail->dimension, tail->sums_context);
}

/* Writes the sums away as rows, and begins to collect anew. */
static void
write_sums(TailSums *tail)
{
	const UmEntry *entry;
	int64		place = 0;

	if (tail->rows == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(tail->rows_context);

		tail->rows = tuplestore_begin_heap(false, false, work_mem);
		MemoryContextSwitchTo(old);
	}
	while ((entry = um_sums_next(&tail->sums, &um_no_filter, &place)) != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(tail->row_context);

		/* somebody may have added columns */
		int			ncolumns = Max(UM_ROLLUP_COLUMNS, tail->rows_desc->natts);
		Datum	   *values = palloc(sizeof(Datum) * ncolumns);
		bool	   *nulls = palloc(sizeof(bool) * ncolumns);

		memset(nulls, true, sizeof(bool) * ncolumns);
		um_rollup_form(&entry->name, &entry->measures, NULL, values, nulls);
		tuplestore_putvalues(tail->rows, tail->rows_desc, values, nulls);
		MemoryContextSwitchTo(old);
		MemoryContextReset(tail->row_context);
	}
	start_sums(tail);
}

/* Sees to it that no sums take more memory than they may. */
static void
bound_memory(Reading *reading)
{
	ListCell   *lc;

	foreach(lc, reading->tails)
	{
		TailSums   *tail = lfirst(lc);

		if (MemoryContextMemAllocated(tail->sums_context, true) <= HASH_TABLES * get_hash_memory_limit())
			continue;
		if (tail->rows_desc != NULL)
			write_sums(tail);
		else
		{
			start_sums(tail);
			reading->tails = foreach_delete_current(reading->tails, lc);
		}
	}
}

/* Adds a call. */
static void
add_call(void *arg, const Datum *values, const bool *nulls, int sign)
{
	Reading    *reading = arg;
	MemoryContext old = MemoryContextSwitchTo(reading->row_context);
	UmAddend	call;
	ListCell   *lc;

	um_addend_read(&call, values, nulls, sign);
	foreach(lc, reading->tails)
		um_sums_add(&((TailSums *) lfirst(lc))->sums, &call);
	MemoryContextSwitchTo(old);
	MemoryContextReset(reading->row_context);
	if (++reading->calls % LOOK_EACH == 0)
		bound_memory(reading);
}

/* Begins sums for a dimension, of what a mark does not cover. */
static TailSums *
begin(const char *name, const UmWatermark *base)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "usage_monitor tail",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	TailSums   *tail = palloc0(sizeof(TailSums));
	int			count;
	UmDimension *dimensions = um_dimensions(&count);

	while (count > 0 && strcmp(dimensions[count - 1].name, name) != 0)
		count--;
	if (count == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no rollup \"%s\"", name),
				 errhint("SELECT name FROM _usage_monitor._rollup_dimension lists them.")));
	tail->dimension = dimensions[count - 1];
	tail->context = context;
	tail->sums_context = AllocSetContextCreate(context, "usage_monitor tail sums",
											   ALLOCSET_DEFAULT_SIZES);
	tail->row_context = AllocSetContextCreate(context, "usage_monitor tail row",
											  ALLOCSET_DEFAULT_SIZES);
	um_watermark_copy(&tail->base, base);
	um_watermark_copy(&tail->seen, base);
	tail->user = GetUserId();
	tail->orgs = um_access()->orgs[UM_TO_SEE] == NULL ? NULL :
		DatumGetArrayTypePCopy(PointerGetDatum(um_access()->orgs[UM_TO_SEE]));
	tail->setting = um_generation(UM_TOPIC_SETTING);
	tail->ledger = um_generation(UM_TOPIC_LEDGER);
	start_sums(tail);
	MemoryContextSwitchTo(old);
	return tail;
}

/* Have the sums all that a mark covers? */
static bool
has_seen(const TailSums *tail, const UmWatermark *now)
{
	return tail->is_right && um_watermark_equal(&tail->seen, now);
}

/*
 * Adds to sums, which have seen the same, what the active snapshot sees beyond;
 * if rows were written away, so are the rest.
 */
static void
catch_up(List *tails, const UmWatermark *now)
{
	TailSums   *first = linitial(tails);
	Reading		reading = {.tails = tails, .row_context = first->row_context};
	ListCell   *lc;

	foreach(lc, tails)
		((TailSums *) lfirst(lc))->is_right = false;
	um_tail_read(&first->seen, add_call, &reading);
	foreach(lc, reading.tails)
	{
		TailSums   *tail = lfirst(lc);
		MemoryContext old = MemoryContextSwitchTo(tail->context);

		pfree(tail->seen.xip);
		um_watermark_copy(&tail->seen, now);
		MemoryContextSwitchTo(old);
		if (tail->rows != NULL)
			write_sums(tail);
		else
			tail->is_right = true;
	}
}

/* Remembers sums, before they are anything. */
static void
remember(TailSums *tail)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	remembered = lappend(remembered, tail);
	MemoryContextSwitchTo(old);
	MemoryContextSetParent(tail->context, TopMemoryContext);
	tail->is_remembered = true;
}

/* Drops sums that nobody will ask for any more. */
static void
drop_unused(TailSums *tail)
{
	if (!tail->is_remembered && tail->readers == 0)
		MemoryContextDelete(tail->context);
}

/* Called as a query's memory goes, be it for an error. */
static void
release(void *arg)
{
	TailSums   *tail = arg;

	tail->readers--;
	drop_unused(tail);
}

/* Has sums stay for as long as the memory, a query's, that is the current one. */
static void
hold(TailSums *tail)
{
	MemoryContextCallback *callback = palloc(sizeof(MemoryContextCallback));

	callback->func = release;
	callback->arg = tail;
	MemoryContextSetParent(tail->context, TopMemoryContext);
	tail->readers++;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
}

/* The sums that are remembered of a dimension, if one can go on from them. */
static TailSums *
recall(const char *name, const UmWatermark *base, const UmWatermark *now)
{
	ListCell   *lc;

	foreach(lc, remembered)
	{
		TailSums   *tail = lfirst(lc);

		if (strcmp(tail->dimension.name, name) != 0)
			continue;
		if (tail->is_right && tail->user == GetUserId() &&
			um_access_equal(tail->orgs, um_access()->orgs[UM_TO_SEE]) &&
			tail->setting == um_generation(UM_TOPIC_SETTING) &&
			tail->ledger == um_generation(UM_TOPIC_LEDGER) &&
			um_watermark_equal(&tail->base, base) &&
			(um_watermark_equal(&tail->seen, now) ||
			 (tail->readers == 0 && um_watermark_includes(now, &tail->seen))))
			return tail;
		remembered = foreach_delete_current(remembered, lc);
		tail->is_remembered = false;
		drop_unused(tail);
		break;
	}
	return NULL;
}

/* May the user's sums be remembered, for the next queries? */
static bool
may_remember(void)
{
	return !TransactionIdIsValid(GetTopTransactionIdIfAny()) &&
		pg_class_aclcheck(um_relation(UM_USAGE), GetUserId(), ACL_SELECT) == ACLCHECK_OK &&
		pg_class_aclcheck(um_relation(UM_CORRECTION), GetUserId(), ACL_SELECT) == ACLCHECK_OK &&
		!um_has_row_security();
}

/* Are the sums of a dimension among them? */
static bool
has_dimension(const List *tails, const char *name)
{
	ListCell   *lc;

	foreach(lc, tails)
	{
		const TailSums *tail = lfirst(lc);

		if (strcmp(tail->dimension.name, name) == 0)
			return true;
	}
	return false;
}

/* The sums with those of other dimensions that the same reading does for, all of them to be remembered. */
static List *
with_others(TailSums *tail, const List *others, const UmWatermark *base, const UmWatermark *now)
{
	List	   *tails = list_make1(tail);
	ListCell   *lc;

	foreach(lc, others)
	{
		const char *name = lfirst(lc);
		TailSums   *other;

		if (has_dimension(tails, name))
			continue;
		other = recall(name, base, now);
		if (other == NULL && um_watermark_equal(&tail->seen, base))
		{
			other = begin(name, base);
			remember(other);
		}
		if (other == NULL || other->readers > 0 || has_seen(other, now) ||
			!um_watermark_equal(&tail->seen, &other->seen))
			continue;
		hold(other);
		other->rows_desc = NULL;
		tails = lappend(tails, other);
	}
	return tails;
}

/*
 * The tail as a snapshot sees it, summed up for a dimension, and if that takes
 * a reading, for others too.  Where memory does not suffice there are no sums but
 * rows like desc, which the caller ends.  Both are good as long as the current
 * memory, which is a query's.
 */
const UmSums *
um_tail_sums_open(const char *name, const List *others, Snapshot snapshot, TupleDesc desc,
				  Tuplestorestate **rows)
{
	bool		is_kept = may_remember();
	UmWatermark base = {0};
	UmWatermark now;
	TailSums   *tail = NULL;

	PushActiveSnapshot(snapshot);
	um_watch(UM_TOPIC_SETTING);
	um_watch(UM_TOPIC_LEDGER);
	um_watermark_of_snapshot(&now, snapshot);
	if (!um_has_row_security())
		um_watermark_read(&base, snapshot);
	if (is_kept)
		tail = recall(name, &base, &now);
	if (tail == NULL)
		tail = begin(name, &base);
	hold(tail);
	if (is_kept && !tail->is_remembered)
		remember(tail);
	tail->rows_desc = desc;
	tail->rows_context = CurrentMemoryContext;
	if (!has_seen(tail, &now))
		catch_up(with_others(tail, is_kept ? others : NIL, &base, &now), &now);
	PopActiveSnapshot();
	*rows = tail->rows;
	return &tail->sums;
}

/*
 * _sum_up_tail(dimensions): the tail for what several queries are about to ask,
 * in one reading; nothing where it cannot be remembered until then.
 */
Datum
usage_monitor_sum_up_tail(PG_FUNCTION_ARGS)
{
	Datum	   *names;
	int			count;
	List	   *others = NIL;
	Tuplestorestate *rows;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT, &names, NULL, &count);
	for (int i = 0; i < count; i++)
		others = lappend(others, TextDatumGetCString(names[i]));
	if (count > 0 && may_remember())
		(void) um_tail_sums_open(linitial(others), others, GetActiveSnapshot(), NULL, &rows);
	PG_RETURN_VOID();
}

/* How many sums the session remembers of a dimension; 0: none. */
int64
um_tail_sums_count(const char *name)
{
	ListCell   *lc;

	foreach(lc, remembered)
	{
		TailSums   *tail = lfirst(lc);

		if (strcmp(tail->dimension.name, name) == 0 && tail->user == GetUserId())
			return tail->sums.count;
	}
	return 0;
}

/* _ledger_sums(dimension): the whole ledger, as if all of it were tail. */
Datum
usage_monitor_ledger_sums(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	UmWatermark nothing = {0};
	TailSums   *tail;

	InitMaterializedSRF(fcinfo, 0);
	tail = begin(text_to_cstring(PG_GETARG_TEXT_PP(0)), &nothing);
	tail->rows = result->setResult;
	tail->rows_desc = result->setDesc;
	catch_up(list_make1(tail), &nothing);
	return (Datum) 0;
}
