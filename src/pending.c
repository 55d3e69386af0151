/*
 * pending.c
 *		What the running transaction adds to the counters.
 *
 * Deltas are kept by (quota, subject, period) and by the nesting level that
 * made them: merged into the level above when a subtransaction commits,
 * dropped when it aborts.  counter.c applies them just before commit.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog.h"
#include "common/hashfn.h"
#include "counter.h"
#include "decimal.h"
#include "fmgr.h"
#include "funcapi.h"
#include "pending.h"
#include "refresh_worker.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(usage_monitor_pending_usage);

/* What one nesting level adds to one counter. */
typedef struct UmDelta
{
	UmPending  *pending;
	int			level;
	int128		whole;			/* tokens, requests */
	Numeric		money;			/* NULL: none */
	bool		live;			/* made by a call, not by a restored row */
	struct UmDelta *below;		/* of the same counter, an outer level */
	struct UmDelta *sibling;	/* of the same level, another counter */
} UmDelta;

/* The deltas of one level. */
typedef struct Level
{
	int			level;
	UmDelta    *deltas;
	struct Level *below;
} Level;

static MemoryContext context;	/* below TopTransactionContext; NULL: nothing pending */
static HTAB *table;
static Level *levels;
static uint64 quotas_known;		/* generation of the quotas that were counted for */

static uint32
pending_hash(const void *key, Size keysize)
{
	const UmPending *k = key;
	uint32		hash = murmurhash32((uint32) k->quota_id);

	hash = hash_combine(hash, murmurhash32((uint32) (k->period_start >> 20)));
	return hash_combine(hash, hash_bytes((const unsigned char *) k->subject.data,
										 k->subject.length));
}

/* The order in which every transaction locks its counters. */
int
um_pending_compare(const UmPending *a, const UmPending *b)
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

static int
pending_match(const void *a, const void *b, Size keysize)
{
	return um_pending_compare(a, b);
}

static int
compare_pointers(const void *a, const void *b)
{
	return um_pending_compare(*(UmPending *const *) a, *(UmPending *const *) b);
}

/* Starts the transaction's table. */
static void
start(void)
{
	HASHCTL		control = {0};

	context = AllocSetContextCreate(TopTransactionContext, "usage_monitor deltas",
									ALLOCSET_DEFAULT_SIZES);
	control.keysize = offsetof(UmPending, top);
	control.entrysize = sizeof(UmPending);
	control.hash = pending_hash;
	control.match = pending_match;
	control.hcxt = context;
	table = hash_create("usage_monitor deltas", 64, &control,
						HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
	levels = NULL;
	quotas_known = um_generation(UM_TOPIC_QUOTA);
}

/* The deltas of a nesting level. */
static Level *
level_of(int number)
{
	Level	   *level;

	Assert(levels == NULL || levels->level <= number);
	if (levels != NULL && levels->level == number)
		return levels;
	level = MemoryContextAlloc(context, sizeof(Level));
	level->level = number;
	level->deltas = NULL;
	level->below = levels;
	levels = level;
	return level;
}

/* The delta of a counter in the running nesting level. */
static UmDelta *
delta_of(UmPending *pending)
{
	int			number = GetCurrentTransactionNestLevel();
	UmDelta    *delta = pending->top;
	Level	   *level;

	if (delta != NULL && delta->level == number)
		return delta;
	level = level_of(number);
	delta = MemoryContextAllocZero(context, sizeof(UmDelta));
	delta->pending = pending;
	delta->level = number;
	delta->below = pending->top;
	delta->sibling = level->deltas;
	level->deltas = delta;
	pending->top = delta;
	return delta;
}

/* Adds money to a delta. */
static void
add_money(UmDelta *delta, Numeric amount, bool negative)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Numeric		before = delta->money;
	Datum		sum;

	if (before == NULL)
		before = int64_to_numeric(0);
	sum = DirectFunctionCall2(negative ? numeric_sub : numeric_add,
							  NumericGetDatum(before), NumericGetDatum(amount));
	pfree(before);
	delta->money = DatumGetNumeric(sum);
	MemoryContextSwitchTo(old);
}

typedef struct CountContext
{
	const UmCounted *row;
	bool		negative;
	bool		live;
} CountContext;

/* Adds the row to one counter. */
static void
count_for_quota(UmQuota *quota, UmString subject, TimestampTz period_start, void *arg)
{
	const CountContext *count = arg;
	UmPending	key;
	UmPending  *pending;
	UmDelta    *delta;
	bool		found;
	int64		whole = 0;

	switch (quota->metric)
	{
		case UM_METRIC_COST:
			if (count->row->cost == NULL)
				return;			/* unpriced: nobody knows */
			break;
		case UM_METRIC_TOKENS:
			whole = count->row->total_tokens;
			break;
		case UM_METRIC_REQUESTS:
			whole = 1;
			break;
	}

	memset(&key, 0, sizeof(key));
	key.quota_id = quota->quota_id;
	key.period_start = period_start;
	key.subject = subject;
	pending = hash_search(table, &key, HASH_ENTER, &found);
	if (!found)
	{
		char	   *copy = MemoryContextAlloc(context, subject.length + 1);

		memcpy(copy, subject.data, subject.length);
		copy[subject.length] = '\0';
		pending->subject.data = copy;
		pending->top = NULL;
		pending->room = NULL;
	}

	delta = delta_of(pending);
	delta->live |= count->live;
	if (quota->metric == UM_METRIC_COST)
		add_money(delta, count->row->cost, count->negative);
	else if (count->negative)
		delta->whole -= whole;
	else
		delta->whole += whole;

	if (quota->blocks && count->live && !count->negative)
		um_counter_check_room(quota, pending, context);
}

/* Counts a row of the ledger, or takes it back. */
void
um_pending_count(const UmCounted *row, bool negative, bool live)
{
	CountContext count = {row, negative, live};

	/* remember that it was counted even if no quota wants it: one may come */
	if (context == NULL)
		start();
	um_quota_visit(row, count_for_quota, &count);
}

/* Has the transaction counted anything? */
bool
um_pending_any(void)
{
	return context != NULL;
}

/* Have the quotas changed since the first row was counted? */
bool
um_pending_stale(void)
{
	return context != NULL && quotas_known != um_generation(UM_TOPIC_QUOTA);
}

/* Forgets all, to count anew. */
void
um_pending_clear(void)
{
	if (context != NULL)
		MemoryContextDelete(context);
	context = NULL;
	table = NULL;
	levels = NULL;
}

/* What a counter is to get, over all nesting levels. */
Numeric
um_pending_sum(const UmPending *pending, bool *live)
{
	Numeric		sum = int64_to_numeric(0);

	*live = false;
	for (UmDelta *delta = pending->top; delta != NULL; delta = delta->below)
	{
		Numeric		amount = delta->money != NULL ? delta->money :
			um_decimal_to_numeric(delta->whole, 0);

		sum = DatumGetNumeric(DirectFunctionCall2(numeric_add, NumericGetDatum(sum),
												  NumericGetDatum(amount)));
		*live |= delta->live;
	}
	return sum;
}

/* What the counter of that name is to get. */
Numeric
um_pending_of(const UmPending *name)
{
	UmPending  *pending = context == NULL ? NULL : hash_search(table, name, HASH_FIND, NULL);
	bool		live;

	return pending == NULL ? int64_to_numeric(0) : um_pending_sum(pending, &live);
}

/* All counters that get something, in locking order. */
UmPending **
um_pending_sorted(int *count)
{
	UmPending **sorted;
	UmPending  *pending;
	HASH_SEQ_STATUS scan;

	*count = 0;
	if (context == NULL)
		return NULL;
	sorted = palloc(sizeof(UmPending *) * (hash_get_num_entries(table) + 1));
	hash_seq_init(&scan, table);
	while ((pending = hash_seq_search(&scan)) != NULL)
		if (pending->top != NULL)
			sorted[(*count)++] = pending;
	qsort(sorted, *count, sizeof(UmPending *), compare_pointers);
	return sorted;
}

/* Gives a committed level's delta to the level above. */
static void
merge_into_parent(UmDelta *delta, int parent_number)
{
	UmDelta    *below = delta->below;

	if (below != NULL && below->level == parent_number)
	{
		below->whole += delta->whole;
		below->live |= delta->live;
		if (delta->money != NULL)
			add_money(below, delta->money, false);
		delta->pending->top = below;
	}
	else
	{
		Level	   *parent = level_of(parent_number);

		delta->level = parent_number;
		delta->sibling = parent->deltas;
		parent->deltas = delta;
	}
}

static void
end_of_subtransaction(SubXactEvent event, SubTransactionId mySubid,
					  SubTransactionId parentSubid, void *arg)
{
	int			number;
	Level	   *level;
	UmDelta    *next;

	if (context == NULL || levels == NULL ||
		(event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB))
		return;
	number = GetCurrentTransactionNestLevel();
	if (levels->level != number)
		return;

	level = levels;
	levels = level->below;
	for (UmDelta *delta = level->deltas; delta != NULL; delta = next)
	{
		next = delta->sibling;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			merge_into_parent(delta, number - 1);
		else
			delta->pending->top = delta->below;
	}
}

static void
end_of_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			um_counter_flush(false);
			um_refresh_start();
			break;
		case XACT_EVENT_PRE_PREPARE:
			um_counter_flush(true);
			um_refresh_start();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			/* the memory goes with the transaction's */
			context = NULL;
			table = NULL;
			levels = NULL;
			um_counter_forget();
			break;
		default:
			break;
	}
}

/* Asks to be told how transactions end. */
void
um_pending_init(void)
{
	RegisterXactCallback(end_of_transaction, NULL);
	RegisterSubXactCallback(end_of_subtransaction, NULL);
}

/* _pending_usage(): what the transaction is going to add, for the views. */
Datum
usage_monitor_pending_usage(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	UmPending **sorted;
	int			count;

	InitMaterializedSRF(fcinfo, 0);
	sorted = um_pending_sorted(&count);
	for (int i = 0; i < count; i++)
	{
		Datum		values[4];
		bool		nulls[4] = {0};
		bool		live;

		values[0] = Int64GetDatum(sorted[i]->quota_id);
		values[1] = PointerGetDatum(cstring_to_text_with_len(sorted[i]->subject.data,
															 sorted[i]->subject.length));
		values[2] = TimestampTzGetDatum(sorted[i]->period_start);
		values[3] = NumericGetDatum(um_pending_sum(sorted[i], &live));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
