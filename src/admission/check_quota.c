/*
 * check_quota.c
 *		Does a call fit into the quotas that it touches?  It only reads, and
 *		never waits.
 */
#include "postgres.h"

#include "access/xact.h"
#include "admission/asked_call.h"
#include "admission/check_quota.h"
#include "base/amount.h"
#include "base/error.h"
#include "base/setting.h"
#include "counter/counter_from_ledger.h"
#include "counter/counter_row.h"
#include "counter/pending.h"
#include "counter/quota_change.h"
#include "counter/reserved.h"
#include "funcapi.h"
#include "quota/quota_cache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(usage_monitor_check_quota);

/* The arguments of check_quota, behind those that name the call. */
enum
{
	ARG_COST = UM_ASKED_ARGUMENTS,
	ARG_TOKENS,
	ARG_REQUESTS
};

/* The columns of its result. */
enum
{
	COL_QUOTA_ID, COL_NAME, COL_SCOPE, COL_SUBJECT, COL_METRIC, COL_PERIOD, COL_PERIOD_START,
	COL_PERIOD_END, COL_AMOUNT, COL_USED, COL_RESERVED, COL_REMAINING, COL_ALLOWED,
	COL_ENFORCEMENT, COL_REASON, COL_COUNT
};

/* How a quota stands, and what the call wants of it. */
typedef struct Answer
{
	const UmQuota *quota;
	UmString	subject;
	TimestampTz period_start;
	TimestampTz period_end;
	bool		is_own;			/* may the figures be told to who asks? */
	Numeric		wanted;			/* NULL: nobody knows */
	Numeric		used;
	Numeric		reserved;
	Numeric		remaining;
	Numeric		share;			/* of the amount, that remains */
	bool		fits;
} Answer;

/* What is used of a counter, with what the transaction is going to add. */
static Numeric
used_of(UmCounters *counters, const UmTouch *touch)
{
	Numeric		used;

	/* what the transaction has changed will be what the ledger says */
	if (um_quota_change_recounts(touch->quota) || !um_counter_used(counters, &touch->name, &used))
		return um_ledger_sum_with_own(touch->quota, &touch->name);
	return plus(used, um_pending_of(&touch->name));
}

/* Looks how a quota stands. */
static void
look(UmCounters *counters, const UmTouch *touch, Numeric wanted, Answer *answer)
{
	const UmQuota *quota = touch->quota;

	answer->quota = quota;
	answer->subject = touch->name.subject;
	/* quota->start may be of another call, which the ledger's sum has read */
	um_period_bounds(quota->period, quota->billing_day, quota->tz, touch->name.period_start,
					 &answer->period_start, &answer->period_end);
	/* what others use is not told to who is confined to his organisations */
	answer->is_own = um_caller_orgs(UM_TO_SEE) == NULL || quota->org != NULL || quota->scope == UM_SCOPE_ORG;
	answer->wanted = wanted;
	answer->used = used_of(counters, touch);
	answer->reserved = um_reserved(&touch->name, false);
	answer->remaining = minus(minus(quota->amount, answer->used), answer->reserved);
	answer->share = divided(answer->remaining, quota->amount);
	/* what costs nothing is let in over the limit, too */
	answer->fits = wanted != NULL &&
		(compare(wanted, zero()) == 0 || compare(wanted, answer->remaining) <= 0);
}

/* Refusals first, then what is used up most. */
static int
compare_answers(const void *a, const void *b)
{
	const Answer *x = a;
	const Answer *y = b;
	int			order;

	if (x->fits != y->fits)
		return x->fits ? 1 : -1;
	if (x->is_own != y->is_own)
		return x->is_own ? -1 : 1;
	order = x->is_own ? compare(x->share, y->share) : 0;
	return order != 0 ? order :
		x->quota->quota_id < y->quota->quota_id ? -1 : x->quota->quota_id > y->quota->quota_id;
}

static char *
shown(Numeric value)
{
	return amount_text(trimmed(value));
}

/* Why the call does not fit. */
static char *
reason_of(const Answer *answer, const UmCounted *row)
{
	const UmQuota *quota = answer->quota;
	bool		is_over = compare(answer->remaining, zero()) < 0;
	StringInfoData reason;

	if (answer->wanted == NULL)
		return um_asked_no_price(row->model);
	if (!answer->is_own)
		return pstrdup("no room in a quota that is shared with others");
	initStringInfo(&reason);
	appendStringInfo(&reason, "%s %s wanted, but ", shown(answer->wanted),
					 quota->metric == UM_METRIC_COST ? um_setting()->currency : um_metric_name(quota->metric));
	if (is_over)
		appendStringInfo(&reason, "%s of %s are used already",
						 shown(plus(answer->used, answer->reserved)), shown(quota->amount));
	else
		appendStringInfo(&reason, "of %s only %s remain", shown(quota->amount), shown(answer->remaining));
	if (quota->period != UM_PERIOD_LIFETIME)
		appendStringInfo(&reason, " in this %s", um_period_name(quota->period));
	if (!quota->blocks)
		appendStringInfoString(&reason, " (the quota alerts, and does not block)");
	return reason.data;
}

/* Why a quota has no room for what a call wants of it; NULL: it has. */
char *
um_quota_refusal(const UmTouch *touch, Numeric wanted, const UmCounted *row)
{
	UmCounters	counters;
	Answer		answer;

	um_counters_open(&counters, AccessShareLock);
	look(&counters, touch, wanted, &answer);
	um_counters_close(&counters, AccessShareLock);
	return answer.fits ? NULL : reason_of(&answer, row);
}

/* What the call wants of a quota. */
static Numeric
wanted_of(FunctionCallInfo fcinfo, UmMetric metric)
{
	int			argument = metric == UM_METRIC_TOKENS ? ARG_TOKENS : ARG_REQUESTS;

	if (metric == UM_METRIC_COST)
		return PG_ARGISNULL(ARG_COST) ? NULL : PG_GETARG_NUMERIC(ARG_COST);
	return int64_to_numeric(PG_ARGISNULL(argument) ? 0 : PG_GETARG_INT64(argument));
}

/* Refuses amounts that no call can want. */
static void
check_amounts(FunctionCallInfo fcinfo)
{
	if ((!PG_ARGISNULL(ARG_COST) && !is_amount(PG_GETARG_NUMERIC(ARG_COST))) ||
		(!PG_ARGISNULL(ARG_TOKENS) && PG_GETARG_INT64(ARG_TOKENS) < 0) ||
		(!PG_ARGISNULL(ARG_REQUESTS) && PG_GETARG_INT64(ARG_REQUESTS) < 0))
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_COUNT),
				 errmsg("a call cannot want a negative or infinite amount"),
				 errhint("Give the cost, the tokens and the requests that it may need.")));
}

/* Adds an answer to the result. */
static void
put(ReturnSetInfo *result, const Answer *answer, const UmCounted *row)
{
	const UmQuota *quota = answer->quota;
	Datum		values[COL_COUNT];
	bool		nulls[COL_COUNT] = {0};

	values[COL_QUOTA_ID] = Int64GetDatum(quota->quota_id);
	values[COL_NAME] = CStringGetTextDatum(quota->name);
	values[COL_SCOPE] = CStringGetTextDatum(um_scope_name(quota->scope));
	values[COL_SUBJECT] = um_string_text(answer->subject);
	nulls[COL_SUBJECT] = answer->subject.length == 0;
	values[COL_METRIC] = CStringGetTextDatum(um_metric_name(quota->metric));
	values[COL_PERIOD] = CStringGetTextDatum(um_period_name(quota->period));
	values[COL_PERIOD_START] = TimestampTzGetDatum(answer->period_start);
	values[COL_PERIOD_END] = TimestampTzGetDatum(answer->period_end);
	values[COL_AMOUNT] = NumericGetDatum(quota->amount);
	values[COL_USED] = NumericGetDatum(answer->used);
	values[COL_RESERVED] = NumericGetDatum(answer->reserved);
	values[COL_REMAINING] = NumericGetDatum(answer->remaining);
	nulls[COL_AMOUNT] = nulls[COL_USED] = nulls[COL_RESERVED] = nulls[COL_REMAINING] = !answer->is_own;
	values[COL_ALLOWED] = BoolGetDatum(answer->fits);
	values[COL_ENFORCEMENT] = CStringGetTextDatum(quota->blocks ? "block" : "alert");
	nulls[COL_REASON] = answer->fits;
	if (!answer->fits)
		values[COL_REASON] = CStringGetTextDatum(reason_of(answer, row));
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * check_quota(org, user_id, project, department, session_id, model, provider,
 *			   tags, cost, tokens, requests)
 */
Datum
usage_monitor_check_quota(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	UmAskedCall call;
	UmTouches	touched;
	UmCounters	counters;
	Answer	   *answers;

	InitMaterializedSRF(fcinfo, 0);
	check_amounts(fcinfo);
	um_asked_call(fcinfo, UM_TO_SEE, GetCurrentTransactionStartTimestamp(), &call);
	um_quotas_load();
	um_quotas_touched(&call.row, &touched);
	answers = palloc(sizeof(Answer) * (touched.count + 1));
	/* nothing from here on loads the quotas anew */
	um_counters_open(&counters, AccessShareLock);
	for (int i = 0; i < touched.count; i++)
		look(&counters, &touched.touches[i], wanted_of(fcinfo, touched.touches[i].quota->metric),
			 &answers[i]);
	um_counters_close(&counters, AccessShareLock);
	qsort(answers, touched.count, sizeof(Answer), compare_answers);
	for (int i = 0; i < touched.count; i++)
		put(result, &answers[i], &call.row);
	return (Datum) 0;
}
