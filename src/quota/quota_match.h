#ifndef UM_QUOTA_MATCH_H
#define UM_QUOTA_MATCH_H

#include "base/text_span.h"
#include "quota/counter_name.h"
#include "quota/quota.h"
#include "utils/jsonb.h"

/* What quotas see of a row of the ledger. */
typedef struct UmCounted
{
	UmString	subject[UM_SCOPE_TAG];	/* by scope; that of all is empty */
	UmString	model;			/* as it was recorded; its subject is what the price book calls it */
	Jsonb	   *tags;
	TimestampTz ts;
	Numeric		cost;			/* NULL: unpriced */
	int64		total_tokens;
	bool		is_correction;	/* no request */
} UmCounted;

/* The columns that quotas see, in the order of um_counted_set. */
typedef enum UmCountedColumn
{
	/* first the subjects, from UM_SCOPE_ORG to UM_SCOPE_PROVIDER */
	UM_COUNTED_TAGS = UM_SCOPE_PROVIDER,
	UM_COUNTED_TS,
	UM_COUNTED_COST,
	UM_COUNTED_TOTAL_TOKENS,
	UM_COUNTED_RESOLVED_MODEL,
	UM_COUNTED_OPERATION,
	UM_COUNTED_COLUMNS
} UmCountedColumn;

/* A quota that a row touches, and which of its counters. */
typedef struct UmTouch
{
	UmQuota    *quota;			/* until quotas are loaded anew */
	UmCounterName name;
	TimestampTz end;			/* of the counter's period; the quota's is that of the row which was matched last */
} UmTouch;

typedef struct UmTouches
{
	int			count;
	int			size;
	UmTouch    *touches;		/* few, until there are more */
	UmTouch		few[8];
} UmTouches;

extern void um_counted_set(UmCounted *row, const Datum *values, const bool *nulls);
extern void um_quotas_touched(const UmCounted *row, UmTouches *touched);

#endif							/* UM_QUOTA_MATCH_H */
