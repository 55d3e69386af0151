/*
 * setting.h
 *		The ledger's currency and time zone.
 */
#ifndef UM_SETTING_H
#define UM_SETTING_H

#include "pgtime.h"

typedef struct UmSetting
{
	char	   *currency;
	char	   *time_zone;
	pg_tz	   *tz;
	bool		refuse_unpriced;
} UmSetting;

extern const UmSetting *um_setting(void);

#endif							/* UM_SETTING_H */
