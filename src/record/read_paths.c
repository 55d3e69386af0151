/*
 * read_paths.c
 *		Finding, in one pass over an object, where the lines' paths lead.
 */
#include "postgres.h"

#include <limits.h>

#include "base/text_span.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "record/reader_internal.h"

/* Makes room for one more. */
#define GROW(array, n, max) \
	do { \
		if ((n) == (max)) \
		{ \
			(max) = (max) == 0 ? 64 : (max) * 2; \
			(array) = (array) == NULL ? palloc(sizeof(*(array)) * (max)) : \
				repalloc_huge((array), sizeof(*(array)) * (Size) (max)); \
		} \
	} while (0)

/* Adds a state, and what its conditions on the object itself lead to; notes where lines end. */
static void
enter(UmReader *r, UmTrie *trie, uint64 group, bool in_response, UmNode *node)
{
	GROW(r->states, r->nstates, r->maxstates);
	r->states[r->nstates++] = (UmState) {trie, group, in_response};
	for (int i = 0; i < trie->nends; i++)
	{
		const UmLine *line = &r->shapes->lines[trie->ends[i].line];

		if (node->value.type == jbvNull && line->meaning != UM_MEANS_USAGE)
			continue;
		GROW(r->hits, r->nhits, r->maxhits);
		r->hits[r->nhits] = (UmHit) {trie->ends[i], node, group, in_response, r->nhits};
		r->nhits++;
		if (line->meaning == UM_MEANS_NOTHING)
			node->passed = node->passed || (line->family == 0 && (in_response || r->in_usage));
		else
			node->touched = node->touched || !um_node_is_container(node) || line->elements;
		node->counted = node->counted || line->distinct;
	}
	for (int i = 0; i < trie->nhere; i++)
		if (um_node_holds(node, &trie->here[i]))
			enter(r, trie->here[i].to, group, in_response, node);
}

/* Follows a step to a child. */
static void
take(UmReader *r, const UmEdge *edge, const UmState *from, UmNode *child, uint64 step)
{
	if (um_node_holds(child, edge))
		enter(r, edge->to,
			  hash_combine64(from->group, edge->any ? UINT64CONST(42) : step), from->in_response, child);
}

/* Follows the steps that lead from a state to a child. */
static void
follow(UmReader *r, UmState from, UmNode *child, const char *key, int key_length,
	   const char *folded, int folded_length)
{
	const UmTrie *trie = from.trie;
	uint64		step = 0;
	int			low = 0,
				high = trie->nplain;

	if (trie->nplain + trie->nother == 0)
		return;
	step = hash_bytes_extended((const unsigned char *) key, key_length, 0);
	while (low < high)
	{
		int			middle = (low + high) / 2;
		const UmEdge *edge = &trie->plain[middle];
		char		buffer[NAMEDATALEN * 2];
		const char *name = edge->name;
		int			length = edge->length;
		int			order;

		if (edge->exact)
		{
			length = um_fold(edge->name, Min(edge->length, (int) sizeof(buffer)), buffer);
			name = buffer;
		}
		order = memcmp(name, folded, Min(length, folded_length));
		if (order < 0 || (order == 0 && length < folded_length))
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < trie->nplain; low++)
	{
		const UmEdge *edge = &trie->plain[low];

		if (edge->exact)
		{
			char		buffer[NAMEDATALEN * 2];
			int			length = um_fold(edge->name, Min(edge->length, (int) sizeof(buffer)), buffer);

			if (length != folded_length || memcmp(buffer, folded, length) != 0)
				break;
			if (edge->length == key_length && memcmp(edge->name, key, key_length) == 0)
				take(r, edge, &from, child, step);
		}
		else
		{
			if (edge->length != folded_length || memcmp(edge->name, folded, folded_length) != 0)
				break;
			take(r, edge, &from, child, step);
		}
	}
	for (int i = 0; i < trie->nother; i++)
		if (trie->other[i].any ||
			um_string_like((UmString) {folded, folded_length}, (UmString) {trie->other[i].name, trie->other[i].length}))
			take(r, &trie->other[i], &from, child, step);
}

/* Follows the paths into what an object holds. */
static void
walk(UmReader *r, UmNode *at, int first, int nstates, bool passed)
{
	check_stack_depth();
	for (UmNode *child = um_node_child(at); child != NULL; child = child->next)
	{
		int			mark = r->nstates;
		char		index[16];
		int			index_length = 0;

		CHECK_FOR_INTERRUPTS();
		if (child->key == NULL)
			index_length = snprintf(index, sizeof(index), "%d", child->index);
		child->passed = passed;
		for (int i = first; i < first + nstates; i++)
			follow(r, r->states[i], child,
				   child->key ? child->key : index, child->key ? child->key_length : index_length,
				   child->key ? child->folded : index, child->key ? child->folded_length : index_length);
		if (um_node_is_container(child))
		{
			/* what is of no account is looked into only where a path leads on */
			if (r->nstates > mark || !child->passed)
				walk(r, child, mark, r->nstates - mark, child->passed);
		}
		else if (!um_node_is_empty(child) && child->value.type != jbvBool)
		{
			GROW(r->leaves, r->nleaves, r->maxleaves);
			r->leaves[r->nleaves++] = child;
		}
		r->nstates = mark;
	}
}

static int
compare_hits(const void *a, const void *b)
{
	const UmHit *x = a;
	const UmHit *y = b;

	if (x->end.line != y->end.line)
		return x->end.line < y->end.line ? -1 : 1;
	if (x->end.alternative != y->end.alternative)
		return x->end.alternative < y->end.alternative ? -1 : 1;
	return x->number - y->number;
}

/* Finds where lines lead in an object. */
UmObject *
um_look_at_object(UmReader *r, UmNode *root, bool as_response, int depth)
{
	UmObject   *object = palloc0(sizeof(UmObject));
	int			mark = r->nstates;

	object->root = root;
	object->number = ++r->nobjects;
	object->is_response = as_response;
	object->is_usage = !as_response;
	object->family = INT_MAX;
	object->depth = depth;

	r->nhits = r->nleaves = 0;
	r->in_usage = !as_response;
	enter(r, r->shapes->in_usage, 0, false, root);
	if (as_response)
		enter(r, r->shapes->in_response, 0, true, root);
	walk(r, root, mark, r->nstates - mark, false);
	r->nstates = mark;

	object->nhits = r->nhits;
	object->hits = palloc(sizeof(UmHit) * (r->nhits + 1));
	if (r->nhits > 0)
		memcpy(object->hits, r->hits, sizeof(UmHit) * r->nhits);
	qsort(object->hits, object->nhits, sizeof(UmHit), compare_hits);
	object->nleaves = r->nleaves;
	object->leaves = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(UmNode *) * (Size) (r->nleaves + 1));
	if (r->nleaves > 0)
		memcpy(object->leaves, r->leaves, sizeof(UmNode *) * r->nleaves);
	return object;
}

/* The first line that tells the family: of the object, or of the response round it. */
int
um_family_line(UmReader *r, const UmObject *object, bool in_response)
{
	for (int i = 0; i < object->nhits; i++)
	{
		const UmHit *hit = &object->hits[i];

		if (r->shapes->lines[hit->end.line].meaning == UM_MEANS_FAMILY && hit->in_response == in_response)
			return hit->end.line;
	}
	return INT_MAX;
}
