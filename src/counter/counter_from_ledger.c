/*
 * counter_from_ledger.c
 *		What counters must be by the ledger.
 *
 * Counters are made from the ledger when their quota is made or changed; when
 * they are of a period that began before their quota was complete; and when
 * nobody knows how their last writer ended.  Others wait for whoever makes
 * counters, so the ledger is read once for however many there are, and summed
 * up in memory.  verify() says the same by SQL, as a witness.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/catalog.h"
#include "catalog/pg_type.h"
#include "counter/counter_from_ledger.h"
#include "counter/counter_recount.h"
#include "counter/pending.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "quota/quota_cache.h"
#include "quota/quota_match.h"
#include "rollup/rollup_row.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
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

/* What the flush has asked for beforehand; NULL: nothing. */
static HTAB *known;

/* the columns of UmCounted; the rows of one transaction left out */
static UmQuery read_rows = {
	.text = "SELECT org, department, project, user_id, session_id, model, provider,"
	" tags, ts, cost, total_tokens, resolved_model, operation FROM usage_monitor.usage"
	" WHERE ts >= $1 AND ts < $2 AND xid <> $3",
	.nargs = 3,
	.argtypes = {TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID}
};

static UmQuery read_adjustments = {
	.text = "SELECT quota_id, subject, period_start, used FROM _usage_monitor._adjusted($1)"
	" WHERE period_start >= $2 AND period_start < $3",
	.nargs = 3,
	.argtypes = {INT8ARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};

static UmQuery read_births = {
	.text = "SELECT coalesce(pg_catalog.min(counted_since), 'infinity')"
	" FROM _usage_monitor._quota_birth WHERE quota_id = ANY ($1)",
	.nargs = 1,
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
	HASHCTL		control = {0};
	Datum	   *ids;
	int			count;

	control.keysize = control.entrysize = sizeof(int64);
	control.hcxt = summation->context;
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

/* Adds money to a sum. */
static void
add_money(Summation *summation, Sum *sum, Numeric amount)
{
	MemoryContext old = MemoryContextSwitchTo(summation->context);
	UmNumber	number;

	um_number_set(&number, amount);
	um_number_add(&sum->money, &number, 1);
	MemoryContextSwitchTo(old);
	sum->scale = Max(sum->scale,
					 DatumGetInt32(DirectFunctionCall1(numeric_scale, NumericGetDatum(amount))));
}

/* Adds a row to a counter that it touches. */
static void
add_row(Summation *summation, const UmTouch *touch, const UmCounted *row)
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
			add_money(summation, sum, row->cost);
			break;
		case UM_METRIC_TOKENS:
			sum->whole += row->total_tokens;
			break;
		case UM_METRIC_REQUESTS:
			sum->whole += !row->is_correction;
			break;
	}
}

/* Gets a row of the ledger. */
static void
read_row(void *arg, TupleTableSlot *slot)
{
	Summation  *summation = arg;
	MemoryContext old = MemoryContextSwitchTo(summation->row_context);
	UmCounted	row;
	UmTouches	touched;

	um_counted_set(&row, slot->tts_values, slot->tts_isnull);
	if (!summation->keep_quotas)
		um_quotas_load();
	um_quotas_touched(&row, &touched);
	for (int i = 0; i < touched.count; i++)
		add_row(summation, &touched.touches[i], &row);
	MemoryContextSwitchTo(old);
	MemoryContextReset(summation->row_context);
}

/*
 * Adds the ledger's rows from an instant on and before another, those of a
 * transaction left out, as the active snapshot sees them.  SPI is open, as
 * whoever is to see them.
 */
static void
add_rows(Summation *summation, TimestampTz from, TimestampTz before, uint64 without)
{
	Datum		values[3];

	values[0] = TimestampTzGetDatum(from);
	values[1] = TimestampTzGetDatum(before);
	values[2] = Int64GetDatum((int64) without);
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
	Datum		values[3];

	values[0] = quota_ids;
	values[1] = TimestampTzGetDatum(from);
	values[2] = TimestampTzGetDatum(before);
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
							   (UmString) {subject, strlen(subject)},
							   DatumGetTimestampTz(SPI_getbinval(row, desc, 3, &isnull)));
		if (!(summation->complete && is_incomplete(&name)) &&
			(sum = find_sum(summation, &name)) != NULL)
			add_money(summation, sum, DatumGetNumeric(SPI_getbinval(row, desc, 4, &isnull)));
	}
}

/* What a counter sums up to. */
static Numeric
sum_of(const Sum *sum)
{
	Datum		money = NumericGetDatum(um_number_to_numeric(&sum->money));
	Datum		whole = NumericGetDatum(um_decimal_to_numeric(sum->whole, 0));

	return DatumGetNumeric(DirectFunctionCall2(numeric_round,
											   DirectFunctionCall2(numeric_add, money, whole),
											   Int32GetDatum(sum->scale)));
}

/* Makes a counter of each sum. */
static void
insert_counters(Summation *summation, UmCounters *counters)
{
	HASH_SEQ_STATUS scan;
	Sum		   *sum;

	hash_seq_init(&scan, summation->sums);
	while ((sum = hash_seq_search(&scan)) != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(summation->row_context);
		UmCounterRow row = {0};

		CHECK_FOR_INTERRUPTS();
		row.slot = UM_HEADER;
		row.used = sum_of(sum);
		row.share = int64_to_numeric(0);
		/* revision 0 is no quota's: thresholds are looked at when the row is next used */
		um_counter_insert(counters, &sum->name, &row);
		MemoryContextSwitchTo(old);
		MemoryContextReset(summation->row_context);
	}
}

/*
 * Makes the counters of quotas that have none, of the running period and
 * later ones.  What is cached of these quotas is as they are now.
 */
void
um_counters_birth(UmCounters *counters, Datum quota_ids)
{
	Summation	summation;
	TimestampTz from;
	bool		isnull;
	UmSpi		spi;

	start(&summation);
	want_quotas(&summation, DatumGetArrayTypeP(quota_ids));
	summation.complete = true;
	um_spi_begin(&spi);
	um_spi_query(&read_births, &quota_ids, NULL);
	from = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	PushActiveSnapshot(GetLatestSnapshot());
	add_rows(&summation, from, DT_NOEND, 0);
	PopActiveSnapshot();
	add_adjustments(&summation, quota_ids, from, DT_NOEND);
	um_spi_end(&spi);
	insert_counters(&summation, counters);
	MemoryContextDelete(summation.context);
	CommandCounterIncrement();
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
 * Sums up for the counters that are wanted, which are in order.  What this
 * transaction has pending is left out: its own rows, which need not even be
 * read, if it has not touched others' as well.
 */
static void
sum_up(Summation *summation, const UmCounterName **names, int count)
{
	bool		has_notes = um_recount_has_notes();
	UmSpi		spi;

	um_spi_begin(&spi);
	PushActiveSnapshot(GetLatestSnapshot());
	add_rows(summation, summation->from, summation->before,
			 has_notes ? 0 : U64FromFullTransactionId(GetTopFullTransactionIdIfAny()));
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
	sum_up(&summation, names, count);
	known = summation.sums;
}

/* Forgets them; their memory is the caller's. */
void
um_ledger_sums_forget(void)
{
	known = NULL;
}

/*
 * What the ledger holds for a counter, without what this transaction has
 * pending for it.
 */
Numeric
um_ledger_sum(const UmQuota *quota, const UmCounterName *name)
{
	Sum		   *sum = known == NULL ? NULL : hash_search(known, name, HASH_FIND, NULL);
	Numeric		result;

	if (sum == NULL)
	{
		Summation	summation;

		start(&summation);
		summation.keep_quotas = true;
		want_counter_of(&summation, quota, name);
		sum_up(&summation, &name, 1);
		sum = hash_search(summation.sums, name, HASH_FIND, NULL);
	}
	result = sum_of(sum);
	if (um_recount_has_notes())
		result = DatumGetNumeric(DirectFunctionCall2(numeric_sub, NumericGetDatum(result),
													 NumericGetDatum(um_pending_of(name))));
	return result;
}

/* What the ledger holds for a counter, with what this transaction did. */
Numeric
um_ledger_sum_with_own(const UmQuota *quota, const UmCounterName *name)
{
	Summation	summation;
	UmSpi		spi;

	start(&summation);
	summation.keep_quotas = true;
	want_counter_of(&summation, quota, name);
	um_spi_begin(&spi);
	PushActiveSnapshot(GetLatestSnapshot());
	add_rows(&summation, summation.from, summation.before, 0);
	PopActiveSnapshot();
	add_adjustments(&summation, quotas_of(&name, 1), summation.from, summation.before);
	um_spi_end(&spi);
	return sum_of(hash_search(summation.sums, name, HASH_FIND, NULL));
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
		Datum		values[4];
		bool		nulls[4] = {0};

		CHECK_FOR_INTERRUPTS();
		values[0] = Int64GetDatum(sum->name.quota_id);
		values[1] = CStringGetTextDatum(sum->name.subject.data);
		values[2] = TimestampTzGetDatum(sum->name.period_start);
		values[3] = NumericGetDatum(sum_of(sum));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		MemoryContextSwitchTo(old);
		MemoryContextReset(summation.row_context);
	}
	MemoryContextDelete(summation.context);
	return (Datum) 0;
}
