#ifndef UM_ROW_CHECK_H
#define UM_ROW_CHECK_H

#include "ledger/ledger_row.h"
#include "pricing/usage_check.h"
#include "utils/jsonb.h"

extern void um_call_check(const UmString *names, Jsonb *tags);
extern void um_row_fill(UmRow *row);
extern char *um_row_unread(const UmRow *row);
extern void um_row_check(UmRow *row, const UmRow *old, UmUse *use);

/* row_cost.c */
extern void um_row_price(UmRow *row, const UmUse *use);
extern void um_row_keep_cost(UmRow *row, const UmRow *old, const UmUse *use, bool may_be_negative);
extern void um_row_fill_list_cost(UmRow *row, const UmUse *use);

#endif							/* UM_ROW_CHECK_H */
