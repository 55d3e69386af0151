#ifndef UM_LEDGER_COLUMNS_H
#define UM_LEDGER_COLUMNS_H

#include "access/attnum.h"
#include "base/text_span.h"
#include "catalog/pg_type_d.h"
#include "utils/relcache.h"

/* The columns that are read or filled, each with its name and type. */
#define UM_LEDGER_COLUMNS(C) \
	C(USAGE_ID, "usage_id", INT8OID) \
	C(TS, "ts", TIMESTAMPTZOID) \
	C(REQUEST_ID, "request_id", TEXTOID) \
	C(ORG, "org", TEXTOID) \
	C(DEPARTMENT, "department", TEXTOID) \
	C(PROJECT, "project", TEXTOID) \
	C(USER_ID, "user_id", TEXTOID) \
	C(SESSION_ID, "session_id", TEXTOID) \
	C(PROVIDER, "provider", TEXTOID) \
	C(MODEL, "model", TEXTOID) \
	C(RESOLVED_MODEL, "resolved_model", TEXTOID) \
	C(OPERATION, "operation", TEXTOID) \
	C(SOURCE, "source", TEXTOID) \
	C(SERVICE_TIER, "service_tier", TEXTOID) \
	C(INPUT_TOKENS, "input_tokens", INT8OID) \
	C(OUTPUT_TOKENS, "output_tokens", INT8OID) \
	C(CACHE_READ_INPUT_TOKENS, "cache_read_input_tokens", INT8OID) \
	C(CACHE_CREATION_INPUT_TOKENS, "cache_creation_input_tokens", INT8OID) \
	C(CACHE_CREATION_1H_INPUT_TOKENS, "cache_creation_1h_input_tokens", INT8OID) \
	C(REASONING_OUTPUT_TOKENS, "reasoning_output_tokens", INT8OID) \
	C(INPUT_AUDIO_TOKENS, "input_audio_tokens", INT8OID) \
	C(OUTPUT_AUDIO_TOKENS, "output_audio_tokens", INT8OID) \
	C(UNITS, "units", JSONBOID) \
	C(DURATION_MS, "duration_ms", FLOAT8OID) \
	C(SUCCESS, "success", BOOLOID) \
	C(ERROR_TEXT, "error", TEXTOID) \
	C(CACHED, "cached", BOOLOID) \
	C(TAGS, "tags", JSONBOID) \
	C(TOTAL_TOKENS, "total_tokens", INT8OID) \
	C(PRICE_ID, "price_id", INT8OID) \
	C(CURRENCY, "currency", TEXTOID) \
	C(INPUT_COST, "input_cost", NUMERICOID) \
	C(OUTPUT_COST, "output_cost", NUMERICOID) \
	C(OTHER_COST, "other_cost", NUMERICOID) \
	C(COST, "cost", NUMERICOID) \
	C(COST_SOURCE, "cost_source", TEXTOID) \
	C(LIST_COST, "list_cost", NUMERICOID) \
	C(UNPRICED_REASON, "unpriced_reason", TEXTOID) \
	C(PRICE_CURRENCY, "price_currency", TEXTOID) \
	C(PRICE_COST, "price_cost", NUMERICOID) \
	C(EXCHANGE_RATE, "exchange_rate", NUMERICOID) \
	C(UNREAD, "unread", JSONBOID) \
	C(RECORDED_AT, "recorded_at", TIMESTAMPTZOID) \
	C(XID, "xid", INT8OID)

typedef enum UmColumn
{
#define C(symbol, name, type) UM_COL_##symbol,
	UM_LEDGER_COLUMNS(C)
#undef C
	UM_COLUMN_COUNT
} UmColumn;

typedef struct UmColumns
{
	Oid			relid;
	bool		valid;
	AttrNumber	attnum[UM_COLUMN_COUNT];
	Oid			request_index;	/* unique over (org, request_id), or InvalidOid */
} UmColumns;

/*
 * The operation of rows that correct what others cost: money, and no calls.
 * Only the extension's own functions write them.
 */
#define UM_OPERATION_CORRECTION	"correction"

static inline bool
um_is_correction(UmString operation)
{
	return operation.length == sizeof(UM_OPERATION_CORRECTION) - 1 &&
		memcmp(operation.data, UM_OPERATION_CORRECTION, operation.length) == 0;
}

extern const UmColumns *um_columns(Relation relation);
extern const char *um_column_name(UmColumn column);

#endif							/* UM_LEDGER_COLUMNS_H */
