#ifndef UM_SERVICE_TIER_H
#define UM_SERVICE_TIER_H

#include "base/text_span.h"

/* Standard is the one that the others fall back to. */
typedef enum UmTier
{
	UM_TIER_STANDARD,
	UM_TIER_BATCH,
	UM_TIER_FLEX,
	UM_TIER_PRIORITY,
	UM_TIER_FAST,
	UM_TIER_ULTRAFAST,
	UM_TIER_COUNT
} UmTier;

extern const char *const um_tiers[UM_TIER_COUNT];
extern bool um_tier_by_name(UmString name, UmTier *tier);
extern UmTier um_tier_checked(UmString name);

#endif							/* UM_SERVICE_TIER_H */
