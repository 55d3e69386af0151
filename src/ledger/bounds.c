/*
 * bounds.c
 *		What no call can have cost, and no time can have been.
 *
 * The bounds are wide: they tell a unit that was mistaken (cents for dollars,
 * milliseconds for seconds), and keep every sum far from the end of its type.
 * Rows that are restored or replicated were let in before, and are not asked
 * again.
 */
#include "postgres.h"

#include <limits.h>

#include "access/xact.h"
#include "base/amount.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/setting.h"
#include "fmgr.h"
#include "ledger/bounds.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* A reported cost has no more decimals. */
#define MAX_COST_DECIMALS 100

/* Of a number that is too long, so much is shown. */
#define MAX_SHOWN_LENGTH 60

static double max_cost;
static char *earliest_ts_text;
static TimestampTz earliest_ts;
static int	max_future;

/* The start of a day that is written as YYYY-MM-DD, in UTC. */
static bool
parse_day(const char *text, TimestampTz *start)
{
	int			year,
				month,
				day,
				read_year,
				read_month,
				read_day;
	char		behind;

	if (sscanf(text, "%4d-%2d-%2d%c", &year, &month, &day, &behind) != 3 ||
		year < 1 || month < 1 || month > MONTHS_PER_YEAR || day < 1)
		return false;
	j2date(date2j(year, month, day), &read_year, &read_month, &read_day);
	if (read_month != month || read_day != day)
		return false;
	*start = (TimestampTz) (date2j(year, month, day) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY;
	return true;
}

static bool
check_earliest_ts(char **newval, void **extra, GucSource source)
{
	TimestampTz start;

	if (parse_day(*newval, &start))
		return true;
	GUC_check_errdetail("It must be a day, written as 2015-01-01.");
	return false;
}

static void
assign_earliest_ts(const char *newval, void *extra)
{
	(void) parse_day(newval, &earliest_ts);
}

/* Defines the bounds: an administrator's to set, for they guard everybody's sums. */
void
um_bounds_init(void)
{
	DefineCustomRealVariable("usage_monitor.max_cost",
							 "Sets the largest cost that a client may report for a call, in the ledger's currency.",
							 NULL,
							 &max_cost, 1e9, 1.0, 1e100,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("usage_monitor.earliest_ts",
							   "Sets the first day (in UTC) of which calls may be recorded.",
							   NULL,
							   &earliest_ts_text, "2015-01-01",
							   PGC_SUSET, 0, check_earliest_ts, assign_earliest_ts, NULL);
	um_limit_define("usage_monitor.max_future",
					&max_future, HOURS_PER_DAY * MINS_PER_HOUR, 0, INT_MAX, GUC_UNIT_MIN,
					"Sets how far in the future the time of a call may be.", NULL);
}

/* Refuses a time at which no call can have been made. */
void
um_check_ts(TimestampTz ts)
{
	if (ts < earliest_ts)
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_COUNT),
				 errmsg("column \"ts\" must not be before %s, but is %s",
						earliest_ts_text, timestamptz_to_str(ts)),
				 errhint("It is when the call was made. To record earlier ones, have usage_monitor.earliest_ts set.")));
	if (ts > TimestampTzPlusMilliseconds(GetCurrentStatementStartTimestamp(),
										 (int64) max_future * SECS_PER_MINUTE * 1000))
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_COUNT),
				 errmsg("column \"ts\" must not be in the future, but is %s", timestamptz_to_str(ts)),
				 errhint("It is when the call was made; of milliseconds make seconds first: to_timestamp(ms / 1000.0). Clocks may differ by usage_monitor.max_future.")));
}

/* A number for people, who need not read all of a long one. */
static char *
shown_number(Numeric value)
{
	char	   *text = amount_text(value);

	return strlen(text) <= MAX_SHOWN_LENGTH ? text : numeric_out_sci(value, 5);
}

/* The largest reported cost, as a number. */
static Numeric
largest_cost(void)
{
	static double known = 0;
	static Numeric largest = NULL;

	if (known != max_cost)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
		Numeric		fresh = DatumGetNumeric(DirectFunctionCall1(float8_numeric,
																Float8GetDatum(max_cost)));

		MemoryContextSwitchTo(old);
		if (largest != NULL)
			pfree(largest);
		largest = fresh;
		known = max_cost;
	}
	return largest;
}

/* Refuses what is not a cost, or what nobody can have paid. */
void
um_check_cost(const char *column, Numeric cost)
{
	if (!is_amount(cost))
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_COST),
				 errmsg("column \"%s\" must be zero or more, but is %s",
						column, shown_number(cost)),
				 errhint("Leave it out, and the call is priced by the price book.")));
	if (DatumGetInt32(DirectFunctionCall1(numeric_scale, NumericGetDatum(cost))) > MAX_COST_DECIMALS)
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_COST),
				 errmsg("column \"%s\" must have at most %d digits behind the point",
						column, MAX_COST_DECIMALS),
				 errhint("Leave it out, and the call is priced by the price book.")));
	if (compare(cost, largest_cost()) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_COST),
				 errmsg("column \"%s\" must be at most %s %s, but is %s",
						column, shown_number(largest_cost()), um_setting()->currency,
						shown_number(cost)),
				 errhint("It is what one call cost; usage_monitor.max_cost is the most that is believed.")));
}
