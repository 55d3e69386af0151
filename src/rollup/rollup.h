#ifndef UM_ROLLUP_H
#define UM_ROLLUP_H

extern int64 um_rollup_try_refresh(void);
extern void um_summarize_ledger(void);

#endif							/* UM_ROLLUP_H */
