/*
 * pending.h
 *		What the running transaction adds to the counters.
 */
#ifndef UM_PENDING_H
#define UM_PENDING_H

#include "quota/quota.h"

/* One counter's share in the transaction; the counter's name comes first. */
typedef struct UmPending
{
	int64		quota_id;
	TimestampTz period_start;
	UmString	subject;
	uint32		hash;			/* of the name, by um_pending_hash */
	struct UmDelta *top;		/* the deltas of each nesting level */
	Numeric		room;			/* of a blocking quota, when last looked at; NULL: not yet */
	UmString	user;			/* of the last call that was counted */
	int			user_space;
	struct UmPending *next;		/* of the same bucket */
} UmPending;

extern void um_pending_init(void);
extern void um_pending_count(const UmCounted *row, bool negative, bool live);
extern bool um_pending_any(void);
extern int	um_pending_number(void);
extern bool um_pending_stale(void);
extern void um_pending_clear(void);
extern UmPending **um_pending_sorted(int *count);
extern Numeric um_pending_of(const UmPending *name);
extern Numeric um_pending_sum(const UmPending *pending, bool *live);
extern uint32 um_pending_hash(const UmPending *name);
extern int	um_pending_compare(const UmPending *a, const UmPending *b);

#endif							/* UM_PENDING_H */
