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
#include "base/amount.h"
#include "base/catalog.h"
#include "base/decimal.h"
#include "counter/pending.h"
#include "quota/quota_cache.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/fmgrprotos.h"
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

/* Where a counter is found. */
typedef struct Filed
{
	const UmCounterName *name;	/* the counter's */
	UmPending  *pending;
	char		status;
} Filed;

#define SH_PREFIX um_filed
#define SH_ELEMENT_TYPE Filed
#define SH_KEY_TYPE const UmCounterName *
#define SH_KEY name
#define SH_HASH_KEY(filed, key) (key)->hash
#define SH_EQUAL(filed, a, b) (um_counter_name_compare(a, b) == 0)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static bool is_closed;			/* the counters get it now */
static MemoryContext context;	/* kept for the next transaction, emptied at each end */
static struct um_filed_hash *filed; /* NULL: the transaction has counted nothing */
static Level *levels;
static uint64 quotas_known;		/* generation of the quotas that were counted for */

static int
compare_pointers(const void *a, const void *b)
{
	return um_counter_name_compare(&(*(UmPending *const *) a)->name, &(*(UmPending *const *) b)->name);
}

/* Starts the transaction's table. */
static void
start(void)
{
	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "usage_monitor deltas",
										ALLOCSET_DEFAULT_SIZES);
	filed = um_filed_create(context, 16, NULL);
	levels = NULL;
	quotas_known = um_generation(UM_TOPIC_QUOTA);
}

/* The counter of that name, or NULL. */
UmPending *
um_pending_find(const UmCounterName *name)
{
	Filed	   *found = filed == NULL ? NULL : um_filed_lookup(filed, name);

	return found == NULL ? NULL : found->pending;
}

/* Makes a counter of that name, which has nothing yet. */
static UmPending *
make(const UmCounterName *name)
{
	UmPending  *pending;
	char	   *subject;
	bool		found;

	pending = MemoryContextAlloc(context, sizeof(UmPending) + name->subject.length + 1);
	subject = (char *) (pending + 1);
	memcpy(subject, name->subject.data, name->subject.length);
	subject[name->subject.length] = '\0';
	pending->name = *name;
	pending->name.subject.data = subject;
	pending->top = NULL;
	pending->room = NULL;
	pending->user = (UmString) {NULL, 0};
	pending->user_space = 0;
	pending->is_missing = false;
	um_filed_insert(filed, &pending->name, &found)->pending = pending;
	return pending;
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

/* Has a counter looked at before commit; returns what it is to get, nothing yet if it is new. */
UmDelta *
um_pending_want(const UmCounterName *name)
{
	UmPending  *pending;

	if (filed == NULL)
		start();
	pending = um_pending_find(name);
	return delta_of(pending != NULL ? pending : make(name));
}

/* Adds money to a delta. */
static void
add_money(UmDelta *delta, Numeric amount, bool negative)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Numeric		before = delta->money;

	if (before != NULL)
	{
		delta->money = negative ? minus(before, amount) : plus(before, amount);
		pfree(before);
	}
	else if (negative)
		delta->money = DatumGetNumeric(DirectFunctionCall1(numeric_uminus,
														   NumericGetDatum(amount)));
	else
		delta->money = DatumGetNumericCopy(NumericGetDatum(amount));
	MemoryContextSwitchTo(old);
}

/* Notes whose call was counted last. */
static void
note_user(UmPending *pending, UmString user)
{
	if (user.data == NULL)
		user.length = 0;
	if (user.length > pending->user_space)
	{
		pending->user_space = Max(user.length, 64);
		pending->user.data = MemoryContextAlloc(context, pending->user_space);
	}
	if (user.length > 0)
		memcpy((char *) pending->user.data, user.data, user.length);
	pending->user.length = user.length;
}

/* Adds the row to one counter. */
static void
count_for_quota(const UmTouch *touch, const UmCounted *row, bool negative, bool live)
{
	UmDelta    *delta;
	int64		whole = 0;

	switch (touch->quota->metric)
	{
		case UM_METRIC_COST:
			if (row->cost == NULL)
				return;			/* unpriced: nobody knows */
			break;
		case UM_METRIC_TOKENS:
			whole = row->total_tokens;
			break;
		case UM_METRIC_REQUESTS:
			whole = !row->is_correction;
			break;
	}

	delta = um_pending_want(&touch->name);
	delta->live |= live;
	if (live)
		note_user(delta->pending, row->subject[UM_SCOPE_USER]);
	if (touch->quota->metric == UM_METRIC_COST)
		add_money(delta, row->cost, negative);
	else if (negative)
		delta->whole -= whole;
	else
		delta->whole += whole;
}

/* Counts a row of the ledger, or takes it back; tells which counters it touched. */
void
um_pending_count(const UmCounted *row, bool negative, bool live, UmTouches *touched)
{
	/* remember that it was counted even if no quota wants it: one may come */
	if (filed == NULL)
		start();
	um_quotas_load();
	um_quotas_touched(row, touched);
	for (int i = 0; i < touched->count; i++)
		count_for_quota(&touched->touches[i], row, negative, live);
}

/* Adds an adjustment to a counter, in whatever unit it has. */
void
um_pending_adjust(const UmCounterName *name, Numeric amount)
{
	UmDelta    *delta = um_pending_want(name);

	um_quotas_load();
	delta->live = true;
	add_money(delta, amount, false);
}

/* Keeps what room a quota had, as long as the transaction's table. */
Numeric
um_pending_copy_room(Numeric room)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Numeric		copy = DatumGetNumericCopy(NumericGetDatum(room));

	MemoryContextSwitchTo(old);
	return copy;
}

/* Has the transaction counted anything? */
bool
um_pending_any(void)
{
	return filed != NULL;
}

/* How many counters the transaction has something for, at most. */
int
um_pending_number(void)
{
	return filed != NULL ? (int) filed->members : 0;
}

/* Have the quotas changed since the first row was counted? */
bool
um_pending_stale(void)
{
	return filed != NULL && quotas_known != um_generation(UM_TOPIC_QUOTA);
}

/* From here on, or no more, the counters get what they are to get. */
void
um_pending_close(bool closed)
{
	is_closed = closed;
}

/* Refuses what would come too late: what a trigger of an alert does. */
void
um_pending_refuse_closed(const char *what)
{
	if (is_closed)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot %s while counters are written", what),
				 errhint("Let a trigger of table alert write to a table of its own, and do the rest from there in another transaction.")));
}

/* Forgets all, to count anew. */
void
um_pending_clear(void)
{
	if (filed != NULL)
		MemoryContextReset(context);
	filed = NULL;
	is_closed = false;
	levels = NULL;
}

/* What one level adds. */
static Numeric
amount_of(const UmDelta *delta)
{
	Numeric		whole;

	if (delta->money != NULL && delta->whole == 0)
		return delta->money;
	whole = um_decimal_to_numeric(delta->whole, 0);
	if (delta->money == NULL)
		return whole;
	return plus(delta->money, whole);
}

/* What a counter is to get, over all nesting levels. */
Numeric
um_pending_sum(const UmPending *pending, bool *live)
{
	UmDelta    *delta = pending->top;
	Numeric		sum;

	*live = false;
	if (delta == NULL)
		return int64_to_numeric(0);
	sum = amount_of(delta);
	*live = delta->live;
	while ((delta = delta->below) != NULL)
	{
		sum = plus(sum, amount_of(delta));
		*live |= delta->live;
	}
	return sum;
}

/* What the counter of that name is to get. */
Numeric
um_pending_of(const UmCounterName *name)
{
	UmPending  *pending = um_pending_find(name);
	bool		live;

	return pending == NULL ? int64_to_numeric(0) : um_pending_sum(pending, &live);
}

/* All counters that get something, in locking order. */
UmPending **
um_pending_sorted(int *nsorted)
{
	UmPending **sorted;
	um_filed_iterator scan;
	Filed	   *each;

	*nsorted = 0;
	if (filed == NULL)
		return NULL;
	sorted = palloc_extended(sizeof(UmPending *) * (filed->members + 1), MCXT_ALLOC_HUGE);
	um_filed_start_iterate(filed, &scan);
	while ((each = um_filed_iterate(filed, &scan)) != NULL)
		if (each->pending->top != NULL)
			sorted[(*nsorted)++] = each->pending;
	if (*nsorted > 1)
		qsort(sorted, *nsorted, sizeof(UmPending *), compare_pointers);
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

/* A subtransaction ends, which was the running nesting level. */
void
um_pending_end_level(bool committed)
{
	int			number = GetCurrentTransactionNestLevel();
	Level	   *level = levels;
	UmDelta    *next;

	if (filed == NULL || level == NULL || level->level != number)
		return;
	levels = level->below;
	for (UmDelta *delta = level->deltas; delta != NULL; delta = next)
	{
		next = delta->sibling;
		if (committed)
			merge_into_parent(delta, number - 1);
		else
			delta->pending->top = delta->below;
	}
}

/* _pending_usage(): what the transaction is going to add, for the views. */
Datum
usage_monitor_pending_usage(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	UmPending **sorted;
	int			nsorted;

	InitMaterializedSRF(fcinfo, 0);
	sorted = um_pending_sorted(&nsorted);
	for (int i = 0; i < nsorted; i++)
	{
		Datum		values[4];
		bool		nulls[4] = {0};
		bool		live;

		/* the transaction may have recorded as somebody else before */
		if (!um_quota_may_see(sorted[i]->name.quota_id, sorted[i]->name.subject))
			continue;
		values[0] = Int64GetDatum(sorted[i]->name.quota_id);
		values[1] = um_string_text(sorted[i]->name.subject);
		values[2] = TimestampTzGetDatum(sorted[i]->name.period_start);
		values[3] = NumericGetDatum(um_pending_sum(sorted[i], &live));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
