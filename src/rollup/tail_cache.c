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
#include "executor/nodeHash.h"
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
	int64		calls;

	/* where what memory does not suffice for goes, as rows */
	Tuplestorestate *rows;		/* NULL: there was enough */
	TupleDesc	rows_desc;
	MemoryContext rows_context;

	/* of when and for whom they were begun */
	Oid			user;
	ArrayType  *orgs;			/* that he is confined to; NULL: he is not */
	uint64		setting;
	uint64		ledger;
} TailSums;

static List *remembered;		/* of TailSums */

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

/* Adds a call; writes away what there is where that takes too much memory. */
static void
add_call(void *arg, const Datum *values, const bool *nulls, int sign)
{
	TailSums   *tail = arg;
	MemoryContext old = MemoryContextSwitchTo(tail->row_context);
	UmAddend	call;

	um_addend_read(&call, values, nulls, sign);
	um_sums_add(&tail->sums, &call);
	MemoryContextSwitchTo(old);
	MemoryContextReset(tail->row_context);
	if (++tail->calls % LOOK_EACH == 0 &&
		MemoryContextMemAllocated(tail->sums_context, true) > HASH_TABLES * get_hash_memory_limit())
		write_sums(tail);
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
				 errhint("See _usage_monitor._rollup_dimension.")));
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

/* Adds what the active snapshot sees beyond what the sums have; if rows were written away, so are the rest. */
static void
catch_up(TailSums *tail, const UmWatermark *now)
{
	MemoryContext old;

	if (tail->is_right && um_watermark_equal(&tail->seen, now))
		return;
	tail->is_right = false;
	um_tail_read(&tail->seen, add_call, tail);
	old = MemoryContextSwitchTo(tail->context);
	pfree(tail->seen.xip);
	um_watermark_copy(&tail->seen, now);
	MemoryContextSwitchTo(old);
	if (tail->rows != NULL)
		write_sums(tail);
	else
		tail->is_right = true;
}

/* Remembers sums, before they are anything. */
static void
remember(TailSums *tail)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	remembered = lappend(remembered, tail);
	MemoryContextSwitchTo(old);
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

/*
 * The tail as a snapshot sees it, summed up.  Where memory does not suffice
 * there are no sums but rows like desc, which the caller ends.  Both are good
 * as long as the current memory, which is a query's.
 */
const UmSums *
um_tail_sums_open(const char *name, Snapshot snapshot, TupleDesc desc, Tuplestorestate **rows)
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
	catch_up(tail, &now);
	PopActiveSnapshot();
	*rows = tail->rows;
	return &tail->sums;
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
	catch_up(tail, &nothing);
	return (Datum) 0;
}
