/*
 * counter_birth.c
 *		What the ledger holds for the counters of quotas: of the running period
 *		and later ones, when they are made or changed; of earlier ones, which
 *		have no counters, when somebody asks.
 *
 * Others wait for those who make counters, so the ledger is read once for all
 * of the quotas, and summed up in memory.  verify() tells the same by SQL.
 */
#include "postgres.h"

#include "base/catalog.h"
#include "catalog/pg_type.h"
#include "counter/counter_birth.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
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

PG_FUNCTION_INFO_V1(usage_monitor_past_counters);

/* A counter, and what it begins with. */
typedef struct Birth
{
	UmCounterName name;
	int128		whole;			/* tokens, requests */
	UmNumber	money;
	int			scale;			/* decimals that are shown, as sum() has them */
} Birth;

/* All of them. */
typedef struct Births
{
	MemoryContext context;
	MemoryContext row_context;	/* emptied by each row */
	bool		past;			/* of periods before the quota's first complete one? */
	HTAB	   *quota_ids;
	HTAB	   *counters;
} Births;

/* the columns of UmCounted */
#define READ_ROWS \
	"SELECT org, department, project, user_id, session_id, model, provider," \
	" tags, ts, cost, total_tokens FROM usage_monitor.usage"

static UmQuery read_rows = {
	.text = READ_ROWS " WHERE ts >= (SELECT pg_catalog.min(counted_since)"
	" FROM _usage_monitor._quota_birth WHERE quota_id = ANY ($1))",
	.nargs = 1,
	.argtypes = {INT8ARRAYOID}
};

static UmQuery read_past_rows = {
	.text = READ_ROWS " WHERE ts < (SELECT pg_catalog.max(counted_since)"
	" FROM _usage_monitor._quota_birth WHERE quota_id = ANY ($1))",
	.nargs = 1,
	.argtypes = {INT8ARRAYOID}
};

static UmQuery read_adjustments = {
	.text = "SELECT a.quota_id, a.subject, a.period_start, a.used"
	" FROM _usage_monitor._adjusted($1) a"
	" JOIN _usage_monitor._quota_birth b ON b.quota_id = a.quota_id"
	" WHERE a.period_start >= b.counted_since",
	.nargs = 1,
	.argtypes = {INT8ARRAYOID}
};

/* The counter of that name, which begins with nothing if it is new. */
static Birth *
find_birth(Births *births, const UmCounterName *name)
{
	bool		found;
	Birth	   *birth = hash_search(births->counters, name, HASH_ENTER, &found);

	if (!found)
	{
		char	   *copy = MemoryContextAlloc(births->context, name->subject.length + 1);

		memcpy(copy, name->subject.data, name->subject.length);
		copy[name->subject.length] = '\0';
		birth->name.subject.data = copy;
		birth->whole = 0;
		birth->money = (UmNumber) {0};
		birth->scale = 0;
	}
	return birth;
}

/* Adds money to what a counter begins with. */
static void
add_money(Births *births, Birth *birth, Numeric amount)
{
	MemoryContext old = MemoryContextSwitchTo(births->context);
	UmNumber	number;

	um_number_set(&number, amount);
	um_number_add(&birth->money, &number, 1);
	MemoryContextSwitchTo(old);
	birth->scale = Max(birth->scale,
					   DatumGetInt32(DirectFunctionCall1(numeric_scale, NumericGetDatum(amount))));
}

/* Adds a row to a counter, if that is one of those that are born. */
static void
add_to_counter(Births *births, const UmTouch *touch, const UmCounted *row)
{
	const UmQuota *quota = touch->quota;
	Birth	   *birth;

	if (births->past != (touch->name.period_start < quota->counted_since) ||
		hash_search(births->quota_ids, &quota->quota_id, HASH_FIND, NULL) == NULL ||
		(quota->metric == UM_METRIC_COST && row->cost == NULL))
		return;
	birth = find_birth(births, &touch->name);
	switch (quota->metric)
	{
		case UM_METRIC_COST:
			add_money(births, birth, row->cost);
			break;
		case UM_METRIC_TOKENS:
			birth->whole += row->total_tokens;
			break;
		case UM_METRIC_REQUESTS:
			birth->whole++;
			break;
	}
}

/* Gets a row of the ledger. */
static void
read_row(void *arg, TupleTableSlot *slot)
{
	Births	   *births = arg;
	MemoryContext old = MemoryContextSwitchTo(births->row_context);
	UmCounted	row;
	UmTouches	touched;

	um_counted_set(&row, slot->tts_values, slot->tts_isnull);
	um_quotas_touched(&row, &touched);
	for (int i = 0; i < touched.count; i++)
		add_to_counter(births, &touched.touches[i], &row);
	MemoryContextSwitchTo(old);
	MemoryContextReset(births->row_context);
}

/* Prepares to sum up for quotas. */
static void
start_births(Births *births, ArrayType *quota_ids, bool past)
{
	HASHCTL		id_control = {0};
	Datum	   *ids;
	int			count;

	births->past = past;
	births->context = AllocSetContextCreate(CurrentMemoryContext, "usage_monitor births",
											ALLOCSET_DEFAULT_SIZES);
	births->row_context = AllocSetContextCreate(births->context, "usage_monitor births row",
												ALLOCSET_DEFAULT_SIZES);

	id_control.keysize = id_control.entrysize = sizeof(int64);
	id_control.hcxt = births->context;
	births->quota_ids = hash_create("usage_monitor born quotas", 64, &id_control,
									HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	deconstruct_array(quota_ids, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &ids, NULL, &count);
	for (int i = 0; i < count; i++)
	{
		int64		id = DatumGetInt64(ids[i]);

		(void) hash_search(births->quota_ids, &id, HASH_ENTER, NULL);
	}

	births->counters = um_counter_name_table("usage_monitor born counters", sizeof(Birth),
											 births->context);
}

/* Adds adjustments. */
static void
add_adjustments(Births *births, Datum ids)
{
	UmSpi		spi;

	um_spi_begin(&spi);
	um_spi_query(&read_adjustments, &ids, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		char	   *subject = um_text_column(row, desc, 2);
		UmCounterName name;

		name = um_counter_name(DatumGetInt64(SPI_getbinval(row, desc, 1, &isnull)),
							   (UmString) {subject, strlen(subject)},
							   DatumGetTimestampTz(SPI_getbinval(row, desc, 3, &isnull)));
		add_money(births, find_birth(births, &name),
				  DatumGetNumeric(SPI_getbinval(row, desc, 4, &isnull)));
	}
	um_spi_end(&spi);
}

/* What a counter begins with. */
static Numeric
sum_of(const Birth *birth)
{
	Datum		money = NumericGetDatum(um_number_to_numeric(&birth->money));
	Datum		whole = NumericGetDatum(um_decimal_to_numeric(birth->whole, 0));

	return DatumGetNumeric(DirectFunctionCall2(numeric_round,
											   DirectFunctionCall2(numeric_add, money, whole),
											   Int32GetDatum(birth->scale)));
}

/* Makes the counters. */
static void
insert_counters(Births *births, UmCounters *counters)
{
	HASH_SEQ_STATUS scan;
	Birth	   *birth;

	hash_seq_init(&scan, births->counters);
	while ((birth = hash_seq_search(&scan)) != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(births->row_context);
		UmCounterRow row = {0};

		CHECK_FOR_INTERRUPTS();
		row.slot = UM_HEADER;
		row.used = sum_of(birth);
		row.share = int64_to_numeric(0);
		/* revision 0 is no quota's: thresholds are looked at when the row is next used */
		um_counter_insert(counters, &birth->name, &row);
		MemoryContextSwitchTo(old);
		MemoryContextReset(births->row_context);
	}
}

/*
 * Makes the counters of quotas that have none, of the running period and
 * later ones.  What is cached of these quotas is as they are now.
 */
void
um_birth(UmCounters *counters, Datum quota_ids)
{
	Births		births;
	UmSpi		spi;

	start_births(&births, DatumGetArrayTypeP(quota_ids), false);
	um_spi_begin(&spi);
	um_spi_set("jit", "off");
	PushActiveSnapshot(GetLatestSnapshot());
	um_spi_stream(&read_rows, &quota_ids, read_row, &births);
	PopActiveSnapshot();
	um_spi_end(&spi);
	add_adjustments(&births, quota_ids);
	insert_counters(&births, counters);
	MemoryContextDelete(births.context);
	CommandCounterIncrement();
}

/* _past_counters(quota_ids): what there was in periods before the quotas were made, of what the caller may see. */
Datum
usage_monitor_past_counters(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		quota_ids = PG_GETARG_DATUM(0);
	HASH_SEQ_STATUS scan;
	Birth	   *birth;
	Births		births;
	UmSpi		spi;

	InitMaterializedSRF(fcinfo, 0);
	start_births(&births, DatumGetArrayTypeP(quota_ids), true);
	um_spi_begin_as_user(&spi);
	um_spi_set("jit", "off");
	um_spi_stream(&read_past_rows, &quota_ids, read_row, &births);
	um_spi_end(&spi);

	hash_seq_init(&scan, births.counters);
	while ((birth = hash_seq_search(&scan)) != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(births.row_context);
		Datum		values[4];
		bool		nulls[4] = {0};

		values[0] = Int64GetDatum(birth->name.quota_id);
		values[1] = CStringGetTextDatum(birth->name.subject.data);
		values[2] = TimestampTzGetDatum(birth->name.period_start);
		values[3] = NumericGetDatum(sum_of(birth));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		MemoryContextSwitchTo(old);
		MemoryContextReset(births.row_context);
	}
	MemoryContextDelete(births.context);
	return (Datum) 0;
}
