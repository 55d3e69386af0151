/*
 * read_stream.c
 *		A response that came in chunks: what they told together.  The last word
 *		wins.
 */
#include "postgres.h"

#include <limits.h>

#include "base/error.h"
#include "miscadmin.h"
#include "record/reader_internal.h"

static void
refuse_several(const char *which)
{
	ereport(ERROR,
			(errcode(ERRCODE_UM_UNKNOWN_SHAPE),
			 errmsg("array of several responses: %s", which),
			 errhint("An array is read as the chunks of one stream; pass one response at a time.")));
}

/* Refuses several responses without ids: they tell of different inputs. */
static void
check_inputs(UmReader *r)
{
	for (int i = 0; i < r->nplaces; i++)
	{
		const UmObjectPlace *place = &r->places[i];
		int64		input = -1;

		for (int j = 0; j < place->nobjects; j++)
		{
			UmObject   *object = place->objects[j];
			UmCounts	t;
			UmReader	scratch = *r;

			scratch.found = NULL;
			scratch.nfound = 0;
			um_tell_object(&scratch, object, object->family, &t);
			/* it will be told again */
			for (int k = 0; k < object->nhits; k++)
				object->hits[k].node->read_by = 0;
			if (!KNOWN(&t, UM_METER_INPUT))
				continue;
			if (input >= 0 && input != COUNT(&t, UM_METER_INPUT))
				refuse_several(psprintf("with " INT64_FORMAT " and with " INT64_FORMAT " input tokens",
										input, COUNT(&t, UM_METER_INPUT)));
			input = COUNT(&t, UM_METER_INPUT);
		}
	}
}

/* Looks at all chunks of a response, or at the response; returns the first one. */
UmNode *
um_look_at_chunks(UmReader *r, UmNode *root)
{
	UmNode	   *first = NULL;
	const char *id = NULL;

	for (UmNode *node = r->is_stream ? um_node_child(root) : root; node != NULL; node = node->next)
	{
		UmChunk		chunk = {0};

		if (!um_node_is_container(node) || node->is_array || um_node_is_empty(node))
			continue;
		first = first ? first : node;
		um_node_undot(node);
		um_look_at_envelope(r, node, &chunk);
		if (chunk.id == NULL || !chunk.counted)
			continue;
		if (id != NULL && strcmp(id, chunk.id) != 0)
			refuse_several(psprintf("\"%s\" and \"%s\"", id, chunk.id));
		id = chunk.id;
	}
	if (first == NULL)
		um_unknown_shape(!um_node_is_container(root) ?
						 psprintf("%s \"%s\", not an object",
								  root->value.type == jbvString ? "the text" : "the value", um_shown(root)) :
						 r->is_stream ? "an array without objects" : "an empty object");
	if (r->is_stream && id == NULL)
		check_inputs(r);
	return first;
}

/* Takes over what a later chunk of a stream says: its last word wins. */
static void
merge_chunk(UmCounts *told, const UmCounts *later)
{
	for (int m = 0; m < UM_TOLD_COUNT; m++)
	{
		const UmSaid *new = &later->whole[m];
		UmSaid	   *old = &told->whole[m];
		UmSaid	   *most = &told->before[m];

		if (!new->known || !old->known || um_value_compare(&new->value, &old->value) == 0)
			continue;
		if (um_value_compare(&new->value, &old->value) < 0 &&
			(!most->known || um_value_compare(&most->value, &old->value) < 0))
			*most = *old;
		/* what a whole that changes makes stale */
		told->whole[UM_TOLD_TOTAL].known = false;
		if (m == UM_METER_CACHE_WRITE)
			told->whole[UM_TOLD_CACHE_WRITE_5M].known = told->whole[UM_METER_CACHE_WRITE_1H].known = false;
		if (m == UM_METER_OUTPUT)
			told->whole[UM_METER_REASONING].known = false;
	}
	for (int m = 0; m < UM_TOLD_COUNT; m++)
	{
		if (later->whole[m].known)
			told->whole[m] = later->whole[m];
		if (later->on_top[m].known)
			told->on_top[m] = later->on_top[m];
		if (later->otherwise[m].known)
			told->otherwise[m] = later->otherwise[m];
	}
	if (later->whole[UM_TOLD_TOTAL].known)
		told->rest = later->rest;
	told->any = told->any || later->any;
}

/*
 * Counts of a stream grow.  Where one is less in the end, the call is held,
 * unless the last word is whole: its total is the most that was said, or it
 * tells of each step of the call.
 */
static void
check_stream(UmReader *r, const UmCounts *told, bool is_last_word)
{
	const UmSaid *total = &told->whole[UM_TOLD_TOTAL];

	if (is_last_word ||
		(total->known && (!told->before[UM_TOLD_TOTAL].known ||
						  um_value_compare(&total->value, &told->before[UM_TOLD_TOTAL].value) >= 0)))
		return;
	for (int m = 0; m < UM_TOLD_COUNT; m++)
		if (told->before[m].known && told->whole[m].known &&
			um_value_compare(&told->whole[m].value, &told->before[m].value) < 0)
			um_hold(r, psprintf("\"%s\" went down from %s to %s in a stream", um_told_name(m),
							 um_value_text(&told->before[m].value), um_value_text(&told->whole[m].value)), NULL);
}

/* Has one of the things found in between told of a step of the call? */
static bool
tells_steps(const UmReader *r, int from, int to)
{
	for (int i = from; i < to; i++)
		if (r->found[i].meaning == UM_MEANS_STEP || r->found[i].meaning == UM_MEANS_ATTEMPT)
			return true;
	return false;
}

/* What an object, or all chunks of a stream, tell. */
void
um_tell_chunks(UmReader *r, const UmObjectPlace *place, UmCounts *told)
{
	int			family = INT_MAX;
	int			first = r->nfound;
	bool		is_last_word = false;

	for (int j = 0; j < place->nobjects; j++)
		family = Min(family, place->objects[j]->family);
	memset(told, 0, sizeof(UmCounts));
	told->rest = -1;
	for (int j = 0; j < place->nobjects; j++)
	{
		UmCounts	t;
		int			nfound = r->nfound;

		CHECK_FOR_INTERRUPTS();
		um_tell_object(r, place->objects[j], family, &t);
		merge_chunk(told, &t);
		if (tells_steps(r, nfound, r->nfound))
		{
			/* they are all steps so far */
			for (int f = first; f < nfound; f++)
				if (r->found[f].meaning == UM_MEANS_STEP || r->found[f].meaning == UM_MEANS_ATTEMPT)
					r->found[f].meaning = UM_MEANS_NOTHING;
			is_last_word = family != INT_MAX;
		}
	}
	check_stream(r, told, is_last_word);
}
