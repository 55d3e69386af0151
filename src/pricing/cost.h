#ifndef UM_COST_H
#define UM_COST_H

#include "fmgr.h"
#include "pricing/price.h"
#include "pricing/usage_check.h"

/* Whose call it was, and when. */
typedef struct UmCall
{
	UmString	provider;		/* may be none */
	UmString	model;
	UmString	org;			/* none: nobody's contract */
	UmTier		tier;
	TimestampTz ts;
} UmCall;

/* Why a call has no cost. */
typedef enum UmUnpriced
{
	UM_UNPRICED_NOT,
	UM_UNPRICED_NO_PRICE,
	UM_UNPRICED_NO_TIER,		/* that the call was served in */
	UM_UNPRICED_NO_RATE,		/* of a meter that was used */
	UM_UNPRICED_NO_COUNT,		/* of a meter that is not free */
	UM_UNPRICED_NO_EXCHANGE_RATE
} UmUnpriced;

typedef struct UmCost
{
	bool		priced;
	UmUnpriced	unpriced;
	UmMeter		unpriced_meter; /* whose rate or count is missing */
	UmTier		unpriced_tier;	/* whose price is missing */
	int64		price_id;		/* 0: none */
	const char *price_currency;
	Numeric		side[UM_SIDES]; /* in the ledger's currency */
	Numeric		total;
	Numeric		price_total;	/* in the price's currency */
	Numeric		exchange_rate;	/* NULL: the same currency */
	Numeric		discount;		/* percent, NULL: none */
	Numeric		multiplier;		/* of what tokens cost, NULL: none */
} UmCost;

/* A quantity that is billed, and by which rate. */
typedef struct UmItem
{
	UmMeter		meter;
	UmQuantity	quantity;
	const UmPrice *price;
	const UmRate *rate;
} UmItem;

extern bool um_cost_arguments(FunctionCallInfo fcinfo, int first, UmCall *call, UmUse *use);
extern void um_cost(const UmCall *call, const UmUse *use, UmCost *cost);
extern int	um_cost_items(const UmCall *call, const UmUse *use, UmCost *cost,
						  UmItem *items);
extern const UmRate *um_use_rate(const UmPriceChoice *choice, const UmUse *use, UmMeter m,
								 TimestampTz ts, const UmPrice **price);
extern char *um_unpriced_reason(const UmCost *cost);
extern char *um_window_text(const UmWindow *window);

#endif							/* UM_COST_H */
