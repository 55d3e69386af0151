#ifndef UM_LEDGER_H
#define UM_LEDGER_H

extern void um_ledger_init(void);
extern void um_ledger_forget(void);

#endif							/* UM_LEDGER_H */
