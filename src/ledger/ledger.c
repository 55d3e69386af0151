/*
 * ledger.c
 *		The triggers of the ledger: a row is checked and priced before it is
 *		stored, and counted after.
 *
 * Column numbers are found by name for each table, for a partition that was
 * attached may have them in an order of its own.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "base/catalog.h"
#include "base/error.h"
#include "base/ledger_columns.h"
#include "base/setting.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
#include "common/int.h"
#include "counter/counter.h"
#include "counter/counter_recount.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "ledger/duplicate_request.h"
#include "ledger/ledger.h"
#include "ledger/unpriced_alert.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pricing/cost.h"
#include "base/tag.h"
#include "rollup/correction.h"
#include "rollup/refresh_worker.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(usage_monitor_usage_before);
PG_FUNCTION_INFO_V1(usage_monitor_usage_after);
PG_FUNCTION_INFO_V1(usage_monitor_checked_tags);

/* longer names would not fit into an index */
#define MAX_NAME_LENGTH 1000

/* Of a name that is too long, so much is shown. */
#define MAX_SHOWN_LENGTH 60

/* A reported cost is below ten to this power, and has no more decimals. */
#define MAX_COST_DIGITS 100

/* The row that an UPDATE of this subtransaction is moving to another partition, if one is. */
static struct
{
	SubTransactionId subxact;
	int64		usage_id;
}			moving;

/* A row of the ledger, taken apart. */
typedef struct Row
{
	const UmColumns *columns;
	Datum	   *values;
	bool	   *nulls;
} Row;

#define ATT(row, column)		((row)->columns->attnum[UM_COL_##column] - 1)
#define IS_NULL(row, column)	((row)->nulls[ATT(row, column)])
#define VALUE(row, column)		((row)->values[ATT(row, column)])

/* Sets a column. */
static void
set_column(Row *row, UmColumn column, Datum value, bool isnull)
{
	int			att = row->columns->attnum[column] - 1;

	row->values[att] = value;
	row->nulls[att] = isnull;
}

#define SET(row, column, value)	set_column(row, UM_COL_##column, value, false)
#define SET_NULL(row, column)	set_column(row, UM_COL_##column, (Datum) 0, true)
#define SET_DEFAULT(row, column, value) \
	do { if (IS_NULL(row, column)) SET(row, column, value); } while (0)

static void
set_numeric_or_null(Row *row, UmColumn column, Numeric value)
{
	set_column(row, column, NumericGetDatum(value), value == NULL);
}

/* The bytes of a text column; NULL where it is null. */
static UmString
text_of(Row *row, UmColumn column)
{
	int			att = row->columns->attnum[column] - 1;
	UmString	string = {NULL, 0};

	if (!row->nulls[att])
	{
		text	   *value = DatumGetTextPP(row->values[att]);

		string.data = VARDATA_ANY(value);
		string.length = VARSIZE_ANY_EXHDR(value);
	}
	return string;
}

/* Takes a tuple apart. */
static void
open_row(Row *row, Relation relation, HeapTuple tuple)
{
	TupleDesc	desc = RelationGetDescr(relation);

	row->columns = um_columns(relation);
	row->values = palloc(sizeof(Datum) * desc->natts);
	row->nulls = palloc(sizeof(bool) * desc->natts);
	heap_deform_tuple(tuple, desc, row->values, row->nulls);
}

/* Fills what the client left out or gave as NULL, as many drivers do. */
static void
fill_defaults(Row *row)
{
	static const UmColumn counts[] = {
		UM_COL_CACHE_READ_INPUT_TOKENS, UM_COL_CACHE_CREATION_INPUT_TOKENS,
		UM_COL_CACHE_CREATION_1H_INPUT_TOKENS, UM_COL_REASONING_OUTPUT_TOKENS,
		UM_COL_INPUT_AUDIO_TOKENS, UM_COL_OUTPUT_AUDIO_TOKENS
	};

	for (int i = 0; i < (int) lengthof(counts); i++)
		if (row->nulls[row->columns->attnum[counts[i]] - 1])
			set_column(row, counts[i], Int64GetDatum(0), false);
	SET_DEFAULT(row, ORG, CStringGetTextDatum("default"));
	SET_DEFAULT(row, SERVICE_TIER, CStringGetTextDatum("standard"));
	SET_DEFAULT(row, SUCCESS, BoolGetDatum(true));
	SET_DEFAULT(row, CACHED, BoolGetDatum(false));
}

/* Refuses a name that is empty where it must not be, or too long for a key. */
static void
check_name(const char *column, UmString name, bool required)
{
	if (required && name.length == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_NAME),
				 errmsg("column \"%s\" must not be empty", column),
				 errhint("Name the model as the provider does, for example gpt-4o; org may be left out.")));
	if (name.length > MAX_NAME_LENGTH)
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_NAME),
				 errmsg("column \"%s\" is too long: %d bytes, at most %d",
						column, name.length, MAX_NAME_LENGTH),
				 errhint("Names are keys of counters and sums; keep long texts elsewhere.")));
}

/* Refuses the names of a row that cannot be. */
static void
check_names(Row *row)
{
	static const UmColumn names[] = {
		UM_COL_MODEL, UM_COL_ORG, UM_COL_REQUEST_ID, UM_COL_DEPARTMENT, UM_COL_PROJECT,
		UM_COL_USER_ID, UM_COL_SESSION_ID, UM_COL_PROVIDER, UM_COL_OPERATION, UM_COL_SOURCE
	};

	for (int i = 0; i < (int) lengthof(names); i++)
		check_name(um_column_name(names[i]), text_of(row, names[i]),
				   names[i] == UM_COL_MODEL || names[i] == UM_COL_ORG);
}

/* Refuses a tag that is too long for a key. */
static void
check_tag(UmString key, UmString value)
{
	if (key.length + value.length > MAX_NAME_LENGTH)
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_NAME),
				 errmsg("tag \"%s\" is too long: %d bytes with its value, at most %d",
						pnstrdup(key.data, pg_mbcliplen(key.data, key.length, MAX_SHOWN_LENGTH)),
						key.length + value.length, MAX_NAME_LENGTH),
				 errhint("Tags are keys of counters and sums; keep long texts elsewhere.")));
}

/* Refuses tags that no quota or view could read. */
static void
check_tags(Jsonb *tags)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;

	if (JB_ROOT_IS_OBJECT(tags))
	{
		bool		flat = true;
		UmString	key = {NULL, 0};

		it = JsonbIteratorInit(&tags->root);
		while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
		{
			if (token == WJB_KEY)
				key = (UmString) {value.val.string.val, value.val.string.len};
			else if (token == WJB_VALUE && value.type == jbvBinary)
				flat = false;
			else if (token == WJB_VALUE)
				check_tag(key, um_tag_value(&value));
		}
		if (flat)
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UM_INVALID_NAME),
			 errmsg("column \"tags\" must be a flat JSON object"),
			 errhint("Write for example '{\"workflow\": \"summary\", \"device\": \"a1\"}'.")));
}

/* Refuses a duration that is negative or not a number. */
static void
check_duration(Row *row)
{
	double		duration;

	if (IS_NULL(row, DURATION_MS))
		return;
	duration = DatumGetFloat8(VALUE(row, DURATION_MS));
	if (!(duration >= 0) || isinf(duration))
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_COUNT),
				 errmsg("column \"duration_ms\" must be zero or more, but is %g", duration),
				 errhint("It is the time that the call took, in milliseconds.")));
}

/* Reads the counts, and refuses impossible ones. */
static void
read_use(Row *row, UmUse *use)
{
	static const struct
	{
		UmColumn	column;
		UmMeter		meter;
	}			counts[] = {
		{UM_COL_INPUT_TOKENS, UM_METER_INPUT},
		{UM_COL_OUTPUT_TOKENS, UM_METER_OUTPUT},
		{UM_COL_CACHE_READ_INPUT_TOKENS, UM_METER_CACHE_READ},
		{UM_COL_CACHE_CREATION_INPUT_TOKENS, UM_METER_CACHE_WRITE},
		{UM_COL_CACHE_CREATION_1H_INPUT_TOKENS, UM_METER_CACHE_WRITE_1H},
		{UM_COL_REASONING_OUTPUT_TOKENS, UM_METER_REASONING},
		{UM_COL_INPUT_AUDIO_TOKENS, UM_METER_INPUT_AUDIO},
		{UM_COL_OUTPUT_AUDIO_TOKENS, UM_METER_OUTPUT_AUDIO},
	};

	memset(use, 0, sizeof(UmUse));
	for (int i = 0; i < (int) lengthof(counts); i++)
	{
		int			att = row->columns->attnum[counts[i].column] - 1;

		if (!row->nulls[att])
			um_use_set(use, counts[i].meter, DatumGetInt64(row->values[att]),
					   um_column_name(counts[i].column));
	}
	/* NULL: the provider did not say, which is not zero */
	use->input_unknown = IS_NULL(row, INPUT_TOKENS);
	use->output_unknown = IS_NULL(row, OUTPUT_TOKENS);
	if (!IS_NULL(row, UNITS))
		um_use_units(use, DatumGetJsonbP(VALUE(row, UNITS)));
	um_use_check(use);
}

/* Sets total_tokens. */
static void
set_total_tokens(Row *row, const UmUse *use)
{
	int64		total;

	if (pg_add_s64_overflow(use->quantity[UM_METER_INPUT].value,
							use->quantity[UM_METER_OUTPUT].value, &total))
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_COUNT),
				 errmsg("\"input_tokens\" and \"output_tokens\" together are out of range"),
				 errhint("Counts are what the provider reported.")));
	SET(row, TOTAL_TOKENS, Int64GetDatum(total));
}

static int
numeric_sign_of(Numeric value)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(value),
											 NumericGetDatum(int64_to_numeric(0))));
}

/*
 * Is this a correction of a closed period, whose cost may be negative?  Only
 * reprice() writes them, as the ledger's owner.
 */
static bool
is_correction(Row *row, Relation relation)
{
	UmString	operation = text_of(row, UM_COL_OPERATION);

	return operation.length == 10 && memcmp(operation.data, "correction", 10) == 0 &&
		has_privs_of_role(GetUserId(), relation->rd_rel->relowner);
}

/* Refuses a cost that nobody can have paid, and that sums and counters would not hold. */
static void
check_size(UmColumn column, Numeric value)
{
	static Numeric limit = NULL;

	if (limit == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		limit = DatumGetNumeric(DirectFunctionCall3(numeric_in,
													CStringGetDatum("1e" CppAsString2(MAX_COST_DIGITS)),
													ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
		MemoryContextSwitchTo(old);
	}
	if (DatumGetInt32(DirectFunctionCall1(numeric_scale, NumericGetDatum(value))) > MAX_COST_DIGITS ||
		DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(value), NumericGetDatum(limit))) >= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_COST),
				 errmsg("column \"%s\" must have at most %d digits before and behind the point",
						um_column_name(column), MAX_COST_DIGITS),
				 errhint("Leave it out, and the call is priced by the price book.")));
}

/* Fills the provider that the model's name leads to, where the client names none. */
static void
fill_provider(Row *row)
{
	UmString	model = text_of(row, UM_COL_MODEL);
	const UmPriceList *list;

	if (!IS_NULL(row, PROVIDER))
		return;
	list = um_price_list(NULL, -1, model.data, model.length);
	if (list->provider != NULL)
		SET(row, PROVIDER, CStringGetTextDatum(list->provider));
}

/* Keeps the cost that the client gave. */
static void
keep_reported_cost(Row *row, Relation relation)
{
	static const UmColumn parts[] = {UM_COL_INPUT_COST, UM_COL_OUTPUT_COST};
	Datum		other = VALUE(row, COST);
	bool		may_be_negative = is_correction(row, relation);

	for (int i = -1; i < (int) lengthof(parts); i++)
	{
		UmColumn	column = i < 0 ? UM_COL_COST : parts[i];
		int			att = row->columns->attnum[column] - 1;
		Numeric		value;

		if (row->nulls[att])
		{
			set_column(row, column, NumericGetDatum(int64_to_numeric(0)), false);
			continue;
		}
		value = DatumGetNumeric(row->values[att]);
		if (numeric_is_nan(value) || numeric_is_inf(value) ||
			(numeric_sign_of(value) < 0 && !may_be_negative))
			ereport(ERROR,
					(errcode(ERRCODE_UM_INVALID_COST),
					 errmsg("column \"%s\" must be zero or more, but is %s",
							um_column_name(column),
							DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value)))),
					 errhint("Leave it out, and the call is priced by the price book.")));
		check_size(column, value);
		if (i >= 0)
			other = DirectFunctionCall2(numeric_sub, other, NumericGetDatum(value));
	}
	if (numeric_sign_of(DatumGetNumeric(other)) < 0 && !may_be_negative)
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_COST),
				 errmsg("\"input_cost\" and \"output_cost\" exceed \"cost\""),
				 errhint("They are parts of it; leave them out if you know only the whole.")));

	fill_provider(row);
	SET(row, OTHER_COST, other);
	SET(row, COST_SOURCE, CStringGetTextDatum("reported"));
	SET_NULL(row, UNPRICED_REASON);
	SET(row, CURRENCY, CStringGetTextDatum(um_setting()->currency));
	SET_NULL(row, PRICE_ID);
	SET_NULL(row, PRICE_CURRENCY);
	SET_NULL(row, PRICE_COST);
	SET_NULL(row, EXCHANGE_RATE);
}

/* Prices the row by the price book. */
static void
compute_cost(Row *row, const UmUse *use)
{
	UmCall		call;
	UmCost		cost;
	UmString	provider = text_of(row, UM_COL_PROVIDER);
	UmString	model = text_of(row, UM_COL_MODEL);
	UmString	org = text_of(row, UM_COL_ORG);
	UmString	tier = text_of(row, UM_COL_SERVICE_TIER);

	call.provider = provider.data;
	call.provider_length = provider.length;
	call.model = model.data;
	call.model_length = model.length;
	call.org = org.data;
	call.org_length = org.length;
	call.tier = um_tier_checked(tier.data, tier.length);
	call.ts = DatumGetTimestampTz(VALUE(row, TS));

	if (DatumGetBool(VALUE(row, CACHED)))
	{
		/* answered by the application's own cache: nobody was asked */
		memset(&cost, 0, sizeof(cost));
		cost.priced = true;
		for (int s = 0; s < UM_SIDES; s++)
			cost.side[s] = int64_to_numeric(0);
		cost.total = int64_to_numeric(0);
	}
	else
		um_cost(&call, use, &cost);

	if (!cost.priced && um_setting()->refuse_unpriced)
		ereport(ERROR,
				(errcode(ERRCODE_UM_UNPRICED),
				 errmsg("there is no price for model \"%s\"%s%s%s",
						pnstrdup(model.data, model.length),
						provider.data ? " of provider \"" : "",
						provider.data ? pnstrdup(provider.data, provider.length) : "",
						provider.data ? "\"" : ""),
				 errhint("Set one with usage_monitor.set_price(), or record such calls unpriced with usage_monitor.configure(unpriced => 'record').")));

	if (provider.data == NULL && cost.provider != NULL)
		SET(row, PROVIDER, CStringGetTextDatum(cost.provider));
	set_column(row, UM_COL_PRICE_ID, Int64GetDatum(cost.price_id), cost.price_id == 0);
	set_numeric_or_null(row, UM_COL_PRICE_COST, cost.priced ? cost.price_total : NULL);
	set_numeric_or_null(row, UM_COL_EXCHANGE_RATE, cost.priced ? cost.exchange_rate : NULL);
	if (cost.priced && cost.exchange_rate != NULL)
		SET(row, PRICE_CURRENCY, CStringGetTextDatum(cost.price_currency));
	else
		SET_NULL(row, PRICE_CURRENCY);
	set_numeric_or_null(row, UM_COL_INPUT_COST, cost.priced ? cost.side[UM_SIDE_INPUT] : NULL);
	set_numeric_or_null(row, UM_COL_OUTPUT_COST, cost.priced ? cost.side[UM_SIDE_OUTPUT] : NULL);
	set_numeric_or_null(row, UM_COL_OTHER_COST, cost.priced ? cost.side[UM_SIDE_OTHER] : NULL);
	set_numeric_or_null(row, UM_COL_COST, cost.priced ? cost.total : NULL);
	SET(row, CURRENCY, CStringGetTextDatum(um_setting()->currency));
	SET(row, COST_SOURCE, CStringGetTextDatum(cost.priced ? "computed" : "unpriced"));
	if (cost.priced)
		SET_NULL(row, UNPRICED_REASON);
	else
		SET(row, UNPRICED_REASON, CStringGetTextDatum(um_unpriced_reason(&cost)));
}

/* Checks what the client gave. */
static void
check_row(Row *row, UmUse *use)
{
	UmString	tier;

	fill_defaults(row);
	check_names(row);
	tier = text_of(row, UM_COL_SERVICE_TIER);
	um_tier_checked(tier.data, tier.length);
	if (IS_NULL(row, TS) || TIMESTAMP_NOT_FINITE(DatumGetTimestampTz(VALUE(row, TS))))
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_COUNT),
				 errmsg("column \"ts\" must be an instant"),
				 errhint("It is when the call was made; leave it out for now.")));
	if (!IS_NULL(row, TAGS))
		check_tags(DatumGetJsonbP(VALUE(row, TAGS)));
	check_duration(row);
	read_use(row, use);
	set_total_tokens(row, use);
}

/* The transaction's number, of 64 bits. */
static Datum
own_xid(void)
{
	return Int64GetDatum((int64) U64FromFullTransactionId(GetTopFullTransactionId()));
}

/* Is this the row that an UPDATE of this transaction is moving? */
static bool
is_moving(Row *row)
{
	return moving.subxact == GetCurrentSubTransactionId() && !IS_NULL(row, USAGE_ID) &&
		moving.usage_id == DatumGetInt64(VALUE(row, USAGE_ID));
}

/*
 * A row that arrives with recorded_at is being restored or replicated, and is
 * stored as it is.  Only the ledger's owner may do that, for it would let
 * anybody write costs past the price book and the quotas.
 */
static void
check_may_restore(Relation relation)
{
	if (!has_privs_of_role(GetUserId(), relation->rd_rel->relowner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("column \"recorded_at\" is filled by usage_monitor"),
				 errhint("Leave it out. Only the owner of the ledger may restore rows with it.")));
}

/* Makes a new row of the ledger ready; false if it is a retry of a recorded one. */
static bool
before_insert(Row *row, Relation relation, HeapTuple tuple)
{
	UmUse		use;

	if (is_moving(row))
	{
		moving.subxact = InvalidSubTransactionId;
		return true;			/* BEFORE UPDATE has seen it */
	}

	SET(row, XID, own_xid());
	if (!IS_NULL(row, RECORDED_AT))
	{
		check_may_restore(relation);
		if (IS_NULL(row, USAGE_ID))
			SET(row, USAGE_ID, Int64GetDatum(nextval_internal(um_relation(UM_USAGE_ID_SEQ), false)));
		return true;
	}

	check_row(row, &use);
	if (um_request_is_retry(relation, tuple, text_of(row, UM_COL_ORG),
							text_of(row, UM_COL_REQUEST_ID)))
		return false;

	/* the sequence is not the client's to read: he needs INSERT alone */
	SET(row, USAGE_ID, Int64GetDatum(nextval_internal(um_relation(UM_USAGE_ID_SEQ), false)));
	SET(row, RECORDED_AT, TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()));

	if (!IS_NULL(row, COST))
		keep_reported_cost(row, relation);
	else
		compute_cost(row, &use);
	return true;
}

/* Has an UPDATE changed one of these columns? */
static bool
changed(Row *old, Row *new, Relation relation, const UmColumn *columns, int ncolumns)
{
	for (int i = 0; i < ncolumns; i++)
	{
		int			att = new->columns->attnum[columns[i]] - 1;
		Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(relation), att);

		if (old->nulls[att] != new->nulls[att])
			return true;
		if (!new->nulls[att] &&
			!datum_image_eq(old->values[att], new->values[att],
							attribute->attbyval, attribute->attlen))
			return true;
	}
	return false;
}

/* Makes a changed row ready: what it costs follows what was used. */
static void
before_update(Row *old, Row *row, Relation relation, HeapTuple tuple)
{
	static const UmColumn kept[] = {
		UM_COL_USAGE_ID, UM_COL_RECORDED_AT, UM_COL_XID
	};
	static const UmColumn derived[] = {
		UM_COL_PRICE_ID, UM_COL_CURRENCY, UM_COL_OTHER_COST, UM_COL_COST_SOURCE,
		UM_COL_UNPRICED_REASON,
		UM_COL_PRICE_CURRENCY, UM_COL_PRICE_COST, UM_COL_EXCHANGE_RATE
	};
	static const UmColumn priced_by[] = {
		UM_COL_TS, UM_COL_ORG, UM_COL_PROVIDER, UM_COL_MODEL, UM_COL_SERVICE_TIER,
		UM_COL_INPUT_TOKENS, UM_COL_OUTPUT_TOKENS, UM_COL_CACHE_READ_INPUT_TOKENS,
		UM_COL_CACHE_CREATION_INPUT_TOKENS, UM_COL_CACHE_CREATION_1H_INPUT_TOKENS,
		UM_COL_REASONING_OUTPUT_TOKENS, UM_COL_INPUT_AUDIO_TOKENS,
		UM_COL_OUTPUT_AUDIO_TOKENS, UM_COL_UNITS, UM_COL_CACHED
	};
	static const UmColumn request[] = {UM_COL_ORG, UM_COL_REQUEST_ID};
	static const UmColumn costs[] = {
		UM_COL_COST, UM_COL_INPUT_COST, UM_COL_OUTPUT_COST
	};
	UmUse		use;
	bool		was_reported;

	for (int i = 0; i < (int) lengthof(kept); i++)
	{
		int			att = row->columns->attnum[kept[i]] - 1;

		set_column(row, kept[i], old->values[att], old->nulls[att]);
	}
	for (int i = 0; i < (int) lengthof(derived); i++)
	{
		int			att = row->columns->attnum[derived[i]] - 1;

		set_column(row, derived[i], old->values[att], old->nulls[att]);
	}
	check_row(row, &use);
	if (changed(old, row, relation, request, lengthof(request)) &&
		um_request_is_retry(relation, tuple, text_of(row, UM_COL_ORG),
							text_of(row, UM_COL_REQUEST_ID)))
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("the ledger has a call of that \"request_id\" already"),
				 errhint("A request_id names one call of an organisation.")));

	was_reported = !IS_NULL(old, COST_SOURCE) &&
		strcmp(TextDatumGetCString(VALUE(old, COST_SOURCE)), "reported") == 0;
	if (changed(old, row, relation, costs, lengthof(costs)) && !IS_NULL(row, COST))
		keep_reported_cost(row, relation);	/* somebody corrects the cost */
	else if (IS_NULL(row, COST) ||	/* not priced yet, or SET cost = NULL asks for it */
			 (!was_reported && changed(old, row, relation, priced_by, lengthof(priced_by))))
		compute_cost(row, &use);

	/* if ts moves it to another partition, INSERT triggers will see it */
	moving.subxact = GetCurrentSubTransactionId();
	moving.usage_id = DatumGetInt64(VALUE(row, USAGE_ID));
}

/* BEFORE ROW trigger of the ledger and its partitions. */
Datum
usage_monitor_usage_before(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	Relation	relation;
	TupleDesc	desc;
	HeapTuple	tuple;
	Row			row;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_BEFORE(trigdata->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be fired BEFORE ROW", "_usage_before")));

	/* a price that has been committed by now is to be used */
	AcceptInvalidationMessages();

	relation = trigdata->tg_relation;
	desc = RelationGetDescr(relation);
	if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
	{
		Row			old;

		tuple = trigdata->tg_newtuple;
		open_row(&old, relation, trigdata->tg_trigtuple);
		open_row(&row, relation, tuple);
		before_update(&old, &row, relation, tuple);
	}
	else
	{
		tuple = trigdata->tg_trigtuple;
		open_row(&row, relation, tuple);
		if (!before_insert(&row, relation, tuple))
			return PointerGetDatum(NULL);
	}
	return PointerGetDatum(heap_form_tuple(desc, row.values, row.nulls));
}

/* Counts a row, or takes it back. */
static void
count_tuple(Relation relation, HeapTuple tuple, bool negative)
{
	const UmColumns *columns = um_columns(relation);
	TupleDesc	desc = RelationGetDescr(relation);
	Datum		values[UM_COUNTED_COLUMNS];
	bool		nulls[UM_COUNTED_COLUMNS];
	static const UmColumn counted[UM_COUNTED_COLUMNS] = {
		UM_COL_ORG, UM_COL_DEPARTMENT, UM_COL_PROJECT, UM_COL_USER_ID,
		UM_COL_SESSION_ID, UM_COL_MODEL, UM_COL_PROVIDER,
		UM_COL_TAGS, UM_COL_TS, UM_COL_COST, UM_COL_TOTAL_TOKENS
	};
	UmCounted	row;
	int64		xid;
	Datum		recorded_at;
	bool		isnull;
	bool		own;
	bool		live;

	for (int i = 0; i < UM_COUNTED_COLUMNS; i++)
		values[i] = heap_getattr(tuple, columns->attnum[counted[i]], desc, &nulls[i]);
	um_counted_set(&row, values, nulls);

	xid = DatumGetInt64(heap_getattr(tuple, columns->attnum[UM_COL_XID], desc, &isnull));
	own = xid == DatumGetInt64(own_xid());
	recorded_at = heap_getattr(tuple, columns->attnum[UM_COL_RECORDED_AT], desc, &isnull);
	/* a row inserted with an earlier recorded_at was restored */
	live = !own || isnull ||
		DatumGetTimestampTz(recorded_at) == GetCurrentTransactionStartTimestamp();

	if (!own)
		um_correction_write(relation, tuple, xid, negative);
	um_recount_note(values, nulls, own, negative, live);
	um_counter_count(&row, negative, live);

	if (live && !negative && row.cost == NULL)
		um_unpriced_note(row.subject[UM_SCOPE_MODEL].data,
						 row.subject[UM_SCOPE_MODEL].length, row.ts);
}

/* Tells the rollups that the ledger has grown. */
static void
note_recorded(Relation relation, HeapTuple tuple)
{
	bool		isnull;

	um_refresh_note(DatumGetInt64(heap_getattr(tuple, um_columns(relation)->attnum[UM_COL_USAGE_ID],
											   RelationGetDescr(relation), &isnull)));
}

/* AFTER ROW trigger of the ledger and its partitions. */
Datum
usage_monitor_usage_after(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_AFTER(trigdata->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be fired AFTER ROW", "_usage_after")));

	if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
	{
		count_tuple(trigdata->tg_relation, trigdata->tg_trigtuple, false);
		note_recorded(trigdata->tg_relation, trigdata->tg_trigtuple);
	}
	else
	{
		/* the old row first: a correction downwards must not look like a rise */
		count_tuple(trigdata->tg_relation, trigdata->tg_trigtuple, true);
		if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
			count_tuple(trigdata->tg_relation, trigdata->tg_newtuple, false);
		moving.subxact = InvalidSubTransactionId;
	}
	return PointerGetDatum(NULL);
}

/* The transaction is over: it moves nothing any more. */
void
um_ledger_forget(void)
{
	moving.subxact = InvalidSubTransactionId;
}

/*
 * _checked_tags(org, department, project, user_id, session_id, model,
 *				 provider, tags)
 *
 * The tags of a call that is not made yet; refuses what the ledger would.
 */
Datum
usage_monitor_checked_tags(PG_FUNCTION_ARGS)
{
	static const UmColumn names[] = {
		UM_COL_ORG, UM_COL_DEPARTMENT, UM_COL_PROJECT, UM_COL_USER_ID,
		UM_COL_SESSION_ID, UM_COL_MODEL, UM_COL_PROVIDER
	};

	for (int i = 0; i < (int) lengthof(names); i++)
		if (!PG_ARGISNULL(i))
		{
			text	   *value = PG_GETARG_TEXT_PP(i);

			check_name(um_column_name(names[i]),
					   (UmString) {VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)},
					   names[i] == UM_COL_MODEL || names[i] == UM_COL_ORG);
		}
	if (PG_ARGISNULL(lengthof(names)))
		PG_RETURN_NULL();
	check_tags(PG_GETARG_JSONB_P(lengthof(names)));
	PG_RETURN_DATUM(PG_GETARG_DATUM(lengthof(names)));
}
