/*
 * price.h
 *		The price book as a backend sees it: the prices that a model's name
 *		leads to, in order of precedence.
 */
#ifndef UM_PRICE_H
#define UM_PRICE_H

#include "base/decimal.h"
#include "base/text_span.h"
#include "datatype/timestamp.h"
#include "pgtime.h"
#include "pricing/meter.h"
#include "pricing/service_tier.h"

#define UM_EVERY_DAY	0xFE	/* bits 1 to 7 */

/* A daily window on the vendor's clock. */
typedef struct UmWindow
{
	int64		start;			/* microseconds since local midnight */
	int64		end;
	uint8		days;			/* bit n: starts on ISO weekday n */
	pg_tz	   *zone;
} UmWindow;

typedef struct UmRate
{
	UmMeter		meter;
	int128		mantissa;		/* unit price at the entry's scale */
	Numeric		unit_price;		/* the same, exactly */
	Numeric		amount;
	Numeric		per;
	bool		free;			/* the unit price is zero */
	int64		context_from;
	bool		context_inclusive;
	UmWindow   *window;			/* NULL: always */
} UmRate;

typedef struct UmPrice
{
	int64		price_id;
	int			rank;			/* the lower wins; equal within an origin */
	UmTier		tier;
	bool		listed;			/* by a public catalogue, not agreed */
	bool		by_circumstance;	/* some rates hold in some calls only */
	char	   *org;			/* NULL: everybody's */
	char	   *provider;		/* NULL: any */
	char	   *model;
	char	   *currency;
	TimestampTz from;
	TimestampTz to;
	int			nrates;
	UmRate	   *rates;
} UmPrice;

/* All prices that one name leads to, best first. */
typedef struct UmPriceList
{
	char	   *provider;		/* the provider that the name leads to, or NULL */
	char	   *model;			/* the price book's name of the model; NULL: it has none */
	int			scale;			/* of every mantissa; -1: they do not fit */
	int			nprices;
	UmPrice    *prices;
} UmPriceList;

/* The price of a call, and the one that fills its gaps. */
typedef struct UmPriceChoice
{
	const UmPrice *own;			/* of the call's tier; may be NULL */
	const UmPrice *standard;	/* of the standard tier; may be NULL */
} UmPriceChoice;

extern void um_price_book_load(void);
extern const UmPriceList *um_price_list(UmString org, UmString provider, UmString model);
extern bool um_price_choose(const UmPriceList *list, UmString org, UmTier tier, TimestampTz ts,
							UmPriceChoice *choice);
extern const UmRate *um_price_own_rate(const UmPrice *price, UmMeter meter,
										int64 context, TimestampTz ts);
extern const UmRate *um_price_rate(const UmPriceChoice *choice, UmMeter meter,
								   int64 context, TimestampTz ts,
								   const UmPrice **price);

/* discount.c */
extern void um_discounts_load(void);
extern bool um_discount(UmString org, const char *provider, const char *model, TimestampTz ts,
						Numeric *percent);

/* exchange_rate.c */
extern void um_exchange_rates_load(void);
extern bool um_exchange_rate(const char *from, const char *to, TimestampTz ts, Numeric *rate);

#endif							/* UM_PRICE_H */
