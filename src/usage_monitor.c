/*
 * usage_monitor.c
 *		The door: what happens when the library is loaded.
 */
#include "postgres.h"

#include "base/catalog.h"
#include "counter/pending.h"
#include "fmgr.h"
#include "ledger/unpriced_alert.h"
#include "rollup/refresh_worker.h"

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
