#ifndef UM_HOLD_ROOM_H
#define UM_HOLD_ROOM_H

#include "quota/counter_name.h"
#include "utils/numeric.h"

extern bool um_counter_hold(const UmCounterName *names, const Numeric *wanted, int count,
							bool for_real);
extern int	um_counter_reserve(const UmCounterName *names, const Numeric *wanted, int count,
							   bool is_stored);

#endif							/* UM_HOLD_ROOM_H */
