/*
 * setting.c
 *		The ledger's currency and time zone, cached.
 */
#include "postgres.h"

#include "catalog.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "setting.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(usage_monitor_ledger_currency);
PG_FUNCTION_INFO_V1(usage_monitor_ledger_time_zone);
PG_FUNCTION_INFO_V1(usage_monitor_is_time_zone);
PG_FUNCTION_INFO_V1(usage_monitor_ledger_hour);
PG_FUNCTION_INFO_V1(usage_monitor_ledger_day);

static UmSetting cache;
static MemoryContext cache_context;
static uint64 cache_generation;

static UmQuery read_setting = {
	.text = "SELECT currency, time_zone, unpriced FROM usage_monitor.setting"
};

/* The settings in force; defaults where configure() was never called. */
const UmSetting *
um_setting(void)
{
	uint64		generation = um_generation(UM_TOPIC_SETTING);
	UmSetting	fresh = {"USD", "UTC", NULL, false};
	MemoryContext old;
	UmSpi		spi;

	if (cache_generation == generation)
		return &cache;

	cache_generation = 0;
	if (cache_context == NULL)
		cache_context = AllocSetContextCreate(TopMemoryContext,
											  "usage_monitor settings",
											  ALLOCSET_SMALL_SIZES);
	else
		MemoryContextReset(cache_context);

	um_watch(UM_TOPIC_SETTING);
	um_spi_begin(&spi);
	um_spi_query(&read_setting, NULL, NULL);
	old = MemoryContextSwitchTo(cache_context);
	if (SPI_processed == 1)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;

		fresh.currency = SPI_getvalue(row, desc, 1);
		fresh.time_zone = SPI_getvalue(row, desc, 2);
		fresh.refuse_unpriced = strcmp(SPI_getvalue(row, desc, 3), "refuse") == 0;
	}
	MemoryContextSwitchTo(old);
	um_spi_end(&spi);

	fresh.tz = pg_tzset(fresh.time_zone);
	if (fresh.tz == NULL)
		elog(ERROR, "time zone \"%s\" is not known", fresh.time_zone);
	cache = fresh;
	cache_generation = generation;
	return &cache;
}

Datum
usage_monitor_ledger_currency(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(um_setting()->currency));
}

Datum
usage_monitor_ledger_time_zone(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(um_setting()->time_zone));
}

Datum
usage_monitor_is_time_zone(PG_FUNCTION_ARGS)
{
	pg_tz	   *tz = pg_tzset(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	PG_RETURN_BOOL(tz != NULL && pg_tz_acceptable(tz));
}

/* The instant at which the hour of the ledger's clock began. */
Datum
usage_monitor_ledger_hour(PG_FUNCTION_ARGS)
{
	TimestampTz ts = PG_GETARG_TIMESTAMPTZ(0);
	struct pg_tm tm;
	fsec_t		fsec;
	int			zone;

	if (TIMESTAMP_NOT_FINITE(ts))
		PG_RETURN_TIMESTAMPTZ(ts);
	if (timestamp2tm(ts, &zone, &tm, &fsec, NULL, um_setting()->tz) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	/* what the clock shows past the hour; local, so :30 and :45 zones are right */
	PG_RETURN_TIMESTAMPTZ(ts - ((tm.tm_min * SECS_PER_MINUTE + tm.tm_sec) * USECS_PER_SEC + fsec));
}

/* The day on the ledger's calendar. */
Datum
usage_monitor_ledger_day(PG_FUNCTION_ARGS)
{
	TimestampTz ts = PG_GETARG_TIMESTAMPTZ(0);
	struct pg_tm tm;
	fsec_t		fsec;
	int			zone;

	if (TIMESTAMP_IS_NOBEGIN(ts))
		PG_RETURN_DATEADT(DATEVAL_NOBEGIN);
	if (TIMESTAMP_IS_NOEND(ts))
		PG_RETURN_DATEADT(DATEVAL_NOEND);
	if (timestamp2tm(ts, &zone, &tm, &fsec, NULL, um_setting()->tz) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	PG_RETURN_DATEADT(date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) - POSTGRES_EPOCH_JDATE);
}
