#ifndef UM_REFRESH_WORKER_H
#define UM_REFRESH_WORKER_H

extern void um_refresh_worker_init(void);
extern void um_refresh_note(int64 usage_id);
extern void um_refresh_start(void);
extern void um_refresh_forget(void);

#endif							/* UM_REFRESH_WORKER_H */
