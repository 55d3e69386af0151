#ifndef UM_PENDING_H
#define UM_PENDING_H

#include "quota/quota_match.h"

/* One counter's share in the transaction. */
typedef struct UmPending
{
	UmCounterName name;
	struct UmDelta *top;		/* the deltas of each nesting level */
	Numeric		room;			/* of a blocking quota, when last looked at; NULL: not yet */
	UmString	user;			/* of the last call that was counted */
	int			user_space;
	bool		is_missing;		/* the counter is not there, and nobody else can make it */
} UmPending;

extern void um_pending_count(const UmCounted *row, bool negative, bool live,
							 UmTouches *touched);
extern UmPending *um_pending_find(const UmCounterName *name);
extern struct UmDelta *um_pending_want(const UmCounterName *name);
extern void um_pending_adjust(const UmCounterName *name, Numeric amount);
extern Numeric um_pending_copy_room(Numeric room);
extern bool um_pending_any(void);
extern int	um_pending_number(void);
extern bool um_pending_stale(void);
extern void um_pending_clear(void);
extern void um_pending_close(bool closed);
extern void um_pending_refuse_closed(const char *what);
extern void um_pending_end_level(bool committed);
extern UmPending **um_pending_sorted(int *count);
extern Numeric um_pending_of(const UmCounterName *name);
extern Numeric um_pending_sum(const UmPending *pending, bool *live);

#endif							/* UM_PENDING_H */
