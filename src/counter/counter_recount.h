/*
 * recount.h
 *		Counting what the transaction did once more.
 */
#ifndef UM_RECOUNT_H
#define UM_RECOUNT_H

#include "quota/quota.h"

extern void um_recount_note(const Datum *values, const bool *nulls, bool own,
							bool negative, bool live);
extern void um_recount(void);
extern void um_recount_forget(void);

#endif							/* UM_RECOUNT_H */
