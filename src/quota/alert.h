#ifndef UM_ALERT_H
#define UM_ALERT_H

#include "base/catalog.h"
#include "quota/counter_name.h"
#include "quota/quota.h"

extern void um_alert_init(void);
extern void um_alert_insert(UmQuery *query, Datum *values, const char *nulls);
extern void um_alert_raise(const UmCounterName *counter, UmString user,
						   const UmLevel *level, Numeric used, bool unless_raised, bool must_notify);

#endif							/* UM_ALERT_H */
