/*
 * quota_match.c
 *		Which quotas a row of the ledger touches, and which of their counters.
 */
#include "postgres.h"

#include "base/ledger_columns.h"
#include "base/tag.h"
#include "quota/quota_cache.h"
#include "quota/quota_match.h"
#include "utils/timestamp.h"

/* Makes a row from its columns; it points into them. */
void
um_counted_set(UmCounted *row, const Datum *values, const bool *nulls)
{
	UmString   *model = &row->subject[UM_SCOPE_MODEL];

	row->subject[UM_SCOPE_ALL].data = "";
	row->subject[UM_SCOPE_ALL].length = 0;
	for (int scope = UM_SCOPE_ORG; scope <= UM_SCOPE_PROVIDER; scope++)
		row->subject[scope] = um_text_string(values[scope - UM_SCOPE_ORG], nulls[scope - UM_SCOPE_ORG]);
	row->model = *model;
	if (!nulls[UM_COUNTED_RESOLVED_MODEL])
		*model = um_text_string(values[UM_COUNTED_RESOLVED_MODEL], false);
	row->tags = nulls[UM_COUNTED_TAGS] ? NULL : DatumGetJsonbP(values[UM_COUNTED_TAGS]);
	row->ts = DatumGetTimestampTz(values[UM_COUNTED_TS]);
	row->cost = nulls[UM_COUNTED_COST] ? NULL : DatumGetNumeric(values[UM_COUNTED_COST]);
	row->total_tokens = nulls[UM_COUNTED_TOTAL_TOKENS] ? 0 :
		DatumGetInt64(values[UM_COUNTED_TOTAL_TOKENS]);
	row->is_correction = um_is_correction(um_text_string(values[UM_COUNTED_OPERATION],
														 nulls[UM_COUNTED_OPERATION]));
}

static bool
passes(const char *filter, UmString value)
{
	return filter == NULL ||
		(value.data != NULL && um_string_equal(um_string_of(filter), value));
}

/* Is the call's model among those that the quota counts, by the name that counts? */
static bool
passes_model(const UmQuota *quota, const UmCounted *row)
{
	if (quota->nmodels < 0)
		return true;
	if (row->model.data == NULL)
		return false;
	for (int i = 0; i < quota->nmodels; i++)
	{
		UmString	pattern = um_string_of(quota->models[i]);

		if (um_string_like(row->model, pattern) ||
			(!quota->exact && um_string_like(row->subject[UM_SCOPE_MODEL], pattern)))
			return true;
	}
	return false;
}

/* Does one of the subject's own quotas stand in for this one? */
static bool
is_overridden(const UmQuota *quota, const UmQuota *own)
{
	for (; own != NULL; own = own->next)
		if (own->overrides == quota->quota_id)
			return true;
	return false;
}

/* Which quotas of a list are meant. */
typedef enum Which
{
	ANY,
	NOT_EXACT,
	EXACT						/* that go by the model's name as it was recorded */
} Which;

/* Adds a quota to those that are touched. */
static void
touch(UmTouches *touched, UmQuota *quota, UmString subject)
{
	if (touched->count == touched->size)
	{
		UmTouch    *touches = palloc(sizeof(UmTouch) * touched->size * 2);

		memcpy(touches, touched->touches, sizeof(UmTouch) * touched->size);
		touched->touches = touches;
		touched->size *= 2;
	}
	touched->touches[touched->count].quota = quota;
	touched->touches[touched->count].name = um_counter_name(quota->quota_id, subject, quota->start);
	touched->touches[touched->count].end = quota->end;
	touched->count++;
}

/*
 * Touches the quotas of a list that the row passes the filters of.  For a list
 * of quotas for each subject, own are those of just this one.
 */
static void
touch_list(UmQuota *quota, const UmQuota *own, const UmCounted *row, UmString subject,
		   Which which, UmTouches *touched)
{
	for (; quota != NULL; quota = quota->next)
	{
		if (!passes(quota->org, row->subject[UM_SCOPE_ORG]) ||
			!passes(quota->provider, row->subject[UM_SCOPE_PROVIDER]) ||
			!passes_model(quota, row) ||
			(which == NOT_EXACT && quota->exact) ||
			(which == EXACT && !quota->exact) ||
			is_overridden(quota, own))
			continue;
		if (row->ts < quota->start || row->ts >= quota->end)
			um_period_bounds(quota->period, quota->billing_day, quota->tz, row->ts,
							 &quota->start, &quota->end);
		touch(touched, quota, subject);
	}
}

/*
 * Touches the quotas of a row's model: by what the price book calls it, and, if
 * that is another name, by the one that was recorded.
 */
static void
touch_model(const UmCounted *row, UmTouches *touched)
{
	UmString	resolved = row->subject[UM_SCOPE_MODEL];
	bool		is_other = !um_string_equal(resolved, row->model);
	UmQuota    *own = um_quotas_of(UM_SCOPE_MODEL, resolved);

	touch_list(own, NULL, row, resolved, is_other ? NOT_EXACT : ANY, touched);
	touch_list(um_quotas_of_each(UM_SCOPE_MODEL), own, row, resolved,
			   is_other ? NOT_EXACT : ANY, touched);
	if (is_other)
	{
		own = um_quotas_of(UM_SCOPE_MODEL, row->model);
		touch_list(own, NULL, row, row->model, ANY, touched);
		touch_list(um_quotas_of_each(UM_SCOPE_MODEL), own, row, row->model, EXACT, touched);
	}
}

/* Touches the quotas of a row's tags: of key=value, of each value of a key, of each tag. */
static void
touch_tags(const UmCounted *row, UmTouches *touched)
{
	JsonbIterator *it = JsonbIteratorInit(&row->tags->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		StringInfoData pair;
		UmString	text;
		UmString	subject;
		UmString	key;
		UmQuota    *own;

		if (token != WJB_KEY)
			continue;
		initStringInfo(&pair);
		appendBinaryStringInfo(&pair, value.val.string.val, value.val.string.len);
		key.length = pair.len;
		appendStringInfoChar(&pair, '=');

		JsonbIteratorNext(&it, &value, true);
		text = um_tag_value(&value);
		if (text.data == NULL)
			continue;			/* a null says nothing */
		appendBinaryStringInfo(&pair, text.data, text.length);
		subject.data = key.data = pair.data;
		subject.length = pair.len;
		own = um_quotas_of(UM_SCOPE_TAG, subject);
		touch_list(own, NULL, row, subject, ANY, touched);
		touch_list(um_quotas_of(UM_SCOPE_TAG, key), own, row, subject, ANY, touched);
		touch_list(um_quotas_of_each(UM_SCOPE_TAG), own, row, subject, ANY, touched);
	}
}

/*
 * Lists the quotas that a row of the ledger touches, by what um_quotas_load has
 * made of them; subjects point into the row.
 */
void
um_quotas_touched(const UmCounted *row, UmTouches *touched)
{
	touched->count = 0;
	touched->size = lengthof(touched->few);
	touched->touches = touched->few;
	for (int scope = 0; scope < UM_SCOPE_TAG; scope++)
	{
		UmString	subject = row->subject[scope];
		UmQuota    *own;

		if (subject.data == NULL || !um_quotas_any_of(scope))
			continue;
		if (scope == UM_SCOPE_MODEL)
		{
			touch_model(row, touched);
			continue;
		}
		own = um_quotas_of(scope, subject);
		touch_list(own, NULL, row, subject, ANY, touched);
		touch_list(um_quotas_of_each(scope), own, row, subject, ANY, touched);
	}
	if (row->tags != NULL && um_quotas_any_of(UM_SCOPE_TAG))
		touch_tags(row, touched);
}
