/*
 * cost.h
 *		What a call used, and what that costs.
 */
#ifndef UM_COST_H
#define UM_COST_H

#include "pricing/price.h"
#include "utils/jsonb.h"

/* A quantity of a meter: value / 10^scale. */
typedef struct UmQuantity
{
	int64		value;
	int			scale;
} UmQuantity;

/*
 * What was used, as recorded: counts are inclusive (input holds cached and
 * audio tokens, output holds reasoning).
 */
typedef struct UmUse
{
	UmQuantity	quantity[UM_METER_COUNT];
	uint32		used;			/* bit m: quantity[m] is not zero */
	bool		input_unknown;
	bool		output_unknown;
} UmUse;

#define UM_METER_BIT(meter)		(UINT32_C(1) << (meter))

/* Meters that are no part of another one. */
#define UM_METERS_WITHOUT_PARTS \
	(UM_METER_BIT(UM_METER_INPUT) | UM_METER_BIT(UM_METER_OUTPUT) | \
	 ~(UM_METER_BIT(UM_METER_REQUEST) - 1))

/* Whose call it was, and when. */
typedef struct UmCall
{
	const char *provider;		/* NULL: not said */
	int			provider_length;
	const char *model;
	int			model_length;
	const char *org;
	int			org_length;
	UmTier		tier;
	TimestampTz ts;
} UmCall;

/* Why a call has no cost. */
typedef enum UmUnpriced
{
	UM_UNPRICED_NOT,
	UM_UNPRICED_NO_PRICE,
	UM_UNPRICED_NO_RATE,		/* of a meter that was used */
	UM_UNPRICED_NO_COUNT,		/* of a meter that is not free */
	UM_UNPRICED_NO_EXCHANGE_RATE
} UmUnpriced;

typedef struct UmCost
{
	bool		priced;
	UmUnpriced	unpriced;
	UmMeter		unpriced_meter; /* whose rate or count is missing */
	const char *provider;		/* where the name leads, or NULL */
	int64		price_id;		/* 0: none */
	const char *price_currency;
	Numeric		side[UM_SIDES]; /* in the ledger's currency */
	Numeric		total;
	Numeric		price_total;	/* in the price's currency */
	Numeric		exchange_rate;	/* NULL: the same currency */
	Numeric		discount;		/* percent, NULL: none */
} UmCost;

/* What one meter contributed. */
typedef struct UmPart
{
	UmMeter		meter;
	Numeric		quantity;
	const UmPrice *price;
	const UmRate *rate;
	Numeric		cost;			/* in the ledger's currency */
} UmPart;

extern void um_use_set(UmUse *use, UmMeter meter, int64 count, const char *column);
extern void um_use_units(UmUse *use, Jsonb *units);
extern void um_use_check(const UmUse *use);
extern void um_cost(const UmCall *call, const UmUse *use, UmCost *cost);
extern int	um_cost_parts(const UmCall *call, const UmUse *use, UmCost *cost,
						  UmPart *parts);
extern char *um_unpriced_reason(const UmCost *cost);
extern UmTier um_tier_checked(const char *name, int length);

#endif							/* UM_COST_H */
