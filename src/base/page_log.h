#ifndef UM_PAGE_LOG_H
#define UM_PAGE_LOG_H

#include "storage/buf.h"
#include "utils/relcache.h"

/* So many bytes can be overwritten at once. */
#define UM_MAX_OVERWRITTEN 136

extern void um_page_overwrite(Relation relation, Buffer buffer, char *place,
							  const void *bytes, Size length);

#endif							/* UM_PAGE_LOG_H */
