#ifndef UM_ROOM_CHECK_H
#define UM_ROOM_CHECK_H

#include "counter/pending.h"
#include "quota/quota.h"

extern void um_room_refuse(const UmQuota *quota, const UmCounterName *name, Numeric used,
						   Numeric reserved, Numeric delta);
extern void um_room_check(const UmQuota *quota, UmPending *pending);

#endif							/* UM_ROOM_CHECK_H */
