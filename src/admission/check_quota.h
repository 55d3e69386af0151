#ifndef UM_CHECK_QUOTA_H
#define UM_CHECK_QUOTA_H

#include "quota/quota_match.h"
#include "utils/numeric.h"

extern char *um_quota_refusal(const UmTouch *touch, Numeric wanted, const UmCounted *row);

#endif							/* UM_CHECK_QUOTA_H */
