/*
 * escrow.c
 *		Escrow: the room of a counter up to the next threshold, shared out to its
 *		rows (counter.c says how).
 */
#include "postgres.h"

#include "base/amount.h"
#include "base/compat.h"
#include "counter/alert_levels.h"
#include "counter/counter_cell.h"
#include "counter/counter_from_ledger.h"
#include "counter/escrow.h"
#include "counter/reserved.h"
#include "miscadmin.h"
#include "storage/lock.h"

/* A slot gets this part of the reserve when it opens or is used up. */
#define GRANT_PART	16

/* Shares have so many decimals at most. */
#define GRANT_SCALE 9

/* The slot that this backend writes. */
int
um_own_slot(void)
{
	return 1 + MyProcNumber % UM_SLOTS;
}

/* One part of the room in so many; zero where it would not last for one more write. */
static Numeric
grant_of(Numeric room, int parts, Numeric delta)
{
	Numeric		grant;

	if (numeric_is_inf(room))
		return room;
	grant = DatumGetNumeric(DirectFunctionCall2(numeric_trunc,
												NumericGetDatum(divided(room, int64_to_numeric(parts))),
												Int32GetDatum(GRANT_SCALE)));
	if (compare(grant, delta) <= 0)
		return zero();
	return grant;
}

/* A number with as many decimals as another has, if it has fewer. */
static Numeric
shown_as(Numeric value, Numeric other)
{
	int			decimals = um_cell_decimals(other);

	if (um_cell_decimals(value) >= decimals)
		return value;
	return DatumGetNumeric(DirectFunctionCall2(numeric_round, NumericGetDatum(value),
											   Int32GetDatum(decimals)));
}

/* Waits for whoever makes the same counter. */
void
um_creation_lock(const UmCounterName *name)
{
	LOCKTAG		tag;

	/* field 4 is 1 or 2 for the locks of SQL's advisory functions */
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) name->quota_id, name->hash, 0x554D);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* Lets go of that lock, where nothing was made. */
void
um_creation_unlock(const UmCounterName *name)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) name->quota_id, name->hash, 0x554D);
	(void) LockRelease(&tag, ExclusiveLock, false);
}

/*
 * Does a delta stay below a row's share?  See um_counter_take.  One downwards may
 * leave a threshold that was reached, which must be noticed.
 */
bool
um_share_fits(const UmQuota *quota, const UmCounterRow *row, Numeric delta)
{
	return !row->lost && row->revision == quota->revision &&
		compare(row->share, zero()) > 0 && compare(delta, row->share) < 0 &&
		(compare(delta, zero()) >= 0 || (row->raised != NULL && row->raised[0] == '\0'));
}

/* Gives a part of the header's reserve to one's own slot. */
void
um_share_grant_to_own_slot(UmCounters *counters, const UmQuota *quota, const UmCounterName *name,
						   UmCounterRow *header, Numeric delta)
{
	Numeric		grant = grant_of(header->share, GRANT_PART, delta);
	UmCounterRow slot;

	if (compare(grant, zero()) <= 0)
		return;

	/* another backend may have the same slot: wait for it */
	if (!(um_counter_read(counters, name, um_own_slot(), &slot) && um_counter_lock(counters, &slot)))
		slot = (UmCounterRow) {.name = name, .slot = um_own_slot(), .used = zero(), .share = zero()};
	else if (slot.lost)
		return;					/* until somebody collects */
	slot.share = plus(slot.share, grant);
	slot.used = shown_as(slot.used, header->used);
	slot.revision = quota->revision;
	slot.raised = header->raised;
	um_counter_write(counters, &slot);
	header->share = left_of(header->share, grant);
}

/* Forgets what the rows of a counter say, and goes by the ledger's sum. */
static void
begin_anew(UmCounters *counters, const UmQuota *quota, const UmCounterName *name, UmCollected *all)
{
	for (int i = 0; i < all->nslots; i++)
		um_counter_delete(counters, &all->slots[i]);
	all->nslots = all->nopen = 0;
	all->total = um_ledger_sum(quota, name);
	all->header.used = all->total;
}

/* With the header locked: locks the open slots, which tells the exact sum. */
void
um_shares_collect(UmCounters *counters, const UmQuota *quota, const UmCounterName *name, UmCollected *all)
{
	bool		lost = all->header.lost;

	all->nslots = all->header.tuple == NULL ? 0 : um_counter_read_slots(counters, name, all->slots);
	all->nopen = 0;
	all->total = all->header.used;
	for (int i = 0; i < all->nslots; i++)
	{
		UmCounterRow *slot = &all->slots[i];

#ifdef UM_BREAK_COLLECTION
		/* for test/attack, to show that it sees what goes wrong then */
		all->is_open[i] = false;
#else
		all->is_open[i] = compare(slot->share, zero()) > 0;
#endif
		if (all->is_open[i])
		{
			if (!um_counter_lock(counters, slot))
				elog(ERROR, "a slot of a counter disappeared");
			all->nopen++;
		}
		all->total = plus(all->total, slot->used);
		lost |= slot->lost;
	}
	if (lost)
		begin_anew(counters, quota, name, all);

	/* after the wait: who settled a reservation meanwhile is in the sum */
	all->reserved = quota->blocks ? um_reserved(name, true) : zero();
}

/* Does a blocking quota have room for so much more? */
bool
um_shares_have_room(const UmQuota *quota, const UmCollected *all, Numeric more)
{
	return !quota->blocks ||
		compare(plus(plus(all->total, all->reserved), more), quota->amount) <= 0;
}

/*
 * Shares out what room there is up to the next threshold, and below the
 * amount of a blocking quota; where it is not worth it, folds the slots into
 * the header.  The caller writes the header.
 */
void
um_shares_give_out(UmCounters *counters, const UmQuota *quota, UmCollected *all, Numeric delta)
{
	UmCounterRow *header = &all->header;
	Numeric		room = amount_of_text("Infinity");	/* no threshold ahead */
	Numeric		share;

	if (header->revision != quota->revision || um_levels_are_late(header))
		room = zero();			/* somebody has to look at the thresholds first, or to tell of it */
	else
	{
		if (header->next_threshold != NULL)
			room = minus(header->next_threshold, all->total);
		if (quota->blocks)
		{
			Numeric		left = minus(quota->amount, plus(all->total, all->reserved));

			if (compare(left, room) < 0)
				room = compare(left, zero()) > 0 ? left : zero();
		}
	}

	share = all->nopen == 0 || compare(room, zero()) == 0 ? zero() :
		grant_of(room, 2 * Max(all->nopen, GRANT_PART / 2), delta);
	for (int i = 0; i < all->nslots; i++)
	{
		UmCounterRow *slot = &all->slots[i];

		if (!all->is_open[i])
			continue;
		if (compare(share, zero()) > 0)
		{
			slot->share = share;
			slot->revision = header->revision;
			slot->raised = header->raised;
			um_counter_write(counters, slot);
		}
		else
		{
			header->used = plus(header->used, slot->used);
			um_counter_delete(counters, slot);
		}
	}
	header->share = left_of(room, numeric_is_inf(share) ? zero() : times(share, int64_to_numeric(all->nopen)));
}

/*
 * Locks the header of a counter; makes it if there is none, or the caller
 * knows it is missing, with what the ledger holds for it.
 */
void
um_header_lock(UmCounters *counters, const UmQuota *quota, const UmCounterName *name,
			   bool is_missing, UmCounterRow *header)
{
	bool		exists = !is_missing && um_counter_read(counters, name, UM_HEADER, header);

	/* who has the table's lock need not wait for others that make counters */
	if (!exists && counters->lockmode < ShareRowExclusiveLock)
	{
		um_creation_lock(name);
		exists = um_counter_read(counters, name, UM_HEADER, header);
	}
	if (exists)
	{
		if (!um_counter_lock(counters, header))
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("a counter of quota \"%s\" was rebuilt meanwhile", quota->name),
					 errhint("Try the transaction again.")));
		return;
	}

	memset(header, 0, sizeof(UmCounterRow));
	header->name = name;
	header->slot = UM_HEADER;
	header->share = zero();
	if (name->period_start >= quota->counted_since)
	{
		header->used = zero();
		header->raised = "";
	}
	else
		header->used = um_ledger_sum(quota, name);
}
