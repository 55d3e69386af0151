/*
 * at_commit.h
 *		What happens when a transaction ends.
 */
#ifndef UM_AT_COMMIT_H
#define UM_AT_COMMIT_H

extern void um_at_commit_init(void);

#endif							/* UM_AT_COMMIT_H */
