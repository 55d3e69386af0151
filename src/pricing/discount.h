/*
 * discount.h
 *		What organisations pay less than everybody's price.
 */
#ifndef UM_DISCOUNT_H
#define UM_DISCOUNT_H

#include "base/text_span.h"
#include "datatype/timestamp.h"
#include "utils/numeric.h"

extern void um_discounts_load(MemoryContext context);
extern bool um_discount(UmString org, const char *provider, const char *model, TimestampTz ts,
						Numeric *percent);

#endif							/* UM_DISCOUNT_H */
