/*
 * limits.c
 *		What a client may ask for at most.
 *
 * For the administrator to set: each tag is a row of a rollup, and what is
 * reserved nobody else can use.
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

PG_FUNCTION_INFO_V1(usage_monitor_max_reservation_ttl);

int			um_max_tags = DEFAULT_MAX_TAGS;
int			um_max_reservation_ttl = DEFAULT_MAX_RESERVATION_TTL;

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
}

/* _max_reservation_ttl(): that setting, which is not known before the library is loaded. */
Datum
usage_monitor_max_reservation_ttl(PG_FUNCTION_ARGS)
{
	Interval   *result = palloc0(sizeof(Interval));

	result->time = um_max_reservation_ttl * USECS_PER_SEC;
	PG_RETURN_INTERVAL_P(result);
}
