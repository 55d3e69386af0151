/*
 * reservation.c
 *		Holding room in the quotas for a call that is about to be made.
 *
 * A reservation is not usage: it raises no alert, and only blocking quotas
 * refuse because of it.  It counts from the statement on, so its transaction
 * should be a short one.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "admission/asked_call.h"
#include "admission/check_quota.h"
#include "admission/reservation_row.h"
#include "base/amount.h"
#include "base/catalog.h"
#include "base/error.h"
#include "base/limits.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "counter/hold_room.h"
#include "counter/pending.h"
#include "counter/quota_change.h"
#include "counter/reserved.h"
#include "funcapi.h"
#include "ledger/bounds.h"
#include "pricing/cost.h"
#include "quota/quota_cache.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(usage_monitor_reserve);

/* The arguments of reserve, behind those that name the call. */
enum
{
	ARG_COST = UM_ASKED_ARGUMENTS,
	ARG_INPUT_TOKENS,
	ARG_MAX_OUTPUT_TOKENS,
	ARG_TTL,
	ARG_REQUESTS
};

/* The columns of its result. */
enum
{
	COL_RESERVATION_ID, COL_ALLOWED, COL_REASON, COL_EXPIRES_AT, COL_COUNT
};

/* One of so many reservations removes what expired ones held, from so many pages. */
#define CLEAN_EVERY 100
#define CLEAN_BLOCKS 64

/* What the reservation is to hold of each counter, first of those whose quotas block. */
typedef struct Wanted
{
	UmCounterName *names;
	Numeric    *amounts;
	int			count;
	int			nblocking;
	Numeric		cost;
	Numeric		tokens;
	Numeric		requests;
} Wanted;

/* A snapshot of its own is what it takes to step round those that others remove. */
static UmQuery delete_expired = {
	.text = "DELETE FROM _usage_monitor._reservation_part p"
	" WHERE p.ctid = ANY (ARRAY(SELECT e.ctid FROM _usage_monitor._reservation_part e"
	" WHERE e.ctid >= $2 AND e.ctid < $3 AND e.expires_at < $1 FOR UPDATE SKIP LOCKED))",
	.argtypes = {TIMESTAMPTZOID, TIDOID, TIDOID},
	.generic = true
};

static int
compare_touches(const void *a, const void *b)
{
	const UmTouch *x = a;
	const UmTouch *y = b;

	return x->quota->blocks != y->quota->blocks ? y->quota->blocks - x->quota->blocks :
		um_counter_name_compare(&x->name, &y->name);
}

/* Notes the counters that such a call touches, in locking order. */
static void
want(Wanted *wanted, UmTouches *touched)
{
	qsort(touched->touches, touched->count, sizeof(UmTouch), compare_touches);
	wanted->count = touched->count;
	wanted->names = palloc(sizeof(UmCounterName) * (wanted->count + 1));
	wanted->amounts = palloc(sizeof(Numeric) * (wanted->count + 1));
	wanted->nblocking = 0;
	for (int i = 0; i < wanted->count; i++)
	{
		const UmQuota *quota = touched->touches[i].quota;

		wanted->names[i] = touched->touches[i].name;
		wanted->nblocking += quota->blocks;
		wanted->amounts[i] = quota->metric == UM_METRIC_COST ? wanted->cost :
			quota->metric == UM_METRIC_TOKENS ? wanted->tokens : wanted->requests;
	}
}

/*
 * Stores the reservation, if the blocking quotas have room for it; returns the
 * place of one that has not, or -1.
 *
 * Far from their limits nobody has to wait for its transaction: it is stored,
 * and then held by shares.  Near one the counters stay locked until that ends,
 * so that whoever wants the last room as well learns who has got it.
 */
static int
reserve(const Wanted *wanted, Datum reservation_id, Datum expires_at)
{
	int			refused;
	bool		is_stored = um_counter_hold(wanted->names, wanted->amounts, wanted->nblocking, false);

	if (is_stored)
	{
		um_reserved_store(wanted->names, wanted->amounts, wanted->count, reservation_id, expires_at);
		CommandCounterIncrement();
		if (um_counter_hold(wanted->names, wanted->amounts, wanted->nblocking, true))
			return -1;
	}

	refused = um_counter_reserve(wanted->names, wanted->amounts, wanted->nblocking, is_stored);
	if (refused < 0 && !is_stored)
		um_reserved_store(wanted->names, wanted->amounts, wanted->count, reservation_id, expires_at);
	if (refused >= 0 && is_stored)
		um_reserved_give_back(reservation_id);
	return refused;
}

/*
 * Holds room in all quotas that the call touches, or in none; returns why not,
 * or NULL.
 */
static char *
hold(const UmCounted *row, Wanted *wanted, Datum reservation_id, Datum expires_at)
{
	UmTouches	touched;
	int			refused;
	char	   *why = NULL;

	um_pending_refuse_closed("reserve");
	if (um_quota_change_any())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("cannot reserve in a transaction that has changed quotas"),
				 errhint("COMMIT the change of quotas first.")));
	um_reserving_note(false);

	/* meanwhile the quotas stay as they are, as they do for a flush */
	LockRelationOid(um_relation(UM_COUNTER_ROW), RowExclusiveLock);
	AcceptInvalidationMessages();
	um_quotas_load();
	um_quotas_touched(row, &touched);
	want(wanted, &touched);

	refused = reserve(wanted, reservation_id, expires_at);
	if (refused >= 0)
	{
		UmTouch		touch = {.quota = um_quota_by_id(wanted->names[refused].quota_id), .name = wanted->names[refused]};
		char	   *reason = um_quota_refusal(&touch, wanted->amounts[refused], row);

		why = reason != NULL ? psprintf("quota \"%s\": %s", touch.quota->name, reason) :
			psprintf("quota \"%s\" has no room", touch.quota->name);
	}
	/* who holds counters has it once more */
	UnlockRelationOid(um_relation(UM_COUNTER_ROW), RowExclusiveLock);
	return why;
}

/* ---- reserve() ---------------------------------------------------------- */

/* A count that is to be reserved; 0 where none is given. */
static int64
count_argument(FunctionCallInfo fcinfo, int argument)
{
	return PG_ARGISNULL(argument) ? 0 : PG_GETARG_INT64(argument);
}

/* What the call may cost; NULL: there is no price. */
static Numeric
estimate(FunctionCallInfo fcinfo, const UmAskedCall *asked)
{
	UmCall		call = {0};
	UmUse		use = {0};
	UmCost		cost;

	if (!PG_ARGISNULL(ARG_COST))
		return PG_GETARG_NUMERIC(ARG_COST);
	if (PG_ARGISNULL(ARG_INPUT_TOKENS) && PG_ARGISNULL(ARG_MAX_OUTPUT_TOKENS))
		return int64_to_numeric(0);
	if (asked->row.model.data == NULL)
		return NULL;
	um_use_set(&use, UM_METER_INPUT, count_argument(fcinfo, ARG_INPUT_TOKENS));
	um_use_set(&use, UM_METER_OUTPUT, count_argument(fcinfo, ARG_MAX_OUTPUT_TOKENS));
	um_use_check(&use);
	call.provider = asked->provider;
	call.model = asked->row.model;
	call.org = asked->row.subject[UM_SCOPE_ORG];
	call.tier = UM_TIER_STANDARD;
	call.ts = GetCurrentTransactionStartTimestamp();
	um_cost(&call, &use, &cost);
	return cost.priced ? cost.total : NULL;
}

/* Refuses amounts that no call can need. */
static void
check_amounts(FunctionCallInfo fcinfo, Numeric cost)
{
	static const int counts[] = {ARG_INPUT_TOKENS, ARG_MAX_OUTPUT_TOKENS, ARG_REQUESTS};
	int64		least = 0;
	int64		greatest = 0;

	for (int i = 0; i < (int) lengthof(counts); i++)
	{
		least = Min(least, count_argument(fcinfo, counts[i]));
		greatest = Max(greatest, count_argument(fcinfo, counts[i]));
	}
	if (least < 0 || (cost != NULL && !is_amount(cost)))
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_COUNT),
				 errmsg("a reservation must not be of a negative or infinite amount"),
				 errhint("Give the cost, or the input tokens and the most output tokens, that the call may need.")));
	if (greatest > UM_MAX_COUNT)
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_COUNT),
				 errmsg("a reservation must be of at most %lld tokens or requests, but is of %lld",
						(long long) UM_MAX_COUNT, (long long) greatest),
				 errhint("Give the input tokens and the most output tokens that the call may need.")));
	if (!PG_ARGISNULL(ARG_COST))
		um_check_cost("cost", cost);
}

/* An interval for people. */
static char *
shown_interval(Datum interval)
{
	return DatumGetCString(DirectFunctionCall1(interval_out, interval));
}

/* Refuses a time that a reservation cannot hold room for. */
static void
check_ttl(FunctionCallInfo fcinfo)
{
	Interval	zero = {0};
	Interval	most = {.time = um_max_reservation_ttl * USECS_PER_SEC};
	Datum		ttl = PG_GETARG_DATUM(ARG_TTL);

	if (PG_ARGISNULL(ARG_TTL) ||
		!DatumGetBool(DirectFunctionCall2(interval_gt, ttl, IntervalPGetDatum(&zero))) ||
		!DatumGetBool(DirectFunctionCall2(interval_le, ttl, IntervalPGetDatum(&most))))
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_COUNT),
				 errmsg("ttl of a reservation must be above zero and at most %s, but is %s",
						shown_interval(DirectFunctionCall1(interval_justify_hours, IntervalPGetDatum(&most))),
						PG_ARGISNULL(ARG_TTL) ? "NULL" : shown_interval(ttl)),
				 errhint("Give it the longest time that the call may take, for example interval '10 minutes'; the administrator can set usage_monitor.max_reservation_ttl.")));
}

/*
 * Now and then what expired reservations held goes, from some pages: there is no
 * index of when they expire, which all reservations would pay for.
 */
static void
clean(Datum now)
{
	Relation	relation;
	BlockNumber nblocks;
	BlockNumber first = 0;
	ItemPointerData from;
	ItemPointerData until;
	Datum		values[] = {now, PointerGetDatum(&from), PointerGetDatum(&until)};

	if (pg_prng_double(&pg_global_prng_state) * CLEAN_EVERY >= 1 || IsolationUsesXactSnapshot())
		return;
	relation = table_open(um_relation(UM_RESERVATION_PART), RowExclusiveLock);
	nblocks = RelationGetNumberOfBlocks(relation);
	table_close(relation, NoLock);
	if (nblocks > CLEAN_BLOCKS)
		first = CLEAN_BLOCKS * pg_prng_uint64_range(&pg_global_prng_state, 0, (nblocks - 1) / CLEAN_BLOCKS);
	ItemPointerSet(&from, first, 0);
	ItemPointerSet(&until, first + CLEAN_BLOCKS, 0);
	(void) um_spi_run(&delete_expired, values, NULL);
}

/* Stores the reservation. */
static void
store(const UmAskedCall *call, const Wanted *wanted, int64 tokens, int64 requests,
	  Datum reservation_id, Datum expires_at)
{
	UmReservation row;

	memset(row.nulls, false, sizeof(row.nulls));
	row.values[UM_RES_RESERVATION_ID] = reservation_id;
	row.values[UM_RES_STATE] = CStringGetTextDatum("open");
	/* the subjects, in their order */
	for (int i = UM_RES_ORG; i <= UM_RES_MODEL; i++)
	{
		UmString	name = i == UM_RES_PROVIDER ? call->provider :
			i == UM_RES_MODEL ? call->row.model : call->row.subject[UM_SCOPE_ORG + i - UM_RES_ORG];

		row.nulls[i] = name.data == NULL;
		if (name.data != NULL)
			row.values[i] = um_string_text(name);
	}
	row.values[UM_RES_TAGS] = JsonbPGetDatum(call->row.tags);
	row.nulls[UM_RES_TAGS] = call->row.tags == NULL;
	row.values[UM_RES_COST] = NumericGetDatum(wanted->cost);
	row.values[UM_RES_TOKENS] = Int64GetDatum(tokens);
	row.values[UM_RES_REQUESTS] = Int64GetDatum(requests);
	row.values[UM_RES_CREATED_AT] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	row.values[UM_RES_EXPIRES_AT] = expires_at;
	row.nulls[UM_RES_ENDED_AT] = row.nulls[UM_RES_USAGE_ID] = true;
	um_reservation_store(&row);
}

/*
 * reserve(org, user_id, project, department, session_id, model, provider,
 *		   tags, cost, input_tokens, max_output_tokens, ttl, requests)
 */
Datum
usage_monitor_reserve(PG_FUNCTION_ARGS)
{
	/* by the clock: the transaction may have begun a while ago */
	TimestampTz now = GetCurrentTimestamp();
	int64		tokens;
	int64		requests;
	UmAskedCall call;
	Wanted		wanted;
	char	   *why;
	TupleDesc	desc;
	Datum		values[COL_COUNT];
	bool		nulls[COL_COUNT] = {0};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	um_asked_call(fcinfo, UM_TO_RECORD, now, &call);
	wanted.cost = estimate(fcinfo, &call);
	check_amounts(fcinfo, wanted.cost);
	check_ttl(fcinfo);
	if (wanted.cost == NULL)
		why = um_asked_no_price(call.row.model);
	else
	{
		tokens = count_argument(fcinfo, ARG_INPUT_TOKENS) + count_argument(fcinfo, ARG_MAX_OUTPUT_TOKENS);
		requests = count_argument(fcinfo, ARG_REQUESTS);
		wanted.tokens = int64_to_numeric(tokens);
		wanted.requests = int64_to_numeric(requests);
		values[COL_EXPIRES_AT] = DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(now),
													 PG_GETARG_DATUM(ARG_TTL));
		values[COL_RESERVATION_ID] = OidFunctionCall0(F_GEN_RANDOM_UUID);
		why = hold(&call.row, &wanted, values[COL_RESERVATION_ID], values[COL_EXPIRES_AT]);
		clean(TimestampTzGetDatum(now));
		if (why == NULL)
			store(&call, &wanted, tokens, requests, values[COL_RESERVATION_ID], values[COL_EXPIRES_AT]);
	}
	values[COL_ALLOWED] = BoolGetDatum(why == NULL);
	nulls[COL_RESERVATION_ID] = nulls[COL_EXPIRES_AT] = why != NULL;
	nulls[COL_REASON] = why == NULL;
	if (why != NULL)
		values[COL_REASON] = CStringGetTextDatum(why);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
