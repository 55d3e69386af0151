/*
 * service_tier.c
 *		The service tiers, by name.
 */
#include "postgres.h"

#include "base/error.h"
#include "base/text_span.h"
#include "fmgr.h"
#include "pricing/service_tier.h"

PG_FUNCTION_INFO_V1(usage_monitor_check_service_tier);

const char *const um_tiers[UM_TIER_COUNT] = {
	"standard", "batch", "flex", "priority", "fast", "ultrafast"
};

/* The tier of that name; false if there is none. */
bool
um_tier_by_name(UmString name, UmTier *tier)
{
	for (int t = 0; t < UM_TIER_COUNT; t++)
		if (um_string_order(name, um_tiers[t]) == 0)
		{
			*tier = (UmTier) t;
			return true;
		}
	return false;
}

/* The tier of that name, or an error. */
UmTier
um_tier_checked(UmString name)
{
	UmTier		tier;

	if (!um_tier_by_name(name, &tier))
		ereport(ERROR,
				(errcode(ERRCODE_UM_UNKNOWN_TIER),
				 errmsg("unknown service tier \"%s\"", pnstrdup(name.data, name.length)),
				 errhint("Service tiers are standard, batch, flex, priority, fast and ultrafast.")));
	return tier;
}

Datum
usage_monitor_check_service_tier(PG_FUNCTION_ARGS)
{
	Datum		tier = PG_GETARG_DATUM(0);

	um_tier_checked(um_text_string(tier, false));
	PG_RETURN_DATUM(tier);
}
