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
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#define DEFAULT_MAX_TAGS	64
#define MIN_MAX_TAGS		0
#define MAX_MAX_TAGS		10000

#define DEFAULT_MAX_RESERVATION_TTL	SECS_PER_DAY
#define MIN_MAX_RESERVATION_TTL		1
#define MAX_MAX_RESERVATION_TTL		INT_MAX

#define DEFAULT_PARTITIONS_AHEAD	3
#define MIN_PARTITIONS_AHEAD	0
#define MAX_PARTITIONS_AHEAD	120

#define MIN_RETENTION_LEDGER	0
#define MAX_RETENTION_LEDGER	(100 * MONTHS_PER_YEAR)

#define DEFAULT_RETENTION_COUNTERS	(HOURS_PER_DAY * MINS_PER_HOUR)

int			um_max_tags = DEFAULT_MAX_TAGS;
int			um_max_reservation_ttl = DEFAULT_MAX_RESERVATION_TTL;
int			um_request_id_window = 0;

/* What maintain() reads of these it reads by name. */
static int	partitions_ahead;
static int	retention_ledger;
static int	retention_history;
static int	retention_counters;
static int	retention_alerts;
static int	retention_reservations;
static int	retention_audit;

/* Defines a setting that says for how long something is kept, in minutes. */
static void
define_retention(const char *name, const char *description, const char *detail, int *value,
				 int default_value)
{
	DefineCustomIntVariable(name, description, detail, value, default_value, 0, INT_MAX,
							PGC_SUSET, GUC_UNIT_MIN, NULL, NULL, NULL);
}

/* Defines the settings. */
void
um_limits_init(void)
{
	DefineCustomIntVariable("usage_monitor.max_tags",
							"Sets the number of tags that a call can have.",
							NULL,
							&um_max_tags,
							DEFAULT_MAX_TAGS, MIN_MAX_TAGS, MAX_MAX_TAGS,
							PGC_SUSET,
							0, NULL, NULL, NULL);
	DefineCustomIntVariable("usage_monitor.max_reservation_ttl",
							"Sets the longest time that a reservation can hold room for.",
							NULL,
							&um_max_reservation_ttl,
							DEFAULT_MAX_RESERVATION_TTL, MIN_MAX_RESERVATION_TTL,
							MAX_MAX_RESERVATION_TTL,
							PGC_SUSET,
							GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("usage_monitor.request_id_window",
							"Sets how far apart in time two calls of one request_id can be, in different partitions, to be one call.",
							"Zero: as far as the ledger goes. Else a call is looked for in those partitions only that are so near.",
							&um_request_id_window,
							0, 0, INT_MAX,
							PGC_SUSET,
							GUC_UNIT_MIN, NULL, NULL, NULL);
	DefineCustomIntVariable("usage_monitor.partitions_ahead",
							"Sets the number of months after the running one for which maintain() makes partitions.",
							"Zero turns it off, where something else makes them.",
							&partitions_ahead,
							DEFAULT_PARTITIONS_AHEAD, MIN_PARTITIONS_AHEAD, MAX_PARTITIONS_AHEAD,
							PGC_SUSET,
							0, NULL, NULL, NULL);
	DefineCustomIntVariable("usage_monitor.retention_ledger",
							"Sets the number of whole months before the running one whose calls maintain() keeps as rows.",
							"Older partitions are archived and dropped. Zero keeps them.",
							&retention_ledger,
							0, MIN_RETENTION_LEDGER, MAX_RETENTION_LEDGER,
							PGC_SUSET,
							0, NULL, NULL, NULL);
	define_retention("usage_monitor.retention_history",
					 "Sets how long what the archive has of the counters of a past period is kept.",
					 "Zero keeps it.", &retention_history, 0);
	define_retention("usage_monitor.retention_counters",
					 "Sets how long the counter of a past period is kept, before it is told from the ledger.",
					 NULL, &retention_counters, DEFAULT_RETENTION_COUNTERS);
	define_retention("usage_monitor.retention_alerts",
					 "Sets how long alerts of past periods are kept.",
					 "Zero keeps them.", &retention_alerts, 0);
	define_retention("usage_monitor.retention_reservations",
					 "Sets how long reservations are kept after the time at which they expire.",
					 "Zero keeps them.", &retention_reservations, 0);
	define_retention("usage_monitor.retention_audit",
					 "Sets how long entries of the audit log are kept.",
					 "Zero keeps them. Those of refunds stay as long as their calls.", &retention_audit, 0);
}
