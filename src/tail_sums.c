/*
 * tail_sums.c
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
 * than some hash tables may (work_mem times hash_mem_multiplier).  Of that,
 * names come back more than once: whoever reads them groups them anyway.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog.h"
#include "executor/nodeHash.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "sums.h"
#include "tail.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "watermark.h"

PG_FUNCTION_INFO_V1(usage_monitor_tail_sums);
PG_FUNCTION_INFO_V1(usage_monitor_tail_days);
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
	bool		is_right;		/* false: an error has left them halfway */
	bool		is_spilled;		/* part of them is in the result of a query, and not here any more */
	ReturnSetInfo *result;		/* of the query that sums up */
	int64		calls;

	/* of when and for whom they were begun */
	Oid			user;
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

/* Returns the sums as rows, or of each as much of its beginning as the result has columns. */
static void
put_sums(TailSums *tail)
{
	HASH_SEQ_STATUS scan;
	UmEntry    *entry;

	hash_seq_init(&scan, tail->sums.entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(tail->row_context);
		Datum		values[UM_ROLLUP_COLUMNS];
		bool		nulls[UM_ROLLUP_COLUMNS];

		um_rollup_form(&entry->name, &entry->measures, values, nulls);
		tuplestore_putvalues(tail->result->setResult, tail->result->setDesc, values, nulls);
		MemoryContextSwitchTo(old);
		MemoryContextReset(tail->row_context);
	}
}

/* Adds a call; returns what there is, and begins anew, where that takes too much memory. */
static void
add_call(void *arg, const Datum *values, const bool *nulls, int sign)
{
	TailSums   *tail = arg;
	MemoryContext old = MemoryContextSwitchTo(tail->row_context);
	UmAddend		call;

	um_addend_read(&call, values, nulls, sign);
	um_sums_add(&tail->sums, &call);
	MemoryContextSwitchTo(old);
	MemoryContextReset(tail->row_context);
	if (++tail->calls % LOOK_EACH == 0 &&
		MemoryContextMemAllocated(tail->sums_context, true) > HASH_TABLES * get_hash_memory_limit())
	{
		put_sums(tail);
		start_sums(tail);
		tail->is_spilled = true;
	}
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
				 errhint("See usage_monitor._rollup_dimension.")));
	tail->dimension = dimensions[count - 1];
	tail->context = context;
	tail->sums_context = AllocSetContextCreate(context, "usage_monitor tail sums",
											   ALLOCSET_DEFAULT_SIZES);
	tail->row_context = AllocSetContextCreate(context, "usage_monitor tail row",
											  ALLOCSET_DEFAULT_SIZES);
	um_watermark_copy(&tail->base, base);
	um_watermark_copy(&tail->seen, base);
	tail->user = GetUserId();
	tail->setting = um_generation(UM_TOPIC_SETTING);
	tail->ledger = um_generation(UM_TOPIC_LEDGER);
	start_sums(tail);
	MemoryContextSwitchTo(old);
	return tail;
}

/* Adds what the active snapshot sees beyond what the sums have, and returns them. */
static void
catch_up(TailSums *tail, const UmWatermark *now, ReturnSetInfo *result)
{
	tail->result = result;
	if (!tail->is_right || !um_watermark_equal(&tail->seen, now))
	{
		MemoryContext old;

		tail->is_right = false;
		um_tail_read(&tail->seen, add_call, tail);
		old = MemoryContextSwitchTo(tail->context);
		pfree(tail->seen.xip);
		um_watermark_copy(&tail->seen, now);
		MemoryContextSwitchTo(old);
	}
	put_sums(tail);
	tail->result = NULL;
	tail->is_right = !tail->is_spilled;
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
			tail->setting == um_generation(UM_TOPIC_SETTING) &&
			tail->ledger == um_generation(UM_TOPIC_LEDGER) &&
			um_watermark_equal(&tail->base, base) &&
			um_watermark_includes(now, &tail->seen))
			return tail;
		remembered = foreach_delete_current(remembered, lc);
		MemoryContextDelete(tail->context);
		break;
	}
	return NULL;
}

/* Remembers sums, before they are anything. */
static void
remember(TailSums *tail)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	remembered = lappend(remembered, tail);
	MemoryContextSwitchTo(old);
	MemoryContextSetParent(tail->context, TopMemoryContext);
}

/* Returns the tail as the active snapshot sees it, summed up. */
static void
sum_up(const char *name, ReturnSetInfo *result)
{
	Snapshot	snapshot = GetActiveSnapshot();
	UmWatermark base = {0};
	UmWatermark now;
	TailSums   *tail;

	um_watch(UM_TOPIC_SETTING);
	um_watch(UM_TOPIC_LEDGER);
	um_watermark_of_snapshot(&now, snapshot);
	if (um_has_row_security())
		tail = begin(name, &base);
	else
	{
		um_watermark_read(&base, snapshot);
		if (TransactionIdIsValid(GetTopTransactionIdIfAny()) ||
			pg_class_aclcheck(um_relation(UM_USAGE), GetUserId(), ACL_SELECT) != ACLCHECK_OK ||
			pg_class_aclcheck(um_relation(UM_CORRECTION), GetUserId(), ACL_SELECT) != ACLCHECK_OK)
			tail = begin(name, &base);
		else if ((tail = recall(name, &base, &now)) == NULL)
		{
			tail = begin(name, &base);
			remember(tail);
		}
	}
	catch_up(tail, &now, result);
}

/* _tail_sums(dimension): rows as those of the rollup, for the caller's query. */
Datum
usage_monitor_tail_sums(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	sum_up(text_to_cstring(PG_GETARG_TEXT_PP(0)), (ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}

/* _tail_days(): the days that the tail adds to. */
Datum
usage_monitor_tail_days(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	sum_up("day_total", (ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}

/* _ledger_sums(dimension): the whole ledger, as if all of it were tail. */
Datum
usage_monitor_ledger_sums(PG_FUNCTION_ARGS)
{
	UmWatermark nothing = {0};

	InitMaterializedSRF(fcinfo, 0);
	catch_up(begin(text_to_cstring(PG_GETARG_TEXT_PP(0)), &nothing), &nothing,
			 (ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}
