/*
 * ledger_columns.h
 *		Where the columns of the ledger are in each of its partitions.
 */
#ifndef UM_LEDGER_COLUMNS_H
#define UM_LEDGER_COLUMNS_H

#include "access/attnum.h"
#include "utils/relcache.h"

#define UM_LEDGER_COLUMNS(C) \
	C(USAGE_ID, "usage_id") \
	C(TS, "ts") \
	C(REQUEST_ID, "request_id") \
	C(ORG, "org") \
	C(DEPARTMENT, "department") \
	C(PROJECT, "project") \
	C(USER_ID, "user_id") \
	C(SESSION_ID, "session_id") \
	C(PROVIDER, "provider") \
	C(MODEL, "model") \
	C(OPERATION, "operation") \
	C(SOURCE, "source") \
	C(SERVICE_TIER, "service_tier") \
	C(INPUT_TOKENS, "input_tokens") \
	C(OUTPUT_TOKENS, "output_tokens") \
	C(CACHE_READ_INPUT_TOKENS, "cache_read_input_tokens") \
	C(CACHE_CREATION_INPUT_TOKENS, "cache_creation_input_tokens") \
	C(CACHE_CREATION_1H_INPUT_TOKENS, "cache_creation_1h_input_tokens") \
	C(REASONING_OUTPUT_TOKENS, "reasoning_output_tokens") \
	C(INPUT_AUDIO_TOKENS, "input_audio_tokens") \
	C(OUTPUT_AUDIO_TOKENS, "output_audio_tokens") \
	C(UNITS, "units") \
	C(DURATION_MS, "duration_ms") \
	C(SUCCESS, "success") \
	C(CACHED, "cached") \
	C(TAGS, "tags") \
	C(TOTAL_TOKENS, "total_tokens") \
	C(PRICE_ID, "price_id") \
	C(CURRENCY, "currency") \
	C(INPUT_COST, "input_cost") \
	C(OUTPUT_COST, "output_cost") \
	C(OTHER_COST, "other_cost") \
	C(COST, "cost") \
	C(COST_SOURCE, "cost_source") \
	C(UNPRICED_REASON, "unpriced_reason") \
	C(PRICE_CURRENCY, "price_currency") \
	C(PRICE_COST, "price_cost") \
	C(EXCHANGE_RATE, "exchange_rate") \
	C(RECORDED_AT, "recorded_at") \
	C(XID, "xid")

typedef enum UmColumn
{
#define C(symbol, name) UM_COL_##symbol,
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

extern const UmColumns *um_columns(Relation relation);
extern const char *um_column_name(UmColumn column);

#endif							/* UM_LEDGER_COLUMNS_H */
