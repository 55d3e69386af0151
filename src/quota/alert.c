/*
 * alert.c
 *		Raising alerts: a row, and a notification that carries it.
 */
#include "postgres.h"

#include "base/catalog.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "quota/alert.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#define CHANNEL "usage_monitor_alert"

/* what a notification may carry (NOTIFY_PAYLOAD_MAX_LENGTH, which no header has) */
#define MAX_PAYLOAD (BLCKSZ - NAMEDATALEN - 128)

static UmQuery insert_alert = {
	.text = "INSERT INTO usage_monitor.alert AS a"
	" (alert_type, level, quota_id, subject, period_start, used, amount, message, details, quota, org, model)"
	" SELECT n.alert_type, n.level, n.quota_id, n.subject, n.period_start,"
	" n.used, n.amount, n.message, n.details, n.quota, n.org, n.model"
	" FROM _usage_monitor._new_quota_alert($1, $2, $3, $4, $5, $6, $7) n"
	" WHERE CASE WHEN $8 THEN NOT EXISTS (SELECT FROM usage_monitor.alert o"
	" WHERE o.quota_id = $1 AND coalesce(o.subject, '') = $2 AND o.period_start = $3 AND o.level = $4"
	/* a quota that has become one of days, or of tokens, raises anew */
	" AND coalesce(o.details->>'scope', '') = n.details->>'scope'"
	" AND coalesce(o.details->>'period', '') = n.details->>'period'"
	" AND coalesce(o.details->>'metric', '') = n.details->>'metric') ELSE true END"
	" RETURNING CASE WHEN $9 THEN _usage_monitor._notify_alert(a) END",
	.argtypes = {INT8OID, TEXTOID, TIMESTAMPTZOID, TEXTOID, NUMERICOID, NUMERICOID, TEXTOID, BOOLOID, BOOLOID}
};

/* What a notification says of the alert. */
typedef enum NotifyContent
{
	NOTIFY_ID,
	NOTIFY_FULL
} NotifyContent;

static const struct config_enum_entry notify_contents[] = {
	{"id", NOTIFY_ID, false},
	{"full", NOTIFY_FULL, false},
	{NULL, 0, false}
};

static int	notify_content = NOTIFY_ID;

PG_FUNCTION_INFO_V1(usage_monitor_notify);

/* Defines the setting. */
void
um_alert_init(void)
{
	/* what everybody who can connect may hear is the administrator's choice */
	DefineCustomEnumVariable("usage_monitor.notify",
							 "Sets what NOTIFY usage_monitor_alert carries: the alert's number, type and level, or all of it.",
							 "Every role of the database can listen. The rest is in usage_monitor.alert.",
							 &notify_content, NOTIFY_ID, notify_contents, PGC_SUSET, 0, NULL, NULL, NULL);
}

/*
 * _notify(id, whole, brief): notifies of an alert, by the payload that is
 * wanted: all of it where that is set, or, if that is too long, without its
 * details; else its number.
 */
Datum
usage_monitor_notify(PG_FUNCTION_ARGS)
{
	text	   *payload = PG_GETARG_TEXT_PP(0);

	for (int i = 2; i > 0 && notify_content == NOTIFY_FULL; i--)
		if (VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(i)) < MAX_PAYLOAD)
			payload = PG_GETARG_TEXT_PP(i);
	Async_Notify(CHANNEL, text_to_cstring(payload));
	PG_RETURN_VOID();
}

/*
 * Inserts alerts by a query, which notifies of them.  The last thing before
 * commit: triggers of the table, also deferred ones, are fired here, by the
 * rights and with the search_path of the table's owner that the insertion has.
 */
void
um_alert_insert(UmQuery *query, Datum *values, const char *nulls)
{
	UmSpi		spi;

	um_spi_begin(&spi);
	um_spi_modify(query, values, nulls);
	/* triggers that somebody has put on alerts: the server has fired all that were deferred before */
	AfterTriggerFireDeferred();
	um_spi_end(&spi);
}

/*
 * Raises the alert of a level.  The caller holds the counter's lock, so nobody
 * else raises it now, and knows whether it is due; if he does not, for the
 * counter was made anew, the alerts tell.  They are not looked at otherwise:
 * that would let two SERIALIZABLE transactions that raise different alerts fail.
 * NOTIFY takes a lock over all databases at commit: it is sent only here, and
 * not where the transaction is to be prepared, which cannot notify.
 */
void
um_alert_raise(const UmCounterName *counter, UmString user, const UmLevel *level,
			   Numeric used, bool unless_raised, bool must_notify)
{
	bool		has_user = user.length > 0;
	Datum		values[] = {
		Int64GetDatum(counter->quota_id), um_string_text(counter->subject),
		TimestampTzGetDatum(counter->period_start), CStringGetTextDatum(level->name),
		NumericGetDatum(level->share), NumericGetDatum(used),
		has_user ? um_string_text(user) : (Datum) 0,
		BoolGetDatum(unless_raised), BoolGetDatum(must_notify)
	};

	um_alert_insert(&insert_alert, values, has_user ? NULL : "      n  ");
}
