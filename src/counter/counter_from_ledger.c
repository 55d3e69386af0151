/*
 * counter_from_ledger.c
 *		What the ledger holds for counters that begin late.
 *
 * A counter of a period that began before its quota was complete starts from
 * the ledger's sum.  Whoever loads history needs very many of them at once:
 * they are asked for together, quota by quota, for each one by itself would
 * read the ledger again.
 */
#include "postgres.h"

#include "base/catalog.h"
#include "catalog/pg_type.h"
#include "counter/counter_from_ledger.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

typedef struct KnownSum
{
	UmCounterName name;
	Numeric		sum;
} KnownSum;

static HTAB *known;				/* of one quota; NULL: none was asked for */
static int64 known_quota;
static TimestampTz known_from;	/* of its periods that start from then on */
static TimestampTz known_to;	/* and up to then */

/* what the ledger holds for one counter, rows of this transaction included */
static UmQuery one_sum = {
	.text = "SELECT _usage_monitor._ledger_sum($1, $2, $3)",
	.nargs = 3,
	.argtypes = {INT8OID, TEXTOID, TIMESTAMPTZOID}
};

/* the same for all counters of a quota in periods from one on and before another */
static UmQuery all_sums = {
	.text = "SELECT subject, period_start, used FROM _usage_monitor._counted(ARRAY[$1], $2, $3)",
	.nargs = 3,
	.argtypes = {INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};

/* Reads one row of all_sums. */
static void
add_known(int64 quota_id, HeapTuple row, TupleDesc desc)
{
	char	   *subject = um_text_column(row, desc, 1);
	UmCounterName name;
	KnownSum   *entry;
	bool		isnull;

	name = um_counter_name(quota_id, (UmString) {subject, strlen(subject)},
						   DatumGetTimestampTz(SPI_getbinval(row, desc, 2, &isnull)));
	entry = hash_search(known, &name, HASH_ENTER, NULL);
	entry->name = name;
	entry->sum = DatumGetNumericCopy(SPI_getbinval(row, desc, 3, &isnull));
}

/* Asks for all sums of a quota's periods from the first to the last one. */
void
um_ledger_sums_expect(const UmQuota *quota, TimestampTz first, TimestampTz last)
{
	MemoryContext caller = CurrentMemoryContext;
	Datum		values[3];
	TimestampTz start;
	TimestampTz end;
	UmSpi		spi;

	um_period_bounds(quota->period, quota->billing_day, quota->tz, last, &start, &end);
	values[0] = Int64GetDatum(quota->quota_id);
	values[1] = TimestampTzGetDatum(first);
	values[2] = TimestampTzGetDatum(end);

	known = um_counter_name_table("usage_monitor ledger sums", sizeof(KnownSum), caller);
	known_quota = quota->quota_id;
	known_from = first;
	known_to = last;

	um_spi_begin(&spi);
	um_spi_query(&all_sums, values, NULL);
	MemoryContextSwitchTo(caller);
	for (uint64 i = 0; i < SPI_processed; i++)
		add_known(quota->quota_id, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
	um_spi_end(&spi);
	MemoryContextSwitchTo(caller);
}

/* Forgets them; their memory is the caller's. */
void
um_ledger_sums_forget(void)
{
	known = NULL;
}

/* What the ledger holds for a counter, rows of this transaction included. */
Numeric
um_ledger_sum(const UmCounterName *name)
{
	MemoryContext caller = CurrentMemoryContext;
	Datum		values[3];
	Numeric		sum;
	bool		isnull;
	UmSpi		spi;

	if (known != NULL && known_quota == name->quota_id &&
		name->period_start >= known_from && name->period_start <= known_to)
	{
		KnownSum   *entry = hash_search(known, name, HASH_FIND, NULL);

		return entry == NULL ? int64_to_numeric(0) : entry->sum;
	}

	values[0] = Int64GetDatum(name->quota_id);
	values[1] = PointerGetDatum(cstring_to_text_with_len(name->subject.data, name->subject.length));
	values[2] = TimestampTzGetDatum(name->period_start);
	um_spi_begin(&spi);
	um_spi_query(&one_sum, values, NULL);
	MemoryContextSwitchTo(caller);
	sum = DatumGetNumericCopy(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
											1, &isnull));
	um_spi_end(&spi);
	MemoryContextSwitchTo(caller);
	return sum;
}
