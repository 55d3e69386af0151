#ifndef UM_VERSION_CHECK_H
#define UM_VERSION_CHECK_H

#include "base/compat.h"
#include "utils/relcache.h"

extern void um_version_compare(void);
pg_noreturn extern void um_refuse_missing_column(const char *column, Relation relation);

#endif							/* UM_VERSION_CHECK_H */
