#ifndef UM_QUOTA_CHANGE_H
#define UM_QUOTA_CHANGE_H

#include "counter/counter_row.h"
#include "counter/pending.h"
#include "nodes/pg_list.h"

extern bool um_quota_change_any(void);
extern void um_quota_change_prepare(void);
extern List *um_quota_change_apply(UmCounters *counters);
extern void um_quota_change_look(const List *reached);
extern bool um_quota_change_is_born(const UmQuota *quota, TimestampTz period_start);
extern bool um_quota_change_recounts(const UmQuota *quota);
extern bool um_quota_change_is_live(const UmQuota *quota);
extern void um_quota_change_end_level(bool committed);
extern void um_quota_change_forget(void);

#endif							/* UM_QUOTA_CHANGE_H */
