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
 * counters start from, or knows the quota.  And a counter whose period began
 * before its quota was complete starts from the ledger's sum, under a lock of
 * its own.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/catalog.h"
#include "base/error.h"
#include "base/replicated.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "counter/counter.h"
#include "counter/counter_cell.h"
#include "counter/counter_from_ledger.h"
#include "counter/counter_recount.h"
#include "counter/counter_row.h"
#include "counter/pending.h"
#include "counter/quota_change.h"
#include "counter/reserved.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_func.h"
#include "quota/alert.h"
#include "quota/late_alert.h"
#include "quota/quota_cache.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* A slot gets this part of the reserve when it opens or is used up. */
#define GRANT_PART	16

/* More counters than this in one transaction, and it flushes alone. */
#define MANY_COUNTERS	500

/* Shares have so many decimals at most. */
#define GRANT_SCALE 9

static int
compare(Numeric a, Numeric b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a), NumericGetDatum(b)));
}

static Numeric
plus(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_add, NumericGetDatum(a), NumericGetDatum(b)));
}

static Numeric
minus(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_sub, NumericGetDatum(a), NumericGetDatum(b)));
}

static Numeric
times(Numeric a, int n)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_mul, NumericGetDatum(a),
											   NumericGetDatum(int64_to_numeric(n))));
}

static Numeric
zero(void)
{
	return int64_to_numeric(0);
}

/* No threshold ahead: there is room for ever. */
static Numeric
infinity(void)
{
	return DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum("Infinity"),
											   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

static char *
shown(Numeric value)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value)));
}

/* The slot that this backend writes. */
static int
own_slot(void)
{
#if PG_VERSION_NUM >= 170000
	return 1 + MyProcNumber % UM_SLOTS;
#else
	return 1 + MyBackendId % UM_SLOTS;
#endif
}

/* One part of the room in so many; zero where it would not last for one more write. */
static Numeric
grant_of(Numeric room, int parts, Numeric delta)
{
	Numeric		grant;

	if (numeric_is_inf(room))
		return room;
	grant = DatumGetNumeric(DirectFunctionCall2(numeric_div, NumericGetDatum(room),
												NumericGetDatum(int64_to_numeric(parts))));
	grant = DatumGetNumeric(DirectFunctionCall2(numeric_trunc, NumericGetDatum(grant),
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

/* What is left of a room after something was taken; an infinite one stays. */
static Numeric
left_of(Numeric room, Numeric taken)
{
	return numeric_is_inf(room) ? room : minus(room, taken);
}

/* Waits for whoever makes the same counter. */
static void
lock_creation(const UmCounterName *name)
{
	LOCKTAG		tag;

	/* field 4 is 1 or 2 for the locks of SQL's advisory functions */
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) name->quota_id, name->hash, 0x554D);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* Lets go of that lock, where nothing was made. */
static void
unlock_creation(const UmCounterName *name)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) name->quota_id, name->hash, 0x554D);
	(void) LockRelease(&tag, ExclusiveLock, false);
}

/* May the user see how much of a quota is used: in its table, or by asking check_quota()? */
static bool
may_see_figures(void)
{
	Oid			check_quota;

	if (pg_class_aclcheck(um_relation(UM_QUOTA), GetUserId(), ACL_SELECT) == ACLCHECK_OK)
		return true;
	check_quota = LookupFuncName(list_make2(makeString(UM_SCHEMA), makeString("check_quota")),
								 -1, NULL, true);
	return OidIsValid(check_quota) &&
#if PG_VERSION_NUM >= 160000
		object_aclcheck(ProcedureRelationId, check_quota, GetUserId(), ACL_EXECUTE) == ACLCHECK_OK;
#else
		pg_proc_aclcheck(check_quota, GetUserId(), ACL_EXECUTE) == ACLCHECK_OK;
#endif
}

/*
 * Refuses what a blocking quota has no room for.  Which quota it was, a program
 * reads from the field that has the name of a violated constraint.
 */
static void
refuse(const UmQuota *quota, const UmCounterName *name, Numeric used, Numeric reserved, Numeric delta)
{
	bool		may_see = may_see_figures();

	ereport(ERROR,
			(errcode(ERRCODE_UM_QUOTA_EXCEEDED),
			 quota->scope == UM_SCOPE_ALL ?
			 errmsg("quota \"%s\" is exceeded", quota->name) :
			 errmsg("quota \"%s\" of %s \"%s\" is exceeded", quota->name,
					um_scope_name(quota->scope),
					pnstrdup(name->subject.data, name->subject.length)),
	/* an application that only inserts need not know the figures */
			 may_see ? errdetail("%s of %s are used and %s reserved, and this adds %s.",
								 shown(used), shown(quota->amount), shown(reserved),
								 shown(delta)) : 0,
			 err_generic_string(PG_DIAG_SCHEMA_NAME, UM_SCHEMA),
			 err_generic_string(PG_DIAG_TABLE_NAME, "quota"),
			 err_generic_string(PG_DIAG_CONSTRAINT_NAME, quota->name),
			 quota->period == UM_PERIOD_LIFETIME ?
			 errhint("Raise the quota with usage_monitor.raise_quota(), or for good with usage_monitor.set_quota().") :
			 errhint("Wait for the next period, or raise the quota with usage_monitor.raise_quota().")));
}

/*
 * Among the levels that a header says are reached: the excess came when the
 * period was over.
 */
#define LATE "late"

/* Is a level one of those that a header says are reached? */
static bool
is_raised(const UmCounterRow *header, const char *level)
{
	const char *rest = header->raised;
	size_t		length = strlen(level);

	while (rest != NULL && *rest != '\0')
	{
		size_t		end = strcspn(rest, ",");

		if (end == length && memcmp(rest, level, length) == 0)
			return true;
		rest += end;
		rest += *rest == ',';
	}
	return false;
}

/*
 * Is a period over?  Not for who began while it ran, so that the answer is the
 * same all through a transaction, and what is recorded as it happens is not late.
 */
static bool
is_over(const UmQuota *quota, TimestampTz period_start)
{
	TimestampTz start;
	TimestampTz end;

	um_period_bounds(quota->period, quota->billing_day, quota->tz, period_start, &start, &end);
	return end <= GetCurrentTransactionStartTimestamp();
}

/*
 * Raises the levels that the usage has reached since the counter was last
 * looked at, and has those that it has left be raised again when it reaches them
 * once more: whatever has moved, the usage or the limit.  Sets where the next
 * one is due.  Of a period that is over only the excess is told, by an alert
 * that goes on to be told of it.
 */
static void
raise_levels(const UmQuota *quota, const UmPending *pending, UmCounterRow *header, Numeric used,
			 bool over, bool notify)
{
	bool		was_late = is_raised(header, LATE);
	bool		is_late = false;
	StringInfoData raised;

	initStringInfo(&raised);
	header->next_threshold = NULL;
	for (int i = 0; i < quota->nlevels; i++)
	{
		const UmLevel *level = &quota->levels[i];

		if (compare(used, level->threshold) < 0)
		{
			header->next_threshold = level->threshold;
			break;
		}
		if (strcmp(level->name, UM_EXCEEDED) == 0)
			is_late = was_late || (over && !is_raised(header, level->name));
		if (!over && !is_raised(header, level->name))
			um_alert_raise(&pending->name, pending->user, level, used, header->raised == NULL, notify);
		appendStringInfo(&raised, "%s%s", raised.len > 0 ? "," : "", level->name);
	}
	if (is_late)
	{
		um_late_note(&pending->name, pending->user, used);
		appendStringInfoString(&raised, "," LATE);
	}
	header->raised = raised.data;
}

/*
 * Does a delta stay below a row's share?  See um_counter_take.  One downwards may
 * leave a threshold that was reached, which must be noticed.
 */
static bool
fits(const UmQuota *quota, const UmCounterRow *row, Numeric delta)
{
	return !row->lost && row->revision == quota->revision &&
		compare(row->share, zero()) > 0 && compare(delta, row->share) < 0 &&
		(compare(delta, zero()) >= 0 || (row->raised != NULL && row->raised[0] == '\0'));
}

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
		(taking = um_counter_take(counters, name, own_slot(), quota->revision, units, decimals)) != UM_NO_ROW)
		return taking == UM_TAKEN;

	taking = um_counter_take(counters, name, UM_HEADER, quota->revision, units, decimals);
	if (!*contended && (taking == UM_TAKEN || taking == UM_IN_USE))
		*contended = note_contention(name, taking == UM_IN_USE);
	return taking == UM_TAKEN;
}

/* Gives a part of the header's reserve to one's own slot. */
static void
grant_to_own_slot(UmCounters *counters, const UmQuota *quota, const UmCounterName *name,
				  UmCounterRow *header, Numeric delta)
{
	Numeric		grant = grant_of(header->share, GRANT_PART, delta);
	UmCounterRow slot;

	if (compare(grant, zero()) <= 0)
		return;

	/* another backend may have the same slot: wait for it */
	if (um_counter_read(counters, name, own_slot(), &slot) && um_counter_lock(counters, &slot))
	{
		if (slot.lost)
			return;				/* until somebody collects */
		slot.share = plus(slot.share, grant);
		slot.used = shown_as(slot.used, header->used);
		slot.revision = quota->revision;
		slot.raised = header->raised;
		um_counter_update(counters, &slot);
	}
	else
	{
		slot.slot = own_slot();
		slot.used = shown_as(zero(), header->used);
		slot.share = grant;
		slot.next_threshold = NULL;
		slot.revision = quota->revision;
		slot.raised = header->raised;
		um_counter_insert(counters, name, &slot);
	}
	header->share = left_of(header->share, grant);
}

/* A counter whose header is locked, with all that makes up its sum. */
typedef struct Collected
{
	UmCounterRow header;
	UmCounterRow slots[UM_SLOTS];
	bool		is_open[UM_SLOTS];
	int			nslots;
	int			nopen;
	Numeric		total;			/* what is used */
	Numeric		reserved;		/* what open reservations hold, of a blocking quota */
} Collected;

/* Forgets what the rows of a counter say, and goes by the ledger's sum. */
static void
begin_anew(UmCounters *counters, const UmQuota *quota, const UmCounterName *name, Collected *all)
{
	for (int i = 0; i < all->nslots; i++)
		um_counter_delete(counters, &all->slots[i]);
	all->nslots = all->nopen = 0;
	all->total = um_ledger_sum(quota, name);
	all->header.used = all->total;
}

/* With the header locked: locks the open slots, which tells the exact sum. */
static void
collect(UmCounters *counters, const UmQuota *quota, const UmCounterName *name, bool is_new,
		Collected *all)
{
	bool		lost = all->header.lost;

	all->nslots = is_new ? 0 : um_counter_read_slots(counters, name, all->slots);
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
static bool
has_room(const UmQuota *quota, const Collected *all, Numeric more)
{
	return !quota->blocks ||
		compare(plus(plus(all->total, all->reserved), more), quota->amount) <= 0;
}

/*
 * Shares out what room there is up to the next threshold, and below the
 * amount of a blocking quota; where it is not worth it, folds the slots into
 * the header.  The caller writes the header.
 */
static void
share_out(UmCounters *counters, const UmQuota *quota, Collected *all, Numeric delta)
{
	UmCounterRow *header = &all->header;
	Numeric		room = infinity();
	Numeric		share;

	if (header->revision != quota->revision || is_raised(header, LATE))
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
			um_counter_update(counters, slot);
		}
		else
		{
			header->used = plus(header->used, slot->used);
			um_counter_delete(counters, slot);
		}
	}
	header->share = left_of(room, numeric_is_inf(share) ? zero() : times(share, all->nopen));
}

/*
 * Where the limit has moved since the counter was looked at: forgets the levels
 * that the usage is below now, for it may reach them once more.
 */
static void
leave_levels(const UmQuota *quota, UmCounterRow *header, Numeric used)
{
	StringInfoData raised;

	if (header->raised == NULL || header->revision == quota->revision)
		return;
	initStringInfo(&raised);
	for (int i = 0; i < quota->nlevels; i++)
		if (is_raised(header, quota->levels[i].name) && compare(used, quota->levels[i].threshold) >= 0)
			appendStringInfo(&raised, "%s%s", raised.len > 0 ? "," : "", quota->levels[i].name);
	if (is_raised(header, LATE))
		appendStringInfoString(&raised, "," LATE);
	header->raised = raised.data;
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
			bool is_new, Collected *all, Numeric delta, bool live, bool notify)
{
	const UmCounterName *name = &pending->name;
	UmCounterRow *header = &all->header;
	bool		over = is_over(quota, name->period_start);

	collect(counters, quota, name, is_new, all);
	if (live && !over && !um_is_replicated() && compare(delta, zero()) > 0 &&
		!has_room(quota, all, delta))
		refuse(quota, name, all->total, all->reserved, delta);

	leave_levels(quota, header, all->total);
	header->used = plus(header->used, delta);
	all->total = plus(all->total, delta);
	header->revision = live ? quota->revision : 0;
	if (live)
		raise_levels(quota, pending, header, all->total, over, notify);
	else
	{
		header->next_threshold = NULL;
		header->raised = NULL;
	}
	share_out(counters, quota, all, delta);
}

/*
 * Locks the header of a counter; makes it if there is none.  True if it was
 * made, with what the ledger holds for it.
 */
static bool
lock_header(UmCounters *counters, const UmQuota *quota, const UmCounterName *name,
			UmCounterRow *header)
{
	bool		exists = um_counter_read(counters, name, UM_HEADER, header);

	/* who has the table's lock need not wait for others that make counters */
	if (!exists && counters->lockmode < ShareRowExclusiveLock)
	{
		lock_creation(name);
		exists = um_counter_read(counters, name, UM_HEADER, header);
	}
	if (exists)
	{
		if (!um_counter_lock(counters, header))
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("a counter of quota \"%s\" was rebuilt meanwhile", quota->name),
					 errhint("Try the transaction again.")));
		return false;
	}

	memset(header, 0, sizeof(UmCounterRow));
	header->slot = UM_HEADER;
	header->share = zero();
	if (name->period_start >= quota->counted_since)
	{
		header->used = zero();
		header->raised = "";
	}
	else
		header->used = um_ledger_sum(quota, name);
	return true;
}

/* Writes a header that lock_header has locked or made. */
static void
write_header(UmCounters *counters, const UmCounterName *name, UmCounterRow *header, bool is_new)
{
	if (is_new)
		um_counter_insert(counters, name, header);
	else
		um_counter_update(counters, header);
}

/* The slow way: under the header's lock. */
static void
apply_slow(UmCounters *counters, const UmQuota *quota, const UmPending *pending,
		   Numeric delta, bool live, bool contended, bool notify)
{
	const UmCounterName *name = &pending->name;
	Collected	all;
	UmCounterRow *header = &all.header;
	bool		is_new = lock_header(counters, quota, name, header);

	if (fits(quota, header, delta))
	{
		header->used = plus(header->used, delta);
		header->share = left_of(header->share, delta);
		if (contended)
			grant_to_own_slot(counters, quota, name, header, delta);
	}
	else
		add_exactly(counters, quota, pending, is_new, &all, delta, live, notify);
	write_header(counters, name, header, is_new);
}

/*
 * With nothing locked: how much of a counter can be used before somebody
 * collects the shares, and so looks at what is reserved?  False if somebody
 * may be doing so now.
 */
static bool
most_used(UmCounters *counters, const UmQuota *quota, const UmCounterName *name, Numeric *most)
{
	UmCounterRow header;
	UmCounterRow again;
	UmCounterRow slots[UM_SLOTS];
	int			nslots;
	bool		exists = um_counter_read(counters, name, UM_HEADER, &header);

	if (!exists)
	{
		/* nobody is making it either, once this lock was had */
		lock_creation(name);
		exists = um_counter_read(counters, name, UM_HEADER, &header);
		unlock_creation(name);
	}
	if (!exists)
	{
		*most = name->period_start >= quota->counted_since ? zero() : um_ledger_sum(quota, name);
		return true;
	}
	if (header.lost || um_counter_is_taken(counters, name, UM_HEADER))
		return false;

	/* what a call adds to used it takes from the share, so that their sum stays */
	nslots = um_counter_read_slots(counters, name, slots);
	*most = header.used;
	if (compare(header.share, zero()) > 0)
		*most = plus(*most, header.share);
	for (int i = 0; i < nslots; i++)
	{
		if (slots[i].lost)
			return false;
		*most = plus(*most, slots[i].used);
		if (compare(slots[i].share, zero()) > 0)
			*most = plus(*most, slots[i].share);
	}

	/* who moves shares writes the header */
	return um_counter_read(counters, name, UM_HEADER, &again) &&
		!um_counter_is_taken(counters, name, UM_HEADER) &&
		ItemPointerEquals(&again.tuple->t_self, &header.tuple->t_self) &&
		again.writer == header.writer && again.busy == header.busy &&
		compare(again.used, header.used) == 0 && compare(again.share, header.share) == 0;
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
		(um_counter_withhold(counters, name, own_slot(), quota->revision, units, beside_units, for_real) ||
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
	Collected  *all = palloc(sizeof(Collected) * count);
	bool	   *is_new = palloc(sizeof(bool) * count);
	int			refused = -1;
	UmCounters	counters;

	um_reserving_note(true);
	um_counters_open(&counters, RowExclusiveLock);
	for (int i = 0; i < count; i++)
	{
		UmQuota    *quota = um_quota_by_id(names[i].quota_id);
		Numeric		more = is_stored ? zero() : wanted[i];
		bool		is_free = compare(wanted[i], zero()) == 0;

		is_new[i] = lock_header(&counters, quota, &names[i], &all[i].header);
		collect(&counters, quota, &names[i], is_new[i], &all[i]);
		/* what the transaction has recorded comes on top, at its end */
		if (refused < 0 && !is_free &&
			!has_room(quota, &all[i], plus(more, um_pending_of(&names[i]))))
			refused = i;
	}
	for (int i = 0; i < count; i++)
	{
		UmQuota    *quota = um_quota_by_id(names[i].quota_id);

		if (is_stored && refused >= 0)
			all[i].reserved = minus(all[i].reserved, wanted[i]);
		if (!is_stored && refused < 0)
			all[i].reserved = plus(all[i].reserved, wanted[i]);
		share_out(&counters, quota, &all[i], wanted[i]);
		write_header(&counters, &names[i], &all[i].header, is_new[i]);
	}
	um_counters_close(&counters, NoLock);
	CommandCounterIncrement();
	return refused;
}

/*
 * Looks whether a blocking quota has room for what the transaction adds, so
 * that the statement fails and not the commit.  What was found is kept: only
 * where that would not do it looks again.
 */
static void
check_room(const UmQuota *quota, UmPending *pending)
{
	bool		live;
	Numeric		delta = um_pending_sum(pending, &live);
	Numeric		room;
	Numeric		reserved;
	UmCounters	counters;
	UmCounterRow row;
	const UmCounterName *name = &pending->name;

	/* a correction downwards needs no room, and there may be less than none */
	if (compare(delta, zero()) <= 0 ||
		(pending->room != NULL && compare(delta, pending->room) <= 0))
		return;

	um_counters_open(&counters, AccessShareLock);
	if ((um_counter_read(&counters, name, own_slot(), &row) && fits(quota, &row, delta)) ||
		(um_counter_read(&counters, name, UM_HEADER, &row) && fits(quota, &row, delta)))
		room = row.share;
	else
	{
		UmCounterRow rows[UM_SLOTS];
		int			nrows = um_counter_read_slots(&counters, name, rows);
		Numeric		used = zero();
		bool		lost = false;

		if (um_counter_read(&counters, name, UM_HEADER, &row))
		{
			used = row.used;
			lost = row.lost;
		}
		for (int i = 0; i < nrows; i++)
		{
			used = plus(used, rows[i].used);
			lost |= rows[i].lost;
		}
		if (lost)
			used = um_ledger_sum(quota, name);
		/* what is reserved just now may be given back: the flush will know */
		reserved = um_reserved(name, false);
		room = minus(quota->amount, plus(used, reserved));
		if (compare(delta, room) > 0)
			refuse(quota, name, used, reserved, delta);
	}
	um_counters_close(&counters, AccessShareLock);
	pending->room = um_pending_copy_room(room);
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

		/* the quota's period is the row's still */
		if (touch->quota->blocks && touch->quota->end > GetCurrentTransactionStartTimestamp() &&
			(pending = um_pending_find(&touch->name)) != NULL)
			check_room(touch->quota, pending);
	}
}

/*
 * Has the ledger summed up for all counters that begin late, at once.  Who
 * makes one meanwhile is noticed under its lock.
 */
static void
expect_sums(UmCounters *counters, UmPending **sorted, int count)
{
	const UmCounterName **late = palloc_extended(sizeof(UmCounterName *) * (count + 1),
												 MCXT_ALLOC_HUGE);
	int			nlate = 0;

	for (int i = 0; i < count; i++)
	{
		const UmCounterName *name = &sorted[i]->name;
		const UmQuota *quota = um_quota_by_id(name->quota_id);
		UmCounterRow row;

		if (quota != NULL && name->period_start < quota->counted_since &&
			!um_counter_read(counters, name, UM_HEADER, &row))
			late[nlate++] = name;
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

/* Applies what the transaction has pending, and what it did to quotas. */
void
um_counter_flush(bool is_prepare)
{
	bool		quotas_changed = um_quota_change_any();
	bool		alone;
	static MemoryContext context = NULL;
	MemoryContext old;
	UmCounters	counters;
	UmPending **sorted;
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
	 * whoever loads a partition does (pg_restore locks it exclusively).
	 */
	if (quotas_changed)
		(void) find_all_inheritors(um_relation(UM_USAGE), AccessShareLock, NULL);
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
		um_quota_change_apply(&counters);
	if (um_pending_stale())
		um_recount();

	sorted = um_pending_sorted(&count);
	if (quotas_changed)
		sorted = um_quota_change_merge(sorted, &count);
	expect_sums(&counters, sorted, count);
	um_pending_close(true);
	um_late_begin();
	for (int i = 0; i < count; i++)
	{
		UmQuota    *quota = um_quota_by_id(sorted[i]->name.quota_id);
		Numeric		delta;
		bool		live;
		bool		contended;

		if (quota == NULL)
			continue;			/* it was dropped or disabled */
		delta = um_pending_sum(sorted[i], &live);
		if (um_quota_change_is_born(quota, sorted[i]->name.period_start))
			delta = zero();		/* the ledger's sum has it */
		live |= um_quota_change_is_live(quota);

		if (!apply_fast(&counters, quota, &sorted[i]->name, delta, &contended))
		{
			apply_slow(&counters, quota, sorted[i], delta, live, contended, !is_prepare);
			CommandCounterIncrement();
		}
	}
	um_late_raise(alone, !is_prepare);
	um_pending_close(false);
	um_counters_settle(&counters);
	um_counters_close(&counters, NoLock);
	um_ledger_sums_forget();
	PopActiveSnapshot();
	MemoryContextSwitchTo(old);
	MemoryContextReset(context);
}
