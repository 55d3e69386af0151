#ifndef UM_PUBLISHED_H
#define UM_PUBLISHED_H

#include "utils/relcache.h"

extern void um_published_init(void);
extern void um_check_published(Relation partition);

#endif							/* UM_PUBLISHED_H */
