/*
 * quota.h
 *		The quotas as a backend sees them.
 */
#ifndef UM_QUOTA_H
#define UM_QUOTA_H

#include "base/period.h"
#include "utils/numeric.h"

typedef enum UmScope
{
	UM_SCOPE_ALL,
	UM_SCOPE_ORG,
	UM_SCOPE_DEPARTMENT,
	UM_SCOPE_PROJECT,
	UM_SCOPE_USER,
	UM_SCOPE_SESSION,
	UM_SCOPE_MODEL,
	UM_SCOPE_PROVIDER,
	UM_SCOPE_TAG,
	UM_SCOPE_COUNT
} UmScope;

typedef enum UmMetric
{
	UM_METRIC_COST,
	UM_METRIC_TOKENS,
	UM_METRIC_REQUESTS
} UmMetric;

/* The level at which the amount is used up. */
#define UM_EXCEEDED "exceeded"

/* An alert is due when this share of the amount is used. */
typedef struct UmLevel
{
	const char *name;			/* warning, critical, exceeded, or 50% */
	Numeric		share;
	Numeric		threshold;		/* in the metric's unit */
} UmLevel;

typedef struct UmQuota
{
	int64		quota_id;
	int64		overrides;		/* the quota for each that this one stands in for; 0: none */
	char	   *name;
	UmScope		scope;
	char	   *subject;		/* NULL: each one on its own */
	char	   *org;			/* filters; NULL: any */
	char	   *provider;
	bool		exact;			/* goes by the names of models as they were recorded */
	int			nmodels;		/* -1: any */
	char	  **models;			/* names and patterns */
	UmMetric	metric;
	Numeric		amount;
	int			nlevels;
	UmLevel    *levels;			/* rising */
	UmPeriod	period;
	int			billing_day;
	pg_tz	   *tz;
	bool		blocks;
	int64		revision;
	TimestampTz counted_since;
	TimestampTz start;			/* the period last asked for */
	TimestampTz end;
	struct UmQuota *next;		/* of the same scope and subject */
} UmQuota;

#endif							/* UM_QUOTA_H */
