/*
 * counter_from_ledger.c
 *		What counters must be by the ledger.
 *
 * Counters are made from the ledger when their quota is made or changed; when
 * they are of a period that began before their quota was complete; and when
 * nobody knows how their last writer ended.  Others wait for whoever makes
 * counters, so the ledger is read once for however many there are, and summed
 * up in memory.  verify() says the same by SQL, as a witness.
 *
 * Counters of a changed quota are summed up before others are kept from
 * counting.  Then only what came meanwhile is added, which is told as the
 * rollups tell their tail: calls of transactions that the mark of what was read
 * does not cover, and corrections by such transactions of calls that it does.
 * Until then nobody may delete corrections (rollup.c), nor rename them
 * (erasure.sql): they take the lock of births, as who changes quotas does.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/amount.h"
#include "base/catalog.h"
#include "base/progress.h"
#include "catalog/pg_type.h"
#include "counter/counter_from_ledger.h"
#include "counter/counter_recount.h"
#include "counter/pending.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "quota/quota_cache.h"
#include "quota/quota_match.h"
#include "rollup/rollup.h"
#include "rollup/rollup_row.h"
#include "rollup/watermark.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(usage_monitor_counted);

/* A counter, and what it sums up to. */
typedef struct Sum
{
	UmCounterName name;
	int128		whole;			/* tokens, requests */
	UmNumber	money;
	int			scale;			/* decimals that are shown, as sum() has them */
} Sum;

/* A summation. */
typedef struct Summation
{
	MemoryContext context;
	MemoryContext row_context;	/* emptied by each row */
	HTAB	   *sums;
	HTAB	   *quota_ids;		/* sum up for all counters of these; NULL: for those that are there */
	bool		complete;		/* only of periods since the quota is complete */
	TimestampTz from;			/* where rows of these counters can be */
	TimestampTz before;
	int64		last_quota;		/* of which counters were wanted last, */
	TimestampTz last_from;		/* from here on */
	TimestampTz last_before;	/* and before here */
	bool		keep_quotas;	/* somebody has pointers to them */
} Summation;

/* The counters of changed quotas, while they are summed up. */
typedef struct Birth
{
	Summation	summation;
	UmWatermark known;			/* the transactions that it has; none: xmax is 0 */
	const UmWatermark *next;	/* those that it is to have after the pass; NULL: all that are seen */
	bool		corrections;	/* the pass is at the corrections, and not at calls */
	int64		read;			/* so many of them */
} Birth;

/* What comes before the columns of UmCounted, as for the tail (tail_read.c). */
enum
{
	ATT_XID,
	ATT_ROW_XID,
	ATT_SIGN,
	ATT_COUNTED
};

/* Others wait while what came in so much time is read. */
#define SHORT_PASS_MS	100

/* More passes than this do not make the last one shorter. */
#define MAX_PASSES		8

/* What the flush has asked for beforehand; NULL: nothing. */
static HTAB *known;

/* In the flush's memory; NULL: none. */
static Birth *birth;

/* the columns of UmCounted */
#define READ_COUNTED(total_tokens) \
	"org, department, project, user_id, session_id, model, provider," \
	" tags, ts, cost, " total_tokens ", resolved_model, operation"

/* the rows of one transaction left out */
static UmQuery read_rows = {
	.text = "SELECT " READ_COUNTED("total_tokens") " FROM usage_monitor.usage"
	" WHERE ts >= $1 AND ts < $2 AND xid <> $3",
	.argtypes = {TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID}
};

static UmQuery read_calls = {
	.text = "SELECT xid, xid, 1::bigint, " READ_COUNTED("total_tokens")
	" FROM usage_monitor.usage WHERE ts >= $1",
	.argtypes = {TIMESTAMPTZOID}
};

/* generic, and by the index of xid alone: planning for each partition takes longer than reading */
static UmQuery read_later_calls = {
	.text = "SELECT xid, xid, 1::bigint, " READ_COUNTED("total_tokens")
	" FROM usage_monitor.usage WHERE xid >= $1 OR xid = ANY ($2)",
	.argtypes = {INT8OID, INT8ARRAYOID},
	.generic = true
};

static UmQuery read_corrections = {
	.text = "SELECT xid, row_xid, sign, "
	READ_COUNTED("coalesce(input_tokens, 0) + coalesce(output_tokens, 0)")
	" FROM _usage_monitor._correction"
};

static UmQuery read_adjustments = {
	.text = "SELECT quota_id, subject, period_start, used FROM _usage_monitor._adjusted($1)"
	" WHERE period_start >= $2 AND period_start < $3",
	.argtypes = {INT8ARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};

static UmQuery read_births = {
	.text = "SELECT coalesce(pg_catalog.min(counted_since), 'infinity')"
	" FROM _usage_monitor._quota_birth WHERE quota_id = ANY ($1)",
	.argtypes = {INT8ARRAYOID}
};

/* Prepares to sum up. */
static void
start(Summation *summation)
{
	memset(summation, 0, sizeof(Summation));
	summation->from = DT_NOEND;
	summation->before = DT_NOBEGIN;
	summation->context = AllocSetContextCreate(CurrentMemoryContext, "usage_monitor sums of counters",
											   ALLOCSET_DEFAULT_SIZES);
	summation->row_context = AllocSetContextCreate(summation->context, "usage_monitor row",
												   ALLOCSET_DEFAULT_SIZES);
	summation->sums = um_counter_name_table("usage_monitor sums of counters", sizeof(Sum),
											summation->context);
}

/* Sums up for all counters of these quotas. */
static void
want_quotas(Summation *summation, ArrayType *quota_ids)
{
	HASHCTL		control = {.keysize = sizeof(int64), .entrysize = sizeof(int64), .hcxt = summation->context};
	Datum	   *ids;
	int			count;

	summation->quota_ids = hash_create("usage_monitor wanted quotas", 64, &control,
									   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	deconstruct_array(quota_ids, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &ids, NULL, &count);
	for (int i = 0; i < count; i++)
	{
		int64		id = DatumGetInt64(ids[i]);

		(void) hash_search(summation->quota_ids, &id, HASH_ENTER, NULL);
	}
}

/* Sums up for this counter. */
static Sum *
want_counter(Summation *summation, const UmCounterName *name)
{
	bool		found;
	Sum		   *sum = hash_search(summation->sums, name, HASH_ENTER, &found);

	if (!found)
	{
		char	   *copy = MemoryContextAlloc(summation->context, name->subject.length + 1);

		memcpy(copy, name->subject.data, name->subject.length);
		copy[name->subject.length] = '\0';
		sum->name.subject.data = copy;
		sum->whole = 0;
		sum->money = (UmNumber) {0};
		sum->scale = 0;
	}
	return sum;
}

/* The sum of a counter; NULL if it is not wanted. */
static Sum *
find_sum(Summation *summation, const UmCounterName *name)
{
	if (summation->quota_ids == NULL)
		return hash_search(summation->sums, name, HASH_FIND, NULL);
	if (hash_search(summation->quota_ids, &name->quota_id, HASH_FIND, NULL) == NULL)
		return NULL;
	return want_counter(summation, name);
}

/* Adds money to a sum, or with sign -1 takes it from it. */
static void
add_money(Summation *summation, Sum *sum, Numeric amount, int sign)
{
	MemoryContext old = MemoryContextSwitchTo(summation->context);
	UmNumber	number;

	um_number_set(&number, amount);
	um_number_add(&sum->money, &number, sign);
	MemoryContextSwitchTo(old);
	sum->scale = Max(sum->scale,
					 DatumGetInt32(DirectFunctionCall1(numeric_scale, NumericGetDatum(amount))));
}

/* Adds a row to a counter that it touches, or takes it from it. */
static void
add_row(Summation *summation, const UmTouch *touch, const UmCounted *row, int sign)
{
	const UmQuota *quota = touch->quota;
	Sum		   *sum;

	if ((summation->complete && touch->name.period_start < quota->counted_since) ||
		(quota->metric == UM_METRIC_COST && row->cost == NULL) ||
		(sum = find_sum(summation, &touch->name)) == NULL)
		return;
	switch (quota->metric)
	{
		case UM_METRIC_COST:
			add_money(summation, sum, row->cost, sign);
			break;
		case UM_METRIC_TOKENS:
			sum->whole += sign * (int128) row->total_tokens;
			break;
		case UM_METRIC_REQUESTS:
			sum->whole += sign * !row->is_correction;
			break;
	}
}

/* Adds a row, given by the columns of UmCounted, to all counters that it touches, or takes it from them. */
static void
add_counted(Summation *summation, const Datum *values, const bool *nulls, int sign)
{
	MemoryContext old = MemoryContextSwitchTo(summation->row_context);
	UmCounted	row;
	UmTouches	touched;

	um_counted_set(&row, values, nulls);
	if (!summation->keep_quotas)
		um_quotas_load();
	um_quotas_touched(&row, &touched);
	for (int i = 0; i < touched.count; i++)
		add_row(summation, &touched.touches[i], &row, sign);
	MemoryContextSwitchTo(old);
	MemoryContextReset(summation->row_context);
}

/* Gets a row of the ledger. */
static void
read_row(void *arg, TupleTableSlot *slot)
{
	add_counted(arg, slot->tts_values, slot->tts_isnull, 1);
}

/*
 * Adds the ledger's rows from an instant on and before another, those of a
 * transaction left out, as the active snapshot sees them.  SPI is open, as
 * whoever is to see them.
 */
static void
add_rows(Summation *summation, TimestampTz from, TimestampTz before, uint64 without)
{
	Datum		values[] = {TimestampTzGetDatum(from), TimestampTzGetDatum(before), Int64GetDatum((int64) without)};

	um_spi_set("jit", "off");
	um_spi_stream(&read_rows, values, read_row, summation);
}

/* Is the counter of a period that began before its quota was complete? */
static bool
is_incomplete(const UmCounterName *name)
{
	const UmQuota *quota = um_quota_by_id(name->quota_id);

	return quota == NULL || name->period_start < quota->counted_since;
}

/* Adds the adjustments of quotas, of periods from one on and before another. */
static void
add_adjustments(Summation *summation, Datum quota_ids, TimestampTz from, TimestampTz before)
{
	Datum		values[] = {quota_ids, TimestampTzGetDatum(from), TimestampTzGetDatum(before)};

	um_spi_query(&read_adjustments, values, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		char	   *subject = um_text_column(row, desc, 2);
		UmCounterName name;
		Sum		   *sum;

		name = um_counter_name(DatumGetInt64(SPI_getbinval(row, desc, 1, &isnull)),
							   um_string_of(subject),
							   DatumGetTimestampTz(SPI_getbinval(row, desc, 3, &isnull)));
		if (!(summation->complete && is_incomplete(&name)) &&
			(sum = find_sum(summation, &name)) != NULL)
			add_money(summation, sum, DatumGetNumeric(SPI_getbinval(row, desc, 4, &isnull)), 1);
	}
}

/* What a counter sums up to. */
static Numeric
sum_of(const Sum *sum)
{
	Numeric		all = plus(um_number_to_numeric(&sum->money), um_decimal_to_numeric(sum->whole, 0));

	return DatumGetNumeric(DirectFunctionCall2(numeric_round, NumericGetDatum(all), Int32GetDatum(sum->scale)));
}

/* Has the mark what a transaction did?  The running one has done all that it will. */
static bool
has(const UmWatermark *mark, int64 xid)
{
	return mark->xmax > 0 &&
		(um_watermark_covers(mark, xid) ||
		 xid == (int64) U64FromFullTransactionId(GetTopFullTransactionIdIfAny()));
}

/* Gets a call or a correction for a birth. */
static void
read_for_birth(void *arg, TupleTableSlot *slot)
{
	Birth	   *own = arg;
	int64		xid = DatumGetInt64(slot->tts_values[ATT_XID]);

	um_progress_done(++own->read);
	/* a call that is not summed up yet is read as it is now; one that is, is corrected */
	if (DatumGetTimestampTz(slot->tts_values[ATT_COUNTED + UM_COUNTED_TS]) < own->summation.from ||
		has(&own->known, xid) ||
		has(&own->known, DatumGetInt64(slot->tts_values[ATT_ROW_XID])) != own->corrections ||
		(own->next != NULL && !has(own->next, xid)))
		return;
	add_counted(&own->summation, slot->tts_values + ATT_COUNTED, slot->tts_isnull + ATT_COUNTED,
				(int) DatumGetInt64(slot->tts_values[ATT_SIGN]));
}

/* Adds what the active snapshot sees and was not there before; SPI is open. */
static void
read_pass(Birth *own)
{
	Datum		values[2];

	um_spi_set("jit", "off");
	own->corrections = false;
	if (own->known.xmax == 0)
	{
		values[0] = TimestampTzGetDatum(own->summation.from);
		um_spi_stream(&read_calls, values, read_for_birth, own);
	}
	else
	{
		int			guc_level = NewGUCNestLevel();

		values[0] = Int64GetDatum(um_watermark_start(&own->known));
		values[1] = um_watermark_xids(own->known.xip, um_watermark_stragglers(&own->known));
		um_spi_set("enable_seqscan", "off");
		um_spi_stream(&read_later_calls, values, read_for_birth, own);
		AtEOXact_GUC(false, guc_level);
		own->corrections = true;
		um_spi_stream(&read_corrections, NULL, read_for_birth, own);
	}
}

/* Adds what is committed by now; returns how many milliseconds that took. */
static long
catch_up(Birth *own)
{
	TimestampTz begun_at = GetCurrentTimestamp();
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	UmWatermark mark;
	MemoryContext old;
	UmSpi		spi;

	um_spi_begin(&spi);
	PushActiveSnapshot(snapshot);
	um_watermark_of_snapshot(&mark, snapshot);
	own->next = &mark;
	read_pass(own);
	own->next = NULL;
	PopActiveSnapshot();
	UnregisterSnapshot(snapshot);
	old = MemoryContextSwitchTo(own->summation.context);
	um_watermark_copy(&own->known, &mark);
	MemoryContextSwitchTo(old);
	um_spi_end(&spi);
	return TimestampDifferenceMilliseconds(begun_at, GetCurrentTimestamp());
}

/*
 * Sums up for the counters of quotas that have none, of the running period and
 * later ones, while others go on to count; until there is little left to add.
 * What is cached of these quotas is as they are now, and the lock of births
 * keeps everybody from changing what any quota counts.
 */
void
um_counters_expect_birth(Datum quota_ids)
{
	birth = palloc0(sizeof(Birth));
	start(&birth->summation);
	want_quotas(&birth->summation, DatumGetArrayTypeP(quota_ids));
	birth->summation.complete = true;
	birth->summation.from = DatumGetTimestampTz(um_spi_value(&read_births, &quota_ids));
	um_progress_phase("summing up calls", um_progress_ledger_calls());
	for (int pass = 0; pass < MAX_PASSES && catch_up(birth) > SHORT_PASS_MS; pass++)
	{
		CHECK_FOR_INTERRUPTS();
		/* the next ones find by an index what is new, if it knows of all that was there */
		if (pass == 0)
			um_summarize_ledger();
	}
}

/*
 * Makes a counter of each sum; returns those that have reached a level, to be
 * looked at.  The others look when they are next used.
 */
static List *
insert_counters(Summation *summation, UmCounters *counters, UmLevelsKnown levels_known)
{
	List	   *reached = NIL;
	HASH_SEQ_STATUS scan;
	Sum		   *sum;

	hash_seq_init(&scan, summation->sums);
	while ((sum = hash_seq_search(&scan)) != NULL)
	{
		UmQuota    *quota = um_quota_by_id(sum->name.quota_id);
		MemoryContext old = MemoryContextSwitchTo(summation->row_context);
		UmCounterRow row = {0};
		bool		is_reached;

		CHECK_FOR_INTERRUPTS();
		row.name = &sum->name;
		row.slot = UM_HEADER;
		row.used = sum_of(sum);
		row.share = int64_to_numeric(0);
		/* revision 0 is no quota's: thresholds are looked at when the row is next used */
		is_reached = compare(row.used, quota->levels[0].threshold) >= 0;
		if (!is_reached && levels_known(quota))
			row.raised = "";
		um_counter_write(counters, &row);
		MemoryContextSwitchTo(old);
		MemoryContextReset(summation->row_context);
		if (is_reached)
			reached = lappend(reached, &sum->name);
	}
	return reached;
}

/*
 * Under the lock of counters: adds to what was summed up beforehand, and makes
 * the counters; returns the names of those that have reached a level.
 */
List *
um_counters_birth(UmCounters *counters, Datum quota_ids, UmLevelsKnown levels_known)
{
	List	   *reached;
	UmSpi		spi;

	um_spi_begin(&spi);
	PushActiveSnapshot(GetLatestSnapshot());
	read_pass(birth);
	PopActiveSnapshot();
	add_adjustments(&birth->summation, quota_ids, birth->summation.from, DT_NOEND);
	um_spi_end(&spi);
	reached = insert_counters(&birth->summation, counters, levels_known);
	birth = NULL;
	CommandCounterIncrement();
	return reached;
}

/* The numbers of the quotas of counters, which are in order. */
static Datum
quotas_of(const UmCounterName **names, int count)
{
	Datum	   *ids = palloc(sizeof(Datum) * count);
	int			nids = 0;

	for (int i = 0; i < count; i++)
		if (i == 0 || names[i]->quota_id != names[i - 1]->quota_id)
			ids[nids++] = Int64GetDatum(names[i]->quota_id);
	return PointerGetDatum(construct_array(ids, nids, INT8OID, sizeof(int64),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* Sums up for a counter of the quota.  Of very many, most are of a period that another has shown. */
static void
want_counter_of(Summation *summation, const UmQuota *quota, const UmCounterName *name)
{
	TimestampTz start;
	TimestampTz end;

	(void) want_counter(summation, name);
	if (name->quota_id != summation->last_quota)
	{
		summation->last_quota = name->quota_id;
		summation->last_from = DT_NOEND;
		summation->last_before = DT_NOBEGIN;
	}
	else if (name->period_start >= summation->last_from && name->period_start < summation->last_before)
		return;
	um_period_bounds(quota->period, quota->billing_day, quota->tz, name->period_start, &start, &end);
	summation->last_from = Min(summation->last_from, start);
	summation->last_before = Max(summation->last_before, end);
	summation->from = Min(summation->from, start);
	summation->before = Max(summation->before, end);
}

/*
 * Sums up for the counters that are wanted, which are in order: with what this
 * transaction did, or without its own rows, if it has not touched others' as
 * well.
 */
static void
sum_up(Summation *summation, const UmCounterName **names, int count, bool with_own)
{
	UmSpi		spi;

	with_own |= um_recount_has_notes();
	um_spi_begin(&spi);
	PushActiveSnapshot(GetLatestSnapshot());
	add_rows(summation, summation->from, summation->before,
			 with_own ? 0 : U64FromFullTransactionId(GetTopFullTransactionIdIfAny()));
	PopActiveSnapshot();
	add_adjustments(summation, quotas_of(names, count), summation->from, summation->before);
	um_spi_end(&spi);
}

/* Sums up for counters that will be asked for, which are in order. */
void
um_ledger_sums_expect(const UmCounterName **names, int count)
{
	Summation	summation;

	start(&summation);
	for (int i = 0; i < count; i++)
		want_counter_of(&summation, um_quota_by_id(names[i]->quota_id), names[i]);
	sum_up(&summation, names, count, false);
	known = summation.sums;
}

/* Forgets all sums; their memory is the caller's. */
void
um_ledger_sums_forget(void)
{
	known = NULL;
	birth = NULL;
}

/* The sum of one counter. */
static Numeric
sum_of_one(const UmQuota *quota, const UmCounterName *name, bool with_own)
{
	Summation	summation;

	start(&summation);
	summation.keep_quotas = true;
	want_counter_of(&summation, quota, name);
	sum_up(&summation, &name, 1, with_own);
	return sum_of(hash_search(summation.sums, name, HASH_FIND, NULL));
}

/* What the ledger holds for a counter, without what this transaction has pending for it. */
Numeric
um_ledger_sum(const UmQuota *quota, const UmCounterName *name)
{
	Sum		   *sum = known == NULL ? NULL : hash_search(known, name, HASH_FIND, NULL);
	Numeric		result = sum != NULL ? sum_of(sum) : sum_of_one(quota, name, false);

	return um_recount_has_notes() ? minus(result, um_pending_of(name)) : result;
}

/* What the ledger holds for a counter, with what this transaction did. */
Numeric
um_ledger_sum_with_own(const UmQuota *quota, const UmCounterName *name)
{
	return sum_of_one(quota, name, true);
}

/*
 * _counted(quota_ids, since, before, with_adjustments): what counters of these
 * quotas must be by the rows that the caller may see.
 */
Datum
usage_monitor_counted(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz since = PG_GETARG_TIMESTAMPTZ(1);
	TimestampTz before = PG_GETARG_TIMESTAMPTZ(2);
	HASH_SEQ_STATUS scan;
	Summation	summation;
	Sum		   *sum;
	UmSpi		spi;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	start(&summation);
	want_quotas(&summation, PG_GETARG_ARRAYTYPE_P(0));
	um_spi_begin_as_user(&spi);
	add_rows(&summation, since, before, 0);
	if (PG_GETARG_BOOL(3))
		add_adjustments(&summation, PG_GETARG_DATUM(0), since, before);
	um_spi_end(&spi);

	hash_seq_init(&scan, summation.sums);
	while ((sum = hash_seq_search(&scan)) != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(summation.row_context);
		Datum		values[] = {
			Int64GetDatum(sum->name.quota_id), CStringGetTextDatum(sum->name.subject.data),
			TimestampTzGetDatum(sum->name.period_start), NumericGetDatum(sum_of(sum))
		};
		bool		nulls[lengthof(values)] = {0};

		CHECK_FOR_INTERRUPTS();
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		MemoryContextSwitchTo(old);
		MemoryContextReset(summation.row_context);
	}
	MemoryContextDelete(summation.context);
	return (Datum) 0;
}
