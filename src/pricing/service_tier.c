/*
 * service_tier.c
 *		The service tiers, by name.
 */
#include "postgres.h"

#include "base/error.h"
#include "base/text_span.h"
#include "fmgr.h"
#include "pricing/service_tier.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(usage_monitor_check_service_tier);

const char *const um_tiers[UM_TIER_COUNT] = {
	"standard", "batch", "flex", "priority", "fast", "ultrafast"
};

/* The tier of that name; false if there is none. */
bool
um_tier_by_name(const char *name, int length, UmTier *tier)
{
	for (int t = 0; t < UM_TIER_COUNT; t++)
		if (um_string_order((UmString) {name, length}, um_tiers[t]) == 0)
		{
			*tier = (UmTier) t;
			return true;
		}
	return false;
}

/* The tier of that name, or an error. */
UmTier
um_tier_checked(const char *name, int length)
{
	UmTier		tier;

	if (!um_tier_by_name(name, length, &tier))
		ereport(ERROR,
				(errcode(ERRCODE_UM_UNKNOWN_TIER),
				 errmsg("unknown service tier \"%s\"", pnstrdup(name, length)),
				 errhint("Service tiers are standard, batch, flex, priority, fast and ultrafast.")));
	return tier;
}

Datum
usage_monitor_check_service_tier(PG_FUNCTION_ARGS)
{
	text	   *tier = PG_GETARG_TEXT_PP(0);

	um_tier_checked(VARDATA_ANY(tier), VARSIZE_ANY_EXHDR(tier));
	PG_RETURN_TEXT_P(tier);
}
