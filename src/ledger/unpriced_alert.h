#ifndef UM_UNPRICED_ALERT_H
#define UM_UNPRICED_ALERT_H

#include "base/text_span.h"
#include "datatype/timestamp.h"

extern void um_unpriced_note(UmString model, TimestampTz ts);
extern void um_unpriced_raise(bool is_prepare);
extern void um_unpriced_remember(void);
extern void um_unpriced_end_sub(bool committed, SubTransactionId subid,
								SubTransactionId parent_subid);
extern void um_unpriced_forget(void);

#endif							/* UM_UNPRICED_ALERT_H */
