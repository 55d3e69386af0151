#ifndef UM_PROGRESS_H
#define UM_PROGRESS_H

extern bool um_progress_begin(const char *command);
extern void um_progress_phase(const char *phase, int64 total);
extern int64 um_progress_ledger_calls(void);
extern void um_progress_done(int64 done);
extern void um_progress_end(bool begun);

#endif							/* UM_PROGRESS_H */
