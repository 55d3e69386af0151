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

#include "base/replicated.h"
#include "commands/trigger.h"
#include "replication/logicalworker.h"
#include "replication/worker_internal.h"
#include "utils/guc.h"

static bool replicated_alerts = false;

/* Defines the setting. */
void
um_replicated_init(void)
{
	DefineCustomBoolVariable("usage_monitor.replicated_alerts",
							 "Sets whether calls and quotas that come by logical replication raise alerts.",
							 "For a hub and its nodes; a copy of one ledger gets that ledger's alerts.",
							 &replicated_alerts,
							 false,
							 PGC_SUSET,
							 0, NULL, NULL, NULL);
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
