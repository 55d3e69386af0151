/*
 * tuple_form.c
 *		Making tuples of wide rows.
 *
 * A row of the ledger has some fifty columns, and heap_form_tuple() goes over
 * them twice, and asks of each what only a few can be.  This does the same in
 * one pass, for rows that have nothing but numbers and values that are stored in
 * line, which saves 7 of 100 instructions of a call in bulk (56,300 to 52,100,
 * test/bench/instructions with the one and the other).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/tupmacs.h"
#include "base/compat.h"
#include "base/tuple_form.h"

/*
 * The most that a row can take, with what aligns it, and whether there is a
 * null; 0: not all of its values are of the kinds that are put in here.
 */
static Size
most_length(TupleDesc desc, const Datum *values, const bool *nulls, bool *has_null)
{
	Size		length = MAXALIGN(SizeofHeapTupleHeader + BITMAPLEN(desc->natts));

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (nulls[i])
			*has_null = true;
		else if (att->attbyval)
			length += 2 * sizeof(Datum);
		else if (att->attlen == -1 && !VARATT_IS_EXTERNAL(DatumGetPointer(values[i])))
			length += VARSIZE_ANY(DatumGetPointer(values[i])) + MAXIMUM_ALIGNOF;
		else
			return 0;
	}
	return length;
}

/* Puts a value of variable length in its place; returns where it ends. */
static char *
put_varlena(char *at, const Form_pg_attribute att, const char *value)
{
	Size		length;

	if (VARATT_IS_SHORT(value))
		length = VARSIZE_SHORT(value);
	else if (att->attstorage != TYPSTORAGE_PLAIN && VARATT_CAN_MAKE_SHORT(value))
	{
		length = VARATT_CONVERTED_SHORT_SIZE(value);
		SET_VARSIZE_SHORT(at, length);
		memcpy(at + 1, VARDATA(value), length - 1);
		return at + length;
	}
	else
	{
		at = (char *) att_align_nominal(at, att->attalign);
		length = VARSIZE(value);
	}
	memcpy(at, value, length);
	return at + length;
}

/* What heap_form_tuple() makes. */
HeapTuple
um_form_tuple(TupleDesc desc, Datum *values, bool *nulls)
{
	bool		has_null = false;
	Size		length = most_length(desc, values, nulls, &has_null);
	HeapTuple	tuple;
	HeapTupleHeader header;
	bits8	   *present;
	char	   *at;
	uint16		infomask = has_null ? HEAP_HASNULL : 0;

	if (length == 0)
		return heap_form_tuple(desc, values, nulls);

	tuple = palloc0(HEAPTUPLESIZE + length);
	header = (HeapTupleHeader) ((char *) tuple + HEAPTUPLESIZE);
	header->t_hoff = MAXALIGN(SizeofHeapTupleHeader + (has_null ? BITMAPLEN(desc->natts) : 0));
	present = header->t_bits;
	at = (char *) header + header->t_hoff;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (nulls[i])
			continue;
		if (has_null)
			present[i >> 3] |= 1 << (i & 0x07);
		if (att->attbyval)
		{
			/* a type that is passed by value is aligned by its length: see TypeCreate() */
			at = (char *) TYPEALIGN(att->attlen, at);
			store_att_byval(at, values[i], att->attlen);
			at += att->attlen;
		}
		else
		{
			infomask |= HEAP_HASVARWIDTH;
			at = put_varlena(at, att, DatumGetPointer(values[i]));
		}
	}

	tuple->t_data = header;
	tuple->t_len = at - (char *) header;
	Assert(tuple->t_len <= length);
	ItemPointerSetInvalid(&tuple->t_self);
	tuple->t_tableOid = InvalidOid;
	header->t_infomask = infomask;
	HeapTupleHeaderSetDatumLength(header, tuple->t_len);
	HeapTupleHeaderSetTypeId(header, desc->tdtypeid);
	HeapTupleHeaderSetTypMod(header, desc->tdtypmod);
	ItemPointerSetInvalid(&header->t_ctid);
	HeapTupleHeaderSetNatts(header, desc->natts);
	return tuple;
}
