/*
 * exchange_rate.h
 *		What currencies are worth in others.
 */
#ifndef UM_EXCHANGE_RATE_H
#define UM_EXCHANGE_RATE_H

#include "datatype/timestamp.h"
#include "utils/numeric.h"

extern void um_exchange_rates_load(MemoryContext context);
extern bool um_exchange_rate(const char *from, const char *to, TimestampTz ts, Numeric *rate);

#endif							/* UM_EXCHANGE_RATE_H */
