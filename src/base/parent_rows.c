/*
 * parent_rows.c
 *		Rows that belong to a row of another table: rates to a price, raises
 *		and adjustments to a quota.
 *
 * Not by foreign keys: the tables are dumped, their constraints exist before
 * their rows are restored, and pg_restore -j loads them in any order.  These
 * triggers do what a key did (see ri_triggers.c), with the same locks and
 * snapshots, save that they let a restore be.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "access/xact.h"
#include "base/catalog.h"
#include "catalog/pg_type.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(usage_monitor_check_parent);
PG_FUNCTION_INFO_V1(usage_monitor_keep_children);

typedef struct Belonging
{
	UmRelation	child;
	UmRelation	parent;
	const char *child_name;
	const char *parent_name;
	const char *column;			/* of both; the parent's primary key */
	UmQuery		lock_parent;
	UmQuery		drop_children;
	UmQuery		find_orphan;
	UmQuery		find_child;
} Belonging;

#define BELONGING(the_child_table, the_child, the_parent_table, the_parent, the_column) { \
	.child = the_child_table, \
	.parent = the_parent_table, \
	.child_name = the_child, \
	.parent_name = the_parent, \
	.column = the_column, \
	.lock_parent = { \
		.text = "SELECT FROM ONLY usage_monitor." the_parent " p" \
		" WHERE p." the_column " = $1 FOR KEY SHARE OF p", \
		.argtypes = {INT8OID} \
	}, \
	.drop_children = { \
		.text = "DELETE FROM ONLY usage_monitor." the_child " c" \
		" WHERE c." the_column " = $1", \
		.argtypes = {INT8OID} \
	}, \
	.find_orphan = { \
		.text = "SELECT FROM ONLY usage_monitor." the_child " c" \
		" WHERE c." the_column " = $1 AND NOT EXISTS (" \
		"SELECT FROM ONLY usage_monitor." the_parent " p WHERE p." the_column " = $1)" \
		" LIMIT 1 FOR KEY SHARE OF c", \
		.argtypes = {INT8OID} \
	}, \
	.find_child = { \
		.text = "SELECT FROM ONLY usage_monitor." the_child " LIMIT 1" \
	} \
}

static Belonging belongings[] = {
	BELONGING(UM_PRICE_RATE, "price_rate", UM_PRICE, "price", "price_id"),
	BELONGING(UM_QUOTA_RAISE, "quota_raise", UM_QUOTA, "quota", "quota_id"),
	BELONGING(UM_QUOTA_ADJUSTMENT, "quota_adjustment", UM_QUOTA, "quota", "quota_id"),
};

/* The number that a row has or refers to. */
static Datum
key_of(HeapTuple row, TupleDesc desc, const char *column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, SPI_fnumber(desc, column), &isnull);

	if (isnull)
		elog(ERROR, "column \"%s\" is null", column);
	return value;
}

/* Has the update left the number as it was? */
static bool
same_key(TriggerData *trigdata, const char *column)
{
	TupleDesc	desc = RelationGetDescr(trigdata->tg_relation);

	return TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) &&
		DatumGetInt64(key_of(trigdata->tg_trigtuple, desc, column)) ==
		DatumGetInt64(key_of(trigdata->tg_newtuple, desc, column));
}

/* Row trigger of what belongs to another row: that must exist, and stay. */
Datum
usage_monitor_check_parent(PG_FUNCTION_ARGS)
{
	static const UmRelation children[] = {UM_PRICE_RATE, UM_QUOTA_RAISE, UM_QUOTA_ADJUSTMENT};
	TriggerData *trigdata = um_trigger(fcinfo, "_check_parent", TRIGGER_EVENT_ROW,
									   children, lengthof(children));
	Oid			table = RelationGetRelid(trigdata->tg_relation);
	bool		is_update;
	bool		is_new;			/* and may not have been checked yet */

	if (um_is_restoring())
		return PointerGetDatum(NULL);

	/* gone again, with its parent perhaps, or changed: then that is checked */
	is_update = TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event);
	if (!table_tuple_satisfies_snapshot(trigdata->tg_relation,
										is_update ? trigdata->tg_newslot : trigdata->tg_trigslot,
										SnapshotSelf))
		return PointerGetDatum(NULL);
	is_new = !is_update ||
		TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(trigdata->tg_trigtuple->t_data));

	for (size_t b = 0; b < lengthof(belongings); b++)
	{
		Belonging  *belonging = &belongings[b];
		HeapTuple	row = is_update ? trigdata->tg_newtuple : trigdata->tg_trigtuple;
		Datum		key;
		bool		found;
		UmSpi		spi;

		if (um_relation(belonging->child) != table ||
			(!is_new && same_key(trigdata, belonging->column)))
			continue;
		key = key_of(row, RelationGetDescr(trigdata->tg_relation), belonging->column);

		/* as the owner: who may add a rate need not be able to lock prices */
		um_spi_begin(&spi);
		um_spi_modify_as_of(&belonging->lock_parent, &key, NULL, InvalidSnapshot);
		found = SPI_processed > 0;
		um_spi_end(&spi);
		if (!found)
			ereport(ERROR,
					(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
					 errmsg("column \"%s\" of \"%s\" must be the number of a %s, but is %lld",
							belonging->column, belonging->child_name, belonging->parent_name,
							(long long) DatumGetInt64(key)),
					 errhint("SELECT * FROM usage_monitor.%s lists them. Add the %s first.",
							 belonging->parent_name, belonging->parent_name),
					 errtable(trigdata->tg_relation)));
	}
	return PointerGetDatum(NULL);
}

static bool
called_for_truncate(FunctionCallInfo fcinfo)
{
	return CALLED_AS_TRIGGER(fcinfo) &&
		TRIGGER_FIRED_BY_TRUNCATE(((TriggerData *) fcinfo->context)->tg_event);
}

/*
 * Trigger of what others belong to: they go with it, and it keeps its number
 * while it has any.
 */
Datum
usage_monitor_keep_children(PG_FUNCTION_ARGS)
{
	static const UmRelation parents[] = {UM_PRICE, UM_QUOTA};
	TriggerData *trigdata = um_trigger(fcinfo, "_keep_children",
									   called_for_truncate(fcinfo) ? TRIGGER_EVENT_AFTER : TRIGGER_EVENT_ROW,
									   parents, lengthof(parents));
	Oid			table = RelationGetRelid(trigdata->tg_relation);

	for (size_t b = 0; b < lengthof(belongings); b++)
	{
		Belonging  *belonging = &belongings[b];
		Datum		key = (Datum) 0;
		bool		found = false;
		UmSpi		spi;

		if (um_relation(belonging->parent) != table || same_key(trigdata, belonging->column))
			continue;
		if (!TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event))
			key = key_of(trigdata->tg_trigtuple, RelationGetDescr(trigdata->tg_relation),
						 belonging->column);

		um_spi_begin(&spi);
		if (TRIGGER_FIRED_BY_DELETE(trigdata->tg_event))
			um_spi_modify_seen(&belonging->drop_children, &key, NULL);
		else if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
		{
			um_spi_modify_seen(&belonging->find_orphan, &key, NULL);
			found = SPI_processed > 0;
		}
		else
		{
			um_spi_query(&belonging->find_child, NULL, NULL);
			found = SPI_processed > 0;
		}
		um_spi_end(&spi);

		if (found && TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event))
			ereport(ERROR,
					(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
					 errmsg("table \"%s\" cannot be truncated while \"%s\" has rows",
							belonging->parent_name, belonging->child_name),
					 errhint("DELETE takes them along."),
					 errtable(trigdata->tg_relation)));
		if (found)
			ereport(ERROR,
					(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
					 errmsg("column \"%s\" of \"%s\" cannot be changed from %lld, which rows of \"%s\" refer to",
							belonging->column, belonging->parent_name,
							(long long) DatumGetInt64(key), belonging->child_name),
					 errhint("Leave the number as it is, or delete those rows first."),
					 errtable(trigdata->tg_relation)));
	}
	return PointerGetDatum(NULL);
}
