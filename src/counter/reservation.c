/*
 * reservation.c
 *		Admission: holding room in the quotas for a call that is about to be
 *		made.
 *
 * A reservation is not usage: it raises no alert, and only blocking quotas
 * refuse because of it.  It counts from the statement on, so its transaction
 * should be a short one.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/catalog.h"
#include "catalog/pg_type.h"
#include "counter/hold_room.h"
#include "counter/pending.h"
#include "counter/quota_change.h"
#include "counter/reserved.h"
#include "fmgr.h"
#include "pricing/price.h"
#include "quota/quota_cache.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(usage_monitor_reserve);

/* The arguments of _reserve, behind the columns of UmCounted. */
enum
{
	ARG_TOKENS = UM_COUNTED_TOTAL_TOKENS,
	ARG_REQUESTS,
	ARG_RESERVATION_ID,
	ARG_EXPIRES_AT
};

/* What the reservation is to hold of each counter. */
typedef struct Wanted
{
	UmCounterName *names;
	Numeric    *amounts;
	bool	   *blocks;
	int			count;
	Numeric		cost;
	Numeric		tokens;
	Numeric		requests;
} Wanted;

static UmQuery insert_part = {
	.text = "INSERT INTO _usage_monitor._reservation_part"
	" (quota_id, subject, period_start, reservation_id, amount, expires_at)"
	" VALUES ($1, $2, $3, $4, $5, $6)",
	.nargs = 6,
	.argtypes = {INT8OID, TEXTOID, TIMESTAMPTZOID, UUIDOID, NUMERICOID, TIMESTAMPTZOID}
};

static UmQuery delete_parts = {
	.text = "DELETE FROM _usage_monitor._reservation_part WHERE reservation_id = $1",
	.nargs = 1,
	.argtypes = {UUIDOID}
};

/* Notes the counters that such a call touches. */
static void
want(Wanted *wanted, const UmTouches *touched)
{
	wanted->count = touched->count;
	wanted->names = palloc(sizeof(UmCounterName) * (wanted->count + 1));
	wanted->amounts = palloc(sizeof(Numeric) * (wanted->count + 1));
	wanted->blocks = palloc(sizeof(bool) * (wanted->count + 1));
	for (int i = 0; i < wanted->count; i++)
	{
		const UmQuota *quota = touched->touches[i].quota;

		wanted->names[i] = touched->touches[i].name;
		wanted->blocks[i] = quota->blocks;
		wanted->amounts[i] = quota->metric == UM_METRIC_COST ? wanted->cost :
			quota->metric == UM_METRIC_TOKENS ? wanted->tokens : wanted->requests;
	}
}

/* Sorts the counters into locking order, the amounts with them. */
static void
sort_wanted(Wanted *wanted)
{
	for (int i = 1; i < wanted->count; i++)
		for (int j = i; j > 0 && um_counter_name_compare(&wanted->names[j - 1], &wanted->names[j]) > 0; j--)
		{
			UmCounterName name = wanted->names[j];
			Numeric		amount = wanted->amounts[j];
			bool		blocks = wanted->blocks[j];

			wanted->names[j] = wanted->names[j - 1];
			wanted->amounts[j] = wanted->amounts[j - 1];
			wanted->blocks[j] = wanted->blocks[j - 1];
			wanted->names[j - 1] = name;
			wanted->amounts[j - 1] = amount;
			wanted->blocks[j - 1] = blocks;
		}
}

/* Stores what the reservation holds of each counter. */
static void
store_parts(const Wanted *wanted, Datum reservation_id, Datum expires_at)
{
	UmSpi		spi;

	um_spi_begin(&spi);
	for (int i = 0; i < wanted->count; i++)
	{
		const UmCounterName *name = &wanted->names[i];
		Datum		values[6];

		values[0] = Int64GetDatum(name->quota_id);
		values[1] = um_string_text(name->subject);
		values[2] = TimestampTzGetDatum(name->period_start);
		values[3] = reservation_id;
		values[4] = NumericGetDatum(wanted->amounts[i]);
		values[5] = expires_at;
		um_spi_modify(&insert_part, values, NULL);
	}
	um_spi_end(&spi);
}

/* Takes that back. */
static void
drop_parts(Datum reservation_id)
{
	UmSpi		spi;

	um_spi_begin(&spi);
	um_spi_modify(&delete_parts, &reservation_id, NULL);
	um_spi_end(&spi);
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
	UmCounterName *names = palloc(sizeof(UmCounterName) * (wanted->count + 1));
	Numeric    *amounts = palloc(sizeof(Numeric) * (wanted->count + 1));
	int		   *places = palloc(sizeof(int) * (wanted->count + 1));
	int			count = 0;
	int			refused = -1;
	bool		is_stored;

	for (int i = 0; i < wanted->count; i++)
		if (wanted->blocks[i])
		{
			names[count] = wanted->names[i];
			amounts[count] = wanted->amounts[i];
			places[count++] = i;
		}
	is_stored = um_counter_hold(names, amounts, count, false);
	if (is_stored)
	{
		store_parts(wanted, reservation_id, expires_at);
		CommandCounterIncrement();
		if (um_counter_hold(names, amounts, count, true))
			return -1;
	}

	refused = um_counter_reserve(names, amounts, count, is_stored);
	if (refused < 0 && !is_stored)
		store_parts(wanted, reservation_id, expires_at);
	if (refused >= 0 && is_stored)
		drop_parts(reservation_id);
	return refused < 0 ? -1 : places[refused];
}

/* Sets what the price book calls the model of a call, as the ledger will have it. */
static void
resolve_model(Datum *values, bool *nulls)
{
	const int	model = UM_SCOPE_MODEL - UM_SCOPE_ORG;
	const int	provider = UM_SCOPE_PROVIDER - UM_SCOPE_ORG;
	UmString	name = um_text_string(values[model], nulls[model]);
	UmString	of = um_text_string(values[provider], nulls[provider]);
	const UmPriceList *list;

	nulls[UM_COUNTED_RESOLVED_MODEL] = true;
	nulls[UM_COUNTED_OPERATION] = true;
	if (nulls[model])
		return;
	list = um_price_list(of.data, of.data == NULL ? -1 : of.length, name.data, name.length);
	if (list->model == NULL)
		return;
	values[UM_COUNTED_RESOLVED_MODEL] = CStringGetTextDatum(list->model);
	nulls[UM_COUNTED_RESOLVED_MODEL] = false;
}

/*
 * _reserve(org, department, project, user_id, session_id, model, provider,
 *			tags, ts, cost, tokens, requests, reservation_id, expires_at)
 *
 * Holds room in all quotas that such a call touches; NULL, or the number of
 * the quota that has none.
 */
Datum
usage_monitor_reserve(PG_FUNCTION_ARGS)
{
	static const int required[] = {
		UM_COUNTED_TS, UM_COUNTED_COST, ARG_TOKENS, ARG_REQUESTS, ARG_RESERVATION_ID, ARG_EXPIRES_AT
	};
	Datum		values[UM_COUNTED_COLUMNS];
	bool		nulls[UM_COUNTED_COLUMNS];
	UmCounted	row;
	Wanted		wanted;
	UmTouches	touched;
	int			refused;

	for (int i = 0; i < (int) lengthof(required); i++)
		if (PG_ARGISNULL(required[i]))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument %d of function \"%s\" must not be NULL", required[i] + 1, "_reserve")));
	for (int i = 0; i <= UM_COUNTED_TOTAL_TOKENS; i++)
	{
		values[i] = PG_GETARG_DATUM(i);
		nulls[i] = PG_ARGISNULL(i);
	}
	resolve_model(values, nulls);
	um_counted_set(&row, values, nulls);
	wanted.cost = row.cost;
	wanted.tokens = int64_to_numeric(row.total_tokens);
	wanted.requests = int64_to_numeric(PG_GETARG_INT64(ARG_REQUESTS));

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
	um_quotas_touched(&row, &touched);
	want(&wanted, &touched);
	sort_wanted(&wanted);

	refused = reserve(&wanted, PG_GETARG_DATUM(ARG_RESERVATION_ID), PG_GETARG_DATUM(ARG_EXPIRES_AT));
	/* who holds counters has it once more */
	UnlockRelationOid(um_relation(UM_COUNTER_ROW), RowExclusiveLock);
	if (refused >= 0)
		PG_RETURN_INT64(wanted.names[refused].quota_id);
	PG_RETURN_NULL();
}
