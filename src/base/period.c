/*
 * period.c
 *		When the period of an instant begins and ends, on a calendar's clock.
 */
#include "postgres.h"

#include "base/error.h"
#include "base/period.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(usage_monitor_period_start);
PG_FUNCTION_INFO_V1(usage_monitor_period_end);

static const char *const period_names[UM_PERIOD_COUNT] = {
	"hour", "day", "week", "month", "year", "lifetime"
};

const char *
um_period_name(UmPeriod period)
{
	return period_names[period];
}

/* The period of that name, or an error. */
UmPeriod
um_period_by_name(const char *name)
{
	for (int p = 0; p < UM_PERIOD_COUNT; p++)
		if (strcmp(period_names[p], name) == 0)
			return (UmPeriod) p;
	ereport(ERROR,
			(errcode(ERRCODE_UM_UNKNOWN_KEYWORD),
			 errmsg("unknown period \"%s\"", name),
			 errhint("Periods are hour, day, week, month, year and lifetime.")));
}

static void
out_of_range(TimestampTz ts)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
			 errmsg("timestamp \"%s\" is out of range", timestamptz_to_str(ts)),
			 errhint("Its hour, day, week, month or year must begin and end from 4713 BC to 294276.")));
}

/* The Julian day that the calendar shows at an instant. */
static int
local_day(TimestampTz ts, pg_tz *tz)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			offset;

	if (timestamp2tm(ts, &offset, &tm, &fsec, NULL, tz) != 0)
		out_of_range(ts);
	return date2j(tm.tm_year, tm.tm_mon, tm.tm_mday);
}

/*
 * The first instant of a calendar day.  Where clocks are set back across
 * midnight, midnight comes twice, and the day begins with the first.
 */
static TimestampTz
day_start(int julian_day, pg_tz *tz)
{
	static const int shifts[] = {SECS_PER_HOUR, SECS_PER_HOUR / 2};
	struct pg_tm tm = {0};
	int			offset;
	TimestampTz start;

	j2date(julian_day, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
	offset = DetermineTimeZoneOffset(&tm, tz);
	if (tm2timestamp(&tm, 0, &offset, &start) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("a period that begins in the year %d is out of range", tm.tm_year),
				 errhint("Periods begin and end from 4713 BC to 294276.")));

	for (int i = 0; i < (int) lengthof(shifts); i++)
	{
		TimestampTz earlier = start - shifts[i] * USECS_PER_SEC;

		if (local_day(earlier, tz) == julian_day)
			return earlier;
	}
	return start;
}

/*
 * The Julian day on which the billing month begins that is so many months
 * from the calendar's: the billing day, or the last day of a shorter month.
 */
static int
billing_month_start(int year, int month, int offset, int billing_day)
{
	int			months = year * MONTHS_PER_YEAR + (month - 1) + offset;
	int			first = date2j(months / MONTHS_PER_YEAR, months % MONTHS_PER_YEAR + 1, 1);
	int			length;

	months++;
	length = date2j(months / MONTHS_PER_YEAR, months % MONTHS_PER_YEAR + 1, 1) - first;
	return first + Min(billing_day, length) - 1;
}

/*
 * The hour that an instant falls in, which the clock shows as tm.  Where the
 * clock is set by half an hour within one, that ends there, and another begins.
 */
static void
hour_bounds(const struct pg_tm *tm, fsec_t fsec, pg_tz *tz, TimestampTz ts,
			TimestampTz *start, TimestampTz *end)
{
	pg_time_t	from;
	pg_time_t	boundary;
	long		offset_before,
				offset_after;
	int			dst_before,
				dst_after;

	*start = ts - ((tm->tm_min * SECS_PER_MINUTE + tm->tm_sec) * USECS_PER_SEC + fsec);
	*end = *start + USECS_PER_HOUR;
	from = timestamptz_to_time_t(*start);
	while (pg_next_dst_boundary(&from, &offset_before, &dst_before, &boundary,
								&offset_after, &dst_after, tz) == 1)
	{
		TimestampTz change = time_t_to_timestamptz(boundary);

		from = boundary;
		if (change >= *end)
			break;
		if (offset_before == offset_after)
			continue;
		if (change <= ts)
			*start = Max(*start, change);
		else
			*end = change;
	}
}

/*
 * The period that an instant falls in: [start, end).  Months begin on the
 * billing day; the other periods have no use for it.
 */
void
um_period_bounds(UmPeriod period, int billing_day, pg_tz *tz, TimestampTz ts,
				 TimestampTz *start, TimestampTz *end)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			offset;
	int			day;

	if (period == UM_PERIOD_LIFETIME)
	{
		TIMESTAMP_NOBEGIN(*start);
		TIMESTAMP_NOEND(*end);
		return;
	}
	if (TIMESTAMP_NOT_FINITE(ts) ||
		timestamp2tm(ts, &offset, &tm, &fsec, NULL, tz) != 0)
		out_of_range(ts);
	day = date2j(tm.tm_year, tm.tm_mon, tm.tm_mday);

	switch (period)
	{
		case UM_PERIOD_HOUR:
			hour_bounds(&tm, fsec, tz, ts, start, end);
			return;
		case UM_PERIOD_DAY:
			*start = day_start(day, tz);
			*end = day_start(day + 1, tz);
			return;
		case UM_PERIOD_WEEK:
			day -= (j2day(day) + 6) % 7;	/* back to Monday */
			*start = day_start(day, tz);
			*end = day_start(day + 7, tz);
			return;
		case UM_PERIOD_MONTH:
			offset = day < billing_month_start(tm.tm_year, tm.tm_mon, 0, billing_day) ? -1 : 0;
			*start = day_start(billing_month_start(tm.tm_year, tm.tm_mon, offset, billing_day), tz);
			*end = day_start(billing_month_start(tm.tm_year, tm.tm_mon, offset + 1, billing_day), tz);
			return;
		case UM_PERIOD_YEAR:
			*start = day_start(date2j(tm.tm_year, 1, 1), tz);
			*end = day_start(date2j(tm.tm_year + 1, 1, 1), tz);
			return;
		default:
			elog(ERROR, "unexpected period %d", (int) period);
	}
}

/* The bounds for the arguments (ts, period, time_zone, billing_day) of an SQL function. */
static void
bounds_of_arguments(FunctionCallInfo fcinfo, TimestampTz *start, TimestampTz *end)
{
	char	   *zone = text_to_cstring(PG_GETARG_TEXT_PP(2));
	pg_tz	   *tz = pg_tzset(zone);
	int			billing_day = PG_GETARG_INT32(3);

	if (billing_day < 1 || billing_day > 31)
		ereport(ERROR,
				(errcode(ERRCODE_UM_UNKNOWN_KEYWORD),
				 errmsg("billing day must be from 1 to 31, but is %d", billing_day),
				 errhint("In a shorter month the period begins on its last day.")));
	if (tz == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UM_UNKNOWN_KEYWORD),
				 errmsg("unknown time zone \"%s\"", zone),
				 errhint("Time zones are listed in pg_timezone_names, for example Asia/Shanghai.")));
	um_period_bounds(um_period_by_name(text_to_cstring(PG_GETARG_TEXT_PP(1))), billing_day, tz,
					 PG_GETARG_TIMESTAMPTZ(0), start, end);
}

Datum
usage_monitor_period_start(PG_FUNCTION_ARGS)
{
	TimestampTz start,
				end;

	bounds_of_arguments(fcinfo, &start, &end);
	PG_RETURN_TIMESTAMPTZ(start);
}

Datum
usage_monitor_period_end(PG_FUNCTION_ARGS)
{
	TimestampTz start,
				end;

	bounds_of_arguments(fcinfo, &start, &end);
	PG_RETURN_TIMESTAMPTZ(end);
}
