/*
 * keep_ledger.c
 *		An event trigger that keeps DROP EXTENSION from taking a ledger along
 *		that has calls.
 *
 * The server would drop all of it without a word, and partitions of others in
 * whatever schema, for these hang on the ledger.  CASCADE tells that it is
 * meant; a dump that is restored with --clean says so, too.
 */
#include "postgres.h"

#include "base/catalog.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(usage_monitor_keep_ledger);

static UmQuery has_rows = {
	.text = "SELECT _usage_monitor._ledger_has_rows()"
};

static UmQuery requires = {
	.text = "SELECT count(*) FROM pg_catalog.pg_depend"
	" WHERE classid = 'pg_catalog.pg_extension'::regclass AND objid = $1"
	" AND refclassid = 'pg_catalog.pg_extension'::regclass AND refobjid = $2",
	.argtypes = {OIDOID, OIDOID}
};

/* Is it an extension that this one requires? */
static bool
is_required(const char *extension)
{
	Datum		values[] = {
		ObjectIdGetDatum(get_extension_oid(UM_SCHEMA, false)), ObjectIdGetDatum(get_extension_oid(extension, true))
	};

	return DatumGetInt64(um_spi_value(&requires, values)) > 0;
}

/* Does DROP EXTENSION drop this extension?  Is that said in so many words? */
static bool
drops_extension(DropStmt *stmt, bool *told)
{
	bool		result = false;
	ListCell   *lc;

	*told = false;
	foreach(lc, stmt->objects)
	{
		const char *name = strVal(lfirst(lc));

		if (strcmp(name, UM_SCHEMA) == 0)
		{
			*told = stmt->behavior == DROP_CASCADE;
			return true;
		}
		if (stmt->behavior == DROP_CASCADE && is_required(name))
			result = true;
	}
	return result;
}

/* Does DROP OWNED drop it? */
static bool
drops_owned(DropOwnedStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->roles)
	{
		if (get_rolespec_oid(lfirst(lc), true) == um_owner())
			return true;
	}
	return false;
}

/* Names the partitions outside the extension's schema, which go as well. */
static void
tell_partitions(void)
{
	Oid			ledger = um_relation(UM_USAGE);
	ListCell   *lc;

	foreach(lc, find_all_inheritors(ledger, NoLock, NULL))
	{
		Oid			relid = lfirst_oid(lc);
		char	   *schema = get_namespace_name(get_rel_namespace(relid));

		if (relid != ledger && strcmp(schema, UM_SCHEMA) != 0)
			ereport(NOTICE,
					(errmsg("drop cascades to partition %s of the ledger",
							quote_qualified_identifier(schema, get_rel_name(relid)))));
	}
}

/* Event trigger at the start of DROP EXTENSION and DROP OWNED. */
Datum
usage_monitor_keep_ledger(PG_FUNCTION_ARGS)
{
	Node	   *command;
	bool		told = false;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by event trigger manager", "_keep_ledger")));
	command = ((EventTriggerData *) fcinfo->context)->parsetree;
	if (!OidIsValid(um_relation(UM_USAGE)) || um_is_restoring() ||
		!((IsA(command, DropStmt) && ((DropStmt *) command)->removeType == OBJECT_EXTENSION &&
		   drops_extension((DropStmt *) command, &told)) ||
		  (IsA(command, DropOwnedStmt) && drops_owned((DropOwnedStmt *) command))))
		PG_RETURN_NULL();

	if (told)
		tell_partitions();
	else if (DatumGetBool(um_spi_value(&has_rows, NULL)))
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop extension \"%s\", because its ledger has calls", UM_SCHEMA),
				 errhint("DROP EXTENSION %s CASCADE drops the ledger, with all of its partitions; pg_dump makes a copy before.",
						 UM_SCHEMA)));
	PG_RETURN_NULL();
}
