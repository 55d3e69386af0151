/*
 * read_unread.c
 *		What of a response is not read, and how messages name what is in it.
 */
#include "postgres.h"

#include "base/error.h"
#include "mb/pg_wchar.h"
#include "record/reader_internal.h"

/* of a value in a message, so much is shown */
#define MAX_SHOWN		60

/* The path as a line of the table would have it. */
char *
um_path_of(const UmObject *object, UmNode *node)
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

char *
um_shown(UmNode *node)
{
	char	   *text = um_node_text(node);

	if (strlen(text) > MAX_SHOWN)
		text[pg_mbcliplen(text, strlen(text), MAX_SHOWN)] = '\0';
	return text;
}

/* Notes why the call cannot be priced. */
void
um_hold(UmReader *r, char *path, UmNode *node)
{
	for (int i = 0; i < r->nunread; i++)
		if (strcmp(r->unread[i].path, path) == 0)
			return;
	if (r->nunread < MAX_UNREAD)
		r->unread[r->nunread++] = (UmUnread) {path, node};
}

bool
um_any_field_unread(const UmReader *r)
{
	for (int i = 0; i < r->nunread; i++)
		if (r->unread[i].node != NULL)
			return true;
	return false;
}

/* What stands in the way of a price, as an object of paths; NULL: nothing. */
Jsonb *
um_unread_object(UmReader *r)
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
				value.val.string.val = um_shown(r->unread[i].node);
				value.val.string.len = strlen(value.val.string.val);
			}
		}
		(void) pushJsonbValue(&state, WJB_KEY, &key);
		(void) pushJsonbValue(&state, WJB_VALUE, &value);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

void
um_unknown_shape(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_UM_UNKNOWN_SHAPE),
			 errmsg("unknown shape of response: %s", what),
			 errhint("Pass the body of the response, its usage object, or the array of a stream's chunks, as jsonb; or INSERT the counts.")));
}
