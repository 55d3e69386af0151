/*
 * alert_levels.c
 *		The levels of a quota at which alerts are due, and which a counter has reached.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/amount.h"
#include "base/period.h"
#include "counter/alert_levels.h"
#include "lib/stringinfo.h"
#include "quota/alert.h"
#include "quota/late_alert.h"

/*
 * Among the levels that a header says are reached: the excess came when the
 * period was over.
 */
#define LATE "late"

/* Is a level one of those that a header says are reached? */
static bool
is_raised(const UmCounterRow *header, const char *level)
{
	const char *rest = header->raised;
	size_t		length = strlen(level);

	while (rest != NULL && *rest != '\0')
	{
		size_t		end = strcspn(rest, ",");

		if (end == length && memcmp(rest, level, length) == 0)
			return true;
		rest += end;
		rest += *rest == ',';
	}
	return false;
}

/* Is the excess one that came when the period was over, and has to be told of? */
bool
um_levels_are_late(const UmCounterRow *header)
{
	return is_raised(header, LATE);
}

/*
 * Is a period over?  Not for who began while it ran, so that the answer is the
 * same all through a transaction, and what is recorded as it happens is not late.
 */
bool
um_period_is_over(const UmQuota *quota, TimestampTz period_start)
{
	TimestampTz start;
	TimestampTz end;

	um_period_bounds(quota->period, quota->billing_day, quota->tz, period_start, &start, &end);
	return end <= GetCurrentTransactionStartTimestamp();
}

/*
 * Raises the levels that the usage has reached since the counter was last
 * looked at, and has those that it has left be raised again when it reaches them
 * once more: whatever has moved, the usage or the limit.  Sets where the next
 * one is due.  Of a period that is over only the excess is told, by an alert
 * that goes on to be told of it.
 */
void
um_levels_raise(const UmQuota *quota, const UmPending *pending, UmCounterRow *header, Numeric used,
				bool over, bool notify)
{
	bool		was_late = is_raised(header, LATE);
	bool		is_late = false;
	StringInfoData raised;

	initStringInfo(&raised);
	header->next_threshold = NULL;
	for (int i = 0; i < quota->nlevels; i++)
	{
		const UmLevel *level = &quota->levels[i];

		if (compare(used, level->threshold) < 0)
		{
			header->next_threshold = level->threshold;
			break;
		}
		if (strcmp(level->name, UM_EXCEEDED) == 0)
			is_late = was_late || (over && !is_raised(header, level->name));
		if (!over && !is_raised(header, level->name))
			um_alert_raise(&pending->name, pending->user, level, used, header->raised == NULL, notify);
		appendStringInfo(&raised, "%s%s", raised.len > 0 ? "," : "", level->name);
	}
	if (is_late)
	{
		um_late_note(&pending->name, pending->user, used);
		appendStringInfoString(&raised, "," LATE);
	}
	header->raised = raised.data;
}

/*
 * Where the limit has moved since the counter was looked at: forgets the levels
 * that the usage is below now, for it may reach them once more.
 */
void
um_levels_leave(const UmQuota *quota, UmCounterRow *header, Numeric used)
{
	StringInfoData raised;

	if (header->raised == NULL || header->revision == quota->revision)
		return;
	initStringInfo(&raised);
	for (int i = 0; i < quota->nlevels; i++)
		if (is_raised(header, quota->levels[i].name) && compare(used, quota->levels[i].threshold) >= 0)
			appendStringInfo(&raised, "%s%s", raised.len > 0 ? "," : "", quota->levels[i].name);
	if (is_raised(header, LATE))
		appendStringInfoString(&raised, "," LATE);
	header->raised = raised.data;
}
