/*
 * usage_monitor.c
 *		The door: what happens when the library is loaded.
 */
#include "postgres.h"

#include "catalog.h"
#include "fmgr.h"
#include "pending.h"
#include "refresh_worker.h"
#include "unpriced.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	um_catalog_init();
	um_pending_init();
	um_unpriced_init();
	um_refresh_worker_init();
}
