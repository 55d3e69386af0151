/*
 * unpriced.h
 *		One alert a model and day for calls that have no cost.
 */
#ifndef UM_UNPRICED_H
#define UM_UNPRICED_H

#include "datatype/timestamp.h"

extern void um_unpriced_init(void);
extern void um_unpriced_note(const char *model, int model_length, TimestampTz ts);

#endif							/* UM_UNPRICED_H */
