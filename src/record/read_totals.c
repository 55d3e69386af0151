/*
 * read_totals.c
 *		The ledger's normal form: inclusive counts, whose parts add up.
 */
#include "postgres.h"

#include "base/error.h"
#include "record/reader_internal.h"

static void
impossible(const char *what, int64 is, const char *but, int64 that)
{
	ereport(ERROR,
			(errcode(ERRCODE_UM_IMPOSSIBLE_USAGE),
			 errmsg("impossible usage: %s is " INT64_FORMAT " but %s is " INT64_FORMAT,
					what, is, but, that),
			 errhint("Parts must add up to their whole; see what changed the response on its way.")));
}

void
um_count_set(UmCounts *t, int meter, int64 count)
{
	t->whole[meter].known = true;
	t->whole[meter].value = um_value_of(count, true);
}

/* One side of the bill from what was told of it; returns what it is without its parts' being added. */
static int64
derive_side(UmCounts *t, int whole, int plain, int64 beside)
{
	int64		bare = KNOWN(t, whole) ? COUNT(t, whole) : COUNT(t, plain);

	if (KNOWN(t, plain))
	{
		int64		sum = um_count_plus(COUNT(t, plain), beside);

		if (KNOWN(t, whole) && COUNT(t, whole) != sum)
			impossible(psprintf("\"%s\"", um_told_name(whole)), COUNT(t, whole), "the sum of its parts", sum);
		um_count_set(t, whole, sum);
	}
	return bare;
}

/* Compares the total with its parts; takes from it the side that was not told, or what is beyond them. */
static void
derive_total(UmReader *r, UmCounts *t, int64 bare_input, int64 bare_output)
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
			um_count_set(t, UM_METER_INPUT, total);
		else
			um_hold(r, psprintf("only a total of " INT64_FORMAT " tokens is told, not how many of them are output",
							 total), NULL);
		return;
	}
	if (!has_input || !has_output)
	{
		int64		told = has_input ? input : output;

		if (told > total)
			impossible("\"total\"", total, "a part of it", told);
		/* does the total count what was cached, or anything that neither side tells? */
		if (told < total && (!has_input || (t->rest >= 0 && um_meters[t->rest].side == UM_SIDE_INPUT)))
			um_hold(r, psprintf("a total is told, but not how much of it is %s", has_input ? "output" : "input"), NULL);
		um_count_set(t, has_input ? UM_METER_OUTPUT : UM_METER_INPUT, total - told);
		return;
	}
	if (total != um_count_plus(input, output) && bare_input != input &&
		(total == um_count_plus(bare_input, output) || total == um_count_plus(bare_input, bare_output)))
		um_hold(r, "the total leaves out what was cached: it may be in the input already", NULL);
	/* some totals leave out what was cached, or reasoning */
	if (total != um_count_plus(input, output) && total != um_count_plus(input, bare_output) &&
		total != um_count_plus(bare_input, output) && total != um_count_plus(bare_input, bare_output))
	{
		int64		sum = um_count_plus(input, output);
		int64		rest = total - sum;

		/* reasoning that is told is beyond the rest, if it is just that */
		if (rest > 0 && t->rest < 0 && COUNT(t, UM_METER_REASONING) == rest)
			t->rest = UM_METER_REASONING;
		if (rest < 0 || t->rest < 0 || (COUNT(t, t->rest) != 0 && COUNT(t, t->rest) != rest))
		{
			/* tokens that nobody tells of, or chunks that do not fit together */
			if (rest > 0 || r->is_stream)
			{
				um_hold(r, psprintf("\"total\" is " INT64_FORMAT " but the sum of its parts is " INT64_FORMAT "%s",
								 total, sum, r->is_stream ? " in a stream" : ""), NULL);
				return;
			}
			impossible("\"total\"", total, "the sum of its parts", sum);
		}
		if (t->rest == UM_METER_REASONING)
			um_count_set(t, UM_METER_OUTPUT, um_count_plus(output, rest));
		else
			um_count_set(t, UM_METER_INPUT, um_count_plus(input, rest));
		um_count_set(t, t->rest, rest);
	}
}

/*
 * Refuses parts that are more than their whole.  The chunks of a stream may not
 * fit together, and what was read from a cache may be told as written to it, too:
 * vendors do so, and such a call is held without those parts.
 */
static void
check_parts(UmReader *r, UmCounts *t)
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
	bool		forgotten[UM_TOLD_COUNT] = {false};

	for (int i = 0; i < (int) lengthof(rules); i++)
	{
		int64		whole = COUNT(t, rules[i].whole);
		int64		sum = 0;
		int64		most = 0;
		StringInfoData names;

		/* an unknown side contains whatever it contains */
		if ((rules[i].whole == UM_METER_INPUT || rules[i].whole == UM_METER_OUTPUT) &&
			!KNOWN(t, rules[i].whole))
			continue;
		for (const int *part = rules[i].parts; *part >= 0; part++)
		{
			sum = um_count_plus(sum, COUNT(t, *part));
			most = Max(most, COUNT(t, *part));
		}
		if (sum <= whole && !forgotten[rules[i].whole])
			continue;
		initStringInfo(&names);
		for (const int *part = rules[i].parts; *part >= 0; part++)
			if (COUNT(t, *part) > 0)
				appendStringInfo(&names, "%s\"%s\" (" INT64_FORMAT ")", names.len > 0 ? " and " : "",
								 um_told_name(*part), COUNT(t, *part));
		appendStringInfo(&names, " exceed \"%s\" (" INT64_FORMAT ")", um_told_name(rules[i].whole), whole);
		if (!r->is_stream && !forgotten[rules[i].whole] &&
			(most > whole || rules[i].parts[0] != UM_METER_CACHE_READ))
			ereport(ERROR,
					(errcode(ERRCODE_UM_IMPOSSIBLE_USAGE),
					 errmsg("impossible usage: %s", names.data),
					 errhint("A part cannot be more than its whole; see what changed the response on its way.")));
		if (!forgotten[rules[i].whole])
			um_hold(r, names.data, NULL);
		for (const int *part = rules[i].parts; *part >= 0; part++)
		{
			t->whole[*part].known = false;
			forgotten[*part] = true;
		}
	}
}

/* Inclusive counts from what was told. */
void
um_derive_counts(UmReader *r, UmCounts *t)
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
		int64		both = um_count_plus(COUNT(t, UM_TOLD_CACHE_WRITE_5M), COUNT(t, UM_METER_CACHE_WRITE_1H));

		if (COUNT(t, UM_METER_CACHE_WRITE) != 0 && COUNT(t, UM_METER_CACHE_WRITE) != both)
			impossible("\"cache_write\"", COUNT(t, UM_METER_CACHE_WRITE), "the sum of its parts by time to live", both);
		um_count_set(t, UM_METER_CACHE_WRITE, both);
	}
	bare_input = derive_side(t, UM_METER_INPUT, UM_TOLD_INPUT_PLAIN,
							 um_count_plus(COUNT(t, UM_METER_CACHE_READ), COUNT(t, UM_METER_CACHE_WRITE)));
	bare_output = derive_side(t, UM_METER_OUTPUT, UM_TOLD_OUTPUT_PLAIN, COUNT(t, UM_METER_REASONING));

	for (int m = 0; m < UM_TOLD_COUNT; m++)
		if (t->on_top[m].known)
		{
			if (!KNOWN(t, m))
				t->whole[m].value = um_value_of(0, um_told_is_whole(m));
			t->whole[m].known = true;
			um_value_add(&t->whole[m].value, &t->on_top[m].value);
		}

	derive_total(r, t, bare_input, bare_output);
	if (!KNOWN(t, UM_METER_OUTPUT) &&
		(r->is_there[UM_METER_OUTPUT] || r->is_there[UM_TOLD_OUTPUT_PLAIN]) &&
		(KNOWN(t, UM_METER_INPUT) || r->is_there[UM_METER_INPUT]))
		um_count_set(t, UM_METER_OUTPUT, COUNT(t, UM_METER_REASONING));
	if (!KNOWN(t, UM_METER_INPUT) && r->is_there[UM_METER_INPUT])
		um_count_set(t, UM_METER_INPUT, 0);

	/* a whole that is not told is at least its part */
	for (int i = 0; i < (int) lengthof(modality); i++)
		if (COUNT(t, modality[i][1]) > 0 && !KNOWN(t, modality[i][0]))
			um_count_set(t, modality[i][0], COUNT(t, modality[i][1]));
	check_parts(r, t);
}

/* Takes over what another usage object of the response says: they must agree; in a stream they may not. */
void
um_merge_usage(UmReader *r, UmCounts *all, const UmCounts *told)
{
	for (int m = 0; m < UM_TOLD_COUNT; m++)
	{
		const UmSaid *new = &told->whole[m];
		UmSaid	   *old = &all->whole[m];

		if (told->otherwise[m].known &&
			(!all->otherwise[m].known || um_value_is_zero(&all->otherwise[m].value)))
			all->otherwise[m] = told->otherwise[m];
		if (!new->known || (m >= UM_METER_COUNT && m != UM_TOLD_COST))
			continue;
		if (old->known && !um_value_is_zero(&old->value))
		{
			char	   *what;

			if (um_value_is_zero(&new->value) || um_value_compare(&old->value, &new->value) == 0)
				continue;
			what = psprintf("\"%s\" is %s in one place and %s in another",
							um_told_name(m), um_value_text(&old->value), um_value_text(&new->value));
			if (!r->is_stream)
				ereport(ERROR,
						(errcode(ERRCODE_UM_IMPOSSIBLE_USAGE),
						 errmsg("impossible usage: %s", what),
						 errhint("All usage objects of one response must agree.")));
			um_hold(r, what, NULL);
		}
		else
			*old = *new;
	}
}
