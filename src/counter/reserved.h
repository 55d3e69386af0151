#ifndef UM_RESERVED_H
#define UM_RESERVED_H

#include "quota/counter_name.h"
#include "utils/numeric.h"

extern Numeric um_reserved(const UmCounterName *name, bool in_flight);
extern void um_reserved_store(const UmCounterName *counters, const Numeric *amounts, int count,
							  Datum reservation_id, Datum expires_at);
extern void um_reserved_give_back(Datum reservation_id);
extern void um_reserving_note(bool holds_counters);
extern bool um_reserving_any(void);
extern bool um_reserving_holds_counters(void);
extern void um_reserving_end_level(bool committed);
extern void um_reserving_forget(void);

#endif							/* UM_RESERVED_H */
