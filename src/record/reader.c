/*
 * reader.c
 *		Reading a response, with a closed world.
 *
 * Every number of a usage object is read by a line of usage_field, or known to
 * be of no account, or unread; and so is every number round it whose name
 * speaks of money.  What is unread holds the call back from being priced.
 * Parts that contradict each other are refused, never clamped; in a stream, whose
 * chunks may not fit together, they hold the call.
 *
 * One pass over an object finds where the lines' paths lead (read_paths.c) and
 * the lines say what is there (read_fields.c), in each of the response's usage
 * objects (read_envelope.c); those of a stream's chunks are put together
 * (read_stream.c).  What is told is then brought to the ledger's normal form,
 * which is inclusive (read_totals.c), and put together here.
 */
#include "postgres.h"

#include <limits.h>

#include "base/amount.h"
#include "base/error.h"
#include "base/grow.h"
#include "base/text_span.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "pricing/usage_check.h"
#include "record/reader.h"
#include "record/reader_internal.h"
#include "utils/fmgrprotos.h"
#include "utils/formatting.h"

/* ---- What was found ----------------------------------------------------- */

/* Is a found thing before another: from inside out, then by the lines' order? */
static bool
is_before(const UmFound *a, const UmFound *b)
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
static const UmFound *
first_found(UmReader *r, UmMeaning meaning)
{
	const UmFound *first = NULL;

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
found_text(UmReader *r, UmMeaning meaning)
{
	const UmFound *found = first_found(r, meaning);
	UmString	text;

	if (found == NULL)
		return NULL;
	text = um_string_trimmed(um_string_of(um_node_text(found->node)));
	return text.length == 0 ? NULL : pnstrdup(text.data, text.length);
}

/* A provider by the name that the price book has for it. */
static char *
provider_name(UmReader *r, const char *name)
{
	const char *known = um_word_meaning(r->shapes, UM_WORDS_PROVIDER, name, strlen(name));

	if (known != NULL)
		return pstrdup(known);
	return *name == '\0' ? NULL : asc_tolower(name, strlen(name));
}

/* ---- Putting the calls together ----------------------------------------- */

static void
push_unit(JsonbParseState **state, int meter, const UmValue *value)
{
	JsonbValue	key = {.type = jbvString};
	JsonbValue	number = {.type = jbvNumeric};

	key.val.string.val = (char *) um_meters[meter].name;
	key.val.string.len = strlen(um_meters[meter].name);
	number.val.numeric = value->number ? trimmed(value->number) : int64_to_numeric(value->count);
	(void) pushJsonbValue(state, WJB_KEY, &key);
	(void) pushJsonbValue(state, WJB_VALUE, &number);
}

/* A call from what is known of it. */
static void
set_call(UmCallRead *call, UmCounts *t)
{
	JsonbParseState *state = NULL;
	bool		any = false;

	for (int m = 0; m < UM_METER_COUNT; m++)
	{
		/* told by no other line */
		if (t->otherwise[m].known && (!KNOWN(t, m) || um_value_is_zero(&t->whole[m].value)))
			t->whole[m] = t->otherwise[m];
		call->known[m] = KNOWN(t, m);
		call->count[m] = um_told_is_whole(m) ? COUNT(t, m) : 0;
	}
	/* images that tokens count are not counted one by one */
	if (call->count[UM_METER_INPUT] > 0 || call->count[UM_METER_OUTPUT] > 0)
		t->whole[UM_METER_IMAGE].known = false;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int m = 0; m < UM_METER_COUNT; m++)
		if (!um_meter_has_column(m) && KNOWN(t, m) && !um_value_is_zero(&t->whole[m].value))
		{
			push_unit(&state, m, &t->whole[m].value);
			any = true;
		}
	call->units = any ? JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)) : NULL;
	call->cost = KNOWN(t, UM_TOLD_COST) ? t->whole[UM_TOLD_COST].value.number : NULL;
}

/* Reads a usage object within the response: a step, or a call of its own. */
static void
read_inner(UmReader *r, const UmFound *found, UmCounts *t)
{
	UmObject   *object = um_look_at_object(r, found->node, false, found->depth);

	object->family = found->family != INT_MAX ? found->family : um_family_line(r, object, false);
	um_tell_object(r, object, object->family, t);
	um_derive_counts(r, t);
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
	UM_GROW(response->calls, response->ncalls);
	memset(&response->calls[response->ncalls], 0, sizeof(UmCallRead));
	return &response->calls[response->ncalls++];
}

/* What the usage objects say; the chunks of a stream put together. */
static Jsonb *
kept_usage(UmReader *r)
{
	Datum		kept = (Datum) 0;

	for (int i = 0; i < r->nplaces; i++)
	{
		const UmObjectPlace *place = &r->places[i];

		for (int j = 0; j < place->nobjects; j++)
		{
			UmObject   *object = place->objects[j];
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
set_tier(UmReader *r, UmResponse *response, UmCounts *all)
{
	response->tier = UM_TIER_STANDARD;
	for (int i = 0; i < r->nfound; i++)
	{
		const UmFound *found = &r->found[i];
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
				um_hold(r, pnstrdup(found->node->key ? found->node->key : "tier",
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
			all->whole[UM_TOLD_COST].value = um_value_of(0, false);
		}
		else if (um_tier_by_name(um_string_of(meaning), &tier))
		{
			if (tier != UM_TIER_STANDARD && response->tier != UM_TIER_STANDARD && tier != response->tier)
				um_hold(r, psprintf("more than one tier: %s and %s", um_tiers[response->tier], um_tiers[tier]), NULL);
			if (tier != UM_TIER_STANDARD)
				response->tier = tier;
		}
		else if ((meter = um_meter_by_name(um_string_of(meaning))) != UM_METER_NONE)
		{
			all->whole[meter].known = true;
			all->whole[meter].value = um_value_of(1, false);
		}
	}
}

/* Adds the calls that were made within the response. */
static void
add_inner_calls(UmReader *r, UmResponse *response, UmCounts *all, const char *model)
{
	char	   *step_model = found_text(r, UM_MEANS_STEP_MODEL);
	int			nfound = r->nfound;

	for (int i = 0; i < nfound; i++)
	{
		UmFound		found = r->found[i];
		const char *named;
		UmCounts	t;
		UmCallRead *call;
		bool		used = false;

		if (found.meaning != UM_MEANS_STEP && found.meaning != UM_MEANS_ATTEMPT &&
			found.meaning != UM_MEANS_CALL)
			continue;
		named = inner_model(found.node);
		if (found.meaning == UM_MEANS_ATTEMPT)
		{
			if (named == NULL || model == NULL)
				um_hold(r, "the model of an attempt is not told", NULL);
			if (named == NULL || model == NULL || strcmp(named, model) == 0)
				continue;
			found.meaning = UM_MEANS_STEP;
		}
		read_inner(r, &found, &t);
		if (found.meaning == UM_MEANS_STEP && KNOWN(&t, UM_METER_INPUT) != KNOWN(&t, UM_METER_OUTPUT))
			um_hold(r, psprintf("the %s tokens of a step are not told",
								KNOWN(&t, UM_METER_INPUT) ? "output" : "input"), NULL);
		if (found.meaning == UM_MEANS_STEP)
		{
			/* the call's own model, where neither the step nor its line names one */
			if (named == NULL && found.family != INT_MAX && r->shapes->lines[found.end.line].value == NULL)
				named = model;
			if (model != NULL && named != NULL && strcmp(named, model) == 0)
			{
				/* it belongs to the call */
				for (int m = 0; m < UM_METER_REQUEST; m++)
					if (KNOWN(&t, m) && (KNOWN(all, m) || (m != UM_METER_INPUT && m != UM_METER_OUTPUT)))
						um_count_set(all, m, um_count_plus(COUNT(all, m), COUNT(&t, m)));
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
		/* the lines' own words may be read anew by a trigger, while the call is stored */
		call->model = named == NULL ? NULL : pstrdup(named);
		call->usage = um_node_jsonb(found.node);
		set_call(call, &t);
	}
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

static bool
any_tokens(const UmCounts *t)
{
	for (int m = 0; m < UM_METER_REQUEST; m++)
		if (KNOWN(t, m))
			return true;
	return false;
}

/*
 * Does a response that is its own usage object tell of one side only, and of
 * what its other usage objects do not?  Then it is not known whose parts they are.
 */
static bool
is_astray(const UmCounts *told, int nplaces, int place)
{
	bool		others = false;
	bool		alone = false;

	if (KNOWN(&told[place], UM_METER_INPUT) && KNOWN(&told[place], UM_METER_OUTPUT))
		return false;
	for (int m = 0; m < UM_METER_REQUEST; m++)
	{
		bool		known = false;

		for (int i = 0; i < nplaces; i++)
			known = known || (i != place && told[i].any && KNOWN(&told[i], m));
		others = others || known;
		alone = alone || (!known && COUNT(&told[place], m) > 0);
	}
	return others && alone;
}

/* Reads all objects into what the response says; returns how many of them said something. */
static int
read_places(UmReader *r, UmCounts *all, bool *bare)
{
	UmCounts   *told = palloc(sizeof(UmCounts) * (r->nplaces + 1));
	int			nreadings = 0;

	/* all of them first: input=0 and the like hold for all */
	for (int i = 0; i < r->nplaces; i++)
	{
		const UmObjectPlace *place = &r->places[i];

		um_tell_chunks(r, place, &told[i]);
		if (told[i].any)
		{
			nreadings++;
			*bare = place->objects[0]->is_response && place->objects[0]->is_usage;
		}
	}
	for (int i = 0; i < r->nplaces; i++)
		if (told[i].any)
		{
			um_derive_counts(r, &told[i]);
			um_merge_usage(r, all, &told[i]);
		}
	for (int i = 0; i < r->nplaces; i++)
		if (told[i].any && r->places[i].objects[0]->is_response && r->places[i].objects[0]->is_usage &&
			is_astray(told, r->nplaces, i))
			um_hold(r, "some counts stand beside the usage object", NULL);
	return nreadings;
}

/* Is a charge told, or a meter that is not of tokens?  Uses of tools do not make a call without tokens one. */
static bool
any_other(const UmCounts *t, bool with_tools)
{
	if (KNOWN(t, UM_TOLD_COST) || t->otherwise[UM_TOLD_COST].known)
		return true;
	for (int m = UM_METER_REQUEST; m < UM_METER_COUNT; m++)
		if ((KNOWN(t, m) || t->otherwise[m].known) && (with_tools || um_meters[m].kind != UM_KIND_TOOL))
			return true;
	return false;
}

/* Are input and output told, or left out for being zero, by a line that says so? */
static bool
both_are_there(const UmReader *r)
{
	return r->is_there[UM_METER_INPUT] && r->is_there[UM_METER_OUTPUT];
}

/* Refuses what is known to be something else than a call. */
static void
refuse_others(UmReader *r, const UmCounts *all, int nreadings, bool bare)
{
	const UmFound *found = first_found(r, UM_MEANS_REFUSE);

	if (found != NULL)
		um_unknown_shape(psprintf("\"%s\" is no call", found->node->value.type == jbvString ?
								  um_shown(found->node) : pnstrdup(found->node->key, found->node->key_length)));
	if (nreadings == 1 && bare && !KNOWN(all, UM_METER_OUTPUT) && !any_other(all, true) && !um_any_field_unread(r))
		ereport(ERROR,
				(errcode(ERRCODE_UM_UNKNOWN_SHAPE),
				 errmsg("unknown shape of response: a count of input tokens, not a call"),
				 errhint("It does not say how many tokens were output. Pass the response of the call itself.")));
}

/*
 * Has nothing told of a call?  Such a shape is held, if asked for and if it has
 * anything that could be money; else it is refused.
 */
static bool
is_unknown(UmReader *r, UmNode *first, int nreadings, bool failed, bool hold_unknown)
{
	if (nreadings > 0 || failed || first_found(r, UM_MEANS_CALL) != NULL || both_are_there(r) ||
		(r->wrong_usage == NULL && r->empty_usage))
		return false;
	if (r->wrong_usage != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UM_INVALID_COUNT),
				 errmsg("invalid usage: %s", um_shown(r->wrong_usage)),
				 errhint("A usage object looks like {\"input_tokens\": 10, \"output_tokens\": 5}.")));
	if (!hold_unknown || (r->nunread == 0 && !(r->is_stream && first_found(r, UM_MEANS_BEGINS) != NULL)))
		um_unknown_shape(keys_of(first));
	return true;
}

/* Who bills: the caller knows whom he called, and is not second-guessed. */
static char *
billing_provider(UmReader *r, const char *provider)
{
	const UmFound *found = first_found(r, UM_MEANS_IS_PROVIDER);

	if (provider == NULL && found != NULL)
		return pstrdup(r->shapes->lines[found->end.line].value);
	if (provider == NULL)
		provider = found_text(r, UM_MEANS_PROVIDER);
	return provider == NULL ? NULL : provider_name(r, provider);
}

/* Reads a response; holds a shape that is not known, if asked for, or refuses it. */
UmResponse *
um_read_response(Jsonb *jsonb, const char *provider, bool hold_unknown)
{
	UmReader   *r = palloc0(sizeof(UmReader));
	UmResponse *response = palloc0(sizeof(UmResponse));
	UmCounts   *all = palloc0(sizeof(UmCounts));
	UmNode	   *root = um_node_root(jsonb);
	UmNode	   *first;
	const UmFound *found;
	char	   *model;
	int			nreadings;
	bool		bare = false;
	bool		has_calls;		/* which stand in place of the response's own */
	bool		failed;

	r->shapes = um_shapes();
	r->is_stream = root->is_array;
	all->rest = -1;
	first = um_look_at_chunks(r, root);
	nreadings = read_places(r, all, &bare);

	response->error = found_text(r, UM_MEANS_ERROR);
	failed = response->error != NULL;
	refuse_others(r, all, nreadings, bare);
	/* nothing but other meters, a charge or an error */
	if (!is_unknown(r, first, nreadings, failed, hold_unknown) && !any_tokens(all) &&
		(failed || any_other(all, false) || both_are_there(r)))
	{
		um_count_set(all, UM_METER_INPUT, 0);
		um_count_set(all, UM_METER_OUTPUT, 0);
	}
	if (r->is_stream && first_found(r, UM_MEANS_BEGINS) != NULL && first_found(r, UM_MEANS_ENDS) == NULL)
		um_hold(r, "the stream was cut", NULL);

	model = found_text(r, UM_MEANS_MODEL);
	response->id = found_text(r, UM_MEANS_ID);
	found = first_found(r, UM_MEANS_TIME);
	response->has_time = found != NULL && um_read_time(found->node, &response->time);
	response->provider = billing_provider(r, provider);
	set_tier(r, response, all);

	has_calls = first_found(r, UM_MEANS_CALL) != NULL;
	if (!has_calls)
		add_call(response)->model = model;
	add_inner_calls(r, response, all, model);
	if (!has_calls)
	{
		set_call(&response->calls[0], all);
		response->calls[0].usage = kept_usage(r);
	}

	response->unread = um_unread_object(r);
	/* all that a line added later may want to know */
	if (response->unread != NULL)
		response->calls[0].usage = um_node_kept(root);
	return response;
}
