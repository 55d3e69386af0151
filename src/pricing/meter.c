/*
 * meter.c
 *		The billable quantities and the service tiers, by name.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "pricing/meter.h"

const UmMeterInfo um_meters[UM_METER_COUNT] = {
#define M(symbol, name, side, fallback, kind) {name, UM_SIDE_##side, UM_METER_##fallback, UM_KIND_##kind},
	UM_METERS(M)
#undef M
};

const char *const um_tiers[UM_TIER_COUNT] = {
	"standard", "batch", "flex", "priority", "fast", "ultrafast"
};

/* Does a string of a given length spell the name? */
static bool
is_name(const char *name, const char *string, int length)
{
	return strncmp(name, string, length) == 0 && name[length] == '\0';
}

/* The meter of that name, or UM_METER_NONE. */
UmMeter
um_meter_by_name(const char *name, int length)
{
	for (int m = 0; m < UM_METER_COUNT; m++)
		if (is_name(um_meters[m].name, name, length))
			return (UmMeter) m;
	return UM_METER_NONE;
}

/* All names, for a hint. */
const char *
um_meter_names(void)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int m = 0; m < UM_METER_COUNT; m++)
		appendStringInfo(&names, "%s%s", m == 0 ? "" : ", ", um_meters[m].name);
	return names.data;
}

/* The tier of that name; false if there is none. */
bool
um_tier_by_name(const char *name, int length, UmTier *tier)
{
	for (int t = 0; t < UM_TIER_COUNT; t++)
		if (is_name(um_tiers[t], name, length))
		{
			*tier = (UmTier) t;
			return true;
		}
	return false;
}
