#ifndef UM_BOUNDS_H
#define UM_BOUNDS_H

#include "datatype/timestamp.h"
#include "utils/numeric.h"

extern void um_bounds_init(void);
extern void um_check_ts(TimestampTz ts);
extern void um_check_cost(const char *column, Numeric cost);

#endif							/* UM_BOUNDS_H */
