#ifndef UM_COUNTER_RECOUNT_H
#define UM_COUNTER_RECOUNT_H

#include "quota/quota_match.h"

extern void um_recount_note(const Datum *values, const bool *nulls, bool own,
							bool negative, bool live);
extern bool um_recount_has_notes(void);
extern void um_recount(void);
extern void um_recount_forget(void);

#endif							/* UM_COUNTER_RECOUNT_H */
