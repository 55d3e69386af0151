/*
 * shipped_rows.c
 *		Keeps users from editing shipped rows: a dump holds only the user's, so
 *		an edit would be lost.
 */
#include "postgres.h"

#include "base/catalog.h"
#include "base/error.h"
#include "commands/extension.h"
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

/* Row trigger of what is shipped. */
Datum
usage_monitor_protect_shipped(PG_FUNCTION_ARGS)
{
	static const UmRelation tables[] = {
		UM_PRICE, UM_PRICE_RATE, UM_MODEL_ALIAS, UM_PROVIDER_ALIAS, UM_MODEL_ALTERNATIVE
	};
	TriggerData *trigdata = um_trigger(fcinfo, "_protect_shipped",
									   TRIGGER_EVENT_BEFORE | TRIGGER_EVENT_ROW,
									   tables, lengthof(tables));
	TupleDesc	desc = RelationGetDescr(trigdata->tg_relation);
	bool		is_update = TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event);

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
