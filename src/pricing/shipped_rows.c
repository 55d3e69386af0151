/*
 * shipped_rows.c
 *		Keeps users from editing shipped rows: a dump holds only the user's, so
 *		an edit would be lost.
 */
#include "postgres.h"

#include "base/error.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(usage_monitor_protect_shipped);

/* Shipped prices have negative numbers; aliases say where they are from. */
static bool
is_shipped(HeapTuple row, TupleDesc desc)
{
	int			column = SPI_fnumber(desc, "origin");
	bool		isnull;
	Datum		value;

	if (column > 0)
	{
		value = SPI_getbinval(row, desc, column, &isnull);
		return !isnull && strcmp(TextDatumGetCString(value), "shipped") == 0;
	}
	value = SPI_getbinval(row, desc, SPI_fnumber(desc, "price_id"), &isnull);
	return !isnull && DatumGetInt64(value) < 0;
}

/* Row trigger of price, price_rate, model_alias and provider_alias. */
Datum
usage_monitor_protect_shipped(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	TupleDesc	desc;
	bool		is_update;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by trigger manager", "_protect_shipped")));

	desc = RelationGetDescr(trigdata->tg_relation);
	is_update = TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event);
	if (!creating_extension &&
		(is_shipped(trigdata->tg_trigtuple, desc) ||
		 (is_update && is_shipped(trigdata->tg_newtuple, desc))))
		ereport(ERROR,
				(errcode(ERRCODE_UM_READ_ONLY),
				 errmsg("shipped rows of \"%s\" are read only",
						RelationGetRelationName(trigdata->tg_relation)),
				 errhint("Add a row of your own: it precedes the shipped one. usage_monitor.set_price() sets a price.")));

	return PointerGetDatum(is_update ? trigdata->tg_newtuple : trigdata->tg_trigtuple);
}
