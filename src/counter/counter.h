/*
 * counter.h
 *		The counters of the quotas.
 */
#ifndef UM_COUNTER_H
#define UM_COUNTER_H

#include "counter/pending.h"

extern void um_counter_check_room(const UmQuota *quota, UmPending *pending,
								  MemoryContext context);
extern int	um_counter_reserve(const UmPending *names, const Numeric *wanted, int count);
extern void um_counter_flush(bool is_prepare);
extern void um_counter_forget(void);

#endif							/* UM_COUNTER_H */
