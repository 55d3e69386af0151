/*
 * alert.c
 *		Raising alerts: a row, and a notification that carries it.
 */
#include "postgres.h"

#include "base/catalog.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "commands/trigger.h"
#include "quota/alert.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define CHANNEL "usage_monitor_alert"

/* what a notification may carry (NOTIFY_PAYLOAD_MAX_LENGTH, which no header has) */
#define MAX_PAYLOAD (BLCKSZ - NAMEDATALEN - 128)

static UmQuery insert_alert = {
	.text = "INSERT INTO usage_monitor.alert AS a"
	" (alert_type, level, quota_id, subject, period_start, used, amount, message, details)"
	" SELECT n.alert_type, n.level, n.quota_id, n.subject, n.period_start,"
	" n.used, n.amount, n.message, n.details"
	" FROM _usage_monitor._new_quota_alert($1, $2, $3, $4, $5, $6, $7) n"
	" ON CONFLICT DO NOTHING"
	" RETURNING pg_catalog.to_jsonb(a)::text,"
	" (pg_catalog.to_jsonb(a) - 'details' - 'message')::text",
	.nargs = 7,
	.argtypes = {INT8OID, TEXTOID, TIMESTAMPTZOID, TEXTOID, NUMERICOID, NUMERICOID, TEXTOID}
};

/*
 * Inserts an alert by a query that returns it as JSON, whole and short, and
 * notifies if it did.  The last thing before commit: triggers of the table, also
 * deferred ones, are fired here, by the rights and with the search_path of the
 * table's owner that the insertion has.
 */
void
um_alert_insert(UmQuery *query, Datum *values, const char *nulls, bool notify)
{
	UmSpi		spi;

	um_spi_begin(&spi);
	um_spi_modify(query, values, nulls);
	/* triggers that somebody has put on alerts: the server has fired all that were deferred before */
	AfterTriggerFireDeferred();
	if (SPI_processed == 1 && notify)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		char	   *payload = SPI_getvalue(row, SPI_tuptable->tupdesc, 1);

		if (strlen(payload) >= MAX_PAYLOAD)
			payload = SPI_getvalue(row, SPI_tuptable->tupdesc, 2);
		if (strlen(payload) < MAX_PAYLOAD)
			Async_Notify(CHANNEL, payload);
	}
	um_spi_end(&spi);
}

/*
 * Raises the alert of a level, unless it was raised before.  The caller holds
 * the counter's lock, so nobody else raises it now.  Whether it was raised is
 * left to the unique index: to look would be a read, and let two SERIALIZABLE
 * transactions that raise different alerts fail.  NOTIFY takes a lock over
 * all databases at commit: it is sent only here, and not where the
 * transaction is to be prepared, which cannot notify.
 */
void
um_alert_raise(const UmCounterName *counter, UmString user, const UmLevel *level,
			   Numeric used, bool notify)
{
	Datum		values[7];
	bool		has_user = user.length > 0;

	values[0] = Int64GetDatum(counter->quota_id);
	values[1] = PointerGetDatum(cstring_to_text_with_len(counter->subject.data,
														 counter->subject.length));
	values[2] = TimestampTzGetDatum(counter->period_start);
	values[3] = CStringGetTextDatum(level->name);
	values[4] = NumericGetDatum(level->share);
	values[5] = NumericGetDatum(used);
	values[6] = !has_user ? (Datum) 0 :
		PointerGetDatum(cstring_to_text_with_len(user.data, user.length));

	um_alert_insert(&insert_alert, values, has_user ? NULL : "      n", notify);
}
