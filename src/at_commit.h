#ifndef UM_AT_COMMIT_H
#define UM_AT_COMMIT_H

extern void um_at_commit_init(void);

#endif							/* UM_AT_COMMIT_H */
