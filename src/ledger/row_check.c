/*
 * row_check.c
 *		What a client may write into a row of the ledger: names, counts and
 *		times that can be, and nothing that is ours to fill.
 */
#include "postgres.h"

#include <math.h>

#include "base/error.h"
#include "base/limits.h"
#include "base/setting.h"
#include "base/tag.h"
#include "common/int.h"
#include "fmgr.h"
#include "ledger/bounds.h"
#include "ledger/row_check.h"
#include "mb/pg_wchar.h"
#include "pricing/service_tier.h"
#include "utils/timestamp.h"

/* longer names would not fit into an index */
#define MAX_NAME_LENGTH 1000

/* Of a name that is too long, so much is shown. */
#define MAX_SHOWN_LENGTH 60

/* Of what is unread, so many fields are given as the reason, each of so many bytes. */
#define MAX_REASONS 3
#define MAX_REASON_LENGTH 200

/*
 * The default of the two counts: who leaves both out has counted nothing, and
 * that is not zero, while an embedding has no output.
 */
#define NOT_GIVEN PG_INT64_MIN

/*
 * Takes the blanks from round a name, and an empty one for none: drivers and
 * forms send it where nothing is meant.
 */
static void
tidy_name(UmRow *row, UmColumn column)
{
	UmString	given = um_row_text(row, column);
	UmString	name;

	if (given.data == NULL)
		return;
	name = um_string_trimmed(given);
	if (name.length < given.length || given.length == 0)
		um_row_set(row, column,
				   um_string_text(name),
				   name.length == 0 && column != UM_COL_MODEL && column != UM_COL_ORG);
}

/* Refuses a name that is empty where it must not be, or too long for a key. */
static void
check_name(UmColumn column, UmString name)
{
	if (name.length == 0 && (column == UM_COL_MODEL || column == UM_COL_ORG))
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_NAME),
				 errmsg("column \"%s\" must not be empty", um_column_name(column)),
				 column == UM_COL_MODEL ? errhint("Name the model as the provider does, for example gpt-4o.") :
				 errhint("Leave it out, and the call is of org \"default\".")));
	if (name.length > MAX_NAME_LENGTH)
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_NAME),
				 errmsg("column \"%s\" is too long: %d bytes, at most %d",
						um_column_name(column), name.length, MAX_NAME_LENGTH),
				 errhint("Names are keys of counters and sums; keep long texts elsewhere.")));
}

/* Tidies the names of a row, and refuses those that cannot be. */
static void
check_names(UmRow *row)
{
	static const UmColumn names[] = {
		UM_COL_MODEL, UM_COL_ORG, UM_COL_REQUEST_ID, UM_COL_DEPARTMENT, UM_COL_PROJECT,
		UM_COL_USER_ID, UM_COL_SESSION_ID, UM_COL_PROVIDER, UM_COL_OPERATION, UM_COL_SOURCE
	};

	for (int i = 0; i < (int) lengthof(names); i++)
	{
		tidy_name(row, names[i]);
		check_name(names[i], um_row_text(row, names[i]));
	}
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

		if ((int) JB_ROOT_COUNT(tags) > um_max_tags)
			ereport(ERROR,
					(errcode(ERRCODE_UM_INVALID_NAME),
					 errmsg("column \"tags\" must have at most %d tags, but has %d",
							um_max_tags, (int) JB_ROOT_COUNT(tags)),
					 errhint("Keep what nobody groups or limits by elsewhere; the administrator can set usage_monitor.max_tags.")));

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
check_duration(UmRow *row)
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

/*
 * What the client left out is zero, if he gave anything else that is counted.
 * A call that succeeded and counted nothing is one whose counts are not known.
 */
static void
fill_counts(UmRow *row)
{
	static const UmColumn parts[] = {
		UM_COL_CACHE_READ_INPUT_TOKENS, UM_COL_CACHE_CREATION_INPUT_TOKENS,
		UM_COL_CACHE_CREATION_1H_INPUT_TOKENS, UM_COL_REASONING_OUTPUT_TOKENS,
		UM_COL_INPUT_AUDIO_TOKENS, UM_COL_OUTPUT_AUDIO_TOKENS
	};
	static const UmColumn wholes[] = {UM_COL_INPUT_TOKENS, UM_COL_OUTPUT_TOKENS};
	bool		left_out[lengthof(wholes)] = {false};
	bool		is_known;

	for (int i = 0; i < (int) lengthof(wholes); i++)
	{
		int			att = row->columns->attnum[wholes[i]] - 1;

		left_out[i] = !row->nulls[att] && DatumGetInt64(row->values[att]) == NOT_GIVEN;
	}
	is_known = !left_out[0] || !left_out[1] || !IS_NULL(row, COST) ||
		!DatumGetBool(VALUE(row, SUCCESS)) || DatumGetBool(VALUE(row, CACHED)) ||
		(!IS_NULL(row, UNITS) && JB_ROOT_COUNT(DatumGetJsonbP(VALUE(row, UNITS))) > 0);
	for (int i = 0; i < (int) lengthof(parts); i++)
	{
		int			att = row->columns->attnum[parts[i]] - 1;

		if (row->nulls[att])
			um_row_set(row, parts[i], Int64GetDatum(0), false);
		else if (DatumGetInt64(row->values[att]) != 0)
			is_known = true;
	}
	for (int i = 0; i < (int) lengthof(wholes); i++)
		if (left_out[i])
			um_row_set(row, wholes[i], Int64GetDatum(0), !is_known);
}

/* Fills what was left out or given as NULL, as many drivers do. */
void
um_row_fill(UmRow *row)
{
	SET_DEFAULT(row, ORG, CStringGetTextDatum(UM_DEFAULT_ORG));
	SET_DEFAULT(row, SERVICE_TIER, CStringGetTextDatum("standard"));
	/* a call with an error has failed, unless the client says otherwise */
	SET_DEFAULT(row, SUCCESS, BoolGetDatum(um_row_text(row, UM_COL_ERROR_TEXT).length == 0));
	SET_DEFAULT(row, CACHED, BoolGetDatum(false));
	fill_counts(row);
}

/* Reads the counts, and refuses impossible ones. */
static void
read_use(const UmRow *row, UmUse *use)
{
	StaticAssertStmt(UM_COL_OUTPUT_AUDIO_TOKENS - UM_COL_INPUT_TOKENS + 1 == UM_COUNT_METERS,
					 "each count has a meter");

	memset(use, 0, sizeof(UmUse));
	for (int i = 0; i < UM_COUNT_METERS; i++)
	{
		int			att = row->columns->attnum[UM_COL_INPUT_TOKENS + i] - 1;

		if (!row->nulls[att])
			um_use_set(use, um_count_meters[i], DatumGetInt64(row->values[att]));
	}
	/* NULL: the provider did not say, which is not zero */
	use->input_unknown = IS_NULL(row, INPUT_TOKENS);
	use->output_unknown = IS_NULL(row, OUTPUT_TOKENS);
	if (!IS_NULL(row, UNITS))
		um_use_units(use, DatumGetJsonbP(VALUE(row, UNITS)));
	um_use_check(use);
}

/* Sets total_tokens; what the client gave must be the same. */
static void
set_total_tokens(UmRow *row, const UmRow *old, const UmUse *use)
{
	int64		total;

	if (pg_add_s64_overflow(use->quantity[UM_METER_INPUT].value,
							use->quantity[UM_METER_OUTPUT].value, &total))
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_COUNT),
				 errmsg("\"input_tokens\" and \"output_tokens\" together are out of range"),
				 errhint("Counts are what the provider reported.")));
	if (!IS_NULL(row, TOTAL_TOKENS) && DatumGetInt64(VALUE(row, TOTAL_TOKENS)) != total &&
		(old == NULL || um_row_changed(old, row, UM_COL_TOTAL_TOKENS)))
	{
		if (total == 0)
			ereport(ERROR,
					(errcode(ERRCODE_UM_READ_ONLY),
					 errmsg("column \"total_tokens\" is filled by usage_monitor"),
					 errhint("Give \"input_tokens\" and \"output_tokens\": they have prices of their own, and a total alone has none.")));
		ereport(ERROR,
				(errcode(ERRCODE_UM_IMPOSSIBLE_USAGE),
				 errmsg("impossible usage: \"total_tokens\" (%lld) is not \"input_tokens\" and \"output_tokens\" together (%lld)",
						(long long) DatumGetInt64(VALUE(row, TOTAL_TOKENS)), (long long) total),
				 errhint("Leave it out. Counts are inclusive: \"output_tokens\" contains reasoning.")));
	}
	SET(row, TOTAL_TOKENS, Int64GetDatum(total));
}

/* Refuses a time that no call can have been made at. */
static void
check_ts(const UmRow *row, const UmRow *old)
{
	if (IS_NULL(row, TS) || TIMESTAMP_NOT_FINITE(DatumGetTimestampTz(VALUE(row, TS))))
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_COUNT),
				 errmsg("column \"ts\" must be an instant"),
				 errhint("It is when the call was made; leave it out for now.")));
	if (old == NULL || um_row_changed(old, row, UM_COL_TS))
		um_check_ts(DatumGetTimestampTz(VALUE(row, TS)));
}

static bool
is_ledger_currency(const UmRow *row)
{
	return um_string_order(um_row_text(row, UM_COL_CURRENCY), um_setting()->currency) == 0;
}

/* Has the client given the column? */
static bool
is_given(const UmRow *row, const UmRow *old, UmColumn column)
{
	return old != NULL ? um_row_changed(old, row, column) :
		!row->nulls[row->columns->attnum[column] - 1];
}

static pg_noinline void
refuse_own_column(UmColumn column)
{
	ereport(ERROR,
			(errcode(ERRCODE_UM_READ_ONLY),
			 errmsg("column \"%s\" is filled by usage_monitor", um_column_name(column)),
			 column == UM_COL_USAGE_ID || column == UM_COL_XID || column == UM_COL_RECORDED_AT ?
			 errhint("Leave it out.") :
			 errhint("Leave it out. What the call cost is given as \"cost\", in the ledger's currency or with its \"currency\".")));
}

/* Refuses what is not the client's to write. */
static void
check_own_columns(const UmRow *row, const UmRow *old)
{
	static const UmColumn own[] = {
		UM_COL_USAGE_ID, UM_COL_XID, UM_COL_RECORDED_AT, UM_COL_RESOLVED_MODEL, UM_COL_PRICE_ID,
		UM_COL_COST_SOURCE, UM_COL_UNPRICED_REASON, UM_COL_LIST_COST, UM_COL_PRICE_CURRENCY,
		UM_COL_PRICE_COST, UM_COL_EXCHANGE_RATE
	};

	for (int i = 0; i < (int) lengthof(own); i++)
		if (is_given(row, old, own[i]))
			refuse_own_column(own[i]);

	/* said of a cost, and nothing without one */
	if (is_given(row, old, UM_COL_COST) && !IS_NULL(row, COST))
		return;
	if (is_given(row, old, UM_COL_CURRENCY) && !(old == NULL && is_ledger_currency(row)))
		refuse_own_column(UM_COL_CURRENCY);
	if (is_given(row, old, UM_COL_OTHER_COST))
		refuse_own_column(UM_COL_OTHER_COST);
	if (old == NULL && is_given(row, old, UM_COL_INPUT_COST))
		refuse_own_column(UM_COL_INPUT_COST);
	if (old == NULL && is_given(row, old, UM_COL_OUTPUT_COST))
		refuse_own_column(UM_COL_OUTPUT_COST);
}

/*
 * Why a call of which something is unread has no cost; NULL: all was read.
 * Refuses what does not say what it is.
 */
char *
um_row_unread(const UmRow *row)
{
	StringInfoData reason;
	Jsonb	   *unread;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;
	int			n = 0;

	if (IS_NULL(row, UNREAD))
		return NULL;
	unread = DatumGetJsonbP(VALUE(row, UNREAD));
	if (!JB_ROOT_IS_OBJECT(unread) || JB_ROOT_COUNT(unread) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_COUNT),
				 errmsg("column \"unread\" must be a JSON object with a field"),
				 errhint("It names what could not be read, for example {\"cache_hits\": 8000}; leave it out if all was.")));

	initStringInfo(&reason);
	it = JsonbIteratorInit(&unread->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		char	   *key;
		char	   *text;
		Jsonb	   *said;
		int			length;

		if (token != WJB_KEY)
			continue;
		if (n++ == MAX_REASONS)
		{
			appendStringInfoString(&reason, "; ...");
			break;
		}
		length = Min(value.val.string.len, MAX_REASON_LENGTH);
		key = pnstrdup(value.val.string.val, pg_mbcliplen(value.val.string.val, value.val.string.len, length));
		(void) JsonbIteratorNext(&it, &value, true);
		appendStringInfoString(&reason, n > 1 ? "; " : "");
		if (value.type == jbvBool)
		{
			appendStringInfoString(&reason, key);	/* a sentence */
			continue;
		}
		said = JsonbValueToJsonb(&value);
		text = value.type == jbvString ? pnstrdup(value.val.string.val, value.val.string.len) :
			JsonbToCString(NULL, &said->root, VARSIZE(said));
		appendStringInfo(&reason, "unread field %s = %s", key,
						 pnstrdup(text, pg_mbcliplen(text, strlen(text), MAX_SHOWN_LENGTH)));
	}
	return reason.data;
}

/*
 * Checks what the client gave; old is the row before an UPDATE, or NULL.  What
 * was used is left in use.
 */
void
um_row_check(UmRow *row, const UmRow *old, UmUse *use)
{
	check_own_columns(row, old);
	um_row_fill(row);
	check_names(row);
	um_tier_checked(um_row_text(row, UM_COL_SERVICE_TIER));
	check_ts(row, old);
	if (!IS_NULL(row, TAGS))
		check_tags(DatumGetJsonbP(VALUE(row, TAGS)));
	check_duration(row);
	read_use(row, use);
	set_total_tokens(row, old, use);
}

/* Refuses names and tags of a call that is not made yet, as the ledger would. */
void
um_call_check(const UmString *names, Jsonb *tags)
{
	static const UmColumn columns[] = {
		UM_COL_ORG, UM_COL_DEPARTMENT, UM_COL_PROJECT, UM_COL_USER_ID,
		UM_COL_SESSION_ID, UM_COL_MODEL, UM_COL_PROVIDER
	};

	for (int i = 0; i < (int) lengthof(columns); i++)
		if (names[i].data != NULL)
			check_name(columns[i], names[i]);
	if (tags != NULL)
		check_tags(tags);
}
