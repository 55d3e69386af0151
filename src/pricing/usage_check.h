#ifndef UM_USAGE_CHECK_H
#define UM_USAGE_CHECK_H

#include "pricing/meter.h"
#include "utils/jsonb.h"

/* A quantity of a meter: value / 10^scale. */
typedef struct UmQuantity
{
	int64		value;
	int			scale;
} UmQuantity;

/*
 * No call counts more of anything: nine thousand such fit into a sum of 64
 * bits, and a thousand times as much as the largest models take does not.
 */
#define UM_MAX_COUNT INT64CONST(1000000000000000)

/*
 * What was used, as recorded: counts are inclusive (input holds cached and
 * audio tokens, output holds reasoning).
 */
typedef struct UmUse
{
	UmQuantity	quantity[UM_METER_COUNT];
	uint64		used;			/* bit m: quantity[m] is not zero */
	bool		input_unknown;
	bool		output_unknown;
} UmUse;

#define UM_METER_BIT(meter)		(UINT64_C(1) << (meter))

/* Meters that are no part of another one. */
#define UM_METERS_WITHOUT_PARTS \
	(UM_METER_BIT(UM_METER_INPUT) | UM_METER_BIT(UM_METER_OUTPUT) | \
	 ~(UM_METER_BIT(UM_METER_REQUEST) - 1))

/* The meters that the ledger has columns for, in their order. */
#define UM_COUNT_METERS 8

extern const UmMeter um_count_meters[UM_COUNT_METERS];

extern bool um_meter_has_column(UmMeter meter);
extern void um_use_set(UmUse *use, UmMeter meter, int64 count);
extern void um_use_units(UmUse *use, Jsonb *units);
extern void um_use_check(const UmUse *use);

#endif							/* UM_USAGE_CHECK_H */
