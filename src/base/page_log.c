/*
 * page_log.c
 *		Overwriting a few bytes of a page, and logging that.
 *
 * The log records are those of PostgreSQL's generic_xlog.c, which replays them:
 * offset, length and bytes of each part that changes.  GenericXLogFinish()
 * finds the parts by itself, but copies the page twice and compares all of it,
 * with the page locked: an INSERT that two counters are to know of takes 306,400
 * instructions with it, and 237,700 so (test/bench/instructions).
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xloginsert.h"
#include "base/page_log.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"

/* Bytes are compared and logged by so many. */
#define STEP 8

typedef struct Delta
{
	Size		length;
	/* parts have at least one step between them */
	char		bytes[UM_MAX_OVERWRITTEN +
					  (UM_MAX_OVERWRITTEN / STEP / 2 + 1) * 2 * sizeof(OffsetNumber)];
} Delta;

/* Adds a part that changes to what is logged. */
static void
add_part(Delta *delta, OffsetNumber offset, const char *bytes, OffsetNumber length)
{
	char	   *end = delta->bytes + delta->length;

	memcpy(end, &offset, sizeof(offset));
	memcpy(end + sizeof(offset), &length, sizeof(length));
	memcpy(end + sizeof(offset) + sizeof(length), bytes, length);
	delta->length += sizeof(offset) + sizeof(length) + length;
}

/* Finds what changes. */
static void
compare(Delta *delta, OffsetNumber offset, const char *old, const char *new, Size length)
{
	Size		begin = 0;

	delta->length = 0;
	while (begin < length)
	{
		Size		end = begin;

		while (end < length && memcmp(old + end, new + end, STEP) != 0)
			end += STEP;
		if (end > begin)
			add_part(delta, offset + begin, new + begin, end - begin);
		begin = end + STEP;
	}
}

/*
 * Overwrites bytes of a page that is locked exclusively, and logs it.  Where
 * wal_consistency_checking compares pages after each record, whole pages are
 * logged: they have hint bits, which are not.
 */
void
um_page_overwrite(Relation relation, Buffer buffer, char *place, const void *bytes, Size length)
{
	Page		page = BufferGetPage(buffer);
	uint8		flags = REGBUF_STANDARD;
	Delta		delta;

	Assert(length <= UM_MAX_OVERWRITTEN && length % STEP == 0);
	compare(&delta, place - (char *) page, place, bytes, length);
	if (delta.length == 0)
		return;
	if (wal_consistency_checking[RM_GENERIC_ID])
		flags |= REGBUF_FORCE_IMAGE;

	START_CRIT_SECTION();
	memcpy(place, bytes, length);
	MarkBufferDirty(buffer);
	if (RelationNeedsWAL(relation))
	{
		XLogRecPtr	end;

		XLogBeginInsert();
		XLogRegisterBuffer(0, buffer, flags);
		XLogRegisterBufData(0, delta.bytes, delta.length);
		end = XLogInsert(RM_GENERIC_ID, 0);
		PageSetLSN(page, end);
	}
	END_CRIT_SECTION();
}
