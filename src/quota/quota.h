/*
 * quota.h
 *		The quotas as a backend sees them, and which of them a call touches.
 */
#ifndef UM_QUOTA_H
#define UM_QUOTA_H

#include "base/period.h"
#include "utils/jsonb.h"
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

/* An alert is due when this share of the amount is used. */
typedef struct UmLevel
{
	char	   *name;			/* warning, critical, exceeded, or 50% */
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
	char	   *model;
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

typedef struct UmString
{
	const char *data;			/* NULL: none */
	int			length;
} UmString;

/* What quotas see of a row of the ledger. */
typedef struct UmCounted
{
	UmString	subject[UM_SCOPE_TAG];	/* by scope; that of all is empty */
	Jsonb	   *tags;
	TimestampTz ts;
	Numeric		cost;			/* NULL: unpriced */
	int64		total_tokens;
} UmCounted;

/* The columns that quotas see, in the order of um_counted_set. */
typedef enum UmCountedColumn
{
	/* first the subjects, from UM_SCOPE_ORG to UM_SCOPE_PROVIDER */
	UM_COUNTED_TAGS = UM_SCOPE_PROVIDER,
	UM_COUNTED_TS,
	UM_COUNTED_COST,
	UM_COUNTED_TOTAL_TOKENS,
	UM_COUNTED_COLUMNS
} UmCountedColumn;

extern void um_counted_set(UmCounted *row, const Datum *values, const bool *nulls);

typedef void (*UmQuotaVisitor) (UmQuota *quota, UmString subject,
								TimestampTz period_start, void *context);

extern UmQuota *um_quota_by_id(int64 quota_id);
extern void um_quota_visit(const UmCounted *row, UmQuotaVisitor visit, void *context);
extern const char *um_scope_name(UmScope scope);

#endif							/* UM_QUOTA_H */
