/*
 * read_fields.c
 *		What the fields of an object tell, by the lines that lead to them.
 */
#include "postgres.h"

#include <limits.h>

#include "base/error.h"
#include "base/grow.h"
#include "record/reader_internal.h"

/* outside a usage object, numbers of such names could be money */
static const char *const money_names[] = {"token", "usage", "cost", "bill", "price", "credit", "seconds", "providermetadata"};

/* Names of one count agree, save that a zero may be left empty. */
typedef struct Name
{
	UmValue		value;
	UmNode	   *node;
	const UmObject *object;
} CountName;

/* Adds what the elements of one list, or just one field, say of a meter. */
static void
tell_meter(const UmObject *object, const UmTold *meter, const UmValue *value, UmNode *node,
		   CountName *name, UmCounts *told)
{
	UmSaid	   *said = meter->on_top ? &told->on_top[meter->meter] :
		meter->otherwise ? &told->otherwise[meter->meter] : &told->whole[meter->meter];

	if (name->node != NULL && !um_value_is_zero(&name->value))
	{
		if (!um_value_is_zero(value) && um_value_compare(&name->value, value) != 0 && !meter->otherwise)
			ereport(ERROR,
					(errcode(ERRCODE_UM_IMPOSSIBLE_USAGE),
					 errmsg("impossible usage: \"%s\" is %s but \"%s\" is %s",
							um_path_of(name->object, name->node), um_value_text(&name->value),
							um_path_of(object, node), um_value_text(value)),
					 errhint("They are two names of one count.")));
		return;
	}
	if (!said->known)
		said->value = um_value_of(0, value->number == NULL);
	um_value_add(&said->value, value);
	said->known = told->any = true;
	*name = (CountName) {*value, node, object};
}

/* Notes a word, a step and the like. */
static void
note(UmReader *r, UmMeaning meaning, const UmHit *hit, const UmObject *object, int family)
{
	UM_GROW(r->found, r->nfound);
	r->found[r->nfound] = (UmFound) {meaning, hit->end, hit->node, object->depth, r->nfound, family};
	r->nfound++;
}

/* Does the line read objects of that family? */
static bool
is_of_family(UmReader *r, const UmLine *line, int family)
{
	return family != INT_MAX && line->family == r->shapes->lines[family].family_is;
}

/* Is the node read already, or in what is of no account? */
static bool
is_passed(const UmObject *object, UmNode *node)
{
	for (; node != object->root && node != NULL; node = node->parent)
		if (node->passed_by == object->number)
			return true;
	return false;
}

/* Has the path a name in it that speaks of money? */
static bool
names_money(const UmObject *object, UmNode *node)
{
	const char *const tier[] = {"tier"};
	const char *const *names = node->value.type == jbvString ? tier : money_names;
	int			nnames = node->value.type == jbvString ? 1 : (int) lengthof(money_names);

	for (; node != object->root && node != NULL; node = node->parent)
		for (int i = 0; node->key != NULL && i < nnames; i++)
		{
			int			length = strlen(names[i]);

			for (int at = 0; at + length <= node->folded_length; at++)
				if (memcmp(node->folded + at, names[i], length) == 0)
					return true;
		}
	return false;
}

static int
compare_texts(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

/* Reads the numbers that one line leads to. */
static void
tell_line(const UmObject *object, const UmLine *line, const UmHit *hits, int nhits,
		  CountName *names, CountName *names_otherwise, UmCounts *told)
{
	typedef struct Group
	{
		uint64		group;
		UmValue		value;
		UmNode	   *node;
	} Group;
	Group	   *groups = palloc(sizeof(Group) * nhits);
	CountName	on_top[UM_MAX_TOLD] = {0};
	int			ngroups = 0;
	bool		whole = um_told_is_whole(line->told[0].meter);
	char	  **texts = line->distinct ? palloc(sizeof(char *) * nhits) : NULL;
	int			ntexts = 0;

	for (int i = 0; i < nhits; i++)
	{
		UmNode	   *node = hits[i].node;
		uint64		group = line->elements ? 0 : hits[i].group;
		UmValue		value;
		int			g;

		if (node->read_by == object->number ||
			(um_node_is_container(node) && !line->elements))
			continue;
		node->read_by = object->number;
		if (line->distinct)
			texts[ntexts++] = um_node_text(node);
		value = line->elements ? um_value_of(1, whole) : um_read_number(object, line, node);
		for (g = 0; g < ngroups && groups[g].group != group; g++)
			;
		if (g == ngroups)
			groups[ngroups++] = (Group) {group, um_value_of(0, value.number == NULL), node};
		um_value_add(&groups[g].value, &value);
	}
	if (ntexts > 1)
	{
		int			ndistinct = 1;

		qsort(texts, ntexts, sizeof(char *), compare_texts);
		for (int i = 1; i < ntexts; i++)
			ndistinct += strcmp(texts[i - 1], texts[i]) != 0;
		groups[0].value = um_value_of(ndistinct, whole);
	}
	for (int g = 0; g < ngroups; g++)
		for (int m = 0; m < line->ntold; m++)
		{
			const UmTold *meter = &line->told[m];

			tell_meter(object, meter, &groups[g].value, groups[g].node,
					   meter->on_top ? &on_top[m] :
					   meter->otherwise ? &names_otherwise[meter->meter] : &names[meter->meter], told);
		}
	if (ngroups > 0 && line->told[0].meter == UM_TOLD_TOTAL)
		told->rest = line->rest;
	pfree(groups);
}

/* Does the path that led to a hit hold for the object?  A line has paths of both kinds now and then. */
static bool
holds_for(const UmObject *object, const UmHit *hit)
{
	return hit->in_response ? object->is_response : object->is_usage;
}

/* Takes in what a line says that tells no meter. */
static void
tell_other(UmReader *r, const UmObject *object, const UmHit *hit, int family)
{
	const UmLine *line = &r->shapes->lines[hit->end.line];
	UmMeaning	meaning = line->meaning;
	UmNode	   *node = hit->node;
	bool		is_equation = meaning == UM_MEANS_IS_PROVIDER || meaning == UM_MEANS_IS_TIER ||
		meaning == UM_MEANS_IS_THERE;
	bool		is_of_stream = meaning == UM_MEANS_BEGINS || meaning == UM_MEANS_ENDS;

	if (meaning == UM_MEANS_USAGE || meaning == UM_MEANS_OPEN || meaning == UM_MEANS_FAMILY ||
		(node->read_by == object->number && !is_equation && !is_of_stream))
		return;
	if (meaning == UM_MEANS_IS_THERE)
		r->is_there[line->told[0].meter] = true;
	else if (is_equation)
		note(r, meaning, hit, object, family);
	else if (meaning == UM_MEANS_NOTHING)
		node->passed_by = node->read_by = object->number;
	else if (meaning == UM_MEANS_STEP || meaning == UM_MEANS_ATTEMPT || meaning == UM_MEANS_CALL)
	{
		if (um_node_is_container(node) && !node->is_array && !um_node_is_empty(node))
		{
			node->passed_by = node->read_by = object->number;
			note(r, meaning, hit, object, family);
		}
	}
	else if (!um_node_is_container(node) || is_of_stream ||
			 meaning == UM_MEANS_ERROR || meaning == UM_MEANS_REFUSE)
	{
		node->read_by = object->number;
		note(r, meaning, hit, object, family);
		if (meaning == UM_MEANS_HOLD && !um_node_is_empty(node))
			um_hold(r, um_path_of(object, node), node);
	}
}

/* Holds the call for what no line has read. */
static void
hold_unread(UmReader *r, const UmObject *object)
{
	for (int i = 0; i < object->nleaves; i++)
	{
		UmNode	   *leaf = object->leaves[i];
		bool		strict = leaf->value.type == jbvString && object->is_response ? false :
			object->is_usage || leaf->is_plain_attribute;

		if (leaf->read_by != object->number && (strict || names_money(object, leaf)) &&
			!is_passed(object, leaf))
			um_hold(r, um_path_of(object, leaf), leaf);
	}
}

/* Reads an object: the lines of its family first, then those of any. */
void
um_tell_object(UmReader *r, UmObject *object, int family, UmCounts *told)
{
	CountName  *names = palloc0(sizeof(CountName) * UM_TOLD_COUNT);
	CountName  *names_otherwise = palloc0(sizeof(CountName) * UM_TOLD_COUNT);

	memset(told, 0, sizeof(UmCounts));
	told->rest = -1;
	for (int pass = 0; pass < 2; pass++)
		for (int i = 0, n; i < object->nhits; i += n)
		{
			const UmHit *hit = &object->hits[i];
			const UmLine *line = &r->shapes->lines[hit->end.line];

			n = 1;
			if ((pass == 0 ? !is_of_family(r, line, family) : line->family != 0) || !holds_for(object, hit))
				continue;
			/* all that the line leads to */
			while (i + n < object->nhits && hit[n].end.line == hit->end.line && holds_for(object, &hit[n]))
				n++;
			if (line->meaning == UM_MEANS_METER)
				tell_line(object, line, hit, n, names, names_otherwise, told);
			else
				for (int h = 0; h < n; h++)
					tell_other(r, object, &hit[h], family);
		}
	hold_unread(r, object);
	pfree(names);
	pfree(names_otherwise);
}
