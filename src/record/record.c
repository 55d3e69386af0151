/*
 * record.c
 *		Storing what a response says: record(), and what it says alone:
 *		normalize_usage().
 *
 * Everything runs as the owner of the tables, so that an application needs
 * EXECUTE on the function and nothing else: it may add to the ledger, and
 * replace the rows of a request_id that it knows.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "base/access.h"
#include "base/catalog.h"
#include "base/error.h"
#include "base/setting.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "ledger/duplicate_request.h"
#include "miscadmin.h"
#include "pricing/price.h"
#include "pricing/usage_check.h"
#include "record/reader.h"
#include "record/record.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/inval.h"
#include "utils/typcache.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(usage_monitor_record);
PG_FUNCTION_INFO_V1(usage_monitor_normalize_usage);
PG_FUNCTION_INFO_V1(usage_monitor_usage_parts);

/* An id that always names another call is refused at last. */
#define MAX_CONFLICTS	100

/* How often another transaction may come in between. */
#define MAX_ROUNDS		100

/* The parameters of both queries; the first has no use for the last two. */
enum
{
	P_TS, P_REQUEST_ID, P_ORG, P_DEPARTMENT, P_PROJECT, P_USER_ID, P_SESSION_ID, P_PROVIDER,
	P_MODEL, P_OPERATION, P_SOURCE, P_SERVICE_TIER, P_COUNTS,
	P_UNITS = P_COUNTS + UM_COUNT_METERS, P_DURATION_MS, P_SUCCESS, P_ERROR, P_TAGS, P_COST,
	P_PROVIDER_USAGE, P_UNREAD, P_USAGE_ID, P_OLD_TS, NPARAMETERS
};

#define PARAMETER_TYPES { \
	TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, \
	TEXTOID, TEXTOID, TEXTOID, TEXTOID, \
	INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, \
	JSONBOID, FLOAT8OID, BOOLOID, TEXTOID, JSONBOID, NUMERICOID, JSONBOID, JSONBOID, \
	INT8OID, TIMESTAMPTZOID}

static UmQuery insert_call = {
	.text = "INSERT INTO usage_monitor.usage AS u ("
	"ts, request_id, org, department, project, user_id, session_id, provider,"
	" model, operation, source, service_tier, input_tokens, output_tokens,"
	" cache_read_input_tokens, cache_creation_input_tokens, cache_creation_1h_input_tokens,"
	" reasoning_output_tokens, input_audio_tokens, output_audio_tokens, units, duration_ms,"
	" success, error, tags, cost, provider_usage, unread, currency)"
	" VALUES (coalesce($1, pg_catalog.now()), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,"
	" $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28,"
	" CASE WHEN $26 IS NOT NULL THEN 'USD' END)"
	" ON CONFLICT DO NOTHING RETURNING u",
	.argtypes = PARAMETER_TYPES,
	.generic = true
};

/* What a later version does not know stays, and so does the time of the call. */
static UmQuery update_call = {
	.text = "UPDATE usage_monitor.usage AS u SET"
	" ts = coalesce($1, u.ts), department = coalesce($4, u.department),"
	" project = coalesce($5, u.project), user_id = coalesce($6, u.user_id),"
	" session_id = coalesce($7, u.session_id), provider = coalesce($8, u.provider), model = $9,"
	" operation = coalesce($10, u.operation), source = coalesce($11, u.source), service_tier = $12,"
	" input_tokens = $13, output_tokens = $14, cache_read_input_tokens = $15,"
	" cache_creation_input_tokens = $16, cache_creation_1h_input_tokens = $17,"
	" reasoning_output_tokens = $18, input_audio_tokens = $19, output_audio_tokens = $20,"
	" units = $21, duration_ms = coalesce($22, u.duration_ms), success = $23, error = $24,"
	" tags = coalesce($25, u.tags),"
	/* in another currency the same figure is another cost: written with one more decimal, it is seen to be new */
	" cost = CASE WHEN $26 = u.cost AND u.currency <> 'USD' THEN round($26, scale($26) + 1) ELSE $26 END,"
	" provider_usage = $27, unread = $28,"
	" currency = CASE WHEN $26 IS NOT NULL THEN 'USD' ELSE u.currency END"
	" WHERE u.usage_id = $29 AND u.ts = $30 AND u.org = $3 AND u.request_id = $2"
	" RETURNING u",
	.argtypes = PARAMETER_TYPES,
	.generic = true
};

static UmQuery find_call = {
	.text = "SELECT u.usage_id, u.ts, u.model, u.user_id, u.input_tokens, u.output_tokens"
	" FROM usage_monitor.usage AS u WHERE u.org = $1 AND u.request_id = $2 FOR UPDATE",
	.argtypes = {TEXTOID, TEXTOID},
	.generic = true
};

static UmQuery delete_step = {
	.text = "DELETE FROM usage_monitor.usage AS u"
	" WHERE u.org = $1 AND u.request_id = $2 AND u.provider_usage ->> 'step_of' = $3",
	.argtypes = {TEXTOID, TEXTOID, TEXTOID},
	.generic = true
};

static UmQuery note_conflict = {
	.text = "INSERT INTO usage_monitor.request_conflict (org, request_id, kept_as, difference)"
	" VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
	.argtypes = {TEXTOID, TEXTOID, TEXTOID, TEXTOID},
	.generic = true
};

/* A row to be stored. */
typedef struct Row
{
	Datum		values[NPARAMETERS];
	char		nulls[NPARAMETERS + 1];
	bool		ts_is_told;		/* by the caller */
} Row;

static void
set(Row *row, int parameter, Datum value)
{
	row->values[parameter] = value;
	row->nulls[parameter] = ' ';
}

static void
set_text(Row *row, int parameter, const char *text)
{
	if (text == NULL)
		row->nulls[parameter] = 'n';
	else
		set(row, parameter, CStringGetTextDatum(text));
}

static void
set_jsonb(Row *row, int parameter, Jsonb *jsonb)
{
	if (jsonb == NULL)
		row->nulls[parameter] = 'n';
	else
		set(row, parameter, JsonbPGetDatum(jsonb));
}

/* Is a charge in dollars worth something here? */
static bool
takes_charge(const Row *row)
{
	const char *currency = um_setting()->currency;
	Numeric		rate;

	if (um_setting()->ignore_reported_costs)
		return false;
	if (strcmp(currency, "USD") == 0)
		return true;
	um_price_book_load();
	return um_exchange_rate("USD", currency,
							row->nulls[P_TS] == 'n' ? GetCurrentTransactionStartTimestamp() :
							DatumGetTimestampTz(row->values[P_TS]), &rate);
}

/* What was used, and what the provider charged for it. */
static void
set_use(Row *row, const UmResponse *response, const UmCallRead *call)
{
	set_text(row, P_PROVIDER, response->provider);
	set_text(row, P_SERVICE_TIER, um_tiers[response->tier]);
	for (int i = 0; i < UM_COUNT_METERS; i++)
	{
		UmMeter		meter = um_count_meters[i];

		/* a side that nobody told is not zero; a part that nobody told is */
		if (!call->known[meter] && (meter == UM_METER_INPUT || meter == UM_METER_OUTPUT))
			row->nulls[P_COUNTS + i] = 'n';
		else
			set(row, P_COUNTS + i, Int64GetDatum(call->count[meter]));
	}
	set_jsonb(row, P_UNITS, call->units);
	set_jsonb(row, P_PROVIDER_USAGE, call->usage);
	set_jsonb(row, P_UNREAD, response->unread);
	/* with a charge but not all counts the call would look whole */
	if (call->cost != NULL && response->unread == NULL && takes_charge(row))
		set(row, P_COST, NumericGetDatum(call->cost));
	else
		row->nulls[P_COST] = 'n';
}

/* ---- One row ------------------------------------------------------------ */

/* The row that a query returned, copied to where SPI does not free it; 0: none. */
static Datum
returned_row(MemoryContext context)
{
	MemoryContext old;
	Datum		row;
	bool		isnull;

	if (SPI_processed == 0)
		return (Datum) 0;
	row = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	old = MemoryContextSwitchTo(context);
	row = datumCopy(row, false, -1);
	MemoryContextSwitchTo(old);
	SPI_freetuptable(SPI_tuptable);
	return row;
}

/* Inserts a row; 0 where its request is recorded already. */
static Datum
insert_row(Row *row, MemoryContext context)
{
	int			outer = um_request_replace();

	PG_TRY();
	{
		um_spi_modify(&insert_call, row->values, row->nulls);
	}
	PG_FINALLY();
	{
		um_request_replaced(outer);
	}
	PG_END_TRY();
	return returned_row(context);
}

/* Replaces a row, which keeps its time unless the caller tells another; 0 where it is gone. */
static Datum
update_row(Row *row, MemoryContext context)
{
	char		nulls[NPARAMETERS + 1];

	memcpy(nulls, row->nulls, sizeof(nulls));
	if (!row->ts_is_told)
		nulls[P_TS] = 'n';
	um_spi_modify_seen(&update_call, row->values, nulls);
	return returned_row(context);
}

/*
 * Why the row in the ledger, the one in SPI's table, is not an earlier word of
 * the same call; NULL: it is.
 */
static const char *
difference(const Row *row)
{
	HeapTuple	old = SPI_tuptable->vals[0];
	TupleDesc	desc = SPI_tuptable->tupdesc;
	char	   *model = um_text_column(old, desc, 3);
	char	   *user = um_text_column(old, desc, 4);

	if (pg_strcasecmp(model, TextDatumGetCString(row->values[P_MODEL])) != 0)
		return "model";
	if (user != NULL && row->nulls[P_USER_ID] != 'n' &&
		strcmp(user, TextDatumGetCString(row->values[P_USER_ID])) != 0)
		return "user_id";
	for (int i = 0; i < 2; i++)
	{
		bool		isnull;
		Datum		count = SPI_getbinval(old, desc, 5 + i, &isnull);

		if (!isnull && row->nulls[P_COUNTS + i] != 'n' &&
			DatumGetInt64(row->values[P_COUNTS + i]) < DatumGetInt64(count))
			return i == 0 ? "input_tokens" : "output_tokens";
	}
	return NULL;
}

/*
 * Stores a row, in place of an earlier word of the same call.  A step is
 * always replaced.  Another call under the same id is kept under an id of its
 * own, and listed.  Of two transactions that record the same request at once,
 * the second waits for the first one and then replaces its row.
 */
static Datum
store_row(Row *row, const char *request_id, bool is_step, bool *replaced, MemoryContext context)
{
	Datum		org = row->values[P_ORG];
	int			conflicts = 0;
	const char *differs = NULL;

	*replaced = false;
	for (int round = 0; round < MAX_ROUNDS; round++)
	{
		Datum		stored = insert_row(row, context);
		Datum		key[] = {org, row->values[P_REQUEST_ID]};
		const char *why;
		bool		isnull;

		if (stored == (Datum) 0 && row->nulls[P_REQUEST_ID] == 'n')
			elog(ERROR, "a call without request_id was not stored");
		if (stored == (Datum) 0)
		{
			um_spi_modify_seen(&find_call, key, NULL);
			if (SPI_processed == 0)
			{
				/* deleted meanwhile */
				SPI_freetuptable(SPI_tuptable);
				continue;
			}
			why = is_step ? NULL : difference(row);
			if (why != NULL)
			{
				SPI_freetuptable(SPI_tuptable);
				if (++conflicts > MAX_CONFLICTS)
					ereport(ERROR,
							(errcode(ERRCODE_UNIQUE_VIOLATION),
							 errmsg("request \"%s\" is recorded as %d calls already", request_id, conflicts),
							 errhint("A request_id names one call of an organisation; pass record(..., request_id => ...).")));
				differs = differs ? differs : why;
				set_text(row, P_REQUEST_ID, psprintf("%s~%d", request_id, conflicts + 1));
				round = 0;
				continue;
			}
			set(row, P_USAGE_ID, SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
			set(row, P_OLD_TS, SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
			SPI_freetuptable(SPI_tuptable);
			stored = update_row(row, context);
			*replaced = stored != (Datum) 0;
		}
		if (stored == (Datum) 0)
			continue;
		if (differs != NULL)
		{
			Datum		values[] = {org, CStringGetTextDatum(request_id), row->values[P_REQUEST_ID],
			CStringGetTextDatum(differs)};

			um_spi_modify(&note_conflict, values, NULL);
		}
		return stored;
	}
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("request \"%s\" was recorded by another transaction meanwhile", request_id),
			 errhint("Try the transaction again.")));
}

/* Takes away steps of the version before that this one does not have. */
static void
delete_steps(const Row *row, const char *request_id, int step)
{
	do
	{
		Datum		values[] = {
			row->values[P_ORG],
			CStringGetTextDatum(psprintf("%s#%d", request_id, step++)),
			CStringGetTextDatum(request_id)
		};

		um_spi_modify_seen(&delete_step, values, NULL);
	} while (SPI_processed > 0);
}

/* A usage object with the name of the request that it is a step of. */
static Jsonb *
step_of(Jsonb *usage, const char *request_id)
{
	Jsonb	   *name;
	JsonbParseState *state = NULL;
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = "step_of";
	value.val.string.len = 7;
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	(void) pushJsonbValue(&state, WJB_KEY, &value);
	value.val.string.val = (char *) request_id;
	value.val.string.len = strlen(request_id);
	(void) pushJsonbValue(&state, WJB_VALUE, &value);
	name = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	return usage == NULL ? name :
		DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(usage), JsonbPGetDatum(name)));
}

/* ---- record() ----------------------------------------------------------- */

/* A text argument without blanks round it; NULL: none. */
static char *
text_argument(FunctionCallInfo fcinfo, int n)
{
	UmString	argument = um_string_trimmed(um_text_string(PG_GETARG_DATUM(n), PG_ARGISNULL(n)));

	return argument.length == 0 ? NULL : pnstrdup(argument.data, argument.length);
}

/* Copies an argument. */
static void
set_argument(Row *row, int parameter, FunctionCallInfo fcinfo, int n)
{
	if (PG_ARGISNULL(n))
		row->nulls[parameter] = 'n';
	else
		set(row, parameter, PG_GETARG_DATUM(n));
}

/* The response, or an error. */
static Jsonb *
response_argument(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_UM_UNKNOWN_SHAPE),
				 errmsg("unknown shape of response: NULL"),
				 errhint("Pass the body of the response, its usage object, or the array of a stream's chunks, as jsonb.")));
	return PG_GETARG_JSONB_P(0);
}

/* Sets who calls, and when: of the call and of its steps. */
static void
set_caller(Row *row, FunctionCallInfo fcinfo)
{
	static const struct
	{
		int			parameter;
		int			argument;
	}			taken[] = {
		{P_DEPARTMENT, UM_RECORD_DEPARTMENT}, {P_PROJECT, UM_RECORD_PROJECT},
		{P_USER_ID, UM_RECORD_USER_ID}, {P_SESSION_ID, UM_RECORD_SESSION_ID},
		{P_OPERATION, UM_RECORD_OPERATION}, {P_SOURCE, UM_RECORD_SOURCE},
		{P_TAGS, UM_RECORD_TAGS}, {P_TS, UM_RECORD_TS}
	};
	char	   *org = text_argument(fcinfo, UM_RECORD_ORG);

	set(row, P_ORG,
		um_string_text(um_check_org(UM_TO_RECORD, um_string_of(org == NULL ? UM_DEFAULT_ORG : org))));
	for (int i = 0; i < (int) lengthof(taken); i++)
		set_argument(row, taken[i].parameter, fcinfo, taken[i].argument);
	row->ts_is_told = !PG_ARGISNULL(UM_RECORD_TS);
}

/* Sets what became of the call itself. */
static void
set_outcome(Row *row, const UmResponse *response, FunctionCallInfo fcinfo)
{
	bool		success = !PG_ARGISNULL(UM_RECORD_SUCCESS) ? PG_GETARG_BOOL(UM_RECORD_SUCCESS) :
		PG_ARGISNULL(UM_RECORD_ERROR) && response->error == NULL;

	set(row, P_SUCCESS, BoolGetDatum(success));
	set_argument(row, P_DURATION_MS, fcinfo, UM_RECORD_DURATION_MS);
	if (!PG_ARGISNULL(UM_RECORD_ERROR))
		set_argument(row, P_ERROR, fcinfo, UM_RECORD_ERROR);
	else
		set_text(row, P_ERROR, success ? NULL : response->error);
	if (!row->ts_is_told && response->has_time)
		set(row, P_TS, TimestampTzGetDatum(response->time));
}

/*
 * record(response, provider, model, org, department, project, user_id,
 *		session_id, operation, source, request_id, ts, duration_ms, success,
 *		error, tags)
 */
Datum
usage_monitor_record(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	Jsonb	   *body = response_argument(fcinfo);
	char	   *model = text_argument(fcinfo, UM_RECORD_MODEL);
	UmResponse *response;
	Row			row;
	char	   *request_id;
	bool		replaced = false;
	Datum		result = (Datum) 0;
	UmSpi		spi;

	/* a line of usage_field that has been committed by now is to be used */
	AcceptInvalidationMessages();
	response = um_read_response(body, text_argument(fcinfo, UM_RECORD_PROVIDER), true);
	request_id = text_argument(fcinfo, UM_RECORD_REQUEST_ID);
	if (request_id == NULL)
		request_id = response->id;
	memset(row.nulls, 'n', sizeof(row.nulls));
	set_caller(&row, fcinfo);

	um_spi_begin(&spi);
	for (int i = 0; i < response->ncalls; i++)
	{
		UmCallRead	call = response->calls[i];
		bool		replaces;
		Datum		stored;

		if (i == 0 && model != NULL)
			call.model = model;
		if (call.model == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UM_INVALID_NAME),
					 errmsg("the response does not name its model"),
					 errhint("Pass it: record(..., model => '...').")));
		set_text(&row, P_MODEL, call.model);
		if (i == 0)
		{
			set_text(&row, P_REQUEST_ID, request_id);
			set_outcome(&row, response, fcinfo);
		}
		else
		{
			/* a step of the call: it ran within the call's time and success */
			set_text(&row, P_REQUEST_ID, request_id ? psprintf("%s#%d", request_id, i) : NULL);
			set(&row, P_SUCCESS, BoolGetDatum(true));
			row.nulls[P_DURATION_MS] = row.nulls[P_ERROR] = 'n';
			if (request_id != NULL)
				call.usage = step_of(call.usage, request_id);
		}
		set_use(&row, response, &call);
		stored = store_row(&row, request_id, i > 0, &replaces, context);
		if (i == 0)
		{
			result = stored;
			replaced = replaces;
			/* what is another call under this id has steps of its own */
			if (request_id != NULL)
				request_id = TextDatumGetCString(row.values[P_REQUEST_ID]);
		}
	}
	if (replaced)
		delete_steps(&row, request_id, response->ncalls);
	um_spi_end(&spi);
	PG_RETURN_DATUM(result);
}

/* ---- normalize_usage() -------------------------------------------------- */

/* The columns of normalized_usage. */
enum
{
	N_PROVIDER, N_MODEL, N_SERVICE_TIER, N_COUNTS, N_UNITS = N_COUNTS + UM_COUNT_METERS,
	N_REPORTED_COST, N_TS, N_UNREAD, N_COLUMNS
};

/* One call, as normalized_usage. */
static Datum
normalized(TupleDesc desc, const UmResponse *response, const UmCallRead *call)
{
	Datum		values[N_COLUMNS];
	bool		nulls[N_COLUMNS];

	memset(nulls, false, sizeof(nulls));
	nulls[N_PROVIDER] = response->provider == NULL;
	if (!nulls[N_PROVIDER])
		values[N_PROVIDER] = CStringGetTextDatum(response->provider);
	nulls[N_MODEL] = call->model == NULL;
	if (!nulls[N_MODEL])
		values[N_MODEL] = CStringGetTextDatum(call->model);
	values[N_SERVICE_TIER] = CStringGetTextDatum(um_tiers[response->tier]);
	for (int i = 0; i < UM_COUNT_METERS; i++)
	{
		nulls[N_COUNTS + i] = !call->known[um_count_meters[i]] &&
			(um_count_meters[i] == UM_METER_INPUT || um_count_meters[i] == UM_METER_OUTPUT);
		values[N_COUNTS + i] = Int64GetDatum(call->count[um_count_meters[i]]);
	}
	values[N_UNITS] = JsonbPGetDatum(call->units);
	nulls[N_UNITS] = call->units == NULL;
	values[N_REPORTED_COST] = NumericGetDatum(call->cost);
	nulls[N_REPORTED_COST] = call->cost == NULL;
	values[N_TS] = TimestampTzGetDatum(response->time);
	nulls[N_TS] = !response->has_time;
	values[N_UNREAD] = JsonbPGetDatum(response->unread);
	nulls[N_UNREAD] = response->unread == NULL;
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}

/* normalize_usage(response, provider): the call itself. */
Datum
usage_monitor_normalize_usage(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	UmResponse *response;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	AcceptInvalidationMessages();
	response = um_read_response(response_argument(fcinfo), text_argument(fcinfo, 1), false);
	return normalized(BlessTupleDesc(desc), response, &response->calls[0]);
}

/* _usage_parts(response, provider, OUT reading, OUT provider_usage): with its steps. */
Datum
usage_monitor_usage_parts(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	UmResponse *response;
	TupleDesc	reading;

	InitMaterializedSRF(fcinfo, 0);
	reading = lookup_rowtype_tupdesc_copy(TupleDescAttr(result->setDesc, 0)->atttypid, -1);
	AcceptInvalidationMessages();
	response = um_read_response(response_argument(fcinfo), text_argument(fcinfo, 1), true);
	for (int i = 0; i < response->ncalls; i++)
	{
		Datum		values[2];
		bool		nulls[2] = {false, response->calls[i].usage == NULL};

		values[0] = normalized(reading, response, &response->calls[i]);
		values[1] = JsonbPGetDatum(response->calls[i].usage);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
