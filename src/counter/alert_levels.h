#ifndef UM_ALERT_LEVELS_H
#define UM_ALERT_LEVELS_H

#include "counter/counter_row.h"
#include "counter/pending.h"
#include "quota/quota.h"

extern bool um_levels_are_late(const UmCounterRow *header);
extern bool um_period_is_over(const UmQuota *quota, TimestampTz period_start);
extern void um_levels_raise(const UmQuota *quota, const UmPending *pending, UmCounterRow *header,
							Numeric used, bool over, bool notify);
extern void um_levels_leave(const UmQuota *quota, UmCounterRow *header, Numeric used);

#endif							/* UM_ALERT_LEVELS_H */
