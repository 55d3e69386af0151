#ifndef UM_VERSION_CHECK_H
#define UM_VERSION_CHECK_H

#include "utils/relcache.h"

#ifndef pg_noreturn				/* before PostgreSQL 18 */
#define pg_noreturn pg_attribute_noreturn()
#endif

extern void um_version_compare(void);
pg_noreturn extern void um_refuse_missing_column(const char *column, Relation relation);

#endif							/* UM_VERSION_CHECK_H */
