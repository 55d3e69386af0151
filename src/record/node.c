/*
 * node.c
 *		A response as a tree that is opened where somebody looks.
 *
 * A long answer, an image or an embedding stays the bytes that it is.
 */
#include "postgres.h"

#include "base/amount.h"
#include "base/text_span.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "record/node.h"
#include "utils/fmgrprotos.h"

/* A string of more bytes, or with a blank, is text and no word. */
#define MAX_WORD	64

/* Appends a child. */
static UmNode *
append(UmNode *parent)
{
	UmNode	   *node = palloc0(sizeof(UmNode));

	node->parent = parent;
	if (parent->last != NULL)
		parent->last->next = node;
	else
		parent->child = node;
	parent->last = node;
	return node;
}

static void
set_key(UmNode *node, const char *key, int length)
{
	char	   *folded = palloc(length + 1);

	node->key = key;
	node->key_length = length;
	node->folded_length = um_fold(key, length, folded);
	node->folded = folded;
}

static void
set_value(UmNode *node, const JsonbValue *value)
{
	node->value = *value;
	node->is_array = value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data);
}

/* The root of a value. */
UmNode *
um_node_root(Jsonb *jsonb)
{
	UmNode	   *root = palloc0(sizeof(UmNode));

	if (JB_ROOT_IS_SCALAR(jsonb))
		(void) JsonbExtractScalar(&jsonb->root, &root->value);
	else
	{
		root->value.type = jbvBinary;
		root->value.val.binary.data = &jsonb->root;
		root->value.val.binary.len = VARSIZE(jsonb) - VARHDRSZ;
		root->is_array = JB_ROOT_IS_ARRAY(jsonb);
	}
	return root;
}

bool
um_node_is_container(const UmNode *node)
{
	return node->value.type == jbvBinary || node->value.type == jbvObject;
}

/* The first child; NULL: none. */
UmNode *
um_node_child(UmNode *node)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;
	UmNode	   *child;
	int			index = 0;

	if (node->opened || node->value.type != jbvBinary)
		return node->child;
	node->opened = true;
	it = JsonbIteratorInit(node->value.val.binary.data);
	(void) JsonbIteratorNext(&it, &value, true);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		CHECK_FOR_INTERRUPTS();
		if (token == WJB_KEY)
		{
			child = append(node);
			set_key(child, value.val.string.val, value.val.string.len);
			(void) JsonbIteratorNext(&it, &value, true);
			set_value(child, &value);
		}
		else if (token == WJB_ELEM)
		{
			child = append(node);
			child->index = index++;
			set_value(child, &value);
		}
	}
	return node->child;
}

/* The child of just that name, made if there is none that could have children. */
static UmNode *
outer_node(UmNode *parent, const char *key, int length)
{
	UmNode	   *node;

	CHECK_FOR_INTERRUPTS();
	for (node = parent->child; node != NULL; node = node->next)
		if (um_string_equal((UmString) {node->key, node->key_length}, (UmString) {key, length}) &&
			um_node_is_container(node) && !node->is_array)
		{
			(void) um_node_child(node);
			return node;
		}
	node = append(parent);
	set_key(node, key, length);
	node->value.type = jbvObject;
	node->opened = true;
	return node;
}

/* Makes objects of names with dots, as OpenTelemetry writes them: a.b.c. */
void
um_node_undot(UmNode *node)
{
	UmNode	   *rest = um_node_child(node);
	bool		has_dots = false;

	for (UmNode *n = rest; n != NULL; n = n->next)
		has_dots = has_dots || (n->key != NULL && memchr(n->key, '.', n->key_length) != NULL);
	if (!has_dots)
		return;
	node->child = node->last = NULL;
	while (rest != NULL)
	{
		UmNode	   *moved = rest;
		UmNode	   *outer = node;
		const char *key = moved->key;
		int			length = moved->key_length;
		const char *dot;

		rest = rest->next;
		while (key != NULL && (dot = memchr(key, '.', length)) != NULL)
		{
			outer = outer_node(outer, key, (int) (dot - key));
			length -= (int) (dot - key) + 1;
			key = dot + 1;
		}
		moved->is_plain_attribute = outer == node;
		set_key(moved, key, length);
		moved->parent = outer;
		moved->next = NULL;
		if (outer->last != NULL)
			outer->last->next = moved;
		else
			outer->child = moved;
		outer->last = moved;
	}
}

/* Null, false, zero, "", {} or []? */
bool
um_node_is_empty(UmNode *node)
{
	switch (node->value.type)
	{
		case jbvNull:
			return true;
		case jbvBool:
			return !node->value.val.boolean;
		case jbvString:
			return node->value.val.string.len == 0;
		case jbvNumeric:
			return compare(node->value.val.numeric, zero()) == 0;
		case jbvBinary:
			return JsonContainerSize(node->value.val.binary.data) == 0;
		default:
			return node->child == NULL;
	}
}

/* What is at a path of folded names in an object; NULL: nothing. */
UmNode *
um_node_get(UmNode *node, char *const *path, int npath)
{
	for (int i = 0; i < npath; i++)
	{
		int			length = strlen(path[i]);
		bool		exact = path[i][0] == '=';
		UmNode	   *child;

		if (!um_node_is_container(node) || node->is_array)
			return NULL;
		for (child = um_node_child(node); child != NULL; child = child->next)
			if (exact ? child->key_length == length - 1 && memcmp(child->key, path[i] + 1, length - 1) == 0
				: child->folded_length == length && memcmp(child->folded, path[i], length) == 0)
				break;
		if (child == NULL || child->value.type == jbvNull)
			return NULL;
		node = child;
	}
	return node;
}

/* A value as text: a string without quotes. */
char *
um_node_text(UmNode *node)
{
	switch (node->value.type)
	{
		case jbvNull:
			return pstrdup("null");
		case jbvBool:
			return pstrdup(node->value.val.boolean ? "true" : "false");
		case jbvString:
			return pnstrdup(node->value.val.string.val, node->value.val.string.len);
		case jbvNumeric:
			return amount_text(node->value.val.numeric);
		default:
			{
				Jsonb	   *jsonb = um_node_jsonb(node);

				return JsonbToCString(NULL, &jsonb->root, VARSIZE(jsonb));
			}
	}
}

/* Does a condition hold of what is at a path in an object?  * is any element: one must do. */
static bool
holds(UmNode *node, char *const *path, int npath, const UmCondition *condition)
{
	UmNode	   *found;
	char	   *said;
	bool		matches = false;

	for (int i = 0; i < npath; i++)
		if (strcmp(path[i], "*") == 0)
		{
			found = um_node_get(node, path, i);
			if (found == NULL || !um_node_is_container(found))
				return false;
			for (UmNode *child = um_node_child(found); child != NULL; child = child->next)
				if (holds(child, path + i + 1, npath - i - 1, condition))
					return true;
			return false;
		}

	found = um_node_get(node, path, npath);
	if (found != NULL)
		found->touched = true;
	if (!condition->compares)
		return found != NULL;
	said = found == NULL || (um_node_is_container(found) && um_node_is_empty(found)) ? pstrdup("") :
		um_node_is_container(found) ? pstrdup("{}") : um_node_text(found);
	for (char *c = said; *c != '\0'; c++)
		*c = pg_ascii_tolower((unsigned char) *c);
	for (int i = 0; i < condition->nwords && !matches; i++)
		matches = um_string_like(um_string_of(said), um_string_of(condition->words[i]));
	pfree(said);
	return matches != condition->negative;
}

/* Do all conditions of a step hold? */
bool
um_node_holds(UmNode *node, const UmEdge *edge)
{
	for (int i = 0; i < edge->nconditions; i++)
		if (!holds(node, edge->conditions[i].path, edge->conditions[i].npath, &edge->conditions[i]))
			return false;
	return true;
}

/* ---- Back to jsonb ------------------------------------------------------ */

static JsonbValue *push(JsonbParseState **state, UmNode *node, bool kept_only);

/* Is it something that a line added later may want to know? */
static bool
is_kept(UmNode *node)
{
	if (node->touched)
		return true;
	if (node->passed)
		return false;
	if (node->value.type == jbvString)
		return node->value.val.string.len > 0 && node->value.val.string.len <= MAX_WORD &&
			memchr(node->value.val.string.val, ' ', node->value.val.string.len) == NULL;
	return node->value.type == jbvNumeric || node->value.type == jbvBool;
}

/* Is there anything to keep in it? */
static bool
has_kept(UmNode *node)
{
	check_stack_depth();
	if (!um_node_is_container(node))
		return is_kept(node);
	if (node->touched)
		return true;
	if (node->opened)
		for (UmNode *child = node->child; child != NULL; child = child->next)
			if (has_kept(child))
				return true;
	return false;
}

/* Pushes the parts of an object or array. */
static JsonbValue *
push_parts(JsonbParseState **state, UmNode *node, bool kept_only)
{
	(void) pushJsonbValue(state, node->is_array ? WJB_BEGIN_ARRAY : WJB_BEGIN_OBJECT, NULL);
	for (UmNode *child = kept_only && !node->opened ? NULL : um_node_child(node);
		 child != NULL; child = child->next)
	{
		if (kept_only && !has_kept(child))
			continue;
		if (!node->is_array)
		{
			JsonbValue	key = {.type = jbvString};

			key.val.string.val = (char *) child->key;
			key.val.string.len = child->key_length;
			(void) pushJsonbValue(state, WJB_KEY, &key);
		}
		(void) push(state, child, kept_only);
	}
	return pushJsonbValue(state, node->is_array ? WJB_END_ARRAY : WJB_END_OBJECT, NULL);
}

static JsonbValue *
push(JsonbParseState **state, UmNode *node, bool kept_only)
{
	JsonbIteratorToken token = node->parent != NULL && node->parent->is_array ? WJB_ELEM : WJB_VALUE;
	JsonbValue	value = node->value;

	check_stack_depth();
	if (um_node_is_container(node))
		return push_parts(state, node, kept_only);
	if (kept_only && node->counted && value.type == jbvString)
	{
		/* what was searched for is nobody's business; that it differs is */
		char	   *hash = psprintf(UINT64_FORMAT,
									hash_bytes_extended((unsigned char *) value.val.string.val,
														value.val.string.len, 0));

		value.val.string.val = hash;
		value.val.string.len = strlen(hash);
	}
	return pushJsonbValue(state, token, &value);
}

/* A value as it is. */
Jsonb *
um_node_jsonb(UmNode *node)
{
	JsonbParseState *state = NULL;

	if (!um_node_is_container(node))
		return JsonbValueToJsonb(&node->value);
	return JsonbValueToJsonb(push_parts(&state, node, false));
}

/* An object or array without what was passed over, and without text. */
Jsonb *
um_node_kept(UmNode *node)
{
	JsonbParseState *state = NULL;

	return JsonbValueToJsonb(push_parts(&state, node, true));
}
