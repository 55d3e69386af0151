/*
 * tag.c
 *		The tags of a call.
 */
#include "postgres.h"

#include "base/amount.h"
#include "base/tag.h"
#include "utils/fmgrprotos.h"

/* The value of a tag as text, as jsonb_each_text() has it; none for a null. */
UmString
um_tag_value(const JsonbValue *value)
{
	UmString	text = {NULL, 0};

	switch (value->type)
	{
		case jbvString:
			text.data = value->val.string.val;
			text.length = value->val.string.len;
			return text;
		case jbvNumeric:
			text.data = amount_text(value->val.numeric);
			break;
		case jbvBool:
			text.data = value->val.boolean ? "true" : "false";
			break;
		default:
			return text;
	}
	text.length = strlen(text.data);
	return text;
}
