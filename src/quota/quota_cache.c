/*
 * quota_cache.c
 *		The quotas, as a backend remembers them.
 *
 * Those for each subject on its own are few, and are listed.  Those of named
 * subjects, one a user say, may be very many: unless they are few as well,
 * they are read when their subject is first met.  What is not of the same
 * moment does no harm: whoever counted while quotas changed counts once more
 * (see um_pending_stale).
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "base/access.h"
#include "base/amount.h"
#include "base/catalog.h"
#include "base/setting.h"
#include "base/table_columns.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "quota/quota_cache.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* So many quotas of named subjects are read at once. */
#ifndef UM_FEW_QUOTAS			/* test/attack has none */
#define UM_FEW_QUOTAS	1000
#endif

/* When so many subjects are known, with and without quotas, all are forgotten. */
#define MAX_SUBJECTS	100000

typedef struct SubjectKey
{
	UmScope		scope;
	UmString	subject;
} SubjectKey;

typedef struct SubjectEntry
{
	SubjectKey	key;
	UmQuota    *first;
} SubjectEntry;

typedef struct IdEntry
{
	int64		quota_id;
	UmQuota    *quota;
} IdEntry;

static const char *const scope_names[UM_SCOPE_COUNT] = {
	"all", "org", "department", "project", "user", "session", "model", "provider", "tag"
};

static const char *const metric_names[] = {"cost", "tokens", "requests"};

static MemoryContext cache_context;
static HTAB *by_subject;
static HTAB *by_id;
static UmQuota *each[UM_SCOPE_COUNT];
static bool all_known;			/* are there no others than those that are known? */
static bool named[UM_SCOPE_COUNT];	/* may the scope have quotas of named subjects? */
static uint64 cache_generation;
static TimestampTz cache_until; /* when a raise begins or ends */

/* The columns of quota, and what belongs to them of other tables. */
enum
{
	COL_QUOTA_ID,
	COL_NAME,
	COL_OVERRIDES,
	COL_SCOPE,
	COL_SUBJECT,
	COL_ORG,
	COL_PROVIDER,
	COL_METRIC,
	COL_AMOUNT,
	COL_PERIOD,
	COL_BILLING_DAY,
	COL_TIME_ZONE,
	COL_WARNING,
	COL_CRITICAL,
	COL_THRESHOLDS,
	COL_ENFORCEMENT,
	COL_ENABLED,
	COL_REVISION,
	COL_EXACT,
	COL_COUNTED_MODELS,
	COL_COUNTED_SINCE,
	QUOTA_COLUMNS = COL_COUNTED_SINCE,
	COL_RAISED,
	COL_RAISE_CHANGES,
	COL_NEXT_CHANGE,
	COL_COUNT
};

static const char *const quota_names[QUOTA_COLUMNS] = {
	"quota_id", "name", "overrides", "scope", "subject", "org", "provider", "metric",
	"amount", "period", "billing_day", "time_zone", "warning_threshold", "critical_threshold",
	"thresholds", "enforcement", "enabled", "revision", "exact", "counted_models"
};

static const char *const birth_names[] = {"quota_id", "counted_since"};
static const char *const raise_names[] = {"quota_id"};

static UmTableColumns quota_columns = {
	.table = UM_QUOTA,
	.count = QUOTA_COLUMNS,
	.names = quota_names
};

static UmTableColumns birth_columns = {
	.table = UM_QUOTA_BIRTH,
	.count = lengthof(birth_names),
	.names = birth_names
};

static UmTableColumns raise_columns = {
	.table = UM_QUOTA_RAISE,
	.count = lengthof(raise_names),
	.names = raise_names
};

/* in the order above */
#define READ_QUOTAS \
	"SELECT q.quota_id, q.name, q.overrides, q.scope, q.subject, q.org, q.provider, q.metric," \
	" q.amount, q.period, q.billing_day, q.time_zone, q.warning_threshold, q.critical_threshold," \
	" q.thresholds, q.enforcement, q.enabled, q.revision, q.exact, q.counted_models," \
	" b.counted_since, r.amount, r.changes, r.next_change" \
	" FROM usage_monitor.quota q" \
	" LEFT JOIN _usage_monitor._quota_birth b ON b.quota_id = q.quota_id" \
	" LEFT JOIN _usage_monitor._quota_raised r ON r.quota_id = q.quota_id" \
	" WHERE q.enabled"

static UmQuery read_all = {.text = READ_QUOTAS};

/* by the index of scope and subject */
static UmQuery read_each = {
	.text = READ_QUOTAS " AND q.scope = ANY ($1) AND q.subject IS NULL",
	.argtypes = {TEXTARRAYOID}
};

static UmQuery read_raised = {
	.text = READ_QUOTAS " AND q.quota_id = $1 AND r.quota_id = $1",
	.argtypes = {INT8OID}
};

static UmQuery count_named = {
	.text = "SELECT count(*) FROM (SELECT FROM usage_monitor.quota q"
	" WHERE q.enabled AND q.subject IS NOT NULL LIMIT $1) f",
	.argtypes = {INT8OID}
};

static UmQuery read_scopes = {
	.text = "SELECT s.scope FROM pg_catalog.unnest($1) s (scope)"
	" WHERE EXISTS (SELECT FROM usage_monitor.quota q WHERE q.scope = s.scope AND q.subject IS NOT NULL)",
	.argtypes = {TEXTARRAYOID}
};

static UmQuery read_subject = {
	.text = "SELECT q.scope, q.subject FROM usage_monitor.quota q"
	" WHERE q.quota_id = $1 AND q.subject IS NOT NULL",
	.argtypes = {INT8OID}
};

const char *
um_scope_name(UmScope scope)
{
	return scope_names[scope];
}

const char *
um_metric_name(UmMetric metric)
{
	return metric_names[metric];
}

static uint32
subject_hash(const void *key, Size keysize)
{
	const SubjectKey *k = key;

	return hash_combine(murmurhash32(k->scope),
						hash_bytes((const unsigned char *) k->subject.data, k->subject.length));
}

static int
subject_match(const void *a, const void *b, Size keysize)
{
	const SubjectKey *x = a;
	const SubjectKey *y = b;

	return !(x->scope == y->scope && um_string_equal(x->subject, y->subject));
}

/* The position of a name in a list that a check constraint of ours guards. */
static int
position(const char *name, const char *const *list, int length)
{
	for (int i = 0; i < length; i++)
		if (strcmp(name, list[i]) == 0)
			return i;
	elog(ERROR, "unexpected keyword \"%s\" in usage_monitor.quota", name);
}

/* Adds a level to a quota, in its place. */
static void
add_level(UmQuota *quota, const char *name, Numeric share)
{
	int			place = quota->nlevels++;
	UmLevel		level = {name, share, times(quota->amount, share)};

	for (; place > 0 && compare(quota->levels[place - 1].share, share) > 0; place--)
		quota->levels[place] = quota->levels[place - 1];
	quota->levels[place] = level;
}

/* Reads the levels of a quota. */
static void
read_levels(UmQuota *quota, const Datum *values, const bool *nulls)
{
	Datum	   *shares = NULL;
	int			nshares = 0;

	if (!nulls[COL_THRESHOLDS])
		deconstruct_array(DatumGetArrayTypeP(values[COL_THRESHOLDS]), NUMERICOID, -1, false,
						  TYPALIGN_INT, &shares, NULL, &nshares);
	quota->levels = palloc(sizeof(UmLevel) * (nshares + 3));
	add_level(quota, "warning", DatumGetNumericCopy(values[COL_WARNING]));
	add_level(quota, "critical", DatumGetNumericCopy(values[COL_CRITICAL]));
	add_level(quota, UM_EXCEEDED, int64_to_numeric(1));
	for (int i = 0; i < nshares; i++)
	{
		Numeric		share = DatumGetNumericCopy(shares[i]);
		Numeric		percent = times(share, int64_to_numeric(100));

		add_level(quota, psprintf("%s%%", amount_text(trimmed(percent))), share);
	}
}

/* A text, or NULL. */
static char *
text_of(const Datum *values, const bool *nulls, int column)
{
	return nulls[column] ? NULL : TextDatumGetCString(values[column]);
}

/* Reads which models a quota counts. */
static void
read_models(UmQuota *quota, const Datum *values, const bool *nulls)
{
	Datum	   *models;

	quota->nmodels = -1;
	if (nulls[COL_COUNTED_MODELS])
		return;
	deconstruct_array(DatumGetArrayTypeP(values[COL_COUNTED_MODELS]), TEXTOID, -1, false,
					  TYPALIGN_INT, &models, NULL, &quota->nmodels);
	quota->models = palloc(sizeof(char *) * (quota->nmodels + 1));
	for (int i = 0; i < quota->nmodels; i++)
		quota->models[i] = TextDatumGetCString(models[i]);
}

/* The amount of a quota as it is now. */
static Numeric
raised_amount(const Datum *values, const bool *nulls)
{
	return nulls[COL_RAISED] ? DatumGetNumericCopy(values[COL_AMOUNT]) :
		plus(DatumGetNumeric(values[COL_AMOUNT]), DatumGetNumeric(values[COL_RAISED]));
}

/* Makes a quota from its row, in the cache's context. */
static UmQuota *
read_quota(const Datum *values, const bool *nulls)
{
	UmQuota    *quota = palloc0(sizeof(UmQuota));

	quota->quota_id = DatumGetInt64(values[COL_QUOTA_ID]);
	quota->name = text_of(values, nulls, COL_NAME);
	quota->scope = position(text_of(values, nulls, COL_SCOPE), scope_names, UM_SCOPE_COUNT);
	quota->subject = text_of(values, nulls, COL_SUBJECT);
	quota->org = text_of(values, nulls, COL_ORG);
	quota->provider = text_of(values, nulls, COL_PROVIDER);
	quota->exact = DatumGetBool(values[COL_EXACT]);
	read_models(quota, values, nulls);
	quota->metric = position(text_of(values, nulls, COL_METRIC), metric_names, lengthof(metric_names));
	quota->amount = raised_amount(values, nulls);
	quota->period = um_period_by_name(text_of(values, nulls, COL_PERIOD));
	quota->billing_day = DatumGetInt16(values[COL_BILLING_DAY]);
	quota->tz = um_time_zone(text_of(values, nulls, COL_TIME_ZONE), "a quota");
	quota->blocks = strcmp(text_of(values, nulls, COL_ENFORCEMENT), "block") == 0;
	quota->revision = DatumGetInt32(values[COL_REVISION]);
	if (!nulls[COL_RAISE_CHANGES])
		/* a raise that began or ended is another revision, too */
		quota->revision += DatumGetInt64(values[COL_RAISE_CHANGES]) << 32;
	quota->counted_since = nulls[COL_COUNTED_SINCE] ? DT_NOEND :
		DatumGetTimestampTz(values[COL_COUNTED_SINCE]);
	quota->overrides = nulls[COL_OVERRIDES] ? 0 : DatumGetInt64(values[COL_OVERRIDES]);
	read_levels(quota, values, nulls);
	quota->start = quota->end = 0;	/* no period yet */
	return quota;
}

/* The entry of a subject, which is made if there is none. */
static SubjectEntry *
subject_entry(UmScope scope, UmString subject)
{
	SubjectKey	key = {scope, subject};
	SubjectEntry *entry = hash_search(by_subject, &key, HASH_FIND, NULL);

	if (entry == NULL)
	{
		key.subject.data = MemoryContextAlloc(cache_context, subject.length + 1);
		memcpy((char *) key.subject.data, subject.data, subject.length);
		entry = hash_search(by_subject, &key, HASH_ENTER, NULL);
		entry->first = NULL;
	}
	return entry;
}

/* Puts a quota where it is looked for. */
static void
file_quota(UmQuota *quota)
{
	IdEntry    *id_entry = hash_search(by_id, &quota->quota_id, HASH_ENTER, NULL);
	UmQuota   **list = &each[quota->scope];

	id_entry->quota = quota;
	if (quota->subject != NULL)
	{
		UmString	subject = {quota->subject, strlen(quota->subject)};

		list = &subject_entry(quota->scope, subject)->first;
		named[quota->scope] = true;
	}
	quota->next = *list;
	*list = quota;
}

/* Adds a quota to the cache. */
static void
add_quota(const Datum *values, const bool *nulls)
{
	MemoryContext old = MemoryContextSwitchTo(cache_context);

	file_quota(read_quota(values, nulls));
	if (!nulls[COL_NEXT_CHANGE])
		cache_until = Min(cache_until, DatumGetTimestampTz(values[COL_NEXT_CHANGE]));
	MemoryContextSwitchTo(old);
}

/* Reads quotas by a query. */
static void
read_quotas(UmQuery *query, Datum *arguments)
{
	UmSpi		spi;

	um_spi_read(&spi, query, arguments, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Datum		values[COL_COUNT];
		bool		nulls[COL_COUNT];

		heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, values, nulls);
		add_quota(values, nulls);
	}
	um_spi_end(&spi);
}

/* Copies a row of another table that has the number of a quota in its first column; NULL if there is none. */
static HeapTuple
look_up(UmTableColumns *columns, UmRelation index, Datum quota_id, Snapshot snapshot)
{
	Relation	relation = table_open(um_relation(columns->table), AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	um_table_columns(columns, relation);
	ScanKeyInit(&key, columns->attnum[0], BTEqualStrategyNumber, F_INT8EQ, quota_id);
	scan = systable_beginscan(relation, um_relation(index), true, snapshot, 1, &key);
	tuple = heap_copytuple(systable_getnext(scan));
	systable_endscan(scan);
	table_close(relation, NoLock);
	return tuple;
}

/* Has the quota ever been raised? */
static bool
is_raised(Datum quota_id, Snapshot snapshot)
{
	return HeapTupleIsValid(look_up(&raise_columns, UM_QUOTA_RAISE_QUOTA_ID, quota_id, snapshot));
}

/* Looks up since when a quota's counters are complete; NULL if they are not. */
static void
look_up_birth(Datum *values, bool *nulls, Snapshot snapshot)
{
	HeapTuple	birth = look_up(&birth_columns, UM_QUOTA_BIRTH_PKEY, values[COL_QUOTA_ID], snapshot);

	if (HeapTupleIsValid(birth))
	{
		Relation	relation = table_open(um_relation(UM_QUOTA_BIRTH), NoLock);

		values[COL_COUNTED_SINCE] = heap_getattr(birth, birth_columns.attnum[1], RelationGetDescr(relation),
												 &nulls[COL_COUNTED_SINCE]);
		table_close(relation, NoLock);
	}
}

/*
 * Reads the quotas of a subject, from the tables themselves: a session may
 * meet very many subjects, and with a query the INSERT that meets one takes
 * 1.6 times as long ("10,000 quotas of one user" in test/bench/quotas).
 */
static void
read_named(UmScope scope, UmString subject)
{
	Relation	relation = table_open(um_relation(UM_QUOTA), AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	uint64		generation = cache_generation;
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	/* an error would leave the subject with a part of its quotas: then begin anew */
	cache_generation = 0;
	um_table_columns(&quota_columns, relation);
	ScanKeyEntryInitialize(&keys[0], 0, quota_columns.attnum[COL_SCOPE], BTEqualStrategyNumber, InvalidOid,
						   DEFAULT_COLLATION_OID, F_TEXTEQ,
						   CStringGetTextDatum(scope_names[scope]));
	ScanKeyEntryInitialize(&keys[1], 0, quota_columns.attnum[COL_SUBJECT], BTEqualStrategyNumber, InvalidOid,
						   DEFAULT_COLLATION_OID, F_TEXTEQ,
						   um_string_text(subject));
	scan = systable_beginscan(relation, um_relation(UM_QUOTA_SCOPE_SUBJECT), true, snapshot, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Datum		values[COL_COUNT];
		bool		nulls[COL_COUNT];

		um_tuple_deform(&quota_columns, relation, tuple, values, nulls);
		memset(nulls + QUOTA_COLUMNS, true, sizeof(bool) * (COL_COUNT - QUOTA_COLUMNS));
		if (!DatumGetBool(values[COL_ENABLED]))
			continue;
		if (is_raised(values[COL_QUOTA_ID], snapshot))
		{
			read_quotas(&read_raised, &values[COL_QUOTA_ID]);
			continue;
		}
		look_up_birth(values, nulls, snapshot);
		add_quota(values, nulls);
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(relation, NoLock);
	cache_generation = generation;
}

/* Are the quotas of named subjects few? */
static bool
named_are_few(void)
{
	Datum		limit = Int64GetDatum(UM_FEW_QUOTAS + 1);

	return DatumGetInt64(um_spi_value(&count_named, &limit)) <= UM_FEW_QUOTAS;
}

/* Learns which scopes have quotas of named subjects. */
static void
learn_named(Datum scopes)
{
	UmSpi		spi;

	um_spi_read(&spi, &read_scopes, &scopes, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
		named[position(um_text_column(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1),
					   scope_names, UM_SCOPE_COUNT)] = true;
	um_spi_end(&spi);
}

/* All scopes, as an array. */
static Datum
scope_array(void)
{
	Datum		names[UM_SCOPE_COUNT];

	for (int scope = 0; scope < UM_SCOPE_COUNT; scope++)
		names[scope] = CStringGetTextDatum(scope_names[scope]);
	return PointerGetDatum(construct_array(names, UM_SCOPE_COUNT, TEXTOID, -1, false, TYPALIGN_INT));
}

/* Empties the cache. */
static void
reset_cache(void)
{
	HASHCTL		subject_control = {.keysize = sizeof(SubjectKey), .entrysize = sizeof(SubjectEntry),
		.hash = subject_hash, .match = subject_match};
	HASHCTL		id_control = {.keysize = sizeof(int64), .entrysize = sizeof(IdEntry)};

	TIMESTAMP_NOEND(cache_until);
	memset(each, 0, sizeof(each));
	memset(named, 0, sizeof(named));
	if (cache_context == NULL)
		cache_context = AllocSetContextCreate(TopMemoryContext, "usage_monitor quotas",
											  ALLOCSET_DEFAULT_SIZES);
	else
		MemoryContextReset(cache_context);

	subject_control.hcxt = id_control.hcxt = cache_context;
	by_subject = hash_create("usage_monitor quotas by subject", 64, &subject_control,
							 HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
	by_id = hash_create("usage_monitor quotas by id", 64, &id_control,
						HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/*
 * Begins with what is known of the quotas: forgets it if they have changed
 * since, which makes all pointers to them void.
 */
void
um_quotas_load(void)
{
	uint64		generation = um_generation(UM_TOPIC_QUOTA);

	if (cache_generation == generation &&
		hash_get_num_entries(by_subject) <= MAX_SUBJECTS &&
		(TIMESTAMP_IS_NOEND(cache_until) || GetCurrentTimestamp() < cache_until))
		return;

	cache_generation = 0;
	reset_cache();
	um_watch(UM_TOPIC_QUOTA);
	all_known = named_are_few();
	if (all_known)
		read_quotas(&read_all, NULL);
	else
	{
		Datum		scopes = scope_array();

		read_quotas(&read_each, &scopes);
		learn_named(scopes);
	}
	cache_generation = generation;
}

/* The quotas of a scope that are for each of its subjects. */
UmQuota *
um_quotas_of_each(UmScope scope)
{
	return each[scope];
}

/* The quotas of just this subject. */
UmQuota *
um_quotas_of(UmScope scope, UmString subject)
{
	SubjectKey	key = {scope, subject};
	SubjectEntry *entry;

	if (!named[scope])
		return NULL;
	entry = hash_search(by_subject, &key, HASH_FIND, NULL);
	if (entry == NULL && !all_known)
	{
		read_named(scope, subject);
		entry = subject_entry(scope, subject);
	}
	return entry != NULL ? entry->first : NULL;
}

/* Can a subject of the scope have quotas? */
bool
um_quotas_any_of(UmScope scope)
{
	return named[scope] || each[scope] != NULL;
}

/* Reads the quotas of the subject that a quota is of. */
static void
read_beside(int64 quota_id)
{
	Datum		id = Int64GetDatum(quota_id);
	UmSpi		spi;

	um_spi_read(&spi, &read_subject, &id, NULL);
	if (SPI_processed > 0)
		(void) um_quotas_of(position(um_text_column(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1),
									 scope_names, UM_SCOPE_COUNT),
							um_string_of(um_text_column(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2)));
	um_spi_end(&spi);
}

/* The quota of that number, or NULL. */
UmQuota *
um_quota_by_id(int64 quota_id)
{
	IdEntry    *entry;

	um_quotas_load();
	entry = hash_search(by_id, &quota_id, HASH_FIND, NULL);
	if (entry == NULL && !all_known)
	{
		read_beside(quota_id);
		entry = hash_search(by_id, &quota_id, HASH_FIND, NULL);
	}
	return entry != NULL ? entry->quota : NULL;
}

/*
 * May the current user see what a subject has used of a quota?  Who is confined
 * to organisations sees what is counted of them alone; of a quota that does
 * not count now he sees nothing.  Without a subject: may he of any?
 */
bool
um_quota_may_see(int64 quota_id, UmString subject)
{
	const UmQuota *quota;

	if (!um_access()->is_confined)
		return true;
	quota = um_quota_by_id(quota_id);
	if (quota == NULL)
		return false;
	if (quota->org != NULL)
		return um_may_see(um_string_of(quota->org));
	return quota->scope == UM_SCOPE_ORG &&
		(subject.data == NULL || um_may_see(subject));
}
