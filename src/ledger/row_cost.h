/*
 * row_cost.h
 *		What a row of the ledger costs.
 */
#ifndef UM_ROW_COST_H
#define UM_ROW_COST_H

#include "ledger/ledger_row.h"
#include "pricing/usage_check.h"

extern void um_row_price(UmRow *row, const UmUse *use);
extern void um_row_keep_cost(UmRow *row, const UmRow *old, const UmUse *use, bool may_be_negative);
extern void um_row_fill_list_cost(UmRow *row, const UmUse *use);

#endif							/* UM_ROW_COST_H */
