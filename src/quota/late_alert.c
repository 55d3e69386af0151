/*
 * late_alert.c
 *		Alerts of periods that are over: history that is recorded late.
 *
 * Of such a period nobody need be warned any more, only its excess is told.
 * A year that is imported would raise an alert a day, so there is one for each
 * quota and subject, which the next transactions add to while it is open.
 *
 * Whoever adds to it holds a lock of its own, taken after all counters and in
 * their order, and passes over an alert that somebody is just resolving: so
 * there is no deadlock.
 */
#include "postgres.h"

#include "base/catalog.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "quota/alert.h"
#include "quota/late_alert.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

typedef enum PastPeriods
{
	PAST_SUMMARY,
	PAST_EACH,
	PAST_NONE
} PastPeriods;

static const struct config_enum_entry past_periods_options[] = {
	{"summary", PAST_SUMMARY, false},
	{"each", PAST_EACH, false},
	{"none", PAST_NONE, false},
	{NULL, 0, false}
};

static int	past_periods = PAST_SUMMARY;

/* An excess to be told of; those of a quota's subject follow one another. */
typedef struct Late
{
	const UmCounterName *counter;
	UmString	user;
	Numeric		used;
	struct Late *next;
} Late;

static Late *first;				/* in the memory of the flush */
static Late **end = &first;

static UmQuery raise_late = {
	.text = "WITH o AS MATERIALIZED ("
	"SELECT s.alert_id FROM usage_monitor.alert s"
	" WHERE s.quota_id = $1 AND coalesce(s.subject, '') = $2 AND s.resolved_at IS NULL AND s.details ? 'periods'"
	" ORDER BY s.alert_id DESC LIMIT 1 FOR UPDATE SKIP LOCKED"
	"), n AS MATERIALIZED ("
	"SELECT * FROM _usage_monitor._late_alert($1, $2, $3, $4, $5, $6, (SELECT o.alert_id FROM o))"
	"), u AS ("
	"UPDATE usage_monitor.alert a"
	" SET period_start = n.period_start, used = n.used, amount = n.amount, message = n.message,"
	" details = n.details, occurrences = n.occurrences, last_seen = n.last_seen"
	" FROM n WHERE a.alert_id = n.alert_id"
	"), a AS ("
	"INSERT INTO usage_monitor.alert AS a"
	" (alert_type, level, quota_id, subject, period_start, used, amount, message, details, quota, org, model, occurrences)"
	" SELECT n.alert_type, n.level, n.quota_id, n.subject, n.period_start, n.used, n.amount, n.message, n.details,"
	" n.quota, n.org, n.model, n.occurrences"
	" FROM n WHERE n.alert_id IS NULL"
	" RETURNING CASE WHEN $7 THEN _usage_monitor._notify_alert(a) END"
	") SELECT FROM a",
	.argtypes = {INT8OID, TEXTOID, TIMESTAMPTZARRAYOID, NUMERICARRAYOID, TEXTOID, TEXTOID, BOOLOID}
};

/* Defines the setting. */
void
um_late_init(void)
{
	/* who records must not silence what he records: for the administrator */
	DefineCustomEnumVariable("usage_monitor.alert_past_periods",
							 "Sets which alerts are raised of periods that are over: one for each quota and subject, one for each period, or none.",
							 "The same holds for days that are over of calls without a cost.",
							 &past_periods, PAST_SUMMARY, past_periods_options, PGC_SUSET, 0, NULL, NULL, NULL);
}

/* What is set: summary, each or none. */
const char *
um_late_mode(void)
{
	return past_periods_options[past_periods].name;
}

/* Nothing is noted, of this transaction any more or of the next one yet. */
void
um_late_forget(void)
{
	first = NULL;
	end = &first;
}

/*
 * Notes that a counter's period is over, and that more was used than its
 * quota's amount.  Counter and user stay the caller's, until all is raised.
 */
void
um_late_note(const UmCounterName *counter, UmString user, Numeric used)
{
	Late	   *late;

	if (past_periods == PAST_NONE)
		return;
	late = palloc(sizeof(Late));
	late->counter = counter;
	late->user = user;
	late->used = used;
	late->next = NULL;
	*end = late;
	end = &late->next;
}

/* Waits for whoever tells of the same quota and subject. */
static void
lock_subject(const UmCounterName *counter)
{
	LOCKTAG		tag;

	/* field 4 is 1 or 2 for the locks of SQL's advisory functions */
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) counter->quota_id,
						 hash_bytes((const unsigned char *) counter->subject.data,
									counter->subject.length), 0x554C);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

static bool
same_subject(const UmCounterName *a, const UmCounterName *b)
{
	return a->quota_id == b->quota_id && um_string_equal(a->subject, b->subject);
}

/*
 * Raises what was noted, once all counters of the transaction are locked.
 * Nobody need be waited for where nobody else flushes.
 */
void
um_late_raise(bool alone, bool must_notify)
{
	while (first != NULL)
	{
		Late	   *late = first;
		Late	   *last = late;
		int			count = 0;
		Datum	   *starts;
		Datum	   *used;
		Datum		values[7];

		for (first = late; first != NULL && same_subject(first->counter, late->counter);
			 first = first->next)
			count++;
		starts = palloc(sizeof(Datum) * count);
		used = palloc(sizeof(Datum) * count);
		count = 0;
		for (Late *each = late; each != first; each = each->next)
		{
			starts[count] = TimestampTzGetDatum(each->counter->period_start);
			used[count++] = NumericGetDatum(each->used);
			last = each;
		}

		if (!alone)
			lock_subject(late->counter);
		values[0] = Int64GetDatum(late->counter->quota_id);
		values[1] = um_string_text(late->counter->subject);
		values[2] = PointerGetDatum(construct_array(starts, count, TIMESTAMPTZOID,
													sizeof(TimestampTz), FLOAT8PASSBYVAL,
													TYPALIGN_DOUBLE));
		values[3] = PointerGetDatum(construct_array(used, count, NUMERICOID, -1, false,
													TYPALIGN_INT));
		values[4] = last->user.length > 0 ? um_string_text(last->user) : (Datum) 0;
		values[5] = CStringGetTextDatum(um_late_mode());
		values[6] = BoolGetDatum(must_notify);
		um_alert_insert(&raise_late, values, last->user.length > 0 ? NULL : "    n  ");
	}
	um_late_forget();
}
