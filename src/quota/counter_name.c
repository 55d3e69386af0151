/*
 * counter_name.c
 *		What a counter is known by: a quota, a subject of it, and a period.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_collation.h"
#include "common/hashfn.h"
#include "quota/counter_name.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"

/* The name of a counter; the subject stays the caller's. */
UmCounterName
um_counter_name(int64 quota_id, UmString subject, TimestampTz period_start)
{
	UmCounterName name;
	uint32		hash = murmurhash32((uint32) quota_id);

	hash = hash_combine(hash, murmurhash32((uint32) (period_start >> 20)));
	hash = hash_combine(hash, hash_bytes((const unsigned char *) subject.data, subject.length));
	name.quota_id = quota_id;
	name.period_start = period_start;
	name.subject = subject;
	name.hash = hash;
	return name;
}

/* Looks for it in an index whose first columns are those of a counter's name. */
void
um_counter_name_keys(const UmCounterName *name, ScanKeyData *keys)
{
	ScanKeyInit(&keys[0], UM_KEY_QUOTA_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(name->quota_id));
	ScanKeyEntryInitialize(&keys[1], 0, UM_KEY_SUBJECT, BTEqualStrategyNumber, InvalidOid,
						   C_COLLATION_OID, F_TEXTEQ, um_string_text(name->subject));
	ScanKeyInit(&keys[2], UM_KEY_PERIOD_START, BTEqualStrategyNumber, F_TIMESTAMPTZ_EQ,
				TimestampTzGetDatum(name->period_start));
}

/* The order in which every transaction locks its counters. */
int
um_counter_name_compare(const UmCounterName *a, const UmCounterName *b)
{
	int			order;

	if (a->quota_id != b->quota_id)
		return a->quota_id < b->quota_id ? -1 : 1;
	order = memcmp(a->subject.data, b->subject.data,
				   Min(a->subject.length, b->subject.length));
	if (order != 0)
		return order;
	if (a->subject.length != b->subject.length)
		return a->subject.length < b->subject.length ? -1 : 1;
	if (a->period_start != b->period_start)
		return a->period_start < b->period_start ? -1 : 1;
	return 0;
}

static uint32
name_hash(const void *key, Size keysize)
{
	return ((const UmCounterName *) key)->hash;
}

static int
name_match(const void *a, const void *b, Size keysize)
{
	return um_counter_name_compare(a, b);
}

/* A hash table of entries that begin with a counter's name. */
HTAB *
um_counter_name_table(const char *what, Size entrysize, MemoryContext context)
{
	HASHCTL		control = {.keysize = sizeof(UmCounterName), .entrysize = entrysize,
		.hash = name_hash, .match = name_match, .hcxt = context};

	return hash_create(what, 256, &control,
					   HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
}
