/*
 * reader.c
 *		Reading a response, with a closed world.
 *
 * Every number of a usage object is read by a line of usage_field, or known to
 * be of no account, or unread; and so is every number round it whose name
 * speaks of money.  What is unread holds the call back from being priced.
 * Parts that contradict each other are refused, never clamped.
 *
 * One pass over the response finds where the lines' paths lead.  What is told
 * is then brought to the ledger's normal form, which is inclusive.
 */
#include "postgres.h"

#include <ctype.h>
#include <limits.h>

#include "base/decimal.h"
#include "base/error.h"
#include "common/hashfn.h"
#include "common/int.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "record/node.h"
#include "record/reader.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

/* larger counts are none */
#define MAX_COUNT		INT64CONST(1000000000000000000)

/* of a value in a message, so much is shown */
#define MAX_SHOWN		60

/* of the fields that are unread, so many are kept */
#define MAX_UNREAD		50

/* outside a usage object, numbers of such names could be money */
static const char *const money_names[] = {"token", "usage", "cost", "bill", "price", "credit", "providermetadata"};

/* A quantity: of tokens, or of anything else. */
typedef struct Value
{
	int64		count;
	Numeric		number;			/* NULL: it is a count */
} Value;

/* What a field told of a meter. */
typedef struct Said
{
	bool		known;
	Value		value;
} Said;

/* All that an object, or the chunks of a stream, told. */
typedef struct Told
{
	Said		whole[UM_TOLD_COUNT];
	Said		on_top[UM_TOLD_COUNT];
	Said		otherwise[UM_TOLD_COUNT];
	int			rest;			/* what the total has beyond the rest; -1: nothing */
	bool		any;
} Told;

/* A place that a line's path leads to. */
typedef struct Hit
{
	UmEnd		end;
	UmNode	   *node;
	uint64		group;			/* elements of one list have the same */
	bool		in_response;	/* by a path from the response */
	int			number;			/* the order in which they were found */
} Hit;

/* A usage object, or a response. */
typedef struct Object
{
	UmNode	   *root;
	uint32		number;
	bool		is_usage;		/* paths from the usage object hold */
	bool		is_response;	/* paths from the response hold */
	int			family;			/* line that told it; INT_MAX: none did */
	int			depth;
	Hit		   *hits;
	int			nhits;
	UmNode	  **leaves;
	int			nleaves;
} Object;

/* Objects that tell of the same: the chunks of a stream, or just one. */
typedef struct Place
{
	const char *name;			/* NULL: of just one */
	int			name_length;
	Object	  **objects;
	int			nobjects;
} Place;

/* A word, a step, ... that was found on the way. */
typedef struct Found
{
	UmMeaning	meaning;
	UmEnd		end;
	UmNode	   *node;
	int			depth;
	int			number;
	int			family;
} Found;

/* A state of the pass: how far a path has been followed. */
typedef struct State
{
	UmTrie	   *trie;
	uint64		group;
	bool		in_response;
} State;

/* What is unread, or another reason not to price the call. */
typedef struct Unread
{
	char	   *path;
	UmNode	   *node;			/* NULL: the path is a sentence */
} Unread;

typedef struct Reader
{
	const UmShapes *shapes;
	bool		is_stream;
	State	   *states;
	int			nstates;
	int			maxstates;
	Hit		   *hits;			/* of the object that is walked */
	int			nhits;
	int			maxhits;
	UmNode	  **leaves;
	int			nleaves;
	int			maxleaves;
	uint32		nobjects;
	bool		in_usage;		/* a usage object is walked */
	Place	   *places;
	int			nplaces;
	Found	   *found;
	int			nfound;
	Unread		unread[MAX_UNREAD];
	int			nunread;
	bool		is_there[UM_TOLD_COUNT];	/* input=0 and the like */
	bool		empty_usage;	/* usage: null */
	UmNode	   *wrong_usage;	/* usage: 5 */
} Reader;

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

/* ---- Names of places ---------------------------------------------------- */

/* The path as a line of the table would have it. */
static char *
path_of(const Object *object, UmNode *node)
{
	char	   *path = NULL;

	for (; node != object->root && node != NULL; node = node->parent)
	{
		const char *key = node->key == NULL ? "*" : pnstrdup(node->key, node->key_length);

		path = path == NULL ? pstrdup(key) : psprintf("%s.%s", key, path);
	}
	if (path == NULL)
		path = pstrdup("");
	return object->is_usage ? path : psprintf("/%s", path);
}

static char *
shown(UmNode *node)
{
	char	   *text = um_node_text(node);

	if (strlen(text) > MAX_SHOWN)
		text[pg_mbcliplen(text, strlen(text), MAX_SHOWN)] = '\0';
	return text;
}

/* Notes why the call cannot be priced. */
static void
hold(Reader *r, char *path, UmNode *node)
{
	for (int i = 0; i < r->nunread; i++)
		if (strcmp(r->unread[i].path, path) == 0)
			return;
	if (r->nunread < MAX_UNREAD)
		r->unread[r->nunread++] = (Unread) {path, node};
}

/* ---- Quantities --------------------------------------------------------- */

static bool
is_zero(const Value *value)
{
	if (value->number == NULL)
		return value->count == 0;
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(value->number),
											 NumericGetDatum(int64_to_numeric(0)))) == 0;
}

static int
compare(const Value *a, const Value *b)
{
	if (a->number == NULL)
		return a->count < b->count ? -1 : a->count > b->count;
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a->number),
											 NumericGetDatum(b->number)));
}

static char *
value_text(const Value *value)
{
	if (value->number == NULL)
		return psprintf(INT64_FORMAT, value->count);
	return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->number)));
}

/* The sum of counts. */
static int64
plus(int64 a, int64 b)
{
	int64		sum;

	if (pg_add_s64_overflow(a, b, &sum))
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_COUNT),
				 errmsg("counts of the response together are out of range"),
				 errhint("Pass the counts as the provider reported them, of one call at a time.")));
	return sum;
}

static void
add_value(Value *to, const Value *value)
{
	if (value->number == NULL)
		to->count = plus(to->count, value->count);
	else
		to->number = DatumGetNumeric(DirectFunctionCall2(numeric_add, NumericGetDatum(to->number),
														 NumericGetDatum(value->number)));
}

static Value
value_of(int64 count, bool whole)
{
	Value		value = {count, whole ? NULL : int64_to_numeric(count)};

	return value;
}

static void
invalid_count(const Object *object, UmNode *node, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_UM_INVALID_COUNT),
			 errmsg("invalid count: \"%s\" is %s", path_of(object, node),
					node->value.type == jbvString ? psprintf("\"%s\"", shown(node)) : shown(node)),
			 errhint("%s", hint)));
}

/* Reads a number. */
static Value
read_number(const Object *object, const UmLine *line, UmNode *node)
{
	bool		whole = false;
	Numeric		number;
	UmDecimal	decimal;
	Value		value = {0, NULL};

	for (int i = 0; i < line->ntold; i++)
		whole = whole || um_told_is_whole(line->told[i].meter);
	if (node->value.type == jbvString && line->text && node->value.val.string.len > 0 &&
		node->value.val.string.len <= 20)
	{
		char	   *text = um_node_text(node);

		if (strspn(text, "0123456789.") != strlen(text) || !isdigit((unsigned char) text[0]) ||
			strchr(text, '.') != strrchr(text, '.'))
			invalid_count(object, node, "A count is a number that is not negative.");
		number = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(text),
													 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	}
	else if (node->value.type == jbvNumeric)
		number = node->value.val.numeric;
	else
	{
		invalid_count(object, node, "A count is a number that is not negative.");
		pg_unreachable();
	}

	if (um_decimal_from_numeric(number, &decimal))
	{
		while (decimal.scale > 0 && decimal.mantissa % 10 == 0)
		{
			decimal.mantissa /= 10;
			decimal.scale--;
		}
		if (decimal.mantissa < 0)
			invalid_count(object, node, "A count is never negative.");
		if (whole && decimal.scale > 0)
			invalid_count(object, node, "A count is a whole number.");
	}
	if (!um_decimal_from_numeric(number, &decimal) || decimal.scale > UM_MAX_POWER - 19 ||
		decimal.mantissa > (int128) MAX_COUNT * um_power_of_ten(decimal.scale))
		invalid_count(object, node,
					  DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(number),
														NumericGetDatum(int64_to_numeric(0)))) < 0
					  ? "A count is never negative." : "A count is at most 10^18.");
	if (whole)
		value.count = (int64) (decimal.mantissa / um_power_of_ten(decimal.scale));
	else
	{
		value.number = number;
		if (line->factor != NULL)
			value.number = DatumGetNumeric(DirectFunctionCall2(numeric_mul, NumericGetDatum(number),
															   NumericGetDatum(line->factor)));
	}
	return value;
}

/* ---- The pass over an object -------------------------------------------- */

/* Adds a state, and what its conditions on the object itself lead to; notes where lines end. */
static void
enter(Reader *r, UmTrie *trie, uint64 group, bool in_response, UmNode *node)
{
	GROW(r->states, r->nstates, r->maxstates);
	r->states[r->nstates++] = (State) {trie, group, in_response};
	for (int i = 0; i < trie->nends; i++)
	{
		const UmLine *line = &r->shapes->lines[trie->ends[i].line];

		if (node->value.type == jbvNull && line->meaning != UM_MEANS_USAGE)
			continue;
		GROW(r->hits, r->nhits, r->maxhits);
		r->hits[r->nhits] = (Hit) {trie->ends[i], node, group, in_response, r->nhits};
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
take(Reader *r, const UmEdge *edge, const State *from, UmNode *child, uint64 step)
{
	if (um_node_holds(child, edge))
		enter(r, edge->to,
			  hash_combine64(from->group, edge->any ? UINT64CONST(42) : step), from->in_response, child);
}

/* Follows the steps that lead from a state to a child. */
static void
follow(Reader *r, State from, UmNode *child, const char *key, int key_length,
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
			um_like(trie->other[i].name, trie->other[i].length, folded, folded_length))
			take(r, &trie->other[i], &from, child, step);
}

/* Follows the paths into what an object holds. */
static void
walk(Reader *r, UmNode *at, int first, int nstates, bool passed)
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
	const Hit  *x = a;
	const Hit  *y = b;

	if (x->end.line != y->end.line)
		return x->end.line < y->end.line ? -1 : 1;
	if (x->end.alternative != y->end.alternative)
		return x->end.alternative < y->end.alternative ? -1 : 1;
	return x->number - y->number;
}

/* Finds where lines lead in an object. */
static Object *
look_at(Reader *r, UmNode *root, bool as_response, int depth)
{
	Object	   *object = palloc0(sizeof(Object));
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
	object->hits = palloc(sizeof(Hit) * (r->nhits + 1));
	memcpy(object->hits, r->hits, sizeof(Hit) * r->nhits);
	qsort(object->hits, object->nhits, sizeof(Hit), compare_hits);
	object->nleaves = r->nleaves;
	object->leaves = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(UmNode *) * (Size) (r->nleaves + 1));
	memcpy(object->leaves, r->leaves, sizeof(UmNode *) * r->nleaves);
	return object;
}

/* The first line that tells the family: of the object, or of the response round it. */
static int
family_line(Reader *r, const Object *object, bool in_response)
{
	for (int i = 0; i < object->nhits; i++)
	{
		const Hit  *hit = &object->hits[i];

		if (r->shapes->lines[hit->end.line].meaning == UM_MEANS_FAMILY && hit->in_response == in_response)
			return hit->end.line;
	}
	return INT_MAX;
}

/* ---- What an object tells ----------------------------------------------- */

/* Names of one count agree, save that a zero may be left empty. */
typedef struct Name
{
	Value		value;
	UmNode	   *node;
	const Object *object;
} CountName;

/* Adds what the elements of one list, or just one field, say of a meter. */
static void
tell_meter(const Object *object, const UmTold *meter, const Value *value, UmNode *node,
		   CountName *name, Told *told)
{
	Said	   *said = meter->on_top ? &told->on_top[meter->meter] :
		meter->otherwise ? &told->otherwise[meter->meter] : &told->whole[meter->meter];

	if (name->node != NULL && !is_zero(&name->value))
	{
		if (!is_zero(value) && compare(&name->value, value) != 0 && !meter->otherwise)
			ereport(ERROR,
					(errcode(ERRCODE_UM_IMPOSSIBLE_USAGE),
					 errmsg("impossible usage: \"%s\" is %s but \"%s\" is %s",
							path_of(name->object, name->node), value_text(&name->value),
							path_of(object, node), value_text(value)),
					 errhint("They are two names of one count.")));
		return;
	}
	if (!said->known)
		said->value = value_of(0, value->number == NULL);
	add_value(&said->value, value);
	said->known = told->any = true;
	*name = (CountName) {*value, node, object};
}

/* Notes a word, a step and the like. */
static void
note(Reader *r, UmMeaning meaning, const Hit *hit, const Object *object, int family)
{
	if (r->nfound % 16 == 0)
		r->found = r->found == NULL ? palloc(sizeof(Found) * 16) :
			repalloc(r->found, sizeof(Found) * (r->nfound + 16));
	r->found[r->nfound] = (Found) {meaning, hit->end, hit->node, object->depth, r->nfound, family};
	r->nfound++;
}

/* Does the line read objects of that family? */
static bool
is_of_family(Reader *r, const UmLine *line, int family)
{
	return family != INT_MAX && line->family == r->shapes->lines[family].family_is;
}

/* Is the node read already, or in what is of no account? */
static bool
is_passed(const Object *object, UmNode *node)
{
	for (; node != object->root && node != NULL; node = node->parent)
		if (node->passed_by == object->number)
			return true;
	return false;
}

/* Has the path a name in it that speaks of money? */
static bool
names_money(const Object *object, UmNode *node)
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
tell_line(const Object *object, const UmLine *line, const Hit *hits, int nhits,
		  CountName *names, CountName *names_otherwise, Told *told)
{
	typedef struct Group
	{
		uint64		group;
		Value		value;
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
		Value		value;
		int			g;

		if (node->read_by == object->number ||
			(um_node_is_container(node) && !line->elements))
			continue;
		node->read_by = object->number;
		if (line->distinct)
			texts[ntexts++] = um_node_text(node);
		value = line->elements ? value_of(1, whole) : read_number(object, line, node);
		for (g = 0; g < ngroups && groups[g].group != group; g++)
			;
		if (g == ngroups)
			groups[ngroups++] = (Group) {group, value_of(0, value.number == NULL), node};
		add_value(&groups[g].value, &value);
	}
	if (ntexts > 1)
	{
		int			ndistinct = 1;

		qsort(texts, ntexts, sizeof(char *), compare_texts);
		for (int i = 1; i < ntexts; i++)
			ndistinct += strcmp(texts[i - 1], texts[i]) != 0;
		groups[0].value = value_of(ndistinct, whole);
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

/* Reads an object: the lines of its family first, then those of any. */
static void
tell(Reader *r, Object *object, int family, Told *told)
{
	CountName  *names = palloc0(sizeof(CountName) * UM_TOLD_COUNT);
	CountName  *names_otherwise = palloc0(sizeof(CountName) * UM_TOLD_COUNT);

	memset(told, 0, sizeof(Told));
	told->rest = -1;
	for (int pass = 0; pass < 2; pass++)
		for (int i = 0; i < object->nhits;)
		{
			const Hit  *hit = &object->hits[i];
			const UmLine *line = &r->shapes->lines[hit->end.line];
			int			n = 1;

			while (i + n < object->nhits && object->hits[i + n].end.line == hit->end.line)
				n++;
			if ((pass == 0 ? !is_of_family(r, line, family) : line->family != 0) ||
				!(hit->in_response ? object->is_response : object->is_usage))
			{
				/* a line has paths of both kinds now and then */
				i += 1;
				continue;
			}
			n = 1;
			while (i + n < object->nhits && object->hits[i + n].end.line == hit->end.line &&
				   (object->hits[i + n].in_response ? object->is_response : object->is_usage))
				n++;
			if (line->meaning == UM_MEANS_METER)
				tell_line(object, line, hit, n, names, names_otherwise, told);
			else
				for (int h = 0; h < n; h++)
				{
					UmNode	   *node = hit[h].node;
					bool		is_equation = line->meaning == UM_MEANS_IS_PROVIDER ||
						line->meaning == UM_MEANS_IS_TIER || line->meaning == UM_MEANS_IS_THERE;

					if (line->meaning == UM_MEANS_USAGE || line->meaning == UM_MEANS_OPEN ||
						line->meaning == UM_MEANS_FAMILY ||
						(node->read_by == object->number && !is_equation))
						continue;
					if (line->meaning == UM_MEANS_IS_THERE)
						r->is_there[line->told[0].meter] = true;
					else if (is_equation)
						note(r, line->meaning, &hit[h], object, family);
					else if (line->meaning == UM_MEANS_NOTHING)
						node->passed_by = node->read_by = object->number;
					else if (line->meaning == UM_MEANS_STEP || line->meaning == UM_MEANS_CALL)
					{
						if (um_node_is_container(node) && !node->is_array && !um_node_is_empty(node))
						{
							node->passed_by = node->read_by = object->number;
							note(r, line->meaning, &hit[h], object, family);
						}
					}
					else if (!um_node_is_container(node) || line->meaning == UM_MEANS_ERROR ||
							 line->meaning == UM_MEANS_BEGINS || line->meaning == UM_MEANS_ENDS ||
							 line->meaning == UM_MEANS_REFUSE)
					{
						node->read_by = object->number;
						note(r, line->meaning, &hit[h], object, family);
						if (line->meaning == UM_MEANS_HOLD && !um_node_is_empty(node))
							hold(r, path_of(object, node), node);
					}
				}
			i += n;
		}

	for (int i = 0; i < object->nleaves; i++)
	{
		UmNode	   *leaf = object->leaves[i];
		bool		strict = object->is_usage &&
			!(leaf->value.type == jbvString && object->is_response);

		if (leaf->read_by != object->number && (strict || names_money(object, leaf)) &&
			!is_passed(object, leaf))
			hold(r, path_of(object, leaf), leaf);
	}
	pfree(names);
	pfree(names_otherwise);
}

/* ---- The normal form ---------------------------------------------------- */

static void
impossible(const char *what, int64 is, const char *but, int64 that)
{
	ereport(ERROR,
			(errcode(ERRCODE_UM_IMPOSSIBLE_USAGE),
			 errmsg("impossible usage: %s is " INT64_FORMAT " but %s is " INT64_FORMAT,
					what, is, but, that),
			 errhint("Parts must add up to their whole; see what changed the response on its way.")));
}

#define KNOWN(t, m)		((t)->whole[m].known)
#define COUNT(t, m)		((t)->whole[m].known ? (t)->whole[m].value.count : 0)

static void
set_count(Told *t, int meter, int64 count)
{
	t->whole[meter].known = true;
	t->whole[meter].value = value_of(count, true);
}

/* One side of the bill from what was told of it; returns what it is without its parts' being added. */
static int64
derive_side(Told *t, int whole, int plain, int64 beside)
{
	int64		bare = KNOWN(t, whole) ? COUNT(t, whole) : COUNT(t, plain);

	if (KNOWN(t, plain))
	{
		int64		sum = plus(COUNT(t, plain), beside);

		if (KNOWN(t, whole) && COUNT(t, whole) != sum)
			impossible(psprintf("\"%s\"", um_told_name(whole)), COUNT(t, whole), "the sum of its parts", sum);
		set_count(t, whole, sum);
	}
	return bare;
}

/* Compares the total with its parts; takes from it the side that was not told, or what is beyond them. */
static void
derive_total(Reader *r, Told *t, int64 bare_input, int64 bare_output)
{
	int64		total = COUNT(t, UM_TOLD_TOTAL);
	bool		has_input = KNOWN(t, UM_METER_INPUT);
	bool		has_output = KNOWN(t, UM_METER_OUTPUT);
	int64		input = COUNT(t, UM_METER_INPUT);
	int64		output = COUNT(t, UM_METER_OUTPUT);

	if (total == 0)
		return;
	if (!has_input && !has_output)
	{
		if (r->is_there[UM_METER_OUTPUT])
			set_count(t, UM_METER_INPUT, total);
		else
			hold(r, psprintf("only a total of " INT64_FORMAT " tokens is told, not how many of them are output",
							 total), NULL);
		return;
	}
	if (!has_input || !has_output)
	{
		int64		told = has_input ? input : output;

		if (told > total)
			impossible("\"total\"", total, "a part of it", told);
		set_count(t, has_input ? UM_METER_OUTPUT : UM_METER_INPUT, total - told);
		return;
	}
	/* some totals leave out what was cached, or reasoning */
	if (total != plus(input, output) && total != plus(input, bare_output) &&
		total != plus(bare_input, output) && total != plus(bare_input, bare_output))
	{
		int64		sum = plus(input, output);
		int64		rest = total - sum;

		/* reasoning that is told is beyond the rest, if it is just that */
		if (rest > 0 && t->rest < 0 && COUNT(t, UM_METER_REASONING) == rest)
			t->rest = UM_METER_REASONING;
		if (rest < 0 || t->rest < 0 || (COUNT(t, t->rest) != 0 && COUNT(t, t->rest) != rest))
			impossible("\"total\"", total, "the sum of its parts", sum);
		if (t->rest == UM_METER_REASONING)
			set_count(t, UM_METER_OUTPUT, plus(output, rest));
		else
			set_count(t, UM_METER_INPUT, plus(input, rest));
		set_count(t, t->rest, rest);
	}
}

/* Refuses parts that are more than their whole. */
static void
check_parts(const Told *t)
{
	static const struct
	{
		int			whole;
		int			parts[4];
	}			rules[] = {
		{UM_METER_INPUT, {UM_METER_CACHE_READ, UM_METER_CACHE_WRITE, -1}},
		{UM_METER_INPUT, {UM_METER_INPUT_AUDIO, UM_METER_INPUT_IMAGE, UM_METER_INPUT_VIDEO, -1}},
		{UM_METER_OUTPUT, {UM_METER_REASONING, -1}},
		{UM_METER_OUTPUT, {UM_METER_OUTPUT_AUDIO, UM_METER_OUTPUT_IMAGE, UM_METER_OUTPUT_VIDEO, -1}},
		{UM_METER_CACHE_WRITE, {UM_METER_CACHE_WRITE_1H, -1}},
		{UM_METER_CACHE_READ, {UM_METER_CACHE_READ_AUDIO, UM_METER_CACHE_READ_IMAGE, UM_METER_CACHE_READ_VIDEO, -1}},
		{UM_METER_INPUT_AUDIO, {UM_METER_CACHE_READ_AUDIO, -1}},
		{UM_METER_INPUT_IMAGE, {UM_METER_CACHE_READ_IMAGE, -1}},
		{UM_METER_INPUT_VIDEO, {UM_METER_CACHE_READ_VIDEO, -1}},
	};

	for (int i = 0; i < (int) lengthof(rules); i++)
	{
		int64		sum = 0;
		StringInfoData names;

		/* an unknown side contains whatever it contains */
		if ((rules[i].whole == UM_METER_INPUT || rules[i].whole == UM_METER_OUTPUT) &&
			!KNOWN(t, rules[i].whole))
			continue;
		for (const int *part = rules[i].parts; *part >= 0; part++)
			sum = plus(sum, COUNT(t, *part));
		if (sum <= COUNT(t, rules[i].whole))
			continue;
		initStringInfo(&names);
		for (const int *part = rules[i].parts; *part >= 0; part++)
			if (COUNT(t, *part) > 0)
				appendStringInfo(&names, "%s\"%s\" (" INT64_FORMAT ")", names.len > 0 ? " and " : "",
								 um_told_name(*part), COUNT(t, *part));
		ereport(ERROR,
				(errcode(ERRCODE_UM_IMPOSSIBLE_USAGE),
				 errmsg("impossible usage: %s exceed \"%s\" (" INT64_FORMAT ")", names.data,
						um_told_name(rules[i].whole), COUNT(t, rules[i].whole)),
				 errhint("A part cannot be more than its whole; see what changed the response on its way.")));
	}
}

/* Inclusive counts from what was told. */
static void
derive(Reader *r, Told *t)
{
	static const int modality[][2] = {
		{UM_METER_INPUT_AUDIO, UM_METER_CACHE_READ_AUDIO},
		{UM_METER_INPUT_IMAGE, UM_METER_CACHE_READ_IMAGE},
		{UM_METER_INPUT_VIDEO, UM_METER_CACHE_READ_VIDEO},
	};
	int64		bare_input,
				bare_output;

	if (KNOWN(t, UM_TOLD_CACHE_WRITE_5M) || KNOWN(t, UM_METER_CACHE_WRITE_1H))
	{
		int64		both = plus(COUNT(t, UM_TOLD_CACHE_WRITE_5M), COUNT(t, UM_METER_CACHE_WRITE_1H));

		if (KNOWN(t, UM_METER_CACHE_WRITE) && COUNT(t, UM_METER_CACHE_WRITE) != both)
			impossible("\"cache_write\"", COUNT(t, UM_METER_CACHE_WRITE), "the sum of its parts by time to live", both);
		set_count(t, UM_METER_CACHE_WRITE, both);
	}
	bare_input = derive_side(t, UM_METER_INPUT, UM_TOLD_INPUT_PLAIN,
							 plus(COUNT(t, UM_METER_CACHE_READ), COUNT(t, UM_METER_CACHE_WRITE)));
	bare_output = derive_side(t, UM_METER_OUTPUT, UM_TOLD_OUTPUT_PLAIN, COUNT(t, UM_METER_REASONING));

	for (int m = 0; m < UM_TOLD_COUNT; m++)
		if (t->on_top[m].known)
		{
			if (!KNOWN(t, m))
				t->whole[m].value = value_of(0, um_told_is_whole(m));
			t->whole[m].known = true;
			add_value(&t->whole[m].value, &t->on_top[m].value);
		}

	derive_total(r, t, bare_input, bare_output);
	if (!KNOWN(t, UM_METER_OUTPUT) &&
		(r->is_there[UM_METER_OUTPUT] || r->is_there[UM_TOLD_OUTPUT_PLAIN]) &&
		(KNOWN(t, UM_METER_INPUT) || r->is_there[UM_METER_INPUT]))
		set_count(t, UM_METER_OUTPUT, COUNT(t, UM_METER_REASONING));
	if (!KNOWN(t, UM_METER_INPUT) && r->is_there[UM_METER_INPUT])
		set_count(t, UM_METER_INPUT, 0);

	/* a whole that is not told is at least its part */
	for (int i = 0; i < (int) lengthof(modality); i++)
		if (COUNT(t, modality[i][1]) > 0 && !KNOWN(t, modality[i][0]))
			set_count(t, modality[i][0], COUNT(t, modality[i][1]));
	check_parts(t);
}

/* Takes over what a later chunk of a stream says: its last word wins. */
static void
merge_chunk(Reader *r, Told *told, const Told *later)
{
	for (int m = 0; m < UM_TOLD_COUNT; m++)
	{
		const Said *new = &later->whole[m];
		Said	   *old = &told->whole[m];

		if (!new->known || !old->known || compare(&new->value, &old->value) == 0)
			continue;
		if (compare(&new->value, &old->value) < 0)
			hold(r, psprintf("\"%s\" went down from %s to %s in a stream", um_told_name(m),
							 value_text(&old->value), value_text(&new->value)), NULL);
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

/* Takes over what another usage object of the response says: they must agree. */
static void
merge_usage(Told *all, const Told *told)
{
	for (int m = 0; m < UM_TOLD_COUNT; m++)
	{
		const Said *new = &told->whole[m];
		Said	   *old = &all->whole[m];

		if (told->otherwise[m].known &&
			(!all->otherwise[m].known || is_zero(&all->otherwise[m].value)))
			all->otherwise[m] = told->otherwise[m];
		if (!new->known || (m >= UM_METER_COUNT && m != UM_TOLD_COST))
			continue;
		if (old->known && !is_zero(&old->value))
		{
			if (!is_zero(&new->value) && compare(&old->value, &new->value) != 0)
				ereport(ERROR,
						(errcode(ERRCODE_UM_IMPOSSIBLE_USAGE),
						 errmsg("impossible usage: \"%s\" is %s in one place and %s in another",
								um_told_name(m), value_text(&old->value), value_text(&new->value)),
						 errhint("All usage objects of one response must agree.")));
		}
		else
			*old = *new;
	}
}

/* ---- The response ------------------------------------------------------- */

/* The place of an object's kind; a stream has one for all of its chunks. */
static Place *
find_place(Reader *r, const char *name, int length)
{
	Place	   *place;

	for (int i = 0; r->is_stream && i < r->nplaces; i++)
		if (r->places[i].name_length == length && memcmp(r->places[i].name, name, length) == 0)
			return &r->places[i];
	if (r->nplaces % 16 == 0)
		r->places = r->places == NULL ? palloc(sizeof(Place) * 16) :
			repalloc(r->places, sizeof(Place) * (r->nplaces + 16));
	place = &r->places[r->nplaces++];
	*place = (Place) {name, length, NULL, 0};
	return place;
}

static void
add_object(Reader *r, const char *name, int length, Object *object)
{
	Place	   *place = find_place(r, name, length);

	if ((place->nobjects & (place->nobjects + 1)) == 0 || place->objects == NULL)
		place->objects = place->objects == NULL ? palloc(sizeof(Object *) * 2) :
			repalloc(place->objects, sizeof(Object *) * (place->nobjects + 1) * 2);
	place->objects[place->nobjects++] = object;
}

/* What a chunk says of the response that it is part of. */
typedef struct Chunk
{
	const char *id;
	bool		counted;		/* it has usage */
	int			depth;
} Chunk;

/* Looks at a response, and at what is in its envelopes. */
static void
look_at_level(Reader *r, UmNode *root, Chunk *chunk)
{
	Object	   *level = look_at(r, root, true, chunk->depth++);
	int			own = family_line(r, level, false);
	int			round = family_line(r, level, true);

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
			Object	   *usage;
			bool		seen = false;

			/* once, though two lines lead to it */
			if (node->is_usage)
				continue;
			node->is_usage = true;
			/* counts that are all null are not told either */
			for (UmNode *child = um_node_child(node); child != NULL && !seen; child = child->next)
				seen = child->value.type != jbvNull;
			r->empty_usage = r->empty_usage || !seen;
			usage = look_at(r, node, false, level->depth);
			usage->family = Min(family_line(r, usage, false), round);
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

/* Is a found thing before another: from inside out, then by the lines' order? */
static bool
is_before(const Found *a, const Found *b)
{
	if (a->meaning != UM_MEANS_IS_PROVIDER && a->depth != b->depth)
		return a->depth > b->depth;
	if (a->end.line != b->end.line)
		return a->end.line < b->end.line;
	if (a->end.alternative != b->end.alternative)
		return a->end.alternative < b->end.alternative;
	return a->number < b->number;
}

/* The first thing of that meaning that says something; NULL: none does. */
static const Found *
first_found(Reader *r, UmMeaning meaning)
{
	const Found *first = NULL;

	for (int i = 0; i < r->nfound; i++)
		if (r->found[i].meaning == meaning &&
			(!um_node_is_empty(r->found[i].node) || meaning == UM_MEANS_IS_PROVIDER ||
			 meaning == UM_MEANS_REFUSE || meaning == UM_MEANS_BEGINS) &&
			(first == NULL || is_before(&r->found[i], first)))
			first = &r->found[i];
	return first;
}

/* Its text without blanks round it; NULL: none. */
static char *
found_text(Reader *r, UmMeaning meaning)
{
	const Found *found = first_found(r, meaning);
	char	   *text;
	int			length;

	if (found == NULL)
		return NULL;
	text = um_node_text(found->node);
	while (isspace((unsigned char) *text))
		text++;
	for (length = strlen(text); length > 0 && isspace((unsigned char) text[length - 1]);)
		text[--length] = '\0';
	return length == 0 ? NULL : text;
}

/* A provider by the name that the price book has for it. */
char *
um_provider_name(const char *name)
{
	const char *known = um_word_meaning(um_shapes(), UM_WORDS_PROVIDER, name, strlen(name));
	char	   *lower;

	if (known != NULL)
		return pstrdup(known);
	lower = pstrdup(name);
	for (char *c = lower; *c != '\0'; c++)
		*c = pg_tolower((unsigned char) *c);
	return *lower == '\0' ? NULL : lower;
}

/* Reads an instant as ISO 8601 or as seconds or milliseconds since 1970. */
static bool
read_time(UmNode *node, TimestampTz *time)
{
	const TimestampTz earliest = ((TimestampTz) (2015 - 2000) * 365 + 4) * USECS_PER_DAY;
	TimestampTz latest = GetCurrentTimestamp() + USECS_PER_DAY;

	if (node->value.type == jbvNumeric)
	{
		const int128 million = 1000000;
		UmDecimal	decimal;
		int128		micros;

		if (!um_decimal_from_numeric(node->value.val.numeric, &decimal) || decimal.scale > 18 ||
			decimal.mantissa <= 0 || decimal.mantissa > (int128) MAX_COUNT * MAX_COUNT / million)
			return false;
		micros = decimal.mantissa * million / um_power_of_ten(decimal.scale);
		/* seconds, milliseconds or microseconds */
		if (micros > million * million * 100000000)
			micros /= million;
		else if (micros > million * million * 100000)
			micros /= 1000;
		if (micros > million * million * 100000)
			return false;
		*time = (TimestampTz) micros -
			(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	}
	else if (node->value.type == jbvString && node->value.val.string.len < MAXDATELEN - 1)
	{
		char	   *text = um_node_text(node);
		char		work[MAXDATELEN + MAXDATEFIELDS];
		char	   *field[MAXDATEFIELDS];
		int			ftype[MAXDATEFIELDS];
		int			nfields,
					dtype,
					zone;
		struct pg_tm tm;
		fsec_t		fsec;
		int			length = strlen(text);
#if PG_VERSION_NUM >= 160000
		DateTimeErrorExtra extra;
#endif

		/* nothing but 2026-11-20T12:00:00, which is UTC where it does not say */
		if (length < 19 || strspn(text, "0123456789") != 4 || text[4] != '-' ||
			(text[10] != 'T' && text[10] != ' '))
			return false;
		if (text[length - 1] != 'Z' && strpbrk(text + 11, "+-") == NULL)
			text = psprintf("%sZ", text);
		if (ParseDateTime(text, work, sizeof(work), field, ftype, MAXDATEFIELDS, &nfields) != 0 ||
			DecodeDateTime(field, ftype, nfields, &dtype, &tm, &fsec, &zone
#if PG_VERSION_NUM >= 160000
						   , &extra
#endif
						   ) != 0 ||
			dtype != DTK_DATE || tm2timestamp(&tm, fsec, &zone, time) != 0)
			return false;
	}
	else
		return false;
	return *time >= earliest && *time <= latest;
}

/* ---- Putting the calls together ----------------------------------------- */

static void
push_unit(JsonbParseState **state, int meter, const Value *value)
{
	JsonbValue	key = {.type = jbvString};
	JsonbValue	number = {.type = jbvNumeric};

	key.val.string.val = (char *) um_meters[meter].name;
	key.val.string.len = strlen(um_meters[meter].name);
	number.val.numeric = value->number ? DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale,
																			 NumericGetDatum(value->number)))
		: int64_to_numeric(value->count);
	(void) pushJsonbValue(state, WJB_KEY, &key);
	(void) pushJsonbValue(state, WJB_VALUE, &number);
}

/* Has the ledger a column for the meter? */
static bool
has_column(int meter)
{
	return meter == UM_METER_INPUT || meter == UM_METER_OUTPUT || meter == UM_METER_CACHE_READ ||
		meter == UM_METER_CACHE_WRITE || meter == UM_METER_CACHE_WRITE_1H ||
		meter == UM_METER_REASONING || meter == UM_METER_INPUT_AUDIO || meter == UM_METER_OUTPUT_AUDIO;
}

/* A call from what is known of it. */
static void
set_call(UmCallRead *call, Told *t)
{
	JsonbParseState *state = NULL;
	bool		any = false;

	for (int m = 0; m < UM_METER_COUNT; m++)
	{
		/* told by no other line */
		if (t->otherwise[m].known && (!KNOWN(t, m) || is_zero(&t->whole[m].value)))
			t->whole[m] = t->otherwise[m];
		call->known[m] = KNOWN(t, m);
		call->count[m] = um_told_is_whole(m) ? COUNT(t, m) : 0;
	}
	/* images that tokens count are not counted one by one */
	if (call->count[UM_METER_INPUT] > 0 || call->count[UM_METER_OUTPUT] > 0)
		t->whole[UM_METER_IMAGE].known = false;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int m = 0; m < UM_METER_COUNT; m++)
		if (!has_column(m) && KNOWN(t, m) && !is_zero(&t->whole[m].value))
		{
			push_unit(&state, m, &t->whole[m].value);
			any = true;
		}
	call->units = any ? JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)) : NULL;
	call->cost = KNOWN(t, UM_TOLD_COST) ? t->whole[UM_TOLD_COST].value.number : NULL;
}

/* Reads a usage object within the response: a step, or a call of its own. */
static void
read_inner(Reader *r, const Found *found, Told *t)
{
	Object	   *object = look_at(r, found->node, false, found->depth);

	object->family = found->family != INT_MAX ? found->family : family_line(r, object, false);
	tell(r, object, object->family, t);
	derive(r, t);
}

/* The model that an object names, or NULL. */
static char *
inner_model(UmNode *node)
{
	char	   *path[] = {"model"};
	UmNode	   *model = um_node_get(node, path, 1);

	return model == NULL || model->value.type != jbvString || um_node_is_empty(model) ? NULL :
		um_node_text(model);
}

/* Whose call a usage object tells of: the object round it names the model, or has its name. */
static char *
model_round(UmNode *node)
{
	char	   *named;

	if (node->key != NULL &&
		((node->folded_length == 5 && memcmp(node->folded, "usage", 5) == 0) ||
		 (node->folded_length == 6 && memcmp(node->folded, "tokens", 6) == 0)))
	{
		node = node->parent;
		named = inner_model(node);
		if (named != NULL)
			return named;
	}
	return node->key == NULL ? NULL : pnstrdup(node->key, node->key_length);
}

static UmCallRead *
add_call(UmResponse *response)
{
	response->calls = response->calls == NULL ? palloc0(sizeof(UmCallRead)) :
		repalloc(response->calls, sizeof(UmCallRead) * (response->ncalls + 1));
	memset(&response->calls[response->ncalls], 0, sizeof(UmCallRead));
	return &response->calls[response->ncalls++];
}

/* What the usage objects say; the chunks of a stream put together. */
static Jsonb *
kept_usage(Reader *r)
{
	Datum		kept = (Datum) 0;

	for (int i = 0; i < r->nplaces; i++)
	{
		const Place *place = &r->places[i];

		for (int j = 0; j < place->nobjects; j++)
		{
			Object	   *object = place->objects[j];
			Datum		usage;

			if (!object->is_usage)
				continue;
			usage = JsonbPGetDatum(object->is_response ? um_node_kept(object->root) :
								   um_node_jsonb(object->root));
			kept = kept == (Datum) 0 ? usage : DirectFunctionCall2(jsonb_concat, kept, usage);
		}
		if (kept != (Datum) 0)
			return DatumGetJsonbP(kept);
	}
	return NULL;
}

/* The tier that served the call, by all that says something of it. */
static void
set_tier(Reader *r, UmResponse *response, Told *all)
{
	response->tier = UM_TIER_STANDARD;
	for (int i = 0; i < r->nfound; i++)
	{
		const Found *found = &r->found[i];
		UmWordList	list = found->meaning == UM_MEANS_GEO ? UM_WORDS_GEO : UM_WORDS_TIER;
		const char *meaning;
		char	   *word;
		UmTier		tier;
		int			meter;

		if (found->meaning == UM_MEANS_IS_TIER)
			meaning = r->shapes->lines[found->end.line].value;
		else if ((found->meaning == UM_MEANS_TIER || found->meaning == UM_MEANS_GEO) &&
				 !um_node_is_empty(found->node))
		{
			word = um_node_text(found->node);
			meaning = um_word_meaning(r->shapes, list, word, strlen(word));
			if (meaning == NULL || strcmp(meaning, "hold") == 0)
			{
				hold(r, pnstrdup(found->node->key ? found->node->key : "tier",
								 found->node->key ? found->node->key_length : 4), found->node);
				continue;
			}
		}
		else
			continue;
		if (strcmp(meaning, "prepaid") == 0)
		{
			/* capacity that is paid for by the hour */
			all->whole[UM_TOLD_COST].known = true;
			all->whole[UM_TOLD_COST].value = value_of(0, false);
		}
		else if (um_tier_by_name(meaning, strlen(meaning), &tier))
		{
			if (tier != UM_TIER_STANDARD && response->tier != UM_TIER_STANDARD && tier != response->tier)
				hold(r, psprintf("more than one tier: %s and %s", um_tiers[response->tier], um_tiers[tier]), NULL);
			if (tier != UM_TIER_STANDARD)
				response->tier = tier;
		}
		else if ((meter = um_meter_by_name(meaning, strlen(meaning))) != UM_METER_NONE)
		{
			all->whole[meter].known = true;
			all->whole[meter].value = value_of(1, false);
		}
	}
}

/* Adds the calls that were made within the response. */
static void
add_inner_calls(Reader *r, UmResponse *response, Told *all, const char *model)
{
	char	   *step_model = found_text(r, UM_MEANS_STEP_MODEL);
	int			nfound = r->nfound;

	for (int i = 0; i < nfound; i++)
	{
		Found		found = r->found[i];
		const char *named;
		Told		t;
		UmCallRead *call;
		bool		used = false;

		if (found.meaning != UM_MEANS_STEP && found.meaning != UM_MEANS_CALL)
			continue;
		named = inner_model(found.node);
		read_inner(r, &found, &t);
		if (found.meaning == UM_MEANS_STEP)
		{
			if (named == NULL && found.family != INT_MAX)
				named = model;
			if (model != NULL && named != NULL && strcmp(named, model) == 0)
			{
				/* it belongs to the call */
				for (int m = 0; m < UM_METER_REQUEST; m++)
					if (KNOWN(&t, m))
						set_count(all, m, plus(COUNT(all, m), COUNT(&t, m)));
				continue;
			}
			if (named == NULL)
				named = step_model ? step_model : r->shapes->lines[found.end.line].value;
			for (int m = 0; m < UM_METER_REQUEST; m++)
				used = used || COUNT(&t, m) > 0;
			if (!used)
				continue;
		}
		else if (named == NULL)
			named = model_round(found.node);
		call = add_call(response);
		call->model = named;
		call->usage = um_node_jsonb(found.node);
		if (!KNOWN(&t, UM_METER_INPUT))
			set_count(&t, UM_METER_INPUT, 0);
		if (!KNOWN(&t, UM_METER_OUTPUT))
			set_count(&t, UM_METER_OUTPUT, 0);
		set_call(call, &t);
	}
}

/* What stands in the way of a price, as an object of paths; NULL: nothing. */
static Jsonb *
unread_object(Reader *r)
{
	JsonbParseState *state = NULL;

	if (r->nunread == 0)
		return NULL;
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < r->nunread; i++)
	{
		JsonbValue	key = {.type = jbvString};
		JsonbValue	value = {.type = jbvBool};

		key.val.string.val = r->unread[i].path;
		key.val.string.len = strlen(r->unread[i].path);
		value.val.boolean = true;
		if (r->unread[i].node != NULL)
		{
			value = r->unread[i].node->value;
			if (value.type == jbvString)
			{
				value.val.string.val = shown(r->unread[i].node);
				value.val.string.len = strlen(value.val.string.val);
			}
		}
		(void) pushJsonbValue(&state, WJB_KEY, &key);
		(void) pushJsonbValue(&state, WJB_VALUE, &value);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static void
unknown_shape(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_UM_UNKNOWN_SHAPE),
			 errmsg("unknown shape of response: %s", what),
			 errhint("Pass the body of the response, its usage object, or the array of a stream's chunks, as jsonb; or INSERT the counts.")));
}

/* The names in a response, for a message. */
static char *
keys_of(UmNode *root)
{
	StringInfoData keys;
	int			n = 0;

	initStringInfo(&keys);
	appendStringInfoString(&keys, "its keys are ");
	for (UmNode *child = um_node_child(root); child != NULL && n < 20; child = child->next, n++)
		if (child->key != NULL)
			appendStringInfo(&keys, "%s\"%s\"", n > 0 ? ", " : "",
							 pnstrdup(child->key, pg_mbcliplen(child->key, child->key_length, 40)));
	return keys.data;
}

/* Looks at all chunks of a response; returns the first one. */
static UmNode *
look_at_chunks(Reader *r, UmNode *root)
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
		unknown_shape(!um_node_is_container(root) ? psprintf("\"%s\"", shown(root)) :
					  r->is_stream ? "an array without objects" : "an empty object");
	/* several responses without ids tell of different inputs */
	for (int i = 0; r->is_stream && id == NULL && i < r->nplaces; i++)
	{
		const Place *place = &r->places[i];
		Value		input = {-1, NULL};

		for (int j = 0; j < place->nobjects; j++)
		{
			Told		t;
			Reader		scratch = *r;

			scratch.found = NULL;
			scratch.nfound = 0;
			tell(&scratch, place->objects[j], place->objects[j]->family, &t);
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

/* Reads all objects into what the response says; returns how many of them said something. */
static int
read_places(Reader *r, Told *all, bool *bare)
{
	int			nreadings = 0;

	/* input=0 and the like hold for all */
	Told	   *told = palloc(sizeof(Told) * (r->nplaces + 1));

	for (int i = 0; i < r->nplaces; i++)
	{
		const Place *place = &r->places[i];
		int			family = INT_MAX;

		for (int j = 0; j < place->nobjects; j++)
			family = Min(family, place->objects[j]->family);
		memset(&told[i], 0, sizeof(Told));
		told[i].rest = -1;
		for (int j = 0; j < place->nobjects; j++)
		{
			Told		t;

			CHECK_FOR_INTERRUPTS();
			tell(r, place->objects[j], family, &t);
			merge_chunk(r, &told[i], &t);
		}
		if (told[i].any)
		{
			nreadings++;
			*bare = place->objects[0]->is_response && place->objects[0]->is_usage;
		}
	}
	for (int i = 0; i < r->nplaces; i++)
		if (told[i].any)
		{
			derive(r, &told[i]);
			merge_usage(all, &told[i]);
		}
	return nreadings;
}

static bool
any_field_unread(const Reader *r)
{
	for (int i = 0; i < r->nunread; i++)
		if (r->unread[i].node != NULL)
			return true;
	return false;
}

static bool
any_tokens(const Told *t)
{
	for (int m = 0; m < UM_METER_REQUEST; m++)
		if (KNOWN(t, m))
			return true;
	return false;
}

static bool
any_other(const Told *t)
{
	for (int m = UM_METER_REQUEST; m < UM_TOLD_COUNT; m++)
		if ((m < UM_METER_COUNT || m == UM_TOLD_COST) && (KNOWN(t, m) || t->otherwise[m].known))
			return true;
	return false;
}

/*
 * Reads a response.  The caller knows whom he called: a provider that he names
 * is not second-guessed.  A shape that is not known is held, if asked for and
 * if it has anything that could be money; else it is refused.
 */
UmResponse *
um_read_response(Jsonb *jsonb, const char *provider, bool hold_unknown)
{
	Reader	   *r = palloc0(sizeof(Reader));
	UmResponse *response = palloc0(sizeof(UmResponse));
	Told	   *all = palloc0(sizeof(Told));
	UmNode	   *root = um_node_root(jsonb);
	UmNode	   *first;
	const Found *found;
	char	   *model;
	int			nreadings;
	bool		bare = false;
	bool		failed;
	bool		is_held = false;

	r->shapes = um_shapes();
	r->is_stream = root->is_array;
	all->rest = -1;
	first = look_at_chunks(r, root);
	nreadings = read_places(r, all, &bare);

	if (first_found(r, UM_MEANS_REFUSE) != NULL)
		unknown_shape(psprintf("\"%s\" is no call", shown(first_found(r, UM_MEANS_REFUSE)->node)));
	response->error = found_text(r, UM_MEANS_ERROR);
	failed = response->error != NULL;
	if (nreadings == 0 && !failed && first_found(r, UM_MEANS_CALL) == NULL &&
		!(r->is_there[UM_METER_INPUT] && r->is_there[UM_METER_OUTPUT]) &&
		(r->wrong_usage != NULL || !r->empty_usage))
	{
		if (r->wrong_usage != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UM_INVALID_COUNT),
					 errmsg("invalid usage: %s", shown(r->wrong_usage)),
					 errhint("A usage object looks like {\"input_tokens\": 10, \"output_tokens\": 5}.")));
		if (!hold_unknown || (r->nunread == 0 && !(r->is_stream && first_found(r, UM_MEANS_BEGINS) != NULL)))
			unknown_shape(keys_of(first));
		is_held = true;
	}
	if (nreadings == 1 && bare && !KNOWN(all, UM_METER_OUTPUT) && !any_other(all) && !any_field_unread(r))
		ereport(ERROR,
				(errcode(ERRCODE_UM_UNKNOWN_SHAPE),
				 errmsg("unknown shape of response: a count of input tokens, not a call"),
				 errhint("It does not say how many tokens were output. Pass the response of the call itself.")));
	/* nothing but other meters, a charge or an error */
	if (!is_held && (nreadings > 0 || failed || !r->empty_usage) && !any_tokens(all))
	{
		set_count(all, UM_METER_INPUT, 0);
		set_count(all, UM_METER_OUTPUT, 0);
	}

	if (r->is_stream && first_found(r, UM_MEANS_BEGINS) != NULL && first_found(r, UM_MEANS_ENDS) == NULL)
		hold(r, "the stream was cut", NULL);

	model = found_text(r, UM_MEANS_MODEL);
	response->id = found_text(r, UM_MEANS_ID);
	found = first_found(r, UM_MEANS_TIME);
	response->has_time = found != NULL && read_time(found->node, &response->time);

	set_tier(r, response, all);
	if (first_found(r, UM_MEANS_CALL) == NULL)
	{
		(void) add_call(response);
		response->calls[0].model = model;
	}
	add_inner_calls(r, response, all, model);
	if (first_found(r, UM_MEANS_CALL) == NULL)
	{
		set_call(&response->calls[0], all);
		response->calls[0].usage = kept_usage(r);
	}

	if (provider != NULL)
		response->provider = um_provider_name(provider);
	else if ((found = first_found(r, UM_MEANS_IS_PROVIDER)) != NULL)
		response->provider = pstrdup(r->shapes->lines[found->end.line].value);
	else
	{
		char	   *named = found_text(r, UM_MEANS_PROVIDER);

		response->provider = named ? um_provider_name(named) : NULL;
	}

	response->unread = unread_object(r);
	if (response->unread != NULL)
	{
		/* all that a line added later may want to know */
		response->calls[0].usage = um_node_kept(root);
	}
	return response;
}
