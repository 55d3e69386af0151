/*
 * replicated.c
 *		What comes by logical replication.
 *
 * It was checked, priced and let in where it comes from, and is taken as it
 * is: a subscriber that refused a row would stand still.  Whether it raises
 * alerts depends on what the subscriber is: a copy of one ledger gets that
 * ledger's alerts as well, while a hub is where the calls of several come
 * together, and nobody else can say what they add up to.
 */
#include "postgres.h"

#include "base/catalog.h"
#include "base/replicated.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "replication/worker_internal.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(usage_monitor_pass_over);

static bool replicated_alerts = false;

/* Defines the setting. */
void
um_replicated_init(void)
{
	DefineCustomBoolVariable("usage_monitor.replicated_alerts",
							 "Sets whether calls and quotas that come by logical replication raise alerts.",
							 "For a hub and its nodes; a copy of one ledger gets that ledger's alerts.",
							 &replicated_alerts, false, PGC_SUSET, 0, NULL, NULL, NULL);
}

/* Is it replication that writes? */
bool
um_is_replicated(void)
{
	return SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA;
}

/* Does what replication writes raise alerts? */
bool
um_replicated_is_live(void)
{
	return replicated_alerts;
}

/* Is it the initial copy of a table, which is history? */
bool
um_replicated_is_copied(void)
{
	return IsLogicalWorker() && am_tablesync_worker();
}

/*
 * _pass_over(): row trigger of tables whose rows each server has for itself.
 * What the worker writes by itself is passed over; not what follows from that:
 * what our own code, or a trigger, writes in it.
 */
Datum
usage_monitor_pass_over(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = um_trigger_fired(fcinfo, "_pass_over", TRIGGER_EVENT_BEFORE | TRIGGER_EVENT_ROW);
	char	   *schema;

	schema = get_namespace_name(RelationGetNamespace(trigdata->tg_relation));
	if (strcmp(schema, UM_SCHEMA) != 0 && strcmp(schema, UM_PRIVATE_SCHEMA) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" is not for table \"%s\"", "_pass_over",
						RelationGetRelationName(trigdata->tg_relation)),
				 errhint("The triggers of usage_monitor are for its own tables alone.")));
	if (IsLogicalWorker() && !InLocalUserIdChange() &&
		DatumGetInt32(DirectFunctionCall1(pg_trigger_depth, (Datum) 0)) == 1)
		return PointerGetDatum(NULL);
	return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) ?
						   trigdata->tg_newtuple : trigdata->tg_trigtuple);
}
