/*
 * period.h
 *		The periods that quotas are kept for.
 */
#ifndef UM_PERIOD_H
#define UM_PERIOD_H

#include "datatype/timestamp.h"
#include "pgtime.h"

typedef enum UmPeriod
{
	UM_PERIOD_HOUR,
	UM_PERIOD_DAY,
	UM_PERIOD_WEEK,
	UM_PERIOD_MONTH,
	UM_PERIOD_YEAR,
	UM_PERIOD_LIFETIME,
	UM_PERIOD_COUNT
} UmPeriod;

extern const char *um_period_name(UmPeriod period);
extern UmPeriod um_period_by_name(const char *name);
extern void um_period_bounds(UmPeriod period, int billing_day, pg_tz *tz, TimestampTz ts,
							 TimestampTz *start, TimestampTz *end);

#endif							/* UM_PERIOD_H */
