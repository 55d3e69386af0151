#ifndef UM_QUOTA_CACHE_H
#define UM_QUOTA_CACHE_H

#include "base/text_span.h"
#include "quota/quota.h"

extern void um_quotas_load(void);
extern UmQuota *um_quotas_of(UmScope scope, UmString subject);
extern UmQuota *um_quotas_of_each(UmScope scope);
extern bool um_quotas_any_of(UmScope scope);
extern UmQuota *um_quota_by_id(int64 quota_id);
extern bool um_quota_may_see(int64 quota_id, UmString subject);
extern const char *um_scope_name(UmScope scope);
extern const char *um_metric_name(UmMetric metric);

#endif							/* UM_QUOTA_CACHE_H */
