#ifndef UM_COUNTER_PLACE_H
#define UM_COUNTER_PLACE_H

#include "access/htup.h"
#include "quota/counter_name.h"
#include "storage/buf.h"
#include "utils/relcache.h"

/* Where a row was when it was last seen.  A hint: what is there is looked at. */
typedef struct UmPlace
{
	uint32		hash;
	ItemPointerData root;		/* what the index points at */
	OffsetNumber last;			/* the version that was current, on the same page */
} UmPlace;

extern void um_places_begin(Relation relation);
extern UmPlace *um_place_find(const UmCounterName *name, int slot);
extern void um_place_remember(const UmCounterName *name, int slot, ItemPointer root,
							  ItemPointer current);
extern void um_place_written(const UmCounterName *name, int slot, HeapTuple tuple);
extern bool um_place_point_at(Relation relation, Buffer buffer, OffsetNumber offset,
							  HeapTuple tuple);
extern bool um_place_follow(Relation relation, BlockNumber nblocks, Buffer *buffer, int lockmode,
							OffsetNumber offset, HeapTuple tuple, bool *taken);

#endif							/* UM_COUNTER_PLACE_H */
