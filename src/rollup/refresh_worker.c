/*
 * refresh_worker.c
 *		A background worker that folds the tail when it has grown long, and
 *		now and then does what else there is to do.
 *
 * Nothing need be preloaded: a writer who finds the tail long, just before he
 * commits, asks the postmaster for a worker.  How long it is he tells by the
 * numbers of rows: his own last one, and the last one of the fold.  He looks
 * only now and then.  If there is no room for a worker, the next one asks.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/catalog.h"
#include "base/limits.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "rollup/refresh_worker.h"
#include "rollup/rollup.h"
#include "rollup/watermark.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define DEFAULT_AUTO_REFRESH_ROWS	50000

/*
 * Folds of a tenth of that are worth it where they are at least so far apart:
 * then they cost little, and readers have little to add up.
 */
#define SHORT_TAIL(rows)		((rows) / 10)
#define SHORT_TAIL_INTERVAL_MS	30000

/* In minutes. */
#define MAX_MAINTENANCE_INTERVAL	(31 * HOURS_PER_DAY * MINS_PER_HOUR)

/* A worker looks again after so long, and ends when there was little to do. */
#define WORKER_NAP_MS	1000

/* A backend asks for a worker no more often than this. */
#define ASK_AGAIN_MS	1000

static int	auto_refresh_rows;
static int64 last_row;			/* of the running transaction; 0: none */
static int64 rows_until_look;	/* how many may be recorded before one looks */
static TimestampTz asked_at;
static int	maintenance_interval;
static TimestampTz look_at;		/* when to look whether maintenance is due */

static UmQuery do_step = {
	.text = "SELECT _usage_monitor._maintain_step($1)",
	.argtypes = {INT4OID}
};

PGDLLEXPORT void usage_monitor_refresh_worker(Datum database);

/* Defines the setting. */
void
um_refresh_worker_init(void)
{
	/* a writer must not start workers by the thousand: for the administrator */
	um_limit_define("usage_monitor.auto_refresh_rows",
					&auto_refresh_rows, DEFAULT_AUTO_REFRESH_ROWS, 0, INT_MAX, 0,
					"Sets the number of rows recorded since the last refresh at which a background worker refreshes the rollups.",
					"A tenth of it suffices half a minute after the last refresh. Zero turns it off: then call usage_monitor.refresh() yourself.");
	um_limit_define("usage_monitor.maintenance_interval",
					&maintenance_interval, MINS_PER_HOUR, 0, MAX_MAINTENANCE_INTERVAL, GUC_UNIT_MIN,
					"Sets the time after which a background worker does what maintain() does.",
					"Zero turns it off: then call usage_monitor.maintain() yourself.");
}

/* Notes that a row was recorded, and what its number is. */
void
um_refresh_note(int64 usage_id)
{
	last_row = usage_id;
	rows_until_look--;
}

/* Asks the postmaster for a worker of this database. */
static void
ask_for_worker(void)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	/* as the functions of the extension name it */
	strlcpy(worker.bgw_library_name, "$libdir/usage_monitor", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "usage_monitor_refresh_worker", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "usage_monitor refresh", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "usage_monitor refresh", BGW_MAXLEN);
	worker.bgw_main_arg = ObjectIdGetDatum(MyDatabaseId);
	(void) RegisterDynamicBackgroundWorker(&worker, NULL);
}

/* Reads how far the last fold came, and when the last maintenance was. */
static void
read_mark(UmWatermark *mark)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());

	um_watermark_read(mark, snapshot);
	UnregisterSnapshot(snapshot);
}

/* When maintenance is due that was last done then. */
static TimestampTz
due_after(TimestampTz maintained_at)
{
	return maintained_at + (int64) maintenance_interval * SECS_PER_MINUTE * USECS_PER_SEC;
}

/* Has the tail grown so long that a worker should fold it? */
static bool
is_long(int64 rows, TimestampTz refreshed_at)
{
	return rows >= auto_refresh_rows ||
		(rows >= SHORT_TAIL(auto_refresh_rows) &&
		 TimestampDifferenceExceeds(refreshed_at, GetCurrentTimestamp(), SHORT_TAIL_INTERVAL_MS));
}

/*
 * Just before commit: asks for a worker if the transaction recorded something
 * and the tail is long, or maintenance is due.
 */
void
um_refresh_start(void)
{
	int64		usage_id = last_row;
	bool		look_at_tail = auto_refresh_rows > 0 && rows_until_look <= 0;
	bool		look_at_time = maintenance_interval > 0 &&
		GetCurrentTransactionStartTimestamp() >= look_at;
	UmWatermark mark;

	if (usage_id == 0 || !(look_at_tail || look_at_time) ||
		!OidIsValid(um_relation(UM_ROLLUP_STATE)))
		return;
	rows_until_look = SHORT_TAIL(auto_refresh_rows) / 16;
	read_mark(&mark);
	look_at = due_after(mark.maintained_at);
	look_at_tail = look_at_tail && is_long(usage_id - mark.usage_id, mark.refreshed_at);
	look_at_time = look_at_time && GetCurrentTransactionStartTimestamp() >= look_at;
	if (!(look_at_tail || look_at_time) ||
		!TimestampDifferenceExceeds(asked_at, GetCurrentTimestamp(), ASK_AGAIN_MS))
		return;
	asked_at = GetCurrentTimestamp();
	/* where the worker cannot start, or fails, not with each commit */
	if (look_at_time)
		look_at = asked_at + SECS_PER_MINUTE * USECS_PER_SEC;
	ask_for_worker();
}

/* The transaction is over. */
void
um_refresh_forget(void)
{
	last_row = 0;
}

/* Folds once, in a transaction of its own; false if there was little, or another one folds. */
static bool
refresh_once(void)
{
	int64		rows = 0;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, "refresh of usage_monitor's rollups");
	if (OidIsValid(um_relation(UM_ROLLUP_STATE)))
		rows = um_rollup_try_refresh();
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	return auto_refresh_rows > 0 && rows >= auto_refresh_rows / 2;
}

/* Does a step of maintain() in a transaction of its own; returns which is next, or -1. */
static int
maintain_once(int step)
{
	Datum		value = Int32GetDatum(step);
	bool		isnull = true;
	UmSpi		spi;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, "maintenance of usage_monitor");
	if (OidIsValid(um_relation(UM_ROLLUP_STATE)))
	{
		um_spi_begin(&spi);
		um_spi_modify(&do_step, &value, NULL);
		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
		um_spi_end(&spi);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	return isnull ? -1 : DatumGetInt32(value);
}

/* Is maintenance due? */
static bool
maintenance_is_due(void)
{
	bool		result = false;
	UmWatermark mark;

	StartTransactionCommand();
	if (maintenance_interval > 0 && !RecoveryInProgress() && OidIsValid(um_relation(UM_ROLLUP_STATE)))
	{
		read_mark(&mark);
		result = GetCurrentTimestamp() >= due_after(mark.maintained_at);
	}
	CommitTransactionCommand();
	return result;
}

/* Does all steps of maintain(), if that is due, and no other worker does. */
static void
maintain(void)
{
	LOCKTAG		tag;

	/* field 4 is 1 or 2 for the locks of SQL's advisory functions */
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, 0, 0x554E);
	if (LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		return;
	if (maintenance_is_due())
		for (int step = 0; step >= 0;)
		{
			CHECK_FOR_INTERRUPTS();
			step = maintain_once(step);
		}
	(void) LockRelease(&tag, ExclusiveLock, true);
}

/*
 * Has the worker rather fail than be waited for: who drops the extension locks
 * its tables in another order, and is not to be the one whom a deadlock hits.
 */
static void
give_way(void)
{
	SetConfigOption("lock_timeout", psprintf("%dms", Max(DeadlockTimeout / 2, 1)),
					PGC_SUSET, PGC_S_OVERRIDE);
}

/*
 * The worker: folds until the tail is short, and does what else is due.  The
 * transaction that asked for it may not have committed yet, so it looks a second
 * time.
 */
void
usage_monitor_refresh_worker(Datum database)
{
	int			idle = 0;

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(database), InvalidOid, 0);
	/* a fold is exact at this level only, whatever the database's default is */
	SetConfigOption("default_transaction_isolation", "read committed", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_read_only", "off", PGC_SUSET, PGC_S_OVERRIDE);
	give_way();

	while (idle < 2)
	{
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		idle = refresh_once() ? 0 : idle + 1;
		maintain();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 WORKER_NAP_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	proc_exit(0);
}
