/*
 * catalog.h
 *		The extension's own tables: where they are, how to query them as their
 *		owner, and when what was read from them has become stale.
 */
#ifndef UM_CATALOG_H
#define UM_CATALOG_H

#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/numeric.h"
#include "utils/snapshot.h"

/* What users see, and what begins with an underscore. */
#define UM_SCHEMA "usage_monitor"
#define UM_PRIVATE_SCHEMA "_usage_monitor"

typedef enum UmRelation
{
	UM_SETTING,
	UM_PRICE,
	UM_PRICE_RATE,
	UM_MODEL_ALIAS,
	UM_PROVIDER_ALIAS,
	UM_MODEL_ALTERNATIVE,
	UM_EXCHANGE_RATE,
	UM_DISCOUNT,
	UM_USAGE_FIELD,
	UM_QUOTA,
	UM_QUOTA_SCOPE_SUBJECT,
	UM_QUOTA_BIRTH,
	UM_QUOTA_BIRTH_PKEY,
	UM_QUOTA_RAISE,
	UM_QUOTA_RAISE_QUOTA_ID,
	UM_QUOTA_ADJUSTMENT,
	UM_COUNTER_ROW,
	UM_RESERVATION,
	UM_RESERVATION_PART,
	UM_RESERVATION_PART_PKEY,
	UM_RESERVATION_PART_COUNTER,
	UM_USAGE,
	UM_USAGE_DEFAULT,
	UM_USAGE_ID_SEQ,
	UM_ROLLUP_STATE,
	UM_CORRECTION,
	UM_ACCESS,
	UM_RELATION_COUNT
} UmRelation;

/* What is cached, and goes stale, together. */
typedef enum UmTopic
{
	UM_TOPIC_SETTING,
	UM_TOPIC_PRICE,
	UM_TOPIC_SHAPE,
	UM_TOPIC_QUOTA,
	UM_TOPIC_LEDGER,			/* its partitions */
	UM_TOPIC_ACCESS,
	UM_TOPIC_COUNT
} UmTopic;

/* A query whose plan is kept for the life of the backend. */
typedef struct UmQuery
{
	const char *text;
	Oid			argtypes[32];
	bool		generic;		/* planned once, whatever the arguments */
	int			nargs;			/* set with the plan */
	SPIPlanPtr	plan;
} UmQuery;

/* Gets a row of a query. */
typedef void (*UmRowVisitor) (void *arg, TupleTableSlot *slot);

/* Makes something of a row of a query. */
typedef void (*UmRowReader) (void *to, HeapTuple row, TupleDesc desc);

/* Who the user was before um_spi_begin. */
typedef struct UmSpi
{
	Oid			user;
	int			security;
	int			guc_level;
} UmSpi;

extern void um_catalog_init(void);
extern Oid	um_relation(UmRelation relation);
extern Oid	um_owner(void);
extern TriggerData *um_trigger_fired(FunctionCallInfo fcinfo, const char *name, TriggerEvent when);
extern TriggerData *um_trigger(FunctionCallInfo fcinfo, const char *name, TriggerEvent when,
							   const UmRelation *tables, int ntables);
extern bool um_is_restoring(void);
extern uint64 um_generation(UmTopic topic);
extern uint64 um_relation_generation(UmRelation relation);
extern void um_watch(UmTopic topic);
extern void um_spi_begin(UmSpi *spi);
extern void um_spi_begin_as_user(UmSpi *spi);
extern void um_spi_set(const char *name, const char *value);
extern void um_spi_end(UmSpi *spi);
extern void um_spi_query(UmQuery *query, Datum *values, const char *nulls);
extern void um_spi_read(UmSpi *spi, UmQuery *query, Datum *values, const char *nulls);
extern Datum um_spi_value(UmQuery *query, Datum *values);
extern void *um_spi_load(UmQuery *query, int *count, Size size, UmRowReader read_row);
extern char *um_text_column(HeapTuple row, TupleDesc desc, int column);
extern Numeric um_numeric_column(HeapTuple row, TupleDesc desc, int column);
extern int64 um_int64_column(HeapTuple row, TupleDesc desc, int column);
extern void um_spi_modify(UmQuery *query, Datum *values, const char *nulls);
extern uint64 um_spi_run(UmQuery *query, Datum *values, const char *nulls);
extern void um_spi_modify_as_of(UmQuery *query, Datum *values, const char *nulls,
								Snapshot snapshot);
extern void um_spi_modify_seen(UmQuery *query, Datum *values, const char *nulls);
extern void um_spi_stream(UmQuery *query, Datum *values, UmRowVisitor visit, void *arg);

#endif							/* UM_CATALOG_H */
