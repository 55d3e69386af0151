/*
 * alert.h
 *		Raising alerts.
 */
#ifndef UM_ALERT_H
#define UM_ALERT_H

#include "pending.h"

extern void um_alert_raise(const UmPending *counter, const UmQuota *quota, int level,
						   Numeric used, bool notify);

#endif							/* UM_ALERT_H */
