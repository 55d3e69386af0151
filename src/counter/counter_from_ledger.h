/*
 * counter_from_ledger.h
 *		What the ledger holds for counters that begin late.
 */
#ifndef UM_COUNTER_FROM_LEDGER_H
#define UM_COUNTER_FROM_LEDGER_H

#include "quota/counter_name.h"
#include "quota/quota.h"

extern void um_ledger_sums_expect(const UmQuota *quota, TimestampTz first, TimestampTz last);
extern void um_ledger_sums_forget(void);
extern Numeric um_ledger_sum(const UmCounterName *name);

#endif							/* UM_COUNTER_FROM_LEDGER_H */
