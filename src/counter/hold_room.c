/*
 * hold_room.c
 *		Holding room in counters for reservations.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/amount.h"
#include "counter/counter_cell.h"
#include "counter/counter_from_ledger.h"
#include "counter/counter_place.h"
#include "counter/escrow.h"
#include "counter/hold_room.h"
#include "counter/pending.h"
#include "counter/reserved.h"
#include "quota/quota_cache.h"

/*
 * With nothing locked: how much of a counter can be used before somebody
 * collects the shares, and so looks at what is reserved?  False if somebody
 * may be doing so now.
 */
static bool
most_used(UmCounters *counters, const UmQuota *quota, const UmCounterName *name, Numeric *most)
{
	UmCounterRow header;
	Numeric		used;
	Numeric		room;
	bool		lost;
	bool		exists = um_counter_read(counters, name, UM_HEADER, &header);

	if (!exists)
	{
		/* nobody is making it either, once this lock was had */
		um_creation_lock(name);
		exists = um_counter_read(counters, name, UM_HEADER, &header);
		um_creation_unlock(name);
	}
	if (!exists)
	{
		*most = name->period_start >= quota->counted_since ? zero() : um_ledger_sum(quota, name);
		return true;
	}
	if (um_counter_is_taken(counters, name, UM_HEADER) ||
		!um_counter_sum(counters, name, &header, &used, &room, &lost) || lost ||
		um_counter_is_taken(counters, name, UM_HEADER))
		return false;
	/* what a call adds to used it takes from the share, so that their sum stays */
	*most = plus(used, room);
	return true;
}

/*
 * Does a counter hold what a reservation wants, without anybody having to wait
 * for its transaction?  It is taken from a share, or it fits beside all that can
 * be used before somebody collects.  For real once the reservation is stored:
 * whoever collects later sees it, committed or not.
 */
static bool
hold(UmCounters *counters, const UmQuota *quota, const UmCounterName *name, Numeric wanted,
	 bool for_real)
{
	Numeric		beside = um_pending_of(name);	/* is to be paid yet */
	int128		units;
	int128		beside_units;
	Numeric		most;

	/* what costs nothing is let in over the limit, too, as INSERT does */
	if (compare(wanted, zero()) == 0)
		return true;
	if (compare(beside, zero()) < 0)
		beside = zero();
	if (um_cell_units(wanted, &units) && um_cell_units(beside, &beside_units) &&
		((um_place_find(name, um_own_slot()) != NULL && /* or there is hardly one */
		  um_counter_withhold(counters, name, um_own_slot(), quota->revision, units, beside_units, for_real)) ||
		 um_counter_withhold(counters, name, UM_HEADER, quota->revision, units, beside_units, for_real)))
		return true;
	if (!most_used(counters, quota, name, &most))
		return false;
	most = plus(plus(most, um_reserved(name, true)), beside);
	if (!for_real)
		most = plus(most, wanted);
	return compare(most, quota->amount) <= 0;
}

/* Do all counters hold what a reservation wants, without a lock that stays? */
bool
um_counter_hold(const UmCounterName *names, const Numeric *wanted, int count, bool for_real)
{
	UmCounters	counters;
	bool		result = true;

	um_counters_open(&counters, RowExclusiveLock);
	for (int i = 0; i < count && result; i++)
		result = hold(&counters, um_quota_by_id(names[i].quota_id), &names[i], wanted[i], for_real);
	um_counters_close(&counters, RowExclusiveLock);
	return result;
}

/*
 * Reserves for all counters, or for none, under their locks: returns the first
 * that has no room, or -1.  The names are in locking order; what each is to
 * hold comes with it, or is stored already.
 */
int
um_counter_reserve(const UmCounterName *names, const Numeric *wanted, int count, bool is_stored)
{
	UmCollected *all = palloc(sizeof(UmCollected) * count);
	int			refused = -1;
	UmCounters	counters;

	um_reserving_note(true);
	um_counters_open(&counters, RowExclusiveLock);
	for (int i = 0; i < count; i++)
	{
		UmQuota    *quota = um_quota_by_id(names[i].quota_id);
		Numeric		more = is_stored ? zero() : wanted[i];
		bool		is_free = compare(wanted[i], zero()) == 0;

		um_header_lock(&counters, quota, &names[i], false, &all[i].header);
		um_shares_collect(&counters, quota, &names[i], &all[i]);
		/* what the transaction has recorded comes on top, at its end */
		if (refused < 0 && !is_free &&
			!um_shares_have_room(quota, &all[i], plus(more, um_pending_of(&names[i]))))
			refused = i;
	}
	for (int i = 0; i < count; i++)
	{
		UmQuota    *quota = um_quota_by_id(names[i].quota_id);

		if (is_stored && refused >= 0)
			all[i].reserved = minus(all[i].reserved, wanted[i]);
		if (!is_stored && refused < 0)
			all[i].reserved = plus(all[i].reserved, wanted[i]);
		um_shares_give_out(&counters, quota, &all[i], wanted[i]);
		um_counter_write(&counters, &all[i].header);
	}
	um_counters_close(&counters, NoLock);
	CommandCounterIncrement();
	return refused;
}
