/*
 * catalog.c
 *		The extension's own tables, and when caches of them go stale.
 *
 * A statement trigger on each cached table sends a relcache invalidation of
 * it (as pg_cron does), which every backend receives once the change has
 * committed, and its own backend at the next command.  The callback only
 * counts: each cache remembers the count at which it was loaded.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/parallel.h"
#include "access/xact.h"
#include "base/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

static const struct
{
	const char *name;
	int			topic;			/* -1: not cached */
}			relations[UM_RELATION_COUNT] = {
	[UM_SETTING] = {"setting", UM_TOPIC_SETTING},
	[UM_PRICE] = {"price", UM_TOPIC_PRICE},
	[UM_PRICE_RATE] = {"price_rate", UM_TOPIC_PRICE},
	[UM_MODEL_ALIAS] = {"model_alias", UM_TOPIC_PRICE},
	[UM_PROVIDER_ALIAS] = {"provider_alias", UM_TOPIC_PRICE},
	[UM_MODEL_ALTERNATIVE] = {"model_alternative", -1},
	[UM_EXCHANGE_RATE] = {"exchange_rate", UM_TOPIC_PRICE},
	[UM_DISCOUNT] = {"discount", UM_TOPIC_PRICE},
	[UM_USAGE_FIELD] = {"usage_field", UM_TOPIC_SHAPE},
	[UM_QUOTA] = {"quota", UM_TOPIC_QUOTA},
	[UM_QUOTA_SCOPE_SUBJECT] = {"quota_scope_subject", -1},
	[UM_QUOTA_BIRTH] = {"_quota_birth", -1},
	[UM_QUOTA_BIRTH_PKEY] = {"_quota_birth_pkey", -1},
	[UM_QUOTA_RAISE] = {"quota_raise", -1},
	[UM_QUOTA_RAISE_QUOTA_ID] = {"quota_raise_quota_id", -1},
	[UM_QUOTA_ADJUSTMENT] = {"quota_adjustment", -1},
	[UM_COUNTER_ROW] = {"_counter_row", -1},
	[UM_RESERVATION] = {"reservation", -1},
	[UM_RESERVATION_PART] = {"_reservation_part", -1},
	[UM_RESERVATION_PART_PKEY] = {"_reservation_part_pkey", -1},
	[UM_RESERVATION_PART_COUNTER] = {"_reservation_part_counter", -1},
	[UM_USAGE] = {"usage", UM_TOPIC_LEDGER},
	[UM_USAGE_DEFAULT] = {"usage_default", -1},
	[UM_USAGE_ID_SEQ] = {"usage_usage_id_seq", -1},
	[UM_ROLLUP_STATE] = {"_rollup_state", -1},
	[UM_CORRECTION] = {"_correction", -1},
	[UM_ACCESS] = {"access", UM_TOPIC_ACCESS},
};

/* What has become stale keeps its OID: only by that are further changes recognised. */
static Oid	relation_oid[UM_RELATION_COUNT];
static bool is_current[UM_RELATION_COUNT];
static uint64 generation[UM_TOPIC_COUNT];
static uint64 relation_generation[UM_RELATION_COUNT];

PG_FUNCTION_INFO_V1(usage_monitor_invalidate);
PG_FUNCTION_INFO_V1(usage_monitor_is_restoring);

/* Relcache callback: notes what has become stale, and nothing more. */
static void
relation_changed(Datum arg, Oid relid)
{
	for (int r = 0; r < UM_RELATION_COUNT; r++)
	{
		if (OidIsValid(relid) && relid != relation_oid[r])
			continue;
		is_current[r] = false;
		relation_generation[r]++;
		if (relations[r].topic >= 0)
			generation[relations[r].topic]++;
		/* plans are made for what their user was confined to */
		if (r == UM_ACCESS)
			ResetPlanCache();
	}
}

/* Asks to be told of changes. */
void
um_catalog_init(void)
{
	for (int t = 0; t < UM_TOPIC_COUNT; t++)
		generation[t] = 1;
	for (int r = 0; r < UM_RELATION_COUNT; r++)
		relation_generation[r] = 1;
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
}

/* How often the topic has changed, as far as this backend has heard. */
uint64
um_generation(UmTopic topic)
{
	return generation[topic];
}

/* How often a relation has changed, of which the OID has been asked for. */
uint64
um_relation_generation(UmRelation relation)
{
	return relation_generation[relation];
}

/* The relation's OID; InvalidOid if the extension is not there. */
Oid
um_relation(UmRelation relation)
{
	if (!is_current[relation])
	{
		const char *name = relations[relation].name;
		Oid			namespace = get_namespace_oid(name[0] == '_' ? UM_PRIVATE_SCHEMA : UM_SCHEMA, true);
		Oid			relid = OidIsValid(namespace) ? get_relname_relid(name, namespace) : InvalidOid;

		if (!OidIsValid(relid))
			return InvalidOid;
		relation_oid[relation] = relid;
		is_current[relation] = true;
	}
	return relation_oid[relation];
}

/*
 * Learns the tables of a topic, before they are read into a cache: the
 * callback recognises only those that it knows.
 */
void
um_watch(UmTopic topic)
{
	for (int r = 0; r < UM_RELATION_COUNT; r++)
		if (relations[r].topic == (int) topic)
			(void) um_relation((UmRelation) r);
}

/* The role that owns the extension's tables. */
Oid
um_owner(void)
{
	Oid			relid = um_relation(UM_USAGE);
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"usage_monitor.usage\" does not exist"),
				 errhint("Run CREATE EXTENSION usage_monitor CASCADE.")));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/*
 * Checks that a function was called as a trigger, and fired when it must be
 * (TRIGGER_EVENT_BEFORE, TRIGGER_EVENT_ROW).
 */
TriggerData *
um_trigger_fired(FunctionCallInfo fcinfo, const char *name, TriggerEvent when)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by trigger manager", name)));
	if ((trigdata->tg_event & (TRIGGER_EVENT_ROW | TRIGGER_EVENT_TIMINGMASK)) != when)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be fired %s %s", name,
						when & TRIGGER_EVENT_BEFORE ? "BEFORE" : "AFTER",
						when & TRIGGER_EVENT_ROW ? "ROW" : "STATEMENT")));
	return trigdata;
}

/*
 * The same, of one of those tables.  By OID: anybody can make a table of the
 * same name and columns, and a trigger on it needs no right to execute the
 * function.
 */
TriggerData *
um_trigger(FunctionCallInfo fcinfo, const char *name, TriggerEvent when,
		   const UmRelation *tables, int ntables)
{
	TriggerData *trigdata = um_trigger_fired(fcinfo, name, when);

	for (int t = 0; t < ntables; t++)
		if (RelationGetRelid(trigdata->tg_relation) == um_relation(tables[t]))
			return trigdata;
	ereport(ERROR,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg("function \"%s\" is not for table \"%s\"", name,
					RelationGetRelationName(trigdata->tg_relation)),
			 errhint("The triggers of usage_monitor are for its own tables alone.")));
	return NULL;				/* keep the compiler quiet */
}

/*
 * A snapshot of what is committed now, whatever the transaction's isolation.
 * Parallel workers may not take one; theirs is the query's.
 */
static Snapshot
latest_snapshot(void)
{
	return IsInParallelMode() ? GetActiveSnapshot() : GetLatestSnapshot();
}

/*
 * Does a script of pg_dump or pg_restore run?  All that they write begins
 * with these two settings, whatever their options; hardly anybody else's
 * session has both.  Anybody can set them, so it must be the owner's: nobody
 * else can restore what an extension has.
 */
bool
um_is_restoring(void)
{
	return !check_function_bodies && namespace_search_path[0] == '\0' &&
		has_privs_of_role(GetUserId(), um_owner());
}

Datum
usage_monitor_is_restoring(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(um_is_restoring());
}

/* Sets a parameter until um_spi_end. */
void
um_spi_set(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
}

/*
 * Opens SPI as the user who asks, for what he may see and no more; with a
 * search_path that nobody can have put operators of his own into.
 */
void
um_spi_begin_as_user(UmSpi *spi)
{
	GetUserIdAndSecContext(&spi->user, &spi->security);
	spi->guc_level = NewGUCNestLevel();
	um_spi_set("search_path", "pg_catalog, pg_temp");
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

/* Opens SPI as the owner of the tables. */
void
um_spi_begin(UmSpi *spi)
{
	Oid			owner = um_owner();

	um_spi_begin_as_user(spi);
	SetUserIdAndSecContext(owner, spi->security |
						   SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
}

/* Closes SPI and becomes the user again. */
void
um_spi_end(UmSpi *spi)
{
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	AtEOXact_GUC(false, spi->guc_level);
	SetUserIdAndSecContext(spi->user, spi->security);
}

/* Plans a query once. */
static void
prepare(UmQuery *query)
{
	SPIPlanPtr	plan;

	if (query->plan != NULL)
		return;
	query->nargs = 0;
	while (query->nargs < (int) lengthof(query->argtypes) && OidIsValid(query->argtypes[query->nargs]))
		query->nargs++;
	plan = SPI_prepare_cursor(query->text, query->nargs, query->argtypes,
							  query->generic ? CURSOR_OPT_GENERIC_PLAN : 0);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	if (SPI_keepplan(plan) != 0)
		elog(ERROR, "SPI_keepplan failed");
	query->plan = plan;
}

/*
 * Runs a query with a snapshot; with a second one, what that does not see
 * cannot be changed, and the transaction fails to serialize.
 */
static void
execute(UmQuery *query, Datum *values, const char *nulls, Snapshot snapshot,
		Snapshot crosscheck, bool read_only)
{
	int			result;

	snapshot = RegisterSnapshot(snapshot);
	crosscheck = RegisterSnapshot(crosscheck);
	prepare(query);
	result = SPI_execute_snapshot(query->plan, values, nulls, snapshot,
								  crosscheck, read_only, true, 0);
	if (result < 0)
		elog(ERROR, "SPI_execute_snapshot failed: %s", SPI_result_code_string(result));
	UnregisterSnapshot(crosscheck);
	UnregisterSnapshot(snapshot);
}

/* Runs a query that only reads; SPI_tuptable has the rows. */
void
um_spi_query(UmQuery *query, Datum *values, const char *nulls)
{
	execute(query, values, nulls, latest_snapshot(), InvalidSnapshot, true);
}

/*
 * The same, by itself and as the owner, until um_spi_end; what is made of the
 * rows is in the caller's memory.
 */
void
um_spi_read(UmSpi *spi, UmQuery *query, Datum *values, const char *nulls)
{
	MemoryContext caller = CurrentMemoryContext;

	um_spi_begin(spi);
	um_spi_query(query, values, nulls);
	MemoryContextSwitchTo(caller);
}

/* Reads as the owner one value, which is passed by value and not null. */
Datum
um_spi_value(UmQuery *query, Datum *values)
{
	bool		isnull;
	Datum		result;
	UmSpi		spi;

	um_spi_read(&spi, query, values, NULL);
	result = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	um_spi_end(&spi);
	return result;
}

/* Runs a query that writes. */
void
um_spi_modify(UmQuery *query, Datum *values, const char *nulls)
{
	execute(query, values, nulls, latest_snapshot(), InvalidSnapshot, false);
}

/* The same, by itself and as the owner; returns of how many rows. */
uint64
um_spi_run(UmQuery *query, Datum *values, const char *nulls)
{
	uint64		processed;
	UmSpi		spi;

	um_spi_begin(&spi);
	um_spi_modify(query, values, nulls);
	processed = SPI_processed;
	um_spi_end(&spi);
	return processed;
}

/* Runs a query that writes what the snapshot sees; none: the transaction's. */
void
um_spi_modify_as_of(UmQuery *query, Datum *values, const char *nulls, Snapshot snapshot)
{
	execute(query, values, nulls, snapshot, InvalidSnapshot, false);
}

/*
 * Runs a query that writes what is committed now or was done by the
 * transaction itself, up to here; but where the transaction keeps to its
 * snapshot it may not change what it has not seen (ri_PerformCheck).
 */
void
um_spi_modify_seen(UmQuery *query, Datum *values, const char *nulls)
{
	CommandCounterIncrement();
	execute(query, values, nulls, latest_snapshot(),
			IsolationUsesXactSnapshot() ? GetTransactionSnapshot() : InvalidSnapshot, false);
}

/* Shows its rows to a visitor. */
typedef struct RowReceiver
{
	DestReceiver pub;
	UmRowVisitor visit;
	void	   *arg;
} RowReceiver;

static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	RowReceiver *receiver = (RowReceiver *) self;

	CHECK_FOR_INTERRUPTS();
	slot_getallattrs(slot);
	receiver->visit(receiver->arg, slot);
	return true;
}

static void
start_receiver(DestReceiver *self, int operation, TupleDesc typeinfo)
{
}

static void
end_receiver(DestReceiver *self)
{
}

/* Runs a query that only reads, with the active snapshot; the visitor gets its rows as they come. */
void
um_spi_stream(UmQuery *query, Datum *values, UmRowVisitor visit, void *arg)
{
	RowReceiver receiver = {
		.pub = {receive_row, start_receiver, end_receiver, end_receiver, DestNone},
		.visit = visit,
		.arg = arg
	};
	SPIExecuteOptions options = {0};
	int			result;

	prepare(query);
	options.read_only = true;
	options.dest = &receiver.pub;
	/* an empty list is none to others that look at it, Citus for one */
	options.params = query->nargs > 0 ? makeParamList(query->nargs) : NULL;
	for (int i = 0; i < query->nargs; i++)
	{
		ParamExternData *param = &options.params->params[i];

		param->value = values[i];
		param->isnull = false;
		param->pflags = PARAM_FLAG_CONST;
		param->ptype = query->argtypes[i];
	}
	result = SPI_execute_plan_extended(query->plan, &options);
	if (result < 0)
		elog(ERROR, "SPI_execute_plan_extended failed: %s", SPI_result_code_string(result));
}

/* A text column of a query's row; NULL where it is null.  (SPI_getvalue looks up output functions.) */
char *
um_text_column(HeapTuple row, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* The same of a number, which is not null and copied. */
Numeric
um_numeric_column(HeapTuple row, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, column, &isnull);

	Assert(!isnull);
	return DatumGetNumericCopy(value);
}

/* The same of a bigint, or an instant; 0 where it is null. */
int64
um_int64_column(HeapTuple row, TupleDesc desc, int column)
{
	bool		isnull;

	return DatumGetInt64(SPI_getbinval(row, desc, column, &isnull));
}

/* Reads all rows of a query into an array, each by a function. */
void *
um_spi_load(UmQuery *query, int *count, Size size, UmRowReader read_row)
{
	char	   *rows;
	int			nrows;
	UmSpi		spi;

	um_spi_read(&spi, query, NULL, NULL);
	nrows = (int) SPI_processed;
	rows = palloc0(size * (nrows + 1));
	for (int i = 0; i < nrows; i++)
		read_row(rows + size * i, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
	um_spi_end(&spi);
	*count = nrows;
	return rows;
}

/*
 * Trigger of every cached table: tells all backends.  One of statements, and
 * for what comes by replication, which fires none of these, one of rows.
 */
Datum
usage_monitor_invalidate(PG_FUNCTION_ARGS)
{
	bool		of_row = CALLED_AS_TRIGGER(fcinfo) &&
		TRIGGER_FIRED_FOR_ROW(((TriggerData *) fcinfo->context)->tg_event);
	UmRelation	cached[UM_RELATION_COUNT];
	int			ncached = 0;

	for (int r = 0; r < UM_RELATION_COUNT; r++)
		if (relations[r].topic >= 0)
			cached[ncached++] = (UmRelation) r;
	CacheInvalidateRelcache(um_trigger(fcinfo, "_invalidate",
									   TRIGGER_EVENT_AFTER | (of_row ? TRIGGER_EVENT_ROW : 0),
									   cached, ncached)->tg_relation);
	PG_RETURN_POINTER(NULL);
}
