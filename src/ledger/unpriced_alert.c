/*
 * unpriced_alert.c
 *		One alert a model for calls that have no cost, which goes on to be told
 *		of each day.
 *
 * A model is noted when its row is stored, and the alert is raised right
 * before commit.  While another transaction is about to tell of the same day,
 * it is left to that one, and should that one fail, to the model's next call:
 * only who tells of another day of the same model is waited for.  What a
 * backend knows to have been told it does not look for again.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/catalog.h"
#include "base/setting.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "ledger/unpriced_alert.h"
#include "miscadmin.h"
#include "quota/alert.h"
#include "quota/late_alert.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* a client that invents models must not eat the backend's memory */
#define MAX_KNOWN	10000

/* for more of them there are no locks */
#define MANY_DAYS	500

typedef struct Key
{
	uint64		model;			/* its hash */
	DateADT		day;
	Oid			ledger;			/* of another CREATE EXTENSION, all is new */
} Key;

typedef struct Known
{
	Key			key;
	bool		raised;			/* and committed */
} Known;

typedef struct Noted
{
	Key			key;
	char	   *model;
	SubTransactionId subid;
	bool		raised;			/* by this transaction or an earlier one */
} Noted;

static HTAB *known;				/* of this and earlier transactions */
static HTAB *noted;				/* by this transaction, not raised yet */

/* Each part that writes runs to its end, and notifies, though nothing reads it. */
static UmQuery raise_alert = {
	.text = "WITH d AS ("
	"INSERT INTO _usage_monitor._unpriced_day (model, day)"
	" SELECT $1, n.day FROM pg_catalog.unnest($2) n (day)"
	" WHERE ($3 OPERATOR(pg_catalog.<>) 'none' OR n.day >= usage_monitor.ledger_day(pg_catalog.now()))"
	" AND NOT EXISTS (SELECT FROM usage_monitor.ignored_model i"
	" WHERE $1 OPERATOR(pg_catalog.~~) _usage_monitor._like_pattern(i.pattern))"
	" ON CONFLICT DO NOTHING RETURNING day"
	"), o AS MATERIALIZED ("
	"SELECT s.alert_id FROM usage_monitor.alert s"
	" WHERE s.alert_type = 'unpriced' AND s.subject = $1 AND s.resolved_at IS NULL AND s.details ? 'days'"
	" ORDER BY s.alert_id DESC LIMIT 1 FOR UPDATE SKIP LOCKED"
	/* where no day is new, nobody looks at the alerts */
	"), n AS MATERIALIZED ("
	"SELECT f.* FROM (SELECT pg_catalog.array_agg(d.day) FROM d HAVING count(*) > 0) x (days)"
	" CROSS JOIN LATERAL _usage_monitor._unpriced_alert($1, x.days, $3, (SELECT o.alert_id FROM o)) f"
	"), u AS ("
	"UPDATE usage_monitor.alert a"
	" SET period_start = n.period_start, message = n.message, details = n.details,"
	" occurrences = n.occurrences, last_seen = n.last_seen"
	" FROM n WHERE a.alert_id = n.alert_id"
	" RETURNING CASE WHEN $4 AND (a.details->>'day')::date >= usage_monitor.ledger_day(pg_catalog.now())"
	" THEN _usage_monitor._notify_alert(a) END"
	"), a AS ("
	"INSERT INTO usage_monitor.alert AS a"
	" (alert_type, level, subject, period_start, message, details, model, occurrences)"
	" SELECT n.alert_type, n.level, n.subject, n.period_start, n.message, n.details, n.model, n.occurrences"
	" FROM n WHERE n.alert_id IS NULL"
	" RETURNING CASE WHEN $4 THEN _usage_monitor._notify_alert(a) END"
	") SELECT",
	.argtypes = {TEXTOID, DATEARRAYOID, TEXTOID, BOOLOID}
};

/* Makes a table of keys. */
static HTAB *
make_table(const char *name, Size entrysize, MemoryContext context)
{
	HASHCTL		control = {.keysize = sizeof(Key), .entrysize = entrysize, .hcxt = context};

	return hash_create(name, 16, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Notes that a call to the model has no cost. */
void
um_unpriced_note(UmString model, TimestampTz ts)
{
	Key			key;
	Noted	   *entry;
	Known	   *before;
	bool		found;

	memset(&key, 0, sizeof(key));
	key.model = hash_bytes_extended((const unsigned char *) model.data, model.length, 0);
	key.day = um_ledger_day(ts);
	key.ledger = um_relation(UM_USAGE);
	if (known != NULL &&
		(before = hash_search(known, &key, HASH_FIND, NULL)) != NULL && before->raised)
		return;

	if (noted == NULL)
		noted = make_table("usage_monitor unpriced", sizeof(Noted), TopTransactionContext);
	entry = hash_search(noted, &key, HASH_ENTER, &found);
	if (!found)
	{
		entry->subid = GetCurrentSubTransactionId();
		entry->raised = false;
		entry->model = MemoryContextStrdup(TopTransactionContext, pnstrdup(model.data, model.length));
	}
}

static int
compare_notes(const void *a, const void *b)
{
	const Key  *x = &(*(Noted *const *) a)->key;
	const Key  *y = &(*(Noted *const *) b)->key;

	if (x->model != y->model)
		return x->model < y->model ? -1 : 1;
	return x->day < y->day ? -1 : x->day > y->day;
}

/* Keeps others from telling of the same day; false where one is about to. */
static bool
lock_day(const Key *key)
{
	LOCKTAG		tag;

	/* field 4 is 1 or 2 for the locks of SQL's advisory functions */
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (key->model >> 32),
						 (uint32) key->model ^ (uint32) key->day, 0x5550);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/*
 * Waits for whoever tells of another day of the model, or of one of those that
 * share its lock, for the server has not locks without end.  Models come in
 * the order of these, so there is no deadlock.
 */
static void
lock_model(const Key *key)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, (uint32) (key->model >> 56), 0x5551);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* Makes room to remember what was noted, for a commit must not fail. */
static void
make_room(void)
{
	HASH_SEQ_STATUS scan;
	Noted	   *entry;

	if (known != NULL && hash_get_num_entries(known) > MAX_KNOWN)
	{
		hash_destroy(known);
		known = NULL;
	}
	if (known == NULL)
		known = make_table("usage_monitor unpriced alerts", sizeof(Known), TopMemoryContext);
	hash_seq_init(&scan, noted);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		bool		found;
		Known	   *room = hash_search(known, &entry->key, HASH_ENTER, &found);

		if (!found)
			room->raised = false;
	}
}

/*
 * Raises what was noted, and makes room to remember it.  A transaction that
 * is prepared cannot notify, and remembers nothing.
 */
void
um_unpriced_raise(bool is_prepare)
{
	HASH_SEQ_STATUS scan;
	Noted	  **sorted;
	Noted	   *entry;
	Datum	   *days;
	DateADT		today;
	int			n = 0;

	if (noted == NULL)
		return;
	sorted = palloc(sizeof(Noted *) * (hash_get_num_entries(noted) + 1));
	hash_seq_init(&scan, noted);
	while ((entry = hash_seq_search(&scan)) != NULL)
		sorted[n++] = entry;
	qsort(sorted, n, sizeof(Noted *), compare_notes);

	/* of days that are over nobody else has many calls at once */
	today = um_ledger_day(GetCurrentTransactionStartTimestamp());
	days = palloc(sizeof(Datum) * (n + 1));
	for (int i = 0; i < n;)
	{
		const Key  *model = &sorted[i]->key;
		Datum		values[4];
		int			ndays = 0;

		for (; i < n && sorted[i]->key.model == model->model; i++)
			/* the extension may have been dropped meanwhile */
			if (sorted[i]->key.ledger == um_relation(UM_USAGE) &&
				(sorted[i]->key.day < today || n > MANY_DAYS || lock_day(&sorted[i]->key)))
			{
				days[ndays++] = DateADTGetDatum(sorted[i]->key.day);
				sorted[i]->raised = true;
			}
		if (ndays == 0)
			continue;
		lock_model(model);
		values[0] = CStringGetTextDatum(sorted[i - 1]->model);
		values[1] = PointerGetDatum(construct_array(days, ndays, DATEOID, sizeof(DateADT), true,
													TYPALIGN_INT));
		values[2] = CStringGetTextDatum(um_late_mode());
		values[3] = BoolGetDatum(!is_prepare);
		um_alert_insert(&raise_alert, values, NULL);
	}
	pfree(days);
	pfree(sorted);
	if (!is_prepare)
		make_room();
}

/* The transaction has committed: remembers what it raised. */
void
um_unpriced_remember(void)
{
	HASH_SEQ_STATUS scan;
	Noted	   *entry;

	if (noted == NULL)
		return;
	hash_seq_init(&scan, noted);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		Known	   *room = hash_search(known, &entry->key, HASH_FIND, NULL);

		if (room != NULL && entry->raised)
			room->raised = true;
	}
}

/* A subtransaction ends. */
void
um_unpriced_end_sub(bool committed, SubTransactionId subid, SubTransactionId parent_subid)
{
	HASH_SEQ_STATUS scan;
	Noted	   *entry;

	if (noted == NULL)
		return;
	hash_seq_init(&scan, noted);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if (entry->subid != subid)
			continue;
		if (committed)
			entry->subid = parent_subid;
		else
			(void) hash_search(noted, &entry->key, HASH_REMOVE, NULL);
	}
}

/* The transaction is over; the memory goes with its own. */
void
um_unpriced_forget(void)
{
	noted = NULL;
}
