/*
 * progress.c
 *		How far what takes long has come.
 *
 * The server keeps such numbers for its own commands, with each session's
 * activity, and shows those of the commands that it knows.  Ours go to the same
 * place, under a command of their own, which none of its views looks for.  So
 * they cost what its own do, need no memory of ours, and end with an error.
 * Whatever command of the server we run in between takes the place for itself.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "base/catalog.h"
#include "base/progress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/backend_progress.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(usage_monitor_progress);
PG_FUNCTION_INFO_V1(usage_monitor_progress_info);

/* None of the server's. */
#define UM_PROGRESS_COMMAND ((ProgressCommandType) 0x554D)

/* What is kept. */
enum
{
	PARAM_COMMAND,
	PARAM_PHASE,
	PARAM_DONE,
	PARAM_TOTAL,
	PARAM_STARTED_AT,
	PARAM_COUNT
};

/* The words are kept as their places here. */
static const char *const words[] = {
	"starting",
	"refresh", "rebuild rollups", "make counters", "reprice", "drain", "archive", "import",
	"folding calls", "summarizing indexes",
	"summing up calls", "waiting for writers", "writing counters",
	"pricing calls", "moving calls", "verifying", "archiving partitions", "waiting for the ledger",
	"dropping partitions", "reading the catalogue", "comparing prices", "writing prices"
};

static int64
place_of(const char *word)
{
	for (int i = 0; i < (int) lengthof(words); i++)
		if (strcmp(words[i], word) == 0)
			return i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("there is no command or phase \"%s\"", word),
			 errhint("This is for functions of usage_monitor. SELECT * FROM usage_monitor.maintenance_progress shows what they say.")));
}

/* Is it ours that the session shows? */
static bool
is_shown(void)
{
	return MyBEEntry != NULL && MyBEEntry->st_progress_command == UM_PROGRESS_COMMAND;
}

/* Begins a command; false if it is a part of another one, which is shown on. */
bool
um_progress_begin(const char *command)
{
	if (is_shown())
		return false;
	pgstat_progress_start_command(UM_PROGRESS_COMMAND, InvalidOid);
	pgstat_progress_update_param(PARAM_COMMAND, place_of(command));
	pgstat_progress_update_param(PARAM_STARTED_AT, GetCurrentStatementStartTimestamp());
	return true;
}

/* Begins a phase, with about so much to do; 0: nobody knows. */
void
um_progress_phase(const char *phase, int64 total)
{
	static const int params[] = {PARAM_PHASE, PARAM_DONE, PARAM_TOTAL};
	int64		values[] = {place_of(phase), 0, total};

	if (is_shown())
		pgstat_progress_update_multi_param(lengthof(params), params, values);
}

/* How many calls the ledger has, as the statistics of its partitions have it. */
int64
um_progress_ledger_calls(void)
{
	List	   *partitions = find_all_inheritors(um_relation(UM_USAGE), NoLock, NULL);
	ListCell   *lc;
	double		calls = 0;

	foreach(lc, partitions)
	{
		HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(lfirst_oid(lc)));

		/* one without statistics, or that was dropped just now, has none; so has the parent */
		if (!HeapTupleIsValid(tuple))
			continue;
		if (((Form_pg_class) GETSTRUCT(tuple))->relkind == RELKIND_RELATION)
			calls += Max(((Form_pg_class) GETSTRUCT(tuple))->reltuples, 0);
		ReleaseSysCache(tuple);
	}
	return (int64) calls;
}

/* So much of it is done; said each thousand, it costs nothing. */
void
um_progress_done(int64 done)
{
	if (done % 1000 == 0 && is_shown())
		pgstat_progress_update_param(PARAM_DONE, done);
}

/* Ends what um_progress_begin has begun. */
void
um_progress_end(bool begun)
{
	if (begun && is_shown())
		pgstat_progress_end_command();
}

/* _progress(command, phase, done, total): the same for SQL; without a command it ends. */
Datum
usage_monitor_progress(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
	{
		um_progress_end(true);
		PG_RETURN_VOID();
	}
	(void) um_progress_begin(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	if (!PG_ARGISNULL(1))
		um_progress_phase(text_to_cstring(PG_GETARG_TEXT_PP(1)), PG_ARGISNULL(3) ? 0 : PG_GETARG_INT64(3));
	if (!PG_ARGISNULL(2) && is_shown())
		pgstat_progress_update_param(PARAM_DONE, PG_GETARG_INT64(2));
	PG_RETURN_VOID();
}

/* A word as a text; NULL for one that a newer library wrote. */
static Datum
word_at(int64 place, bool *isnull)
{
	*isnull = place < 0 || place >= (int64) lengthof(words);
	return *isnull ? (Datum) 0 : CStringGetTextDatum(words[place]);
}

/* _progress_info(): what the sessions of this database show. */
Datum
usage_monitor_progress_info(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 1; i <= pgstat_fetch_stat_numbackends(); i++)
	{
#if PG_VERSION_NUM >= 160000
		const PgBackendStatus *entry = &pgstat_get_local_beentry_by_index(i)->backendStatus;
#else
		const PgBackendStatus *entry = &pgstat_fetch_stat_local_beentry(i)->backendStatus;
#endif
		const int64 *param = entry->st_progress_param;
		Datum		values[6];
		bool		nulls[6] = {0};

		if (entry->st_progress_command != UM_PROGRESS_COMMAND || entry->st_databaseid != MyDatabaseId)
			continue;
		values[0] = Int32GetDatum(entry->st_procpid);
		values[1] = word_at(param[PARAM_COMMAND], &nulls[1]);
		values[2] = word_at(param[PARAM_PHASE], &nulls[2]);
		values[3] = Int64GetDatum(param[PARAM_DONE]);
		values[4] = Int64GetDatum(param[PARAM_TOTAL]);
		nulls[4] = param[PARAM_TOTAL] <= 0;
		values[5] = TimestampTzGetDatum(param[PARAM_STARTED_AT]);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
