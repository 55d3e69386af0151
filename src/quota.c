/*
 * quota.c
 *		The quotas, cached, and which of them a row of the ledger touches.
 *
 * There may be many quotas, one a user say, so those of a named subject are
 * found by hash; those for each subject on its own are few, and are listed.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "quota.h"
#include "tag.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

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

static MemoryContext cache_context;
static HTAB *by_subject;
static HTAB *by_id;
static UmQuota *each[UM_SCOPE_COUNT];
static bool named[UM_SCOPE_COUNT];	/* has the scope quotas of named subjects? */
static uint64 cache_generation;
static TimestampTz cache_until; /* when a raise begins or ends */

static UmQuery read_quotas = {
	.text = "SELECT q.quota_id, q.name, q.scope, q.subject, q.org, q.provider, q.model,"
	" q.metric, q.amount + coalesce(r.amount, 0), q.period, q.billing_day, q.time_zone,"
	" q.enforcement,"
	/* a raise that began or ended is another revision, too */
	" (q.revision + 1000000 * coalesce(r.changes, 0))::integer,"
	" coalesce(b.counted_since, 'infinity'), coalesce(q.overrides, 0),"
	" q.warning_threshold, q.critical_threshold, q.thresholds, r.next_change"
	" FROM usage_monitor.quota q"
	" LEFT JOIN usage_monitor._quota_birth b ON b.quota_id = q.quota_id"
	" LEFT JOIN usage_monitor._quota_raised r ON r.quota_id = q.quota_id"
	" WHERE q.enabled"
};

/* Its columns. */
enum
{
	COL_QUOTA_ID = 1,
	COL_NAME,
	COL_SCOPE,
	COL_SUBJECT,
	COL_ORG,
	COL_PROVIDER,
	COL_MODEL,
	COL_METRIC,
	COL_AMOUNT,
	COL_PERIOD,
	COL_BILLING_DAY,
	COL_TIME_ZONE,
	COL_ENFORCEMENT,
	COL_REVISION,
	COL_COUNTED_SINCE,
	COL_OVERRIDES,
	COL_WARNING,
	COL_CRITICAL,
	COL_THRESHOLDS,
	COL_NEXT_CHANGE
};

const char *
um_scope_name(UmScope scope)
{
	return scope_names[scope];
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

	return !(x->scope == y->scope && x->subject.length == y->subject.length &&
			 memcmp(x->subject.data, y->subject.data, x->subject.length) == 0);
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

static int
compare_numeric(Numeric a, Numeric b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a), NumericGetDatum(b)));
}

/* A number without trailing zeros. */
static char *
numeric_text(Numeric value)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out,
											   DirectFunctionCall1(numeric_trim_scale,
																   NumericGetDatum(value))));
}

static Numeric
share_of(Numeric amount, Numeric share)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_mul, NumericGetDatum(amount),
											   NumericGetDatum(share)));
}

/* Adds a level to a quota, in its place. */
static void
add_level(UmQuota *quota, char *name, Numeric share)
{
	int			place = quota->nlevels++;
	UmLevel		level = {name, share, share_of(quota->amount, share)};

	for (; place > 0 && compare_numeric(quota->levels[place - 1].share, share) > 0; place--)
		quota->levels[place] = quota->levels[place - 1];
	quota->levels[place] = level;
}

/* Reads the levels of a quota. */
static void
read_levels(UmQuota *quota, HeapTuple row, TupleDesc desc)
{
	Datum	   *shares = NULL;
	int			nshares = 0;
	bool		isnull;
	Datum		thresholds = SPI_getbinval(row, desc, COL_THRESHOLDS, &isnull);

	if (!isnull)
		deconstruct_array(DatumGetArrayTypeP(thresholds), NUMERICOID, -1, false, TYPALIGN_INT,
						  &shares, NULL, &nshares);
	quota->levels = palloc(sizeof(UmLevel) * (nshares + 3));
	add_level(quota, "warning", DatumGetNumericCopy(SPI_getbinval(row, desc, COL_WARNING, &isnull)));
	add_level(quota, "critical", DatumGetNumericCopy(SPI_getbinval(row, desc, COL_CRITICAL, &isnull)));
	add_level(quota, "exceeded", int64_to_numeric(1));
	for (int i = 0; i < nshares; i++)
	{
		Numeric		share = DatumGetNumericCopy(shares[i]);
		Numeric		percent = share_of(share, int64_to_numeric(100));

		add_level(quota, psprintf("%s%%", numeric_text(percent)), share);
	}
}

/* Makes a quota from its row, in the cache's context. */
static UmQuota *
read_quota(HeapTuple row, TupleDesc desc)
{
	static const char *const metrics[] = {"cost", "tokens", "requests"};
	UmQuota    *quota = palloc0(sizeof(UmQuota));
	bool		isnull;

	quota->quota_id = DatumGetInt64(SPI_getbinval(row, desc, COL_QUOTA_ID, &isnull));
	quota->name = um_text_column(row, desc, COL_NAME);
	quota->scope = position(um_text_column(row, desc, COL_SCOPE), scope_names, UM_SCOPE_COUNT);
	quota->subject = um_text_column(row, desc, COL_SUBJECT);
	quota->org = um_text_column(row, desc, COL_ORG);
	quota->provider = um_text_column(row, desc, COL_PROVIDER);
	quota->model = um_text_column(row, desc, COL_MODEL);
	quota->metric = position(um_text_column(row, desc, COL_METRIC), metrics, lengthof(metrics));
	quota->amount = DatumGetNumericCopy(SPI_getbinval(row, desc, COL_AMOUNT, &isnull));
	quota->period = um_period_by_name(um_text_column(row, desc, COL_PERIOD));
	quota->billing_day = DatumGetInt16(SPI_getbinval(row, desc, COL_BILLING_DAY, &isnull));
	quota->tz = pg_tzset(um_text_column(row, desc, COL_TIME_ZONE));
	if (quota->tz == NULL)
		elog(ERROR, "time zone of quota \"%s\" is not known", quota->name);
	quota->blocks = strcmp(um_text_column(row, desc, COL_ENFORCEMENT), "block") == 0;
	quota->revision = DatumGetInt32(SPI_getbinval(row, desc, COL_REVISION, &isnull));
	quota->counted_since = DatumGetTimestampTz(SPI_getbinval(row, desc, COL_COUNTED_SINCE, &isnull));
	quota->overrides = DatumGetInt64(SPI_getbinval(row, desc, COL_OVERRIDES, &isnull));
	read_levels(quota, row, desc);
	quota->start = quota->end = 0;	/* no period yet */
	return quota;
}

/* Puts a quota where um_quota_visit looks for it. */
static void
file_quota(UmQuota *quota)
{
	IdEntry    *id_entry;
	bool		found;

	id_entry = hash_search(by_id, &quota->quota_id, HASH_ENTER, &found);
	id_entry->quota = quota;

	if (quota->subject == NULL)
	{
		quota->next = each[quota->scope];
		each[quota->scope] = quota;
	}
	else
	{
		SubjectKey	key = {quota->scope, {quota->subject, strlen(quota->subject)}};
		SubjectEntry *entry = hash_search(by_subject, &key, HASH_ENTER, &found);

		quota->next = found ? entry->first : NULL;
		entry->first = quota;
		named[quota->scope] = true;
	}
}

/* Reads the quotas, if they have changed since. */
static void
load_quotas(void)
{
	uint64		generation = um_generation(UM_TOPIC_QUOTA);
	HASHCTL		subject_control = {0};
	HASHCTL		id_control = {0};
	MemoryContext old;
	UmSpi		spi;

	if (cache_generation == generation &&
		(TIMESTAMP_IS_NOEND(cache_until) || GetCurrentTimestamp() < cache_until))
		return;

	cache_generation = 0;
	TIMESTAMP_NOEND(cache_until);
	memset(each, 0, sizeof(each));
	memset(named, 0, sizeof(named));
	if (cache_context == NULL)
		cache_context = AllocSetContextCreate(TopMemoryContext, "usage_monitor quotas",
											  ALLOCSET_DEFAULT_SIZES);
	else
		MemoryContextReset(cache_context);

	subject_control.keysize = sizeof(SubjectKey);
	subject_control.entrysize = sizeof(SubjectEntry);
	subject_control.hash = subject_hash;
	subject_control.match = subject_match;
	subject_control.hcxt = cache_context;
	by_subject = hash_create("usage_monitor quotas by subject", 64, &subject_control,
							 HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
	id_control.keysize = sizeof(int64);
	id_control.entrysize = sizeof(IdEntry);
	id_control.hcxt = cache_context;
	by_id = hash_create("usage_monitor quotas by id", 64, &id_control,
						HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	um_watch(UM_TOPIC_QUOTA);
	um_spi_begin(&spi);
	um_spi_query(&read_quotas, NULL, NULL);
	old = MemoryContextSwitchTo(cache_context);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		bool		isnull;
		Datum		next = SPI_getbinval(row, SPI_tuptable->tupdesc, COL_NEXT_CHANGE, &isnull);

		file_quota(read_quota(row, SPI_tuptable->tupdesc));
		if (!isnull)
			cache_until = Min(cache_until, DatumGetTimestampTz(next));
	}
	MemoryContextSwitchTo(old);
	um_spi_end(&spi);
	cache_generation = generation;
}

/* The quota of that number, or NULL. */
UmQuota *
um_quota_by_id(int64 quota_id)
{
	IdEntry    *entry;

	load_quotas();
	entry = hash_search(by_id, &quota_id, HASH_FIND, NULL);
	return entry != NULL ? entry->quota : NULL;
}

/* Makes a row from its columns; it points into them. */
void
um_counted_set(UmCounted *row, const Datum *values, const bool *nulls)
{
	row->subject[UM_SCOPE_ALL].data = "";
	row->subject[UM_SCOPE_ALL].length = 0;
	for (int scope = UM_SCOPE_ORG; scope <= UM_SCOPE_PROVIDER; scope++)
	{
		UmString   *subject = &row->subject[scope];

		subject->data = NULL;
		if (!nulls[scope - UM_SCOPE_ORG])
		{
			text	   *value = DatumGetTextPP(values[scope - UM_SCOPE_ORG]);

			subject->data = VARDATA_ANY(value);
			subject->length = VARSIZE_ANY_EXHDR(value);
		}
	}
	row->tags = nulls[UM_COUNTED_TAGS] ? NULL : DatumGetJsonbP(values[UM_COUNTED_TAGS]);
	row->ts = DatumGetTimestampTz(values[UM_COUNTED_TS]);
	row->cost = nulls[UM_COUNTED_COST] ? NULL : DatumGetNumeric(values[UM_COUNTED_COST]);
	row->total_tokens = nulls[UM_COUNTED_TOTAL_TOKENS] ? 0 :
		DatumGetInt64(values[UM_COUNTED_TOTAL_TOKENS]);
}

static bool
passes(const char *filter, UmString value)
{
	return filter == NULL ||
		(value.data != NULL && (int) strlen(filter) == value.length &&
		 memcmp(filter, value.data, value.length) == 0);
}

/* Does one of the subject's own quotas stand in for this one? */
static bool
is_overridden(const UmQuota *quota, const UmQuota *own)
{
	for (; own != NULL; own = own->next)
		if (own->overrides == quota->quota_id)
			return true;
	return false;
}

/*
 * Visits the quotas of a list that the row passes the filters of.  For a list
 * of quotas for each subject, own are those of just this one.
 */
static void
visit_list(UmQuota *quota, const UmQuota *own, const UmCounted *row, UmString subject,
		   UmQuotaVisitor visit, void *context)
{
	for (; quota != NULL; quota = quota->next)
	{
		if (!passes(quota->org, row->subject[UM_SCOPE_ORG]) ||
			!passes(quota->provider, row->subject[UM_SCOPE_PROVIDER]) ||
			!passes(quota->model, row->subject[UM_SCOPE_MODEL]) ||
			is_overridden(quota, own))
			continue;
		if (row->ts < quota->start || row->ts >= quota->end)
			um_period_bounds(quota->period, quota->billing_day, quota->tz, row->ts,
							 &quota->start, &quota->end);
		visit(quota, subject, quota->start, context);
	}
}

/* The quotas of just this subject. */
static UmQuota *
quotas_of(UmScope scope, UmString subject)
{
	SubjectKey	key = {scope, subject};
	SubjectEntry *entry;

	if (!named[scope])
		return NULL;
	entry = hash_search(by_subject, &key, HASH_FIND, NULL);
	return entry != NULL ? entry->first : NULL;
}

/* Visits the quotas of a row's tags: of key=value, of each value of a key, of each tag. */
static void
visit_tags(const UmCounted *row, UmQuotaVisitor visit, void *context)
{
	JsonbIterator *it = JsonbIteratorInit(&row->tags->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		StringInfoData pair;
		UmString	text;
		UmString	subject;
		UmString	key;
		UmQuota    *own;

		if (token != WJB_KEY)
			continue;
		initStringInfo(&pair);
		appendBinaryStringInfo(&pair, value.val.string.val, value.val.string.len);
		key.length = pair.len;
		appendStringInfoChar(&pair, '=');

		JsonbIteratorNext(&it, &value, true);
		text = um_tag_value(&value);
		if (text.data == NULL)
			continue;			/* a null says nothing */
		appendBinaryStringInfo(&pair, text.data, text.length);
		subject.data = key.data = pair.data;
		subject.length = pair.len;
		own = quotas_of(UM_SCOPE_TAG, subject);
		visit_list(own, NULL, row, subject, visit, context);
		visit_list(quotas_of(UM_SCOPE_TAG, key), own, row, subject, visit, context);
		visit_list(each[UM_SCOPE_TAG], own, row, subject, visit, context);
	}
}

/* Calls back for each quota that a row of the ledger touches. */
void
um_quota_visit(const UmCounted *row, UmQuotaVisitor visit, void *context)
{
	load_quotas();
	for (int scope = 0; scope < UM_SCOPE_TAG; scope++)
	{
		UmString	subject = row->subject[scope];
		UmQuota    *own;

		if (subject.data == NULL)
			continue;
		own = quotas_of(scope, subject);
		visit_list(own, NULL, row, subject, visit, context);
		visit_list(each[scope], own, row, subject, visit, context);
	}
	if (row->tags != NULL && (named[UM_SCOPE_TAG] || each[UM_SCOPE_TAG] != NULL))
		visit_tags(row, visit, context);
}
