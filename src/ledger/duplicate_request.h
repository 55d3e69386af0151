#ifndef UM_DUPLICATE_REQUEST_H
#define UM_DUPLICATE_REQUEST_H

#include "ledger/ledger_row.h"
#include "utils/relcache.h"

extern bool um_request_is_retry(Relation relation, const UmRow *row);
extern void um_request_moves(Relation relation, const UmRow *row);
extern int	um_request_replace(void);
extern void um_request_replaced(int outer);
extern void um_request_stored(void);
extern void um_request_check_partition(Relation partition);
extern void um_request_end_level(bool committed);
extern void um_request_forget(void);

#endif							/* UM_DUPLICATE_REQUEST_H */
