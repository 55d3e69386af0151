/*
 * tail.c
 *		Reading what a mark does not cover, as the active snapshot sees it:
 *		rows that were recorded since, and corrections of rows that are
 *		covered.
 */
#include "postgres.h"

#include "catalog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "sums.h"
#include "tail.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* All queries have these before the columns of um_sums_columns. */
enum
{
	ATT_XID,
	ATT_ROW_XID,
	ATT_SIGN,
	ATT_READ
};

/* What is looked for among a query's rows, and who gets it. */
typedef struct TailReader
{
	const UmWatermark *mark;
	bool		corrections;	/* of rows, or rows? */
	UmTailVisitor visit;
	void	   *arg;
} TailReader;

static const char *read_list;	/* the columns that are read, each after a comma */

static UmQuery read_all;

/* generic, and by the index of xid: planning for each partition takes longer than reading */
static UmQuery read_tail = {
	.nargs = 2,
	.argtypes = {INT8OID, INT8ARRAYOID},
	.generic = true
};

static UmQuery read_tail_in_order = {
	.nargs = 2,
	.argtypes = {INT8OID, INT8ARRAYOID}
};

static UmQuery read_corrections;

/* The queries name the columns as the ledger does. */
static void
make_queries(void)
{
	MemoryContext old;
	StringInfoData columns;

	if (read_list != NULL)
		return;
	old = MemoryContextSwitchTo(TopMemoryContext);
	initStringInfo(&columns);
	for (int i = 0; i < UM_SUMS_COLUMNS; i++)
		appendStringInfo(&columns, ", %s", um_column_name(um_sums_columns[i]));
	read_corrections.text = psprintf("SELECT xid, row_xid, sign%s FROM usage_monitor._correction",
									 columns.data);
	read_all.text = psprintf("SELECT xid, xid, 1::bigint%s FROM usage_monitor.usage", columns.data);
	read_tail.text = psprintf("%s WHERE xid >= $1 OR xid = ANY ($2)", read_all.text);
	read_tail_in_order.text = psprintf("%s ORDER BY ts", read_tail.text);
	read_list = columns.data;
	MemoryContextSwitchTo(old);
}

/* Gets a row of one of the queries. */
static void
read_row(void *arg, TupleTableSlot *slot)
{
	const TailReader *reader = arg;

	/* a row that is not covered is read as it is now; one that is, is corrected */
	if (um_watermark_covers(reader->mark, DatumGetInt64(slot->tts_values[ATT_XID])) ||
		um_watermark_covers(reader->mark, DatumGetInt64(slot->tts_values[ATT_ROW_XID])) !=
		reader->corrections)
		return;
	reader->visit(reader->arg, slot->tts_values + ATT_READ, slot->tts_isnull + ATT_READ,
				  (int) DatumGetInt64(slot->tts_values[ATT_SIGN]));
}

/* Runs a query, and shows what of its rows the mark does not cover. */
static void
run(UmQuery *query, Datum *values, const UmWatermark *mark, bool corrections,
	UmTailVisitor visit, void *arg)
{
	TailReader	reader = {mark, corrections, visit, arg};

	um_spi_stream(query, values, read_row, &reader);
}

/* Runs the queries for a mark. */
static void
read_uncovered(UmQuery *query, const UmWatermark *mark, UmTailVisitor visit, void *arg)
{
	int			stragglers = um_watermark_stragglers(mark);
	Datum		values[2];

	values[0] = Int64GetDatum(um_watermark_start(mark));
	values[1] = um_watermark_xids(mark->xip, stragglers);
	if (mark->xmax == 0)
		run(&read_all, NULL, mark, false, visit, arg);
	else
		run(query, values, mark, false, visit, arg);
	run(&read_corrections, NULL, mark, true, visit, arg);
}

/* Shows what the mark does not cover of what the user may see. */
void
um_tail_read(const UmWatermark *mark, UmTailVisitor visit, void *arg)
{
	UmSpi		spi;

	make_queries();
	um_spi_begin_as_user(&spi);
	um_spi_set("enable_seqscan", "off");
	um_spi_set("jit", "off");
	read_uncovered(&read_tail, mark, visit, arg);
	um_spi_end(&spi);
}

/* Shows what the mark does not cover of all, in the order of time, which sorts like an index build. */
void
um_tail_read_in_order(const UmWatermark *mark, UmTailVisitor visit, void *arg)
{
	UmSpi		spi;

	make_queries();
	um_spi_begin(&spi);
	um_spi_set("work_mem", psprintf("%dkB", maintenance_work_mem));
	read_uncovered(&read_tail_in_order, mark, visit, arg);
	um_spi_end(&spi);
}

/* Shows all rows of a partition of the ledger. */
void
um_tail_read_partition(Oid partition, UmTailVisitor visit, void *arg)
{
	UmWatermark nothing = {0};
	UmQuery		query = {0};
	UmSpi		spi;

	make_queries();
	query.text = psprintf("SELECT xid, xid, 1::bigint%s FROM %s", read_list,
						  quote_qualified_identifier(get_namespace_name(get_rel_namespace(partition)),
													 get_rel_name(partition)));
	um_spi_begin(&spi);
	run(&query, NULL, &nothing, false, visit, arg);
	SPI_freeplan(query.plan);
	um_spi_end(&spi);
}
