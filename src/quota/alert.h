#ifndef UM_ALERT_H
#define UM_ALERT_H

#include "base/catalog.h"
#include "quota/counter_name.h"
#include "quota/quota.h"

/* What a query that inserts an alert, as a, returns for um_alert_insert. */
#define UM_ALERT_PAYLOADS \
	"pg_catalog.jsonb_build_object('alert_id', a.alert_id, 'alert_type', a.alert_type, 'level', a.level)::text," \
	" pg_catalog.to_jsonb(a)::text," \
	" (pg_catalog.to_jsonb(a) - 'details' - 'message')::text"

extern void um_alert_init(void);
extern void um_alert_insert(UmQuery *query, Datum *values, const char *nulls, bool must_notify);
extern void um_alert_raise(const UmCounterName *counter, UmString user,
						   const UmLevel *level, Numeric used, bool unless_raised, bool must_notify);

#endif							/* UM_ALERT_H */
