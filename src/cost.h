/*
 * cost.h
 *		What a call used, and what that costs.
 */
#ifndef UM_COST_H
#define UM_COST_H

#include "price.h"
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
	bool		input_unknown;
	bool		output_unknown;
} UmUse;

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

typedef struct UmCost
{
	bool		priced;
	const char *provider;		/* where the name leads, or NULL */
	int64		price_id;		/* 0: none */
	const char *price_currency;
	Numeric		side[UM_SIDES]; /* in the ledger's currency */
	Numeric		total;
	Numeric		price_total;	/* in the price's currency */
	Numeric		exchange_rate;	/* NULL: the same currency */
} UmCost;

extern void um_use_set(UmUse *use, UmMeter meter, int64 count, const char *column);
extern void um_use_units(UmUse *use, Jsonb *units);
extern void um_use_check(const UmUse *use);
extern void um_cost(const UmCall *call, const UmUse *use, UmCost *cost);
extern UmTier um_tier_checked(const char *name, int length);

#endif							/* UM_COST_H */
