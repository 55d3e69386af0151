/*
 * setting.c
 *		The ledger's currency and time zone, cached.
 */
#include "postgres.h"

#include "base/catalog.h"
#include "base/error.h"
#include "base/setting.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
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
	.text = "SELECT currency, time_zone, unpriced, reported_costs FROM usage_monitor.setting"
};

/*
 * A time zone that was checked when it was stored.  The server takes them from
 * the system mostly, and with another version of that one may be gone.
 */
pg_tz *
um_time_zone(const char *name, const char *of)
{
	pg_tz	   *tz = pg_tzset(name);

	if (tz == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UM_UNKNOWN_KEYWORD),
				 errmsg("time zone \"%s\" of %s is not known to the server any more", name, of),
				 errhint("Install the system's package that has it (Debian: tzdata-legacy), and connect anew. Time zones are listed in pg_timezone_names.")));
	return tz;
}

static void
read_row(void *to, HeapTuple row, TupleDesc desc)
{
	UmSetting  *setting = to;

	setting->currency = um_text_column(row, desc, 1);
	setting->time_zone = um_text_column(row, desc, 2);
	setting->refuse_unpriced = strcmp(um_text_column(row, desc, 3), "refuse") == 0;
	setting->ignore_reported_costs = strcmp(um_text_column(row, desc, 4), "ignore") == 0;
}

/* The settings in force; defaults where configure() was never called. */
const UmSetting *
um_setting(void)
{
	uint64		generation = um_generation(UM_TOPIC_SETTING);
	UmSetting	fresh = {"USD", "UTC", NULL, false, false};
	UmSetting  *stored;
	MemoryContext old;
	int			count;

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
	old = MemoryContextSwitchTo(cache_context);
	stored = um_spi_load(&read_setting, &count, sizeof(UmSetting), read_row);
	MemoryContextSwitchTo(old);
	if (count == 1)
		fresh = *stored;
	fresh.tz = um_time_zone(fresh.time_zone, "the ledger");
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

/*
 * What the ledger's clock is ahead of UTC at an instant, in microseconds.  It
 * is the same from one change of the clock to the next, and calls come in runs.
 */
static int64
utc_offset(TimestampTz ts)
{
	static struct
	{
		uint64		generation;
		pg_time_t	from;		/* the earliest instant that was asked for */
		pg_time_t	until;		/* the next change */
		long int	offset;
	}			known;
	const UmSetting *setting = um_setting();
	pg_time_t	time;
	pg_time_t	boundary;
	long int	offset;
	long int	offset_after;
	int			isdst;
	int			result;

	time = (pg_time_t) ((ts - (ts % USECS_PER_SEC + USECS_PER_SEC) % USECS_PER_SEC) / USECS_PER_SEC) +
		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * (pg_time_t) SECS_PER_DAY;
	if (known.generation == cache_generation && time >= known.from && time < known.until)
		return known.offset * USECS_PER_SEC;

	result = pg_next_dst_boundary(&time, &offset, &isdst, &boundary, &offset_after, &isdst,
								  setting->tz);
	if (result < 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp \"%s\" is out of range", timestamptz_to_str(ts)),
				 errhint("Its day must begin and end from 4713 BC to 294276.")));
	if (result == 0)
		boundary = PG_INT64_MAX;
	if (known.generation != cache_generation || known.until != boundary || time < known.from)
		known.from = time;
	known.generation = cache_generation;
	known.until = boundary;
	known.offset = offset;
	return offset * USECS_PER_SEC;
}

/* The instant at which the hour of the ledger's clock began. */
TimestampTz
um_ledger_hour(TimestampTz ts)
{
	int64		past;

	if (TIMESTAMP_NOT_FINITE(ts))
		return ts;
	/* by the local clock, so :30 and :45 zones are right */
	past = (ts + utc_offset(ts)) % USECS_PER_HOUR;
	return ts - (past < 0 ? past + USECS_PER_HOUR : past);
}

/* The day on the ledger's calendar. */
DateADT
um_ledger_day(TimestampTz ts)
{
	int64		local;

	if (TIMESTAMP_IS_NOBEGIN(ts))
		return DATEVAL_NOBEGIN;
	if (TIMESTAMP_IS_NOEND(ts))
		return DATEVAL_NOEND;
	local = ts + utc_offset(ts);
	return (DateADT) (local >= 0 ? local / USECS_PER_DAY : -((-local + USECS_PER_DAY - 1) / USECS_PER_DAY));
}

Datum
usage_monitor_ledger_hour(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(um_ledger_hour(PG_GETARG_TIMESTAMPTZ(0)));
}

Datum
usage_monitor_ledger_day(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATEADT(um_ledger_day(PG_GETARG_TIMESTAMPTZ(0)));
}
