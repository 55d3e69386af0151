/*
 * ledger_sum.h
 *		What the ledger holds for counters that begin late.
 */
#ifndef UM_LEDGER_SUM_H
#define UM_LEDGER_SUM_H

#include "counter/pending.h"

extern void um_ledger_sums_expect(const UmQuota *quota, TimestampTz first, TimestampTz last);
extern void um_ledger_sums_forget(void);
extern Numeric um_ledger_sum(const UmPending *name);

#endif							/* UM_LEDGER_SUM_H */
