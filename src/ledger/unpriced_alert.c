/*
 * unpriced_alert.c
 *		One alert a model and day for calls that have no cost.
 *
 * A model is noted when its row is stored, and the alert is inserted right
 * before commit.  Nobody waits for it: while another transaction is about to
 * raise the same alert, it is left to that one, and should that one fail, to
 * the model's next call.  What a backend knows to have been raised it does
 * not look for again.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/catalog.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "ledger/unpriced_alert.h"
#include "miscadmin.h"
#include "quota/alert.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* a client that invents models must not eat the backend's memory */
#define MAX_KNOWN	10000

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

extern Datum usage_monitor_ledger_day(PG_FUNCTION_ARGS);

static UmQuery insert_alert = {
	.text = "INSERT INTO usage_monitor.alert AS a"
	" (alert_type, level, subject, period_start, message, details)"
	" SELECT 'unpriced', 'warning', $1,"
	" $2::timestamp AT TIME ZONE usage_monitor.ledger_time_zone(),"
	" pg_catalog.format('model \"%s\" has calls without a cost on %s', $1, pg_catalog.to_char($2, 'YYYY-MM-DD')),"
	" pg_catalog.jsonb_build_object('model', $1, 'day', $2)"
	" WHERE NOT EXISTS (SELECT FROM usage_monitor.ignored_model i"
	" WHERE $1 OPERATOR(pg_catalog.~~) _usage_monitor._like_pattern(i.pattern))"
	" ON CONFLICT DO NOTHING"
	" RETURNING " UM_ALERT_PAYLOADS,
	.nargs = 2,
	.argtypes = {TEXTOID, DATEOID}
};

/* Makes a table of keys. */
static HTAB *
make_table(const char *name, Size entrysize, MemoryContext context)
{
	HASHCTL		control = {0};

	control.keysize = sizeof(Key);
	control.entrysize = entrysize;
	control.hcxt = context;
	return hash_create(name, 16, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Notes that a call to the model has no cost. */
void
um_unpriced_note(const char *model, int model_length, TimestampTz ts)
{
	Key			key;
	Noted	   *entry;
	Known	   *before;
	bool		found;

	memset(&key, 0, sizeof(key));
	key.model = hash_bytes_extended((const unsigned char *) model, model_length, 0);
	key.day = DatumGetDateADT(DirectFunctionCall1(usage_monitor_ledger_day,
												  TimestampTzGetDatum(ts)));
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
		entry->model = MemoryContextStrdup(TopTransactionContext, pnstrdup(model, model_length));
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

/* Keeps others from raising the same alert; false where one is about to. */
static bool
lock_alert(const Key *key)
{
	LOCKTAG		tag;

	/* field 4 is 1 or 2 for the locks of SQL's advisory functions */
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (key->model >> 32),
						 (uint32) key->model ^ (uint32) key->day, 0x5550);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
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
	int			n = 0;

	if (noted == NULL)
		return;
	sorted = palloc(sizeof(Noted *) * (hash_get_num_entries(noted) + 1));
	hash_seq_init(&scan, noted);
	while ((entry = hash_seq_search(&scan)) != NULL)
		sorted[n++] = entry;
	qsort(sorted, n, sizeof(Noted *), compare_notes);

	for (int i = 0; i < n; i++)
	{
		Datum		values[2];

		/* the extension may have been dropped meanwhile */
		if (sorted[i]->key.ledger != um_relation(UM_USAGE))
			continue;
		if (!lock_alert(&sorted[i]->key))
			continue;
		values[0] = CStringGetTextDatum(sorted[i]->model);
		values[1] = DateADTGetDatum(sorted[i]->key.day);
		um_alert_insert(&insert_alert, values, NULL, !is_prepare);
		sorted[i]->raised = true;
	}
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
