/*
 * shipped_rows.c
 *		Keeps users from editing shipped rows: a dump holds only the user's, so
 *		an edit would be lost.
 */
#include "postgres.h"

#include "base/catalog.h"
#include "base/error.h"
#include "commands/extension.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(usage_monitor_protect_shipped);

/* Rates of shipped prices have negative numbers of these; other rows say where they are from. */
static bool
is_shipped(HeapTuple row, TupleDesc desc, bool is_field)
{
	int			column = SPI_fnumber(desc, is_field ? "source" : "origin");
	char	   *origin;

	if (column <= 0)
		return um_int64_column(row, desc, SPI_fnumber(desc, "price_id")) < 0;
	origin = um_text_column(row, desc, column);
	return origin != NULL && strcmp(origin, "shipped") == 0;
}

/* Row trigger of what is shipped. */
Datum
usage_monitor_protect_shipped(PG_FUNCTION_ARGS)
{
	static const UmRelation tables[] = {
		UM_PRICE, UM_PRICE_RATE, UM_MODEL_ALIAS, UM_PROVIDER_ALIAS, UM_MODEL_ALTERNATIVE,
		UM_USAGE_FIELD
	};
	TriggerData *trigdata = um_trigger(fcinfo, "_protect_shipped",
									   TRIGGER_EVENT_BEFORE | TRIGGER_EVENT_ROW,
									   tables, lengthof(tables));
	TupleDesc	desc = RelationGetDescr(trigdata->tg_relation);
	bool		is_update = TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event);
	bool		is_field = RelationGetRelid(trigdata->tg_relation) == um_relation(UM_USAGE_FIELD);

	if (!creating_extension &&
		(is_shipped(trigdata->tg_trigtuple, desc, is_field) ||
		 (is_update && is_shipped(trigdata->tg_newtuple, desc, is_field))))
		ereport(ERROR,
				(errcode(ERRCODE_UM_READ_ONLY),
				 errmsg("shipped rows of \"%s\" are read only",
						RelationGetRelationName(trigdata->tg_relation)),
				 is_field ? errhint("Add a line of your own: it comes before the shipped ones.") :
				 errhint("Add a row of your own: it precedes the shipped one. usage_monitor.set_price() sets a price.")));

	return PointerGetDatum(is_update ? trigdata->tg_newtuple : trigdata->tg_trigtuple);
}
