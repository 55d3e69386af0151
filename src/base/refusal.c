/*
 * refusal.c
 *		What a refusal tells of where it came from.
 *
 * Some refusals come from deep inside: a trigger of ours, fired by a statement
 * of a function of ours.  Each of these adds lines of context, a statement of
 * thirty lines among them, which tell the user nothing: it is his call that is
 * refused.  So they are cut off, up to his own.
 */
#include "postgres.h"

#include "base/refusal.h"

static emit_log_hook_type previous_hook;

/* Cuts a context off up to the last line of a function of ours, or of record()'s statement. */
static void
cut_own_functions(char *context)
{
	static const char *const own[] = {
		"PL/pgSQL function usage_monitor.", "PL/pgSQL function _usage_monitor.",
		"SQL statement \"INSERT INTO usage_monitor.usage AS u ("
	};
	char	   *last = NULL;

	for (int i = 0; i < (int) lengthof(own); i++)
		for (char *found = strstr(context, own[i]); found != NULL; found = strstr(found + 1, own[i]))
			if (last == NULL || found > last)
				last = found;
	if (last != NULL)
	{
		char	   *behind = strchr(last, '\n');

		behind = behind == NULL ? last + strlen(last) : behind + 1;
		memmove(context, behind, strlen(behind) + 1);
	}
}

/* Shortens the context of errors of class UM, and where what was named does not exist. */
static void
shorten_context(ErrorData *edata)
{
	if (edata->elevel == ERROR && edata->context != NULL &&
		(ERRCODE_TO_CATEGORY(edata->sqlerrcode) == MAKE_SQLSTATE('U', 'M', '0', '0', '0') ||
		 edata->sqlerrcode == ERRCODE_NO_DATA_FOUND))
	{
		cut_own_functions(edata->context);
		if (edata->context[0] == '\0')
			edata->context = NULL;
	}
	if (previous_hook != NULL)
		previous_hook(edata);
}

/* Asks to be shown errors before they are sent. */
void
um_refusal_init(void)
{
	previous_hook = emit_log_hook;
	emit_log_hook = shorten_context;
}
