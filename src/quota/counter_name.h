#ifndef UM_COUNTER_NAME_H
#define UM_COUNTER_NAME_H

#include "access/skey.h"
#include "base/text_span.h"
#include "datatype/timestamp.h"
#include "utils/hsearch.h"

typedef struct UmCounterName
{
	int64		quota_id;
	TimestampTz period_start;
	UmString	subject;
	uint32		hash;			/* most likely this counter's alone */
} UmCounterName;

/* The columns of a key that begins with a counter's name. */
enum
{
	UM_KEY_QUOTA_ID = 1,
	UM_KEY_SUBJECT,
	UM_KEY_PERIOD_START,
	UM_KEY_COUNT = UM_KEY_PERIOD_START
};

extern UmCounterName um_counter_name(int64 quota_id, UmString subject, TimestampTz period_start);
extern void um_counter_name_keys(const UmCounterName *name, ScanKeyData *keys);
extern int	um_counter_name_compare(const UmCounterName *a, const UmCounterName *b);
extern HTAB *um_counter_name_table(const char *what, Size entrysize, MemoryContext context);

#endif							/* UM_COUNTER_NAME_H */
