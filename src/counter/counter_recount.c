/*
 * counter_recount.c
 *		Counting what the transaction did once more, because quotas changed
 *		after it began to count.
 *
 * The rows that it inserted are in the ledger and carry its xid.  What it did
 * to rows of other transactions is noted as it happens; there is little of
 * that, and what does not fit into memory goes to a file.  A SERIALIZABLE
 * transaction notes all that it does: were it to read the ledger, it would
 * depend on everybody who writes it.  So are adjustments noted.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/catalog.h"
#include "catalog/pg_type.h"
#include "counter/counter_recount.h"
#include "counter/pending.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

/* The columns of a note, behind those of UmCounted. */
enum
{
	NOTE_XID = UM_COUNTED_COLUMNS,
	NOTE_NEGATIVE,
	NOTE_LIVE,
	NOTE_COLUMNS
};

static Tuplestorestate *notes;	/* in TopTransactionContext */
static TupleDesc note_desc;

/* What was added to a counter beside the ledger's rows; in TopTransactionContext. */
typedef struct Adjustment
{
	TransactionId xid;			/* who did: this transaction, or one within it */
	UmCounterName counter;
	Numeric		amount;
	struct Adjustment *next;
} Adjustment;

static Adjustment *adjustments;

PG_FUNCTION_INFO_V1(usage_monitor_adjust_counter);

/* by the index of xid, whatever is known of the ledger: generic, as for later calls (counter_from_ledger.c) */
static UmQuery read_own_rows = {
	.text = "SELECT org, department, project, user_id, session_id, model, provider,"
	" tags, ts, cost, total_tokens, resolved_model, operation, recorded_at"
	" FROM usage_monitor.usage WHERE xid = $1",
	.argtypes = {INT8OID},
	.generic = true
};

/* Starts the notes of a transaction. */
static void
start_notes(void)
{
	static const Oid types[NOTE_COLUMNS] = {
		TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
		JSONBOID, TIMESTAMPTZOID, NUMERICOID, INT8OID, TEXTOID, TEXTOID,
		INT8OID, BOOLOID, BOOLOID
	};
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	ResourceOwner owner = CurrentResourceOwner;

	/* a file of the notes must outlive the statement */
	CurrentResourceOwner = TopTransactionResourceOwner;
	note_desc = CreateTemplateTupleDesc(NOTE_COLUMNS);
	for (int i = 0; i < NOTE_COLUMNS; i++)
		TupleDescInitEntry(note_desc, i + 1, NULL, types[i], -1, 0);
	notes = tuplestore_begin_heap(false, true, work_mem);
	CurrentResourceOwner = owner;
	MemoryContextSwitchTo(old);
}

/* Notes what is done to a row, unless the ledger will show it. */
void
um_recount_note(const Datum *values, const bool *nulls, bool own, bool negative, bool live)
{
	Datum		note_values[NOTE_COLUMNS];
	bool		note_nulls[NOTE_COLUMNS] = {0};
	ResourceOwner owner = CurrentResourceOwner;

	if (own && !IsolationIsSerializable())
		return;
	if (notes == NULL)
		start_notes();
	memcpy(note_values, values, sizeof(Datum) * UM_COUNTED_COLUMNS);
	memcpy(note_nulls, nulls, sizeof(bool) * UM_COUNTED_COLUMNS);
	note_values[NOTE_XID] = Int64GetDatum(GetCurrentTransactionId());
	note_values[NOTE_NEGATIVE] = BoolGetDatum(negative);
	note_values[NOTE_LIVE] = BoolGetDatum(live);
	CurrentResourceOwner = TopTransactionResourceOwner;
	tuplestore_putvalues(notes, note_desc, note_values, note_nulls);
	CurrentResourceOwner = owner;
}

/* Has the transaction done anything that the ledger does not show as its own? */
bool
um_recount_has_notes(void)
{
	return notes != NULL || adjustments != NULL;
}

/*
 * _adjust_counter(quota_id, subject, period_start, amount): counts what was
 * written to quota_adjustment.  The caller keeps the quota from being changed.
 */
Datum
usage_monitor_adjust_counter(PG_FUNCTION_ARGS)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	char	   *subject = text_to_cstring(PG_GETARG_TEXT_PP(1));
	Adjustment *adjustment = palloc(sizeof(Adjustment));

	um_pending_refuse_closed("adjust quotas");
	adjustment->xid = GetCurrentTransactionId();
	adjustment->counter = um_counter_name(PG_GETARG_INT64(0),
										  um_string_of(subject),
										  PG_GETARG_TIMESTAMPTZ(2));
	adjustment->amount = DatumGetNumericCopy(PG_GETARG_DATUM(3));
	adjustment->next = adjustments;
	adjustments = adjustment;
	MemoryContextSwitchTo(old);
	um_pending_adjust(&adjustment->counter, adjustment->amount);
	PG_RETURN_VOID();
}

/* Counts the notes; those of aborted subtransactions are void. */
static void
count_notes(void)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(note_desc, &TTSOpsMinimalTuple);

	tuplestore_rescan(notes);
	while (tuplestore_gettupleslot(notes, true, false, slot))
	{
		UmCounted	row;
		UmTouches	touched;

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		if (!TransactionIdIsCurrentTransactionId((TransactionId)
												 DatumGetInt64(slot->tts_values[NOTE_XID])))
			continue;
		um_counted_set(&row, slot->tts_values, slot->tts_isnull);
		um_pending_count(&row, DatumGetBool(slot->tts_values[NOTE_NEGATIVE]),
						 DatumGetBool(slot->tts_values[NOTE_LIVE]), &touched);
	}
	ExecDropSingleTupleTableSlot(slot);
}

/* Counts a row that the transaction inserted. */
static void
count_own_row(void *arg, TupleTableSlot *slot)
{
	MemoryContext row_context = arg;
	MemoryContext old = MemoryContextSwitchTo(row_context);
	UmCounted	row;
	UmTouches	touched;

	um_counted_set(&row, slot->tts_values, slot->tts_isnull);
	um_pending_count(&row, false,
					 DatumGetTimestampTz(slot->tts_values[UM_COUNTED_COLUMNS]) ==
					 GetCurrentTransactionStartTimestamp(), &touched);
	MemoryContextSwitchTo(old);
	MemoryContextReset(row_context);
}

/* Counts the rows that the transaction inserted, which may be very many. */
static void
count_own_rows(void)
{
	Datum		xid = Int64GetDatum((int64) U64FromFullTransactionId(GetTopFullTransactionId()));
	MemoryContext row_context = AllocSetContextCreate(CurrentMemoryContext, "usage_monitor row",
													  ALLOCSET_DEFAULT_SIZES);
	UmSpi		spi;

	um_spi_begin(&spi);
	um_spi_set("enable_seqscan", "off");
	um_spi_set("jit", "off");
	PushActiveSnapshot(GetLatestSnapshot());
	um_spi_stream(&read_own_rows, &xid, count_own_row, row_context);
	PopActiveSnapshot();
	um_spi_end(&spi);
	MemoryContextDelete(row_context);
}

/* Counts all that the transaction did, by the quotas as they are now. */
void
um_recount(void)
{
	um_pending_clear();
	if (!IsolationIsSerializable())
		count_own_rows();
	if (notes != NULL)
		count_notes();
	for (Adjustment *adjustment = adjustments; adjustment != NULL; adjustment = adjustment->next)
		if (TransactionIdIsCurrentTransactionId(adjustment->xid))
			um_pending_adjust(&adjustment->counter, adjustment->amount);
}

/* The transaction is over; the memory goes with its own. */
void
um_recount_forget(void)
{
	notes = NULL;
	adjustments = NULL;
}
