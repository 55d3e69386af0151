#ifndef UM_SETTING_H
#define UM_SETTING_H

#include "datatype/timestamp.h"
#include "pgtime.h"
#include "utils/date.h"

typedef struct UmSetting
{
	char	   *currency;
	char	   *time_zone;
	pg_tz	   *tz;
	bool		refuse_unpriced;
	bool		ignore_reported_costs;	/* those that responses tell */
} UmSetting;

extern const UmSetting *um_setting(void);
extern pg_tz *um_time_zone(const char *name, const char *of);
extern TimestampTz um_ledger_hour(TimestampTz ts);
extern DateADT um_ledger_day(TimestampTz ts);

#endif							/* UM_SETTING_H */
