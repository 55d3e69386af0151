/*
 * at_commit.c
 *		What happens when a transaction ends, in its order.
 *
 * Statements only note what they did.  Just before commit the alerts of
 * unpriced calls are raised; then the counters get what they are to get, which
 * locks them, raises their alerts, or refuses; then the tail's length is
 * looked at.  Whatever is noted of a transaction is forgotten here, and a
 * part of it that is rolled back takes its notes along.
 */
#include "postgres.h"

#include "access/xact.h"
#include "at_commit.h"
#include "counter/counter.h"
#include "counter/counter_from_ledger.h"
#include "counter/counter_recount.h"
#include "counter/pending.h"
#include "counter/quota_change.h"
#include "counter/reserved.h"
#include "ledger/duplicate_request.h"
#include "ledger/ledger.h"
#include "ledger/unpriced_alert.h"
#include "quota/late_alert.h"
#include "rollup/refresh_worker.h"

/* Nothing is left of the transaction. */
static void
forget(void)
{
	um_ledger_forget();
	um_request_forget();
	um_unpriced_forget();
	um_pending_clear();
	um_recount_forget();
	um_quota_change_forget();
	um_ledger_sums_forget();
	um_late_forget();
	um_reserving_forget();
	um_refresh_forget();
}

/* Before the transaction commits or is prepared: all that may still fail. */
static void
finish(bool is_prepare)
{
	um_unpriced_raise(is_prepare);
	um_counter_flush(is_prepare);
	um_refresh_start();
}

static void
end_of_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			finish(false);
			break;
		case XACT_EVENT_PRE_PREPARE:
			finish(true);
			break;
		case XACT_EVENT_COMMIT:
			um_unpriced_remember();
			forget();
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			forget();
			break;
		default:
			break;
	}
}

static void
end_of_subtransaction(SubXactEvent event, SubTransactionId subid,
					  SubTransactionId parent_subid, void *arg)
{
	bool		committed = event == SUBXACT_EVENT_COMMIT_SUB;

	if (!committed && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	um_unpriced_end_sub(committed, subid, parent_subid);
	um_request_end_level(committed);
	um_pending_end_level(committed);
	um_reserving_end_level(committed);
	um_quota_change_end_level(committed);
}

/* Asks to be told how transactions end. */
void
um_at_commit_init(void)
{
	RegisterXactCallback(end_of_transaction, NULL);
	RegisterSubXactCallback(end_of_subtransaction, NULL);
}
