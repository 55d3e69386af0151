/*
 * usage_monitor.c
 *		The door: what happens when the library is loaded.
 */
#include "postgres.h"

#include "at_commit.h"
#include "base/access.h"
#include "base/catalog.h"
#include "base/limits.h"
#include "base/refusal.h"
#include "base/replicated.h"
#include "fmgr.h"
#include "ledger/bounds.h"
#include "ledger/ledger.h"
#include "ledger/published.h"
#include "quota/alert.h"
#include "quota/late_alert.h"
#include "rollup/refresh_worker.h"
#include "utils/guc.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	um_catalog_init();
	um_access_init();
	um_refusal_init();
	um_at_commit_init();
	um_limits_init();
	um_replicated_init();
	um_bounds_init();
	um_ledger_init();
	um_published_init();
	um_alert_init();
	um_late_init();
	um_refresh_worker_init();
	MarkGUCPrefixReserved("usage_monitor");
}
