/*
 * read_envelope.c
 *		The usage objects of a response, or of a chunk of one, and of what is in
 *		its envelopes.
 */
#include "postgres.h"

#include <limits.h>

#include "base/grow.h"
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
	UM_GROW(r->places, r->nplaces);
	place = &r->places[r->nplaces++];
	*place = (UmObjectPlace) {name, length, NULL, 0};
	return place;
}

static void
add_object(UmReader *r, const char *name, int length, UmObject *object)
{
	UmObjectPlace *place = find_place(r, name, length);

	UM_GROW(place->objects, place->nobjects);
	place->objects[place->nobjects++] = object;
}

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
void
um_look_at_envelope(UmReader *r, UmNode *root, UmChunk *chunk)
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
			um_look_at_envelope(r, node, chunk);
	}
}
