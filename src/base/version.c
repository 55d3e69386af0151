/*
 * version.c
 *		The version of the library, and that of the script that the database has.
 *
 * A package that is installed brings a new library to every database at once,
 * and its script to one when somebody says so; a session that was there before
 * keeps the old library.  They go on working together where they can, for
 * columns are found by name; but one is told.
 */
#include "postgres.h"

#include "base/catalog.h"
#include "base/version.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#ifndef UM_VERSION
#error "the Makefile tells UM_VERSION, from the control file"
#endif

PG_FUNCTION_INFO_V1(usage_monitor_library_version);

static UmQuery read_version = {
	.text = "SELECT extversion FROM pg_catalog.pg_extension WHERE extname = '" UM_SCHEMA "'"
};

/* The version of the script that was run last; NULL: the extension is not there. */
static char *
script_version(void)
{
	char	   *version = NULL;
	UmSpi		spi;

	um_spi_read(&spi, &read_version, NULL, NULL);
	if (SPI_processed > 0)
		version = um_text_column(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	um_spi_end(&spi);
	return version;
}

/* Is a version before another?  Both are numbers with points between them. */
static bool
is_before(const char *a, const char *b)
{
	for (;;)
	{
		char	   *end_a;
		char	   *end_b;
		long		number_a = strtol(a, &end_a, 10);
		long		number_b = strtol(b, &end_b, 10);

		if (number_a != number_b)
			return number_a < number_b;
		if (*end_a != '.' || *end_b != '.')
			return *end_a != '.' && *end_b == '.';
		a = end_a + 1;
		b = end_b + 1;
	}
}

/* What to do where library and script are of different versions. */
static const char *
advice(const char *script)
{
	return is_before(script, UM_VERSION) ?
		"Run ALTER EXTENSION usage_monitor UPDATE." :
		"Install the library of that version, and connect anew.";
}

/* Says so if library and script are of different versions. */
void
um_version_compare(void)
{
	static char told[NAMEDATALEN];	/* of which version */
	char	   *script = script_version();

	if (script == NULL || strcmp(script, UM_VERSION) == 0 ||
		strncmp(script, told, sizeof(told) - 1) == 0)
		return;
	strlcpy(told, script, sizeof(told));
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("usage_monitor has version %s in this database, but its library has version %s",
					script, UM_VERSION),
			 errhint("%s", advice(script))));
}

/* Refuses to go on without a column. */
void
um_refuse_missing_column(const char *column, Relation relation)
{
	char	   *script = script_version();

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" of relation \"%s\" does not exist",
					column, RelationGetRelationName(relation)),
			 script == NULL || strcmp(script, UM_VERSION) == 0 ?
			 errhint("usage_monitor cannot do without the columns of its own tables.") :
			 errhint("usage_monitor has version %s in this database, but its library has version %s. %s",
					 script, UM_VERSION, advice(script))));
}

/* _library_version(): the version of the library that the session has loaded. */
Datum
usage_monitor_library_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(UM_VERSION));
}
