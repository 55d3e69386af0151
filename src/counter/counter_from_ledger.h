#ifndef UM_COUNTER_FROM_LEDGER_H
#define UM_COUNTER_FROM_LEDGER_H

#include "counter/counter_row.h"
#include "nodes/pg_list.h"
#include "quota/counter_name.h"
#include "quota/quota.h"

/* Have all levels been left that a counter of the quota is below?  Else alerts tell. */
typedef bool (*UmLevelsKnown) (const UmQuota *quota);

extern void um_counters_expect_birth(Datum quota_ids);
extern List *um_counters_birth(UmCounters *counters, Datum quota_ids, UmLevelsKnown levels_known);
extern void um_ledger_sums_expect(const UmCounterName **names, int count);
extern void um_ledger_sums_forget(void);
extern Numeric um_ledger_sum(const UmQuota *quota, const UmCounterName *name);
extern Numeric um_ledger_sum_with_own(const UmQuota *quota, const UmCounterName *name);

#endif							/* UM_COUNTER_FROM_LEDGER_H */
