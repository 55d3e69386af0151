/*
 * limits.c
 *		What a client may ask for at most.
 *
 * For the administrator to set: each tag is a row of a rollup, and what is
 * reserved nobody else can use.
 *
 * And how long what is kept; maintain() reads these (sql/ledger/maintenance.sql).
 */
#include "postgres.h"

#include <limits.h>

#include "base/limits.h"
#include "fmgr.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#define DEFAULT_RETENTION_COUNTERS	(HOURS_PER_DAY * MINS_PER_HOUR)
#define MAX_RETENTION_LEDGER		(100 * MONTHS_PER_YEAR)

int			um_max_tags;
int			um_max_reservation_ttl;
int			um_request_id_window;

/* What maintain() reads of these it reads by name. */
static int	partitions_ahead;
static int	retention_ledger;
static int	retention_history;
static int	retention_counters;
static int	retention_alerts;
static int	retention_reservations;
static int	retention_audit;

/* Defines a setting: a number for the administrator to set, in a unit or in none (0). */
void
um_limit_define(const char *name, int *value, int initial, int least, int most, int unit,
				const char *description, const char *detail)
{
	DefineCustomIntVariable(name, description, detail, value, initial, least, most,
							PGC_SUSET, unit, NULL, NULL, NULL);
}

/* Defines the settings. */
void
um_limits_init(void)
{
	um_limit_define("usage_monitor.max_tags", &um_max_tags, 64, 0, 10000, 0,
					"Sets the number of tags that a call can have.", NULL);
	um_limit_define("usage_monitor.max_reservation_ttl",
					&um_max_reservation_ttl, SECS_PER_DAY, 1, INT_MAX, GUC_UNIT_S,
					"Sets the longest time that a reservation can hold room for.", NULL);
	um_limit_define("usage_monitor.request_id_window",
					&um_request_id_window, 0, 0, INT_MAX, GUC_UNIT_MIN,
					"Sets how far apart in time two calls of one request_id can be, in different partitions, to be one call.",
					"Zero: as far as the ledger goes. Else a call is looked for in those partitions only that are so near.");
	um_limit_define("usage_monitor.partitions_ahead", &partitions_ahead, 3, 0, 120, 0,
					"Sets the number of months after the running one for which maintain() makes partitions.",
					"Zero turns it off, where something else makes them.");
	um_limit_define("usage_monitor.retention_ledger",
					&retention_ledger, 0, 0, MAX_RETENTION_LEDGER, 0,
					"Sets the number of whole months before the running one whose calls maintain() keeps as rows.",
					"Older partitions are archived and dropped. Zero keeps them.");
	um_limit_define("usage_monitor.retention_history",
					&retention_history, 0, 0, INT_MAX, GUC_UNIT_MIN,
					"Sets how long what the archive has of the counters of a past period is kept.",
					"Zero keeps it.");
	um_limit_define("usage_monitor.retention_counters",
					&retention_counters, DEFAULT_RETENTION_COUNTERS, 0, INT_MAX, GUC_UNIT_MIN,
					"Sets how long the counter of a past period is kept, before it is told from the ledger.",
					NULL);
	um_limit_define("usage_monitor.retention_alerts",
					&retention_alerts, 0, 0, INT_MAX, GUC_UNIT_MIN,
					"Sets how long alerts of past periods are kept.",
					"Zero keeps them.");
	um_limit_define("usage_monitor.retention_reservations",
					&retention_reservations, 0, 0, INT_MAX, GUC_UNIT_MIN,
					"Sets how long reservations are kept after the time at which they expire.",
					"Zero keeps them.");
	um_limit_define("usage_monitor.retention_audit",
					&retention_audit, 0, 0, INT_MAX, GUC_UNIT_MIN,
					"Sets how long entries of the audit log are kept.",
					"Zero keeps them. Those of refunds stay as long as their calls.");
}
