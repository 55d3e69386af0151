/*
 * read_envelope.c
 *		The usage objects of a response: in its envelopes, and in the chunks of a stream.
 */
#include "postgres.h"

#include <limits.h>

#include "base/error.h"
#include "miscadmin.h"
#include "record/reader_internal.h"

/* The place of an object's kind; a stream has one for all of its chunks. */
static UmObjectPlace *
find_place(UmReader *r, const char *name, int length)
{
	UmObjectPlace *place;

	for (int i = 0; r->is_stream && i < r->nplaces; i++)
		if (r->places[i].name_length == length && memcmp(r->places[i].name, name, length) == 0)
			return &r->places[i];
	if (r->nplaces % 16 == 0)
		r->places = r->places == NULL ? palloc(sizeof(UmObjectPlace) * 16) :
			repalloc(r->places, sizeof(UmObjectPlace) * (r->nplaces + 16));
	place = &r->places[r->nplaces++];
	*place = (UmObjectPlace) {name, length, NULL, 0};
	return place;
}

static void
add_object(UmReader *r, const char *name, int length, UmObject *object)
{
	UmObjectPlace *place = find_place(r, name, length);

	if ((place->nobjects & (place->nobjects + 1)) == 0 || place->objects == NULL)
		place->objects = place->objects == NULL ? palloc(sizeof(UmObject *) * 2) :
			repalloc(place->objects, sizeof(UmObject *) * (place->nobjects + 1) * 2);
	place->objects[place->nobjects++] = object;
}

/* What a chunk says of the response that it is part of. */
typedef struct Chunk
{
	const char *id;
	bool		counted;		/* it has usage */
	int			depth;
} Chunk;

/* Is there anything in it that is not null? */
static bool
says_something(UmNode *node)
{
	check_stack_depth();
	if (!um_node_is_container(node))
		return node->value.type != jbvNull;
	for (UmNode *child = um_node_child(node); child != NULL; child = child->next)
		if (says_something(child))
			return true;
	return false;
}

/* Looks at a response, and at what is in its envelopes. */
static void
look_at_level(UmReader *r, UmNode *root, Chunk *chunk)
{
	UmObject   *level = um_look_at_object(r, root, true, chunk->depth++);
	int			own = um_family_line(r, level, false);
	int			round = um_family_line(r, level, true);

	check_stack_depth();
	for (int i = 0; i < level->nhits; i++)
	{
		UmNode	   *node = level->hits[i].node;
		UmMeaning	meaning = r->shapes->lines[level->hits[i].end.line].meaning;
		bool		is_object = um_node_is_container(node) && !node->is_array && !um_node_is_empty(node);

		if (meaning == UM_MEANS_ID && level->hits[i].in_response)
		{
			if (!um_node_is_container(node) && !um_node_is_empty(node))
				chunk->id = um_node_text(node);
		}
		else if ((meaning == UM_MEANS_USAGE || meaning == UM_MEANS_OPEN) && is_object)
		{
			node->passed_by = level->number;
			chunk->counted = true;
		}
		if (meaning != UM_MEANS_USAGE)
			continue;
		if (is_object)
		{
			UmObject   *usage;

			/* once, though two lines lead to it */
			if (node->is_usage)
				continue;
			node->is_usage = true;
			/* counts that are all null are not told either */
			r->empty_usage = r->empty_usage || !says_something(node);
			usage = um_look_at_object(r, node, false, level->depth);
			usage->family = Min(um_family_line(r, usage, false), round);
			add_object(r, node->folded ? node->folded : "", node->folded_length, usage);
		}
		else if (um_node_is_empty(node))
			r->empty_usage = true;
		else
			r->wrong_usage = node;
	}
	level->family = own;
	level->is_usage = own != INT_MAX;
	chunk->counted = chunk->counted || level->is_usage;
	add_object(r, "", 0, level);

	for (int i = 0; i < level->nhits; i++)
	{
		UmNode	   *node = level->hits[i].node;

		if (r->shapes->lines[level->hits[i].end.line].meaning == UM_MEANS_OPEN &&
			um_node_is_container(node) && !node->is_array && !um_node_is_empty(node))
			look_at_level(r, node, chunk);
	}
}

/* Looks at all chunks of a response; returns the first one. */
UmNode *
um_look_at_chunks(UmReader *r, UmNode *root)
{
	UmNode	   *first = NULL;
	const char *id = NULL;

	for (UmNode *node = r->is_stream ? um_node_child(root) : root; node != NULL;
		 node = r->is_stream ? node->next : NULL)
	{
		Chunk		chunk = {0};

		if (!um_node_is_container(node) || node->is_array || um_node_is_empty(node))
			continue;
		first = first ? first : node;
		um_node_undot(node);
		look_at_level(r, node, &chunk);
		if (chunk.id != NULL && chunk.counted)
		{
			if (id != NULL && strcmp(id, chunk.id) != 0)
				ereport(ERROR,
						(errcode(ERRCODE_UM_UNKNOWN_SHAPE),
						 errmsg("array of several responses: \"%s\" and \"%s\"", id, chunk.id),
						 errhint("An array is read as the chunks of one stream; pass one response at a time.")));
			id = chunk.id;
		}
	}
	if (first == NULL)
		um_unknown_shape(!um_node_is_container(root) ? psprintf("\"%s\"", um_shown(root)) :
					  r->is_stream ? "an array without objects" : "an empty object");
	/* several responses without ids tell of different inputs */
	for (int i = 0; r->is_stream && id == NULL && i < r->nplaces; i++)
	{
		const UmObjectPlace *place = &r->places[i];
		UmValue		input = {-1, NULL};

		for (int j = 0; j < place->nobjects; j++)
		{
			UmCounts	t;
			UmReader	scratch = *r;

			scratch.found = NULL;
			scratch.nfound = 0;
			um_tell_object(&scratch, place->objects[j], place->objects[j]->family, &t);
			for (int k = 0; k < place->objects[j]->nhits; k++)
				place->objects[j]->hits[k].node->read_by = 0;
			if (!KNOWN(&t, UM_METER_INPUT))
				continue;
			if (input.count >= 0 && input.count != COUNT(&t, UM_METER_INPUT))
				ereport(ERROR,
						(errcode(ERRCODE_UM_UNKNOWN_SHAPE),
						 errmsg("array of several responses: with " INT64_FORMAT " and with " INT64_FORMAT " input tokens",
								input.count, COUNT(&t, UM_METER_INPUT)),
						 errhint("An array is read as the chunks of one stream; pass one response at a time.")));
			input = t.whole[UM_METER_INPUT].value;
		}
	}
	return first;
}
