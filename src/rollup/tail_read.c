/*
 * tail_read.c
 *		Reading what a mark does not cover, as the active snapshot sees it:
 *		rows that were recorded since, and corrections of rows that are
 *		covered.
 */
#include "postgres.h"

#include "base/catalog.h"
#include "base/setting.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "rollup/rollup_sums.h"
#include "rollup/tail_read.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/tuplesort.h"
#include "utils/typcache.h"

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
	UmTailLate	late_begin;		/* NULL: rows are shown as they come */
	DateADT		day;			/* else those before that day are late */
	Tuplesortstate *late;		/* they, by ts; NULL: there are none so far */
	TupleDesc	desc;			/* what they look like */
	MemoryContext context;		/* of both */
} TailReader;

static const char *read_list;	/* the columns that are read, each after a comma */

static UmQuery read_all;

/* generic, and by the index of xid: planning for each partition takes longer than reading */
static UmQuery read_tail = {
	.argtypes = {INT8OID, INT8ARRAYOID},
	.generic = true
};

/* planned each time: of a long tail not all indexes are worth it */
static UmQuery read_long_tail = {
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
	read_corrections.text = psprintf("SELECT xid, row_xid, sign%s FROM _usage_monitor._correction",
									 columns.data);
	read_all.text = psprintf("SELECT xid, xid, 1::bigint%s FROM usage_monitor.usage", columns.data);
	read_tail.text = psprintf("%s WHERE xid >= $1 OR xid = ANY ($2)", read_all.text);
	read_long_tail.text = read_tail.text;
	read_list = columns.data;
	MemoryContextSwitchTo(old);
}

/* Shows a row of one of the queries. */
static void
show_row(const TailReader *reader, TupleTableSlot *slot)
{
	reader->visit(reader->arg, slot->tts_values + ATT_READ, slot->tts_isnull + ATT_READ,
				  (int) DatumGetInt64(slot->tts_values[ATT_SIGN]));
}

/* Puts a late row aside. */
static void
sort_late(TailReader *reader, TupleTableSlot *slot)
{
	if (reader->late == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(reader->context);
		AttrNumber	column = ATT_READ + 1;
		Oid			operator = lookup_type_cache(TIMESTAMPTZOID, TYPECACHE_LT_OPR)->lt_opr;
		Oid			collation = InvalidOid;
		bool		nulls_first = false;

		/* it outlives the query */
		reader->desc = CreateTupleDescCopy(slot->tts_tupleDescriptor);
		reader->late = tuplesort_begin_heap(reader->desc, 1, &column, &operator, &collation,
											&nulls_first, maintenance_work_mem, NULL, TUPLESORT_NONE);
		MemoryContextSwitchTo(old);
	}
	tuplesort_puttupleslot(reader->late, slot);
}

/* Gets a row of one of the queries. */
static void
read_row(void *arg, TupleTableSlot *slot)
{
	TailReader *reader = arg;

	/* a row that is not covered is read as it is now; one that is, is corrected */
	if (um_watermark_covers(reader->mark, DatumGetInt64(slot->tts_values[ATT_XID])) ||
		um_watermark_covers(reader->mark, DatumGetInt64(slot->tts_values[ATT_ROW_XID])) !=
		reader->corrections)
		return;
	if (reader->late_begin != NULL)
	{
		DateADT		day = um_ledger_day(DatumGetTimestampTz(slot->tts_values[ATT_READ]));

		if (day < reader->day)
		{
			sort_late(reader, slot);
			return;
		}
		reader->day = day;
	}
	show_row(reader, slot);
}

/* Shows the late rows. */
static void
show_late(TailReader *reader)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(reader->desc, &TTSOpsMinimalTuple);

	reader->late_begin(reader->arg);
	tuplesort_performsort(reader->late);
	while (tuplesort_gettupleslot(reader->late, true, false, slot, NULL))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		show_row(reader, slot);
	}
	ExecDropSingleTupleTableSlot(slot);
	tuplesort_end(reader->late);
	reader->late = NULL;
}

/* Runs the queries for a mark. */
static void
read_uncovered(UmQuery *query, TailReader *reader)
{
	const UmWatermark *mark = reader->mark;
	Datum		values[2];

	if (mark->xmax == 0)
		um_spi_stream(&read_all, NULL, read_row, reader);
	else
	{
		values[0] = Int64GetDatum(um_watermark_start(mark));
		values[1] = um_watermark_xids(mark->xip, um_watermark_stragglers(mark));
		um_spi_stream(query, values, read_row, reader);
	}
	if (reader->late != NULL)
		show_late(reader);
	reader->late_begin = NULL;
	reader->corrections = true;
	um_spi_stream(&read_corrections, NULL, read_row, reader);
}

/* Shows what the mark does not cover of what the user may see. */
void
um_tail_read(const UmWatermark *mark, UmTailVisitor visit, void *arg)
{
	TailReader	reader = {.mark = mark, .visit = visit, .arg = arg};
	UmSpi		spi;

	make_queries();
	um_spi_begin_as_user(&spi);
	um_spi_set("enable_seqscan", "off");
	um_spi_set("jit", "off");
	read_uncovered(&read_tail, &reader);
	um_spi_end(&spi);
}

/*
 * Shows what the mark does not cover of all, in the order of days: first the
 * rows that come in it, as most do, and then, sorted, those that came late.
 */
void
um_tail_read_in_order(const UmWatermark *mark, UmTailVisitor visit, UmTailLate late_begin, void *arg)
{
	TailReader	reader = {.mark = mark, .visit = visit, .arg = arg, .late_begin = late_begin};
	UmSpi		spi;

	make_queries();
	um_spi_begin(&spi);
	reader.context = CurrentMemoryContext;
	reader.day = DATEVAL_NOBEGIN;
	read_uncovered(&read_long_tail, &reader);
	um_spi_end(&spi);
}

/* Shows all rows of a partition of the ledger. */
void
um_tail_read_partition(Oid partition, UmTailVisitor visit, void *arg)
{
	UmWatermark nothing = {0};
	TailReader	reader = {.mark = &nothing, .visit = visit, .arg = arg};
	UmQuery		query = {0};
	UmSpi		spi;

	make_queries();
	query.text = psprintf("SELECT xid, xid, 1::bigint%s FROM %s", read_list,
						  quote_qualified_identifier(get_namespace_name(get_rel_namespace(partition)),
													 get_rel_name(partition)));
	um_spi_begin(&spi);
	um_spi_stream(&query, NULL, read_row, &reader);
	SPI_freeplan(query.plan);
	um_spi_end(&spi);
}
