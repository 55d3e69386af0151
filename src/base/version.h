/*
 * version.h
 *		The version of the library, and that of the script that the database has.
 */
#ifndef UM_VERSION_CHECK_H
#define UM_VERSION_CHECK_H

#include "utils/relcache.h"

extern void um_version_compare(void);
extern void um_refuse_missing_column(const char *column, Relation relation) pg_attribute_noreturn();

#endif							/* UM_VERSION_CHECK_H */
