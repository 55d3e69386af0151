/*
 * counter_birth.h
 *		What counters begin with when their quotas are made or changed.
 */
#ifndef UM_COUNTER_BIRTH_H
#define UM_COUNTER_BIRTH_H

#include "counter/counter_row.h"

extern void um_birth(UmCounters *counters, Datum quota_ids);

#endif							/* UM_COUNTER_BIRTH_H */
