/*
 * rollup_fold.c
 *		Summing up calls into the tables of the rollups.
 *
 * Calls are added up in memory, and now and then what was collected is added
 * to the tables, in the order of their indexes.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/catalog.h"
#include "miscadmin.h"
#include "rollup/rollup_fold.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/*
 * Calls of a day add to the same rows of the tables, which are best written
 * once, and mostly calls come in the order of time.  So what is collected is
 * added to the tables when a day begins and it is more than a processor's cache
 * holds, or else when it is as much as one may take.
 */
#define CACHE_MEMORY	((Size) 6 * 1024 * 1024)
#define ENTRY_MEMORY	((Size) 64 * 1024 * 1024)

/* So much is not given back between, for new memory has to be cleared. */
#define KEPT_MEMORY		((Size) 4 * 1024 * 1024)

/* Starts to collect. */
static void
start_sums(UmFold *fold)
{
	for (int i = 0; i < fold->ndimensions; i++)
		um_sums_start(&fold->sums[i], &fold->dimensions[i], fold->entry_context);
}

/* The order of the index that the rows are found by. */
static int
compare_entries(const void *a, const void *b)
{
	const UmEntryRef *x = a;
	const UmEntryRef *y = b;

	if (x->day != y->day)
		return x->day < y->day ? -1 : 1;
	return x->hash < y->hash ? -1 : x->hash > y->hash;
}

/* Adds entries to a table, or takes them from it. */
static void
add_entries(UmFold *fold, UmRollupTable *table, const UmSums *sums, int sign)
{
	for (int64 i = 0; i < sums->count; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(fold->row_context);
		const UmEntry *entry = sums->entries[i].entry;

		CHECK_FOR_INTERRUPTS();
		um_rollup_add(table, &entry->name, &entry->measures, sign);
		MemoryContextSwitchTo(old);
		MemoryContextReset(fold->row_context);
	}
	um_rollup_flush(table);
}

/* A table, which is opened for the first that is added to it, and until the fold ends. */
static UmRollupTable *
open_table(UmFold *fold, UmRollupTable **table, Oid relid)
{
	if (*table == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(fold->context);

		*table = palloc(sizeof(UmRollupTable));
		um_rollup_open(*table, relid);
		MemoryContextSwitchTo(old);
	}
	return *table;
}

/* Adds what was collected for a rollup to its table, in the order of its index. */
static void
flush_sums(UmFold *fold, int i)
{
	UmSums	   *sums = &fold->sums[i];
	const UmDimension *dimension = &fold->dimensions[i];

	if (sums->count == 0)
		return;
	qsort(sums->entries, sums->count, sizeof(UmEntryRef), compare_entries);

	add_entries(fold, open_table(fold, &fold->tables[i], dimension->relid), sums,
				fold->to_archive ? -1 : 1);
	if (fold->to_archive)
		add_entries(fold, open_table(fold, &fold->archives[i], dimension->archive), sums, 1);
}

/* Adds what was collected to the tables. */
static void
flush(UmFold *fold)
{
	MemoryContext old = MemoryContextSwitchTo(fold->entry_context);

	for (int i = 0; i < fold->ndimensions; i++)
		flush_sums(fold, i);
	MemoryContextSwitchTo(old);
	/* the next flush may write the same rows */
	CommandCounterIncrement();
	MemoryContextReset(fold->entry_context);
	start_sums(fold);
}

/* Starts a fold. */
UmFold *
um_fold_start(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "usage_monitor fold",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	UmFold	   *fold = palloc0(sizeof(UmFold));

	fold->context = context;
	fold->last_day = DATEVAL_NOBEGIN;
	fold->entry_context = AllocSetContextCreate(context, "usage_monitor fold entries",
												KEPT_MEMORY, ALLOCSET_DEFAULT_INITSIZE,
												ALLOCSET_DEFAULT_MAXSIZE);
	fold->call_context = AllocSetContextCreate(context, "usage_monitor fold call",
											   ALLOCSET_DEFAULT_SIZES);
	fold->row_context = AllocSetContextCreate(context, "usage_monitor fold row",
											  ALLOCSET_DEFAULT_SIZES);
	fold->dimensions = um_dimensions(&fold->ndimensions);
	fold->sums = palloc(sizeof(UmSums) * (fold->ndimensions + 1));
	fold->tables = palloc0(sizeof(UmRollupTable *) * (fold->ndimensions + 1));
	fold->archives = palloc0(sizeof(UmRollupTable *) * (fold->ndimensions + 1));
	start_sums(fold);
	MemoryContextSwitchTo(old);
	return fold;
}

/* Is what is collected to be added to the tables before a call of that day? */
static bool
is_full(UmFold *fold, DateADT day)
{
	Size		memory = MemoryContextMemAllocated(fold->entry_context, true);

	return memory > (day > fold->last_day ? CACHE_MEMORY : ENTRY_MEMORY);
}

/* Adds a call, or with sign -1 takes it back. */
void
um_fold_add(UmFold *fold, const Datum *values, const bool *nulls, int sign)
{
	MemoryContext old = MemoryContextSwitchTo(fold->call_context);
	UmAddend	call;

	um_addend_read(&call, values, nulls, sign);
	if (is_full(fold, call.day))
		flush(fold);
	um_sums_add_to_all(fold->sums, fold->ndimensions, &call);
	fold->last_day = Max(fold->last_day, call.day);
	fold->rows++;
	MemoryContextSwitchTo(old);
	MemoryContextReset(fold->call_context);
}

/* Is told that calls of an earlier day follow, in the order of time again. */
void
um_fold_go_back(UmFold *fold)
{
	fold->last_day = DATEVAL_NOBEGIN;
}

/* Ends a fold, and returns how many calls it got. */
int64
um_fold_end(UmFold *fold)
{
	int64		rows = fold->rows;

	flush(fold);
	for (int i = 0; i < fold->ndimensions; i++)
	{
		if (fold->tables[i] != NULL)
			um_rollup_close(fold->tables[i]);
		if (fold->archives[i] != NULL)
			um_rollup_close(fold->archives[i]);
	}
	MemoryContextDelete(fold->context);
	return rows;
}

/* Empties all rollups: as rows, for older snapshots must go on to see them. */
void
um_fold_empty_rollups(UmFold *fold)
{
	UmSpi		spi;

	um_spi_begin(&spi);
	for (int i = 0; i < fold->ndimensions; i++)
	{
		UmQuery		query = {0};

		query.text = psprintf("DELETE FROM " UM_PRIVATE_SCHEMA ".%s",
							  quote_identifier(get_rel_name(fold->dimensions[i].relid)));
		um_spi_modify(&query, NULL, NULL);
		SPI_freeplan(query.plan);
	}
	um_spi_end(&spi);
	CommandCounterIncrement();
}
