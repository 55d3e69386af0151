/*
 * read_count.c
 *		Reading and adding up counts and other quantities.
 */
#include "postgres.h"

#include <ctype.h>

#include "base/amount.h"
#include "base/decimal.h"
#include "base/error.h"
#include "common/int.h"
#include "fmgr.h"
#include "record/reader_internal.h"
#include "utils/fmgrprotos.h"

bool
um_value_is_zero(const UmValue *value)
{
	if (value->number == NULL)
		return value->count == 0;
	return compare(value->number, zero()) == 0;
}

int
um_value_compare(const UmValue *a, const UmValue *b)
{
	if (a->number == NULL)
		return a->count < b->count ? -1 : a->count > b->count;
	return compare(a->number, b->number);
}

char *
um_value_text(const UmValue *value)
{
	if (value->number == NULL)
		return psprintf(INT64_FORMAT, value->count);
	return amount_text(value->number);
}

/* The sum of counts. */
int64
um_count_plus(int64 a, int64 b)
{
	int64		sum;

	if (pg_add_s64_overflow(a, b, &sum))
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_COUNT),
				 errmsg("counts of the response together are out of range"),
				 errhint("Pass the counts as the provider reported them, of one call at a time.")));
	return sum;
}

void
um_value_add(UmValue *to, const UmValue *value)
{
	if (value->number == NULL)
		to->count = um_count_plus(to->count, value->count);
	else
		to->number = plus(to->number, value->number);
}

UmValue
um_value_of(int64 count, bool whole)
{
	UmValue		value = {count, whole ? NULL : int64_to_numeric(count)};

	return value;
}

static void
invalid_count(const UmObject *object, UmNode *node, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_UM_INVALID_COUNT),
			 errmsg("invalid count: \"%s\" is %s", um_path_of(object, node),
					node->value.type == jbvString ? psprintf("\"%s\"", um_shown(node)) : um_shown(node)),
			 errhint("%s", hint)));
}

/* Reads a number. */
UmValue
um_read_number(const UmObject *object, const UmLine *line, UmNode *node)
{
	bool		whole = false;
	bool		counted = false;
	bool		fits;
	Numeric		number;
	UmDecimal	decimal;
	UmValue		value = {0, NULL};

	for (int i = 0; i < line->ntold; i++)
	{
		whole = whole || um_told_is_whole(line->told[i].meter);
		counted = counted || !um_told_is_measured(line->told[i].meter);
	}
	if (node->value.type == jbvString && line->text && node->value.val.string.len > 0 &&
		node->value.val.string.len <= 20)
	{
		char	   *text = um_node_text(node);

		if (strspn(text, "0123456789.") != strlen(text) || !isdigit((unsigned char) text[0]) ||
			strchr(text, '.') != strrchr(text, '.'))
			invalid_count(object, node, "A count is a number that is not negative.");
		number = amount_of_text(text);
	}
	else if (node->value.type == jbvNumeric)
		number = node->value.val.numeric;
	else
	{
		invalid_count(object, node, "A count is a number that is not negative.");
		pg_unreachable();
	}

	fits = um_decimal_from_numeric(number, &decimal);
	if (fits && decimal.mantissa < 0)
		invalid_count(object, node, "A count is never negative.");
	if (fits && counted && decimal.scale > 0)
		invalid_count(object, node, "A count is a whole number.");
	if (!fits || decimal.scale > UM_MAX_POWER - 19 ||
		decimal.mantissa > (int128) MAX_COUNT * um_power_of_ten(decimal.scale))
		invalid_count(object, node,
					  compare(number, zero()) < 0 ? "A count is never negative." : "A count is at most 10^18.");
	if (whole)
		value.count = (int64) (decimal.mantissa / um_power_of_ten(decimal.scale));
	else
		value.number = line->factor != NULL ? times(number, line->factor) : number;
	return value;
}
