/*
 * counter.c
 *		The counters: what each quota's subject has used in each period.
 *
 * Escrow.  A counter is a header and, once several transactions want it at
 * the same time, slots.  The room up to the next threshold is shared out:
 * some to each slot, the rest (the reserve) to the header.  Always
 *
 *		next threshold = header.used + sum (slot.used)
 *						 + reserve + sum (share),	reserve > 0 or no share open,
 *
 * so a writer that stays below the share of its own slot cannot be the one
 * that reaches the threshold, whatever the others do, and looks at no one.
 * One that would not stay below it locks the header and takes from the
 * reserve; one for which the reserve does not suffice locks the slots as
 * well, which waits for those in flight: then it knows the exact sum, refuses
 * or raises what is due, and shares out anew; close to a threshold it folds
 * the slots into the header.  A slot whose share is 0 is closed, and written
 * only by the holder of the header.
 *
 * Just before commit the transaction's deltas are applied in one order that
 * all transactions share: counter by counter, of each the header before the
 * slots.  So there is no deadlock.
 *
 * Two things make counters begin right.  A flush takes ROW EXCLUSIVE on the
 * table of counters and a transaction that changed quotas takes SHARE ROW
 * EXCLUSIVE, both only here, at the very end: so every flush either has
 * committed before a quota appears, and is in the ledger's sum that its
 * counters start from, or knows the quota.  Most of that sum was made before
 * the lock is taken, so others wait only for what came meanwhile.  And a counter whose period began
 * before its quota was complete starts from the ledger's sum, under a lock of
 * its own.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/amount.h"
#include "base/catalog.h"
#include "base/progress.h"
#include "base/replicated.h"
#include "catalog/pg_inherits.h"
#include "counter/alert_levels.h"
#include "counter/counter.h"
#include "counter/counter_cell.h"
#include "counter/counter_from_ledger.h"
#include "counter/counter_recount.h"
#include "counter/counter_row.h"
#include "counter/escrow.h"
#include "counter/pending.h"
#include "counter/quota_change.h"
#include "counter/reserved.h"
#include "counter/room_check.h"
#include "miscadmin.h"
#include "quota/late_alert.h"
#include "quota/quota_cache.h"
#include "storage/lmgr.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* More counters than this in one transaction, and it flushes alone. */
#define MANY_COUNTERS	500

/*
 * Where this backend met others, so that it looks at its slot first, and
 * elsewhere at the header.  A slot is worth its row where the backend comes
 * often, or meets others time after time.  Only a matter of speed: both are
 * right.
 */
typedef struct Contention
{
	uint32		hash;
	int			met;			/* how often, one time after another */
	uint64		last;			/* flush in which the backend was there; 0: never */
} Contention;

static Contention contention[1024];
static uint64 flush_number;

#ifndef UM_CONTENDED			/* test/attack has less, for more slots */
#define UM_CONTENDED 3
#endif

/* So few flushes between two visits are often. */
#define OFTEN 32

/* Is the counter one where others are in the way? */
static bool
was_contended(const UmCounterName *name)
{
	Contention *entry = &contention[name->hash % lengthof(contention)];

	if (entry->hash != name->hash || entry->met < UM_CONTENDED)
		return false;
	entry->last = flush_number;
	return true;
}

/* Notes whether others were in the way at the header; returns whether it is to be a slot from now on. */
static bool
note_contention(const UmCounterName *name, bool met)
{
	Contention *entry = &contention[name->hash % lengthof(contention)];
	bool		often;

	if (entry->hash != name->hash)
	{
		/* who knows a hot one keeps it */
		if (!met && entry->met >= UM_CONTENDED && flush_number - entry->last <= OFTEN)
			return false;
		entry->hash = name->hash;
		entry->met = 0;
		entry->last = 0;
	}
	often = entry->last != 0 && flush_number - entry->last <= OFTEN;
	entry->last = flush_number;
	if (!met)
		entry->met = 0;
	else
		entry->met += often ? UM_CONTENDED : 1;
	return entry->met >= UM_CONTENDED;
}

/*
 * The fast way: from the header, where nobody shares the counter, or from
 * one's own slot.  *contended says whether others were in the way, or the slot
 * was used up.
 */
static bool
apply_fast(UmCounters *counters, const UmQuota *quota, const UmCounterName *name,
		   Numeric delta, bool *contended)
{
	int			decimals = um_cell_decimals(delta);
	int128		units;
	UmTaking	taking;

	*contended = was_contended(name);
	if (!um_cell_units(delta, &units))
		return false;
	if (*contended &&
		(taking = um_counter_take(counters, name, um_own_slot(), quota->revision, units, decimals)) != UM_NO_ROW)
		return taking == UM_TAKEN;

	taking = um_counter_take(counters, name, UM_HEADER, quota->revision, units, decimals);
	if (!*contended && (taking == UM_TAKEN || taking == UM_IN_USE))
		*contended = note_contention(name, taking == UM_IN_USE);
	return taking == UM_TAKEN;
}

/*
 * With the header locked: knows the exact sum; refuses, or raises what is
 * due; shares out anew.  What is recorded of a period that is over was spent,
 * and is not refused, nor is what comes by replication.  A delta that is not
 * live (restored rows) raises nothing and is never refused, for that was done
 * where it comes from; the next live one looks.
 */
static void
add_exactly(UmCounters *counters, const UmQuota *quota, const UmPending *pending,
			UmCollected *all, Numeric delta, bool live, bool notify)
{
	const UmCounterName *name = &pending->name;
	UmCounterRow *header = &all->header;
	bool		over = um_period_is_over(quota, name->period_start);

	um_shares_collect(counters, quota, name, all);
	if (live && !over && !um_is_replicated() && compare(delta, zero()) > 0 &&
		!um_shares_have_room(quota, all, delta))
		um_room_refuse(quota, name, all->total, all->reserved, delta);

	um_levels_leave(quota, header, all->total);
	header->used = plus(header->used, delta);
	all->total = plus(all->total, delta);
	header->revision = live ? quota->revision : 0;
	if (live)
		um_levels_raise(quota, pending, header, all->total, over, notify);
	else
	{
		header->next_threshold = NULL;
		header->raised = NULL;
	}
	um_shares_give_out(counters, quota, all, delta);
}

/* The slow way: under the header's lock. */
static void
apply_slow(UmCounters *counters, const UmQuota *quota, const UmPending *pending,
		   Numeric delta, bool live, bool contended, bool notify)
{
	const UmCounterName *name = &pending->name;
	UmCollected all;
	UmCounterRow *header = &all.header;

	um_header_lock(counters, quota, name, pending->is_missing, header);
	if (um_share_fits(quota, header, delta))
	{
		header->used = plus(header->used, delta);
		header->share = left_of(header->share, delta);
		if (contended)
			um_share_grant_to_own_slot(counters, quota, name, header, delta);
	}
	else
		add_exactly(counters, quota, pending, &all, delta, live, notify);
	um_counter_write(counters, header);
}

/*
 * Counts a row of the ledger, or takes it back, for the end of the
 * transaction; refuses now what a blocking quota has no room for.
 */
void
um_counter_count(const UmCounted *row, bool negative, bool live)
{
	UmTouches	touched;

	um_pending_refuse_closed("record calls");
	um_pending_count(row, negative, live, &touched);
	if (!live || negative || um_is_replicated())
		return;
	for (int i = 0; i < touched.count; i++)
	{
		const UmTouch *touch = &touched.touches[i];
		UmPending  *pending;

		if (touch->quota->blocks && touch->end > GetCurrentTransactionStartTimestamp() &&
			(pending = um_pending_find(&touch->name)) != NULL)
			um_room_check(touch->quota, pending);
	}
}

/*
 * Has the ledger summed up for all counters that begin late, at once.  Who
 * makes one meanwhile is noticed under its lock; who flushes alone need not
 * look for it again.
 */
static void
expect_sums(UmCounters *counters, UmPending **sorted, int count, bool alone)
{
	const UmCounterName **late = palloc_extended(sizeof(UmCounterName *) * (count + 1),
												 MCXT_ALLOC_HUGE);
	int			nlate = 0;

	for (int i = 0; i < count; i++)
	{
		const UmCounterName *name = &sorted[i]->name;
		const UmQuota *quota = um_quota_by_id(name->quota_id);
		UmCounterRow row;

		CHECK_FOR_INTERRUPTS();
		if (quota != NULL && name->period_start < quota->counted_since &&
			!um_counter_read(counters, name, UM_HEADER, &row))
		{
			late[nlate++] = name;
			sorted[i]->is_missing = alone;
		}
	}
	if (nlate > 1)
		um_ledger_sums_expect(late, nlate);
	pfree(late);
}

/*
 * Must a flush keep others from flushing?  Where quotas have changed; and where
 * it may make very many counters, instead of holding a lock for each, which the
 * server has not.  Not if it holds counters by a reservation already: others may
 * wait for these.
 */
static bool
must_flush_alone(void)
{
	return um_quota_change_any() ||
		(um_pending_number() > MANY_COUNTERS && !um_reserving_holds_counters());
}

/* Applies to a counter what the transaction has pending for it. */
static void
apply(UmCounters *counters, const UmPending *pending, bool notify)
{
	UmQuota    *quota = um_quota_by_id(pending->name.quota_id);
	bool		contended = false;
	bool		live;
	Numeric		delta;

	if (quota == NULL)
		return;					/* it was dropped or disabled */
	delta = um_pending_sum(pending, &live);
	if (um_quota_change_is_born(quota, pending->name.period_start))
		delta = zero();			/* the ledger's sum has it */
	live |= um_quota_change_is_live(quota);

	if (pending->is_missing || !apply_fast(counters, quota, &pending->name, delta, &contended))
	{
		apply_slow(counters, quota, pending, delta, live, contended, notify);
		CommandCounterIncrement();
	}
}

/* Applies what the transaction has pending, and what it did to quotas. */
void
um_counter_flush(bool is_prepare)
{
	static MemoryContext context = NULL;
	bool		quotas_changed = um_quota_change_any();
	bool		is_shown = false;
	bool		alone;
	MemoryContext old;
	UmCounters	counters;
	UmPending **sorted;
	List	   *reached = NIL;
	int			count;

	if (!(quotas_changed || um_pending_any()) || !OidIsValid(um_relation(UM_COUNTER_ROW)))
		return;
	if (quotas_changed && is_prepare)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot PREPARE a transaction that has changed quotas"),
				 errhint("It would keep everybody from recording until it ends. Change quotas in a transaction of their own.")));

	/*
	 * Without any quota there is nothing to do, but whether there is one is
	 * known only under the lock.
	 */
	flush_number++;
	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "usage_monitor flush",
										ALLOCSET_DEFAULT_SIZES);
	else
		MemoryContextReset(context);	/* the last one may have failed */
	old = MemoryContextSwitchTo(context);
	/* the ledger's sums are to have what the last statement recorded */
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());

	/*
	 * Counters of changed quotas are made from the ledger: lock that first, as
	 * whoever loads a partition does (pg_restore locks it exclusively), and
	 * before its partitions, as who makes one does.
	 */
	if (quotas_changed)
	{
		is_shown = um_progress_begin("make counters");
		LockRelationOid(um_relation(UM_USAGE), AccessShareLock);
		(void) find_all_inheritors(um_relation(UM_USAGE), AccessShareLock, NULL);
		um_quota_change_prepare();
		um_progress_phase("waiting for writers", 0);
	}
	alone = must_flush_alone();
	if (alone && is_prepare)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot PREPARE a transaction that has counted for more than %d counters",
						MANY_COUNTERS),
				 errhint("It would keep everybody from recording until it ends. COMMIT it, or record fewer users, sessions or tags at once.")));
	um_counters_open(&counters, alone ? ShareRowExclusiveLock : RowExclusiveLock);
	/* nothing of a flush is ever taken back but by the end of the transaction */
	counters.in_place = true;
	AcceptInvalidationMessages();

	if (quotas_changed)
	{
		um_progress_phase("writing counters", 0);
		reached = um_quota_change_apply(&counters);
	}
	if (um_pending_stale())
		um_recount();

	if (quotas_changed)
		um_quota_change_look(reached);
	sorted = um_pending_sorted(&count);
	expect_sums(&counters, sorted, count, alone);
	um_pending_close(true);
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		apply(&counters, sorted[i], !is_prepare);
	}
	um_late_raise(alone, !is_prepare);
	um_pending_close(false);
	um_counters_settle(&counters);
	um_counters_close(&counters, NoLock);
	um_ledger_sums_forget();
	um_progress_end(is_shown);
	PopActiveSnapshot();
	MemoryContextSwitchTo(old);
	MemoryContextReset(context);
}
