#ifndef UM_READER_H
#define UM_READER_H

#include "datatype/timestamp.h"
#include "pricing/service_tier.h"
#include "record/shape.h"

/* A call that a response tells of: the first is its own, others were made within it. */
typedef struct UmCallRead
{
	const char *model;			/* NULL: not told */
	bool		known[UM_METER_COUNT];	/* false: not told */
	int64		count[UM_METER_COUNT];	/* of tokens; inclusive */
	Jsonb	   *units;			/* every other meter that is not zero, or NULL */
	Numeric		cost;			/* what the provider charged, in USD, or NULL */
	Jsonb	   *usage;			/* what the provider's usage object says, or NULL */
} UmCallRead;

typedef struct UmResponse
{
	int			ncalls;
	UmCallRead *calls;
	char	   *provider;		/* who bills; NULL: not told */
	UmTier		tier;
	char	   *id;				/* NULL: none */
	char	   *error;			/* NULL: none */
	bool		has_time;
	TimestampTz time;
	Jsonb	   *unread;			/* what stands in the way of a price; NULL: nothing */
} UmResponse;

extern UmResponse *um_read_response(Jsonb *response, const char *provider, bool hold_unknown);

#endif							/* UM_READER_H */
