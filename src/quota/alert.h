/*
 * alert.h
 *		Raising alerts.
 */
#ifndef UM_ALERT_H
#define UM_ALERT_H

#include "base/catalog.h"
#include "counter/pending.h"

extern void um_alert_insert(UmQuery *query, Datum *values, const char *nulls, bool notify);
extern void um_alert_raise(const UmPending *counter, const UmLevel *level,
						   Numeric used, bool notify);

#endif							/* UM_ALERT_H */
