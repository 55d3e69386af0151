#ifndef UM_LATE_ALERT_H
#define UM_LATE_ALERT_H

#include "quota/counter_name.h"
#include "utils/numeric.h"

extern void um_late_init(void);
extern const char *um_late_mode(void);
extern void um_late_forget(void);
extern void um_late_note(const UmCounterName *counter, UmString user, Numeric used);
extern void um_late_raise(bool alone, bool must_notify);

#endif							/* UM_LATE_ALERT_H */
