#ifndef UM_ESCROW_H
#define UM_ESCROW_H

#include "counter/counter_row.h"
#include "quota/quota.h"

/* A counter whose header is locked, with all that makes up its sum. */
typedef struct UmCollected
{
	UmCounterRow header;
	UmCounterRow slots[UM_SLOTS];
	bool		is_open[UM_SLOTS];
	int			nslots;
	int			nopen;
	Numeric		total;			/* what is used */
	Numeric		reserved;		/* what open reservations hold, of a blocking quota */
} UmCollected;

extern int	um_own_slot(void);
extern bool um_share_fits(const UmQuota *quota, const UmCounterRow *row, Numeric delta);
extern void um_share_grant_to_own_slot(UmCounters *counters, const UmQuota *quota,
									   const UmCounterName *name, UmCounterRow *header,
									   Numeric delta);
extern void um_creation_lock(const UmCounterName *name);
extern void um_creation_unlock(const UmCounterName *name);
extern void um_header_lock(UmCounters *counters, const UmQuota *quota, const UmCounterName *name,
						   bool is_missing, UmCounterRow *header);
extern void um_shares_collect(UmCounters *counters, const UmQuota *quota, const UmCounterName *name,
							  UmCollected *all);
extern bool um_shares_have_room(const UmQuota *quota, const UmCollected *all, Numeric more);
extern void um_shares_give_out(UmCounters *counters, const UmQuota *quota, UmCollected *all,
							   Numeric delta);

#endif							/* UM_ESCROW_H */
