#ifndef UM_TABLE_INDEXES_H
#define UM_TABLE_INDEXES_H

#include "access/htup.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "utils/relcache.h"

/* Which indexes get an entry of a row that was written. */
typedef enum UmIndexing
{
	UM_INDEX_NEW,				/* all: the row is new */
	UM_INDEX_MOVED,				/* all: it moved, and was in them before */
	UM_INDEX_SUMMARY,			/* those that sum up blocks: it changed where it is */
	UM_INDEX_NONE
} UmIndexing;

/* All indexes of a table, opened. */
typedef struct UmIndexes
{
	ResultRelInfo *relation;
	EState	   *estate;			/* for expressions and predicates; NULL: not needed yet */
	MemoryContext context;		/* of all this */
	TupleTableSlot *slot;
} UmIndexes;

extern void um_indexes_open(UmIndexes *indexes, Relation relation);
extern void um_indexes_close(UmIndexes *indexes);
extern bool um_index_form(UmIndexes *indexes, int i, TupleTableSlot *row, UmIndexing indexing,
						  Datum *values, bool *nulls);
extern void um_index_put(UmIndexes *indexes, int i, Datum *values, bool *nulls,
						 ItemPointer tid, UmIndexing indexing);
extern void um_indexes_put(UmIndexes *indexes, HeapTuple row, UmIndexing indexing);
extern UmIndexing um_heap_update(Relation relation, ItemPointer tid, HeapTuple row);

#endif							/* UM_TABLE_INDEXES_H */
