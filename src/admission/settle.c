/*
 * settle.c
 *		Ending a reservation: with the call that it was made for, or without.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "admission/reservation_row.h"
#include "base/catalog.h"
#include "base/error.h"
#include "catalog/pg_type.h"
#include "counter/reserved.h"
#include "executor/executor.h"
#include "ledger/bounds.h"
#include "record/record.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

PG_FUNCTION_INFO_V1(usage_monitor_settle);
PG_FUNCTION_INFO_V1(usage_monitor_release);

/* The arguments of settle. */
enum
{
	ARG_RESERVATION_ID, ARG_RESPONSE, ARG_MODEL, ARG_INPUT_TOKENS, ARG_OUTPUT_TOKENS,
	ARG_CACHE_READ_INPUT_TOKENS, ARG_CACHE_CREATION_INPUT_TOKENS, ARG_CACHE_CREATION_1H_INPUT_TOKENS,
	ARG_REASONING_OUTPUT_TOKENS, ARG_INPUT_AUDIO_TOKENS, ARG_OUTPUT_AUDIO_TOKENS, ARG_UNITS,
	ARG_SERVICE_TIER, ARG_COST, ARG_OPERATION, ARG_SOURCE, ARG_REQUEST_ID, ARG_TS, ARG_DURATION_MS,
	ARG_SUCCESS, ARG_ERROR, ARG_CACHED, ARG_PROVIDER, ARG_ORG
};

/* The parameters of insert_call: what the reservation says, then the arguments from ARG_INPUT_TOKENS to ARG_CACHED. */
#define P_ARGUMENTS (UM_RES_TAGS - UM_RES_ORG + 1)
#define P_COUNT		(P_ARGUMENTS + ARG_CACHED - ARG_INPUT_TOKENS + 1)

static UmQuery insert_call = {
	.text = "INSERT INTO usage_monitor.usage AS u ("
	"org, department, project, user_id, session_id, provider, model, tags,"
	" input_tokens, output_tokens, cache_read_input_tokens, cache_creation_input_tokens,"
	" cache_creation_1h_input_tokens, reasoning_output_tokens, input_audio_tokens,"
	" output_audio_tokens, units, service_tier, cost, operation, source, request_id, ts,"
	" duration_ms, success, error, cached)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,"
	" $19, $20, $21, $22, coalesce($23, pg_catalog.now()), $24, $25, $26, $27) RETURNING u",
	.argtypes = {
		TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID,
		INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, JSONBOID, TEXTOID,
		NUMERICOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, FLOAT8OID, BOOLOID, TEXTOID, BOOLOID
	},
	.generic = true
};

/*
 * Gives back what an open reservation holds, of the organisation that an
 * argument names or, if that is NULL, of any; false if there is no such one
 * open.  It stays locked, and is to be ended.
 */
static bool
take_back(FunctionCallInfo fcinfo, int org_argument, UmReservation *held)
{
	Datum		reservation_id = PG_GETARG_DATUM(ARG_RESERVATION_ID);
	UmString	org = {NULL, 0};

	if (PG_ARGISNULL(ARG_RESERVATION_ID))
		return false;
	if (!PG_ARGISNULL(org_argument))
		org = um_string_trimmed(um_text_string(PG_GETARG_DATUM(org_argument), false));
	if (!um_reservation_lock_open(reservation_id, org, held))
		return false;
	um_reserved_give_back(reservation_id);
	return true;
}

/* release(reservation_id, org): false if it was not open. */
Datum
usage_monitor_release(PG_FUNCTION_ARGS)
{
	bool		is_open;
	UmReservation held;
	UmSpi		spi;

	um_spi_begin(&spi);
	is_open = take_back(fcinfo, 1, &held);
	if (is_open)
		um_reservation_end(&held, "released", (Datum) 0, false);
	um_spi_end(&spi);
	PG_RETURN_BOOL(is_open);
}

/* ---- settle() ----------------------------------------------------------- */

/* Was an argument given that a response says itself? */
static bool
is_given(FunctionCallInfo fcinfo, int argument)
{
	switch (argument)
	{
		case ARG_INPUT_TOKENS:
		case ARG_OUTPUT_TOKENS:
			/* left out, as for an INSERT */
			return PG_ARGISNULL(argument) || PG_GETARG_INT64(argument) != PG_INT64_MIN;
		case ARG_UNITS:
		case ARG_SERVICE_TIER:
		case ARG_COST:
			return !PG_ARGISNULL(argument);
		case ARG_CACHED:
			return !PG_ARGISNULL(argument) && PG_GETARG_BOOL(argument);
		default:
			return !PG_ARGISNULL(argument) && PG_GETARG_INT64(argument) != 0;
	}
}

/* Refuses counts and cost beside a response. */
static void
check_alone(FunctionCallInfo fcinfo)
{
	static const struct
	{
		int			argument;
		const char *name;
	}			said[] = {
		{ARG_INPUT_TOKENS, "input_tokens"},
		{ARG_OUTPUT_TOKENS, "output_tokens"},
		{ARG_CACHE_READ_INPUT_TOKENS, "cache_read_input_tokens"},
		{ARG_CACHE_CREATION_INPUT_TOKENS, "cache_creation_input_tokens"},
		{ARG_CACHE_CREATION_1H_INPUT_TOKENS, "cache_creation_1h_input_tokens"},
		{ARG_REASONING_OUTPUT_TOKENS, "reasoning_output_tokens"},
		{ARG_INPUT_AUDIO_TOKENS, "input_audio_tokens"},
		{ARG_OUTPUT_AUDIO_TOKENS, "output_audio_tokens"},
		{ARG_UNITS, "units"},
		{ARG_SERVICE_TIER, "service_tier"},
		{ARG_COST, "cost"},
		{ARG_CACHED, "cached"}
	};
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < (int) lengthof(said); i++)
		if (is_given(fcinfo, said[i].argument))
			appendStringInfo(&names, "%s\"%s\"", names.len > 0 ? ", " : "", said[i].name);
	if (names.len > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s cannot be given together with a response", names.data),
				 errhint("Give the response, which is read as record() reads it, or counts and cost as to an INSERT.")));
}

/* Gives an argument of one function to another; what is held, where it is NULL. */
static void
pass(FunctionCallInfo inner, int to, FunctionCallInfo fcinfo, int from, const UmReservation *held, int column)
{
	if (from >= 0 && !PG_ARGISNULL(from))
		inner->args[to] = fcinfo->args[from];
	else if (held != NULL)
	{
		inner->args[to].value = held->values[column];
		inner->args[to].isnull = held->nulls[column];
	}
	else
		inner->args[to].isnull = true;
}

/* Does the response name its model? */
static bool
names_model(Jsonb *response)
{
	return DatumGetBool(DirectFunctionCall2(jsonb_exists, JsonbPGetDatum(response),
											CStringGetTextDatum("model")));
}

/* Records the provider's response, as record() does. */
static Datum
record_response(FunctionCallInfo fcinfo, const UmReservation *held)
{
	LOCAL_FCINFO(inner, UM_RECORD_ARGUMENTS);

	InitFunctionCallInfoData(*inner, NULL, UM_RECORD_ARGUMENTS, InvalidOid, NULL, NULL);
	pass(inner, UM_RECORD_RESPONSE, fcinfo, ARG_RESPONSE, NULL, 0);
	pass(inner, UM_RECORD_PROVIDER, fcinfo, ARG_PROVIDER, held, UM_RES_PROVIDER);
	pass(inner, UM_RECORD_MODEL, fcinfo, ARG_MODEL,
		 names_model(PG_GETARG_JSONB_P(ARG_RESPONSE)) ? NULL : held, UM_RES_MODEL);
	pass(inner, UM_RECORD_ORG, fcinfo, -1, held, UM_RES_ORG);
	pass(inner, UM_RECORD_DEPARTMENT, fcinfo, -1, held, UM_RES_DEPARTMENT);
	pass(inner, UM_RECORD_PROJECT, fcinfo, -1, held, UM_RES_PROJECT);
	pass(inner, UM_RECORD_USER_ID, fcinfo, -1, held, UM_RES_USER_ID);
	pass(inner, UM_RECORD_SESSION_ID, fcinfo, -1, held, UM_RES_SESSION_ID);
	pass(inner, UM_RECORD_OPERATION, fcinfo, ARG_OPERATION, NULL, 0);
	pass(inner, UM_RECORD_SOURCE, fcinfo, ARG_SOURCE, NULL, 0);
	pass(inner, UM_RECORD_REQUEST_ID, fcinfo, ARG_REQUEST_ID, NULL, 0);
	pass(inner, UM_RECORD_TS, fcinfo, ARG_TS, NULL, 0);
	pass(inner, UM_RECORD_DURATION_MS, fcinfo, ARG_DURATION_MS, NULL, 0);
	pass(inner, UM_RECORD_SUCCESS, fcinfo, ARG_SUCCESS, NULL, 0);
	pass(inner, UM_RECORD_ERROR, fcinfo, ARG_ERROR, NULL, 0);
	pass(inner, UM_RECORD_TAGS, fcinfo, -1, held, UM_RES_TAGS);
	return usage_monitor_record(inner);
}

/* Records the counts, as an INSERT does; 0 where that passes over them, for the call is recorded. */
static Datum
record_counts(FunctionCallInfo fcinfo, const UmReservation *held)
{
	Datum		values[P_COUNT];
	char		nulls[P_COUNT];
	bool		isnull;

	for (int i = 0; i < P_COUNT; i++)
	{
		int			argument = i >= P_ARGUMENTS ? ARG_INPUT_TOKENS + i - P_ARGUMENTS :
			i == UM_RES_PROVIDER - UM_RES_ORG ? ARG_PROVIDER : i == UM_RES_MODEL - UM_RES_ORG ? ARG_MODEL : -1;

		if (argument >= 0 && (i >= P_ARGUMENTS || !PG_ARGISNULL(argument)))
		{
			values[i] = PG_GETARG_DATUM(argument);
			nulls[i] = PG_ARGISNULL(argument) ? 'n' : ' ';
		}
		else
		{
			values[i] = held->values[UM_RES_ORG + i];
			nulls[i] = held->nulls[UM_RES_ORG + i] ? 'n' : ' ';
		}
	}
	um_spi_modify(&insert_call, values, nulls);
	if (SPI_processed == 0)
		return (Datum) 0;
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
}

/*
 * settle(reservation_id, response, model, input_tokens, ..., provider, org): the
 * row of the ledger.
 */
Datum
usage_monitor_settle(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext old;
	UmReservation held;
	Datum		row;
	Datum		usage_id = (Datum) 0;
	bool		has_no_id = true;
	UmSpi		spi;

	if (!PG_ARGISNULL(ARG_RESPONSE))
		check_alone(fcinfo);
	/* the ledger takes a negative cost from its owner, as a correction; not from here */
	if (!PG_ARGISNULL(ARG_COST))
		um_check_cost("cost", PG_GETARG_NUMERIC(ARG_COST));
	um_spi_begin(&spi);
	if (!take_back(fcinfo, ARG_ORG, &held))
		ereport(ERROR,
				(errcode(ERRCODE_UM_NOT_RESERVED),
				 errmsg("reservation %s is not open",
						PG_ARGISNULL(ARG_RESERVATION_ID) ? "NULL" :
						DatumGetCString(DirectFunctionCall1(uuid_out, PG_GETARG_DATUM(ARG_RESERVATION_ID)))),
				 errhint("It was settled or released before, or never made. Record the call with INSERT or record().")));
	row = PG_ARGISNULL(ARG_RESPONSE) ? record_counts(fcinfo, &held) : record_response(fcinfo, &held);
	if (row != (Datum) 0)
	{
		old = MemoryContextSwitchTo(caller);
		row = datumCopy(row, false, -1);
		MemoryContextSwitchTo(old);
	}
	if (row != (Datum) 0)
		usage_id = GetAttributeByName(DatumGetHeapTupleHeader(row), "usage_id", &has_no_id);
	um_reservation_end(&held, "settled", usage_id, !has_no_id);
	um_spi_end(&spi);
	if (row == (Datum) 0)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(row);
}
