#ifndef UM_WATERMARK_H
#define UM_WATERMARK_H

#include "datatype/timestamp.h"
#include "utils/snapshot.h"

/*
 * The snapshot of the last fold: the transactions before xmax, but for those
 * that were in progress.  Nothing was folded yet: xmax is 0.
 */
typedef struct UmWatermark
{
	int64		xmax;
	int			nxip;
	int64	   *xip;			/* ascending */
	int64		usage_id;		/* the last one that was given out before the fold */
	TimestampTz refreshed_at;	/* when the fold was; 0: never */
	TimestampTz maintained_at;	/* beside it: when maintain() was last begun */
} UmWatermark;

extern void um_watermark_read(UmWatermark *mark, Snapshot snapshot);
extern void um_watermark_of_snapshot(UmWatermark *mark, Snapshot snapshot);
extern void um_watermark_copy(UmWatermark *copy, const UmWatermark *mark);
extern bool um_watermark_equal(const UmWatermark *a, const UmWatermark *b);
extern bool um_watermark_includes(const UmWatermark *mark, const UmWatermark *earlier);
extern int64 um_watermark_start(const UmWatermark *mark);
extern int	um_watermark_stragglers(const UmWatermark *mark);
extern Datum um_watermark_xids(const int64 *xids, int count);
extern bool um_watermark_covers(const UmWatermark *mark, int64 xid);

#endif							/* UM_WATERMARK_H */
