#ifndef UM_COUNTER_H
#define UM_COUNTER_H

#include "quota/quota_match.h"

extern void um_counter_count(const UmCounted *row, bool negative, bool live);
extern void um_counter_flush(bool is_prepare);

#endif							/* UM_COUNTER_H */
