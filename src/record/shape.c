/*
 * shape.c
 *		Compiling the table usage_field, which says what the fields of
 *		responses mean.
 *
 * Nothing here or in reader.c knows a vendor: that is the table's.  A path is
 * put into a trie, keyed by names without case, '-' and '_', so that a
 * response is read in one pass whatever the number of lines.
 */
#include "postgres.h"

#include "base/amount.h"
#include "base/catalog.h"
#include "base/error.h"
#include "base/grow.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pricing/service_tier.h"
#include "record/shape.h"
#include "utils/formatting.h"
#include "utils/memutils.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(usage_monitor_check_usage_field);

/* a path of more steps or words is nobody's */
#define MAX_STEPS		16
#define MAX_NAMES		64
#define MAX_CONDITIONS	8

static const char *const told_names[UM_TOLD_COUNT - UM_METER_COUNT] = {
	"input_plain", "output_plain", "cache_write_5m", "total", "cost"
};

/* Meanings that are one word. */
static const struct
{
	const char *word;
	UmMeaning	meaning;
}			plain_words[] = {
	{"-", UM_MEANS_NOTHING},
	{"hold", UM_MEANS_HOLD},
	{"refuse", UM_MEANS_REFUSE},
	{"usage", UM_MEANS_USAGE},
	{"open", UM_MEANS_OPEN},
	{"step", UM_MEANS_STEP},
	{"attempt", UM_MEANS_ATTEMPT},
	{"call", UM_MEANS_CALL},
	{"model", UM_MEANS_MODEL},
	{"step_model", UM_MEANS_STEP_MODEL},
	{"id", UM_MEANS_ID},
	{"provider", UM_MEANS_PROVIDER},
	{"error", UM_MEANS_ERROR},
	{"time", UM_MEANS_TIME},
	{"tier", UM_MEANS_TIER},
	{"geo", UM_MEANS_GEO},
	{"begins", UM_MEANS_BEGINS},
	{"ends", UM_MEANS_ENDS},
};

static const char *const word_lists[UM_WORDS_COUNT] = {"tier", "geo", "provider"};

static UmShapes *shapes;
static MemoryContext shapes_context;
static uint64 shapes_generation;

/* the user's own lines come before the shipped ones; providers have the price book's names */
static UmQuery read_lines = {
	.text = "(SELECT family, path, meaning FROM usage_monitor.usage_field"
	" ORDER BY source = 'own' DESC, line)"
	" UNION ALL"
	" (SELECT 'provider', pg_catalog.replace(alias, ' ', ''), provider FROM usage_monitor.provider_alias"
	" ORDER BY origin = 'shipped', alias)"
};

/* ---- Names -------------------------------------------------------------- */

/* A name without case, '-' and '_'; returns its length. */
int
um_fold(const char *name, int length, char *folded)
{
	int			n = 0;

	for (int i = 0; i < length; i++)
		if (name[i] != '_' && name[i] != '-')
			folded[n++] = name[i] >= 'A' && name[i] <= 'Z' ? name[i] + ('a' - 'A') : name[i];
	return n;
}

/* What a meter is called in lines. */
const char *
um_told_name(int meter)
{
	return meter < UM_METER_COUNT ? um_meters[meter].name : told_names[meter - UM_METER_COUNT];
}

/* What a word of a list stands for; NULL: it is not in the list. */
const char *
um_word_meaning(const UmShapes *known, UmWordList list, const char *word, int length)
{
	char	   *folded = palloc(length + 1);
	int			n = um_fold(word, length, folded);
	const char *meaning = NULL;

	folded[n] = '\0';
	for (int i = 0; i < known->nwords[list] && meaning == NULL; i++)
		if (strcmp(known->words[list][i].word, folded) == 0)
			meaning = known->words[list][i].meaning;
	pfree(folded);
	return meaning;
}

/* ---- Refusing a line ---------------------------------------------------- */

static void
bad_path(const char *path, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_UM_UNKNOWN_KEYWORD),
			 errmsg("invalid path \"%s\": %s", path, why),
			 errhint("Write for example prompt_tokens_details.cached_tokens, from the usage object, or /output.*[type=web_search_call], from the response.")));
}

static void
bad_meaning(const char *meaning)
{
	ereport(ERROR,
			(errcode(ERRCODE_UM_UNKNOWN_KEYWORD),
			 errmsg("unknown meaning \"%s\"", meaning),
			 errhint("A meaning is a meter (%s, cost, total), or - for a field that costs nothing.",
					 um_meter_names())));
}

/* ---- Compiling ---------------------------------------------------------- */

/* A copy of part of a string, folded. */
static char *
folded_copy(const char *name, int length)
{
	char	   *copy = palloc(length + 1);

	copy[um_fold(name, length, copy)] = '\0';
	return copy;
}

/* The next of some words with blanks between them, which are left behind it; NULL: there is none. */
static char *
next_word(const char **words)
{
	const char *word = *words + strspn(*words, " ");
	int			length = strcspn(word, " ");

	*words = word + length;
	return length == 0 ? NULL : pnstrdup(word, length);
}

/* Cuts a string at a separator; returns how many parts. */
static int
cut(const char *string, int length, char separator, const char **part, int *part_length,
	int max, const char *path)
{
	int			n = 0;
	int			from = 0;

	for (int i = 0; i <= length; i++)
		if (i == length || string[i] == separator)
		{
			if (n == max)
				bad_path(path, "it has too many parts");
			part[n] = string + from;
			part_length[n++] = i - from;
			from = i + 1;
		}
	return n;
}

/* Reads what is between brackets. */
static void
compile_condition(UmCondition *condition, const char *text, int length, const char *path)
{
	const char *part[MAX_NAMES];
	int			part_length[MAX_NAMES];
	int			n = 0;

	while (n < length && text[n] != '=' && text[n] != '!')
		n++;
	condition->npath = n == 0 ? 0 : cut(text, n, '.', part, part_length, MAX_NAMES, path);
	condition->path = palloc(sizeof(char *) * (condition->npath + 1));
	for (int i = 0; i < condition->npath; i++)
		condition->path[i] = part[i][0] == '=' ? pnstrdup(part[i], part_length[i]) :
			folded_copy(part[i], part_length[i]);
	condition->negative = n < length && text[n] == '!';
	if (condition->negative)
		n++;
	condition->compares = n < length && text[n] == '=';
	if (condition->compares)
		n++;
	if (!condition->compares && (condition->negative || condition->npath == 0))
		bad_path(path, "a condition is [name], [name=value] or [name!=value]");
	condition->nwords = cut(text + n, length - n, '|', part, part_length, MAX_NAMES, path);
	condition->words = palloc(sizeof(char *) * condition->nwords);
	for (int i = 0; i < condition->nwords; i++)
		condition->words[i] = asc_tolower(part[i], part_length[i]);
}

/* The step of that name and those conditions, from here; made if it is new. */
static UmTrie *
follow(UmTrie *from, const char *name, int length, const char *conditions, int conditions_length,
	   const char *path)
{
	bool		star = memchr(name, '*', length) != NULL;
	bool		exact = length > 0 && name[0] == '=';
	UmEdge	  **edges = length == 0 ? &from->here : star ? &from->other : &from->plain;
	int		   *nedges = length == 0 ? &from->nhere : star ? &from->nother : &from->nplain;
	char	   *text = pnstrdup(conditions, conditions_length);
	char	   *folded = folded_copy(name + (exact ? 1 : 0), length - (exact ? 1 : 0));
	char	   *raw = exact ? pnstrdup(name + 1, length - 1) : NULL;
	UmEdge	   *edge;

	for (int i = 0; i < *nedges; i++)
	{
		edge = &(*edges)[i];
		if (edge->exact == exact && strcmp(edge->name, exact ? raw : folded) == 0 &&
			strcmp(edge->condition_text, text) == 0)
			return edge->to;
	}
	UM_GROW(*edges, *nedges);
	edge = &(*edges)[(*nedges)++];
	memset(edge, 0, sizeof(UmEdge));
	edge->name = exact ? raw : folded;
	edge->length = strlen(edge->name);
	edge->exact = exact;
	edge->any = strcmp(edge->name, "*") == 0;
	edge->condition_text = text;
	edge->conditions = palloc0(sizeof(UmCondition) * MAX_CONDITIONS);
	for (const char *c = text; *c == '[';)
	{
		const char *end = strchr(c, ']');

		if (end == NULL || edge->nconditions == MAX_CONDITIONS)
			bad_path(path, "brackets must be closed");
		compile_condition(&edge->conditions[edge->nconditions++], c + 1, (int) (end - c) - 1, path);
		c = end + 1;
	}
	edge->to = palloc0(sizeof(UmTrie));
	return edge->to;
}

/* Adds what is left of a path to a trie. */
static void
add_steps(UmTrie *trie, const char *rest, UmEnd end_of, int depth, const char *path)
{
	const char *part[MAX_NAMES];
	int			part_length[MAX_NAMES];
	int			nparts;
	int			name = 0;
	int			end;

	if (*rest == '\0')
	{
		UM_GROW(trie->ends, trie->nends);
		trie->ends[trie->nends++] = end_of;
		return;
	}
	if (depth == MAX_STEPS)
		bad_path(path, "it has too many steps");
	while (rest[name] != '\0' && rest[name] != '.' && rest[name] != '[' && rest[name] != ']')
		name++;
	for (end = name; rest[end] == '['; end++)
	{
		while (rest[end] != '\0' && rest[end] != ']')
			end++;
		if (rest[end] == '\0')
			bad_path(path, "brackets must be closed");
	}
	if ((rest[end] != '\0' && rest[end] != '.') || (rest[end] == '.' && rest[end + 1] == '\0') ||
		end == 0)
		bad_path(path, "a step is a name, then conditions in brackets");

	nparts = cut(rest, name, '|', part, part_length, MAX_NAMES, path);
	for (int i = 0; i < nparts; i++)
	{
		if (part_length[i] == 0 && (nparts > 1 || end == name))
			bad_path(path, "a name is empty");
		if (part_length[i] == 1 && part[i][0] == '=')
			bad_path(path, "a name is empty");
		add_steps(follow(trie, part[i], part_length[i], rest + name, end - name, path),
				  rest + end + (rest[end] == '.' ? 1 : 0), end_of, depth + 1, path);
	}
}

/* The number of a family's name. */
static int
family_number(UmShapes *into, const char *name)
{
	for (int f = 0; f < into->nfamilies; f++)
		if (strcmp(into->families[f], name) == 0)
			return f;
	UM_GROW(into->families, into->nfamilies);
	into->families[into->nfamilies] = pstrdup(name);
	return into->nfamilies++;
}

/* The meter of that name, of the price book's or in between; -1: none. */
static int
told_by_name(const char *name)
{
	int			meter = um_meter_by_name(um_string_of(name));

	if (meter != UM_METER_NONE)
		return meter;
	for (int t = 0; t < (int) lengthof(told_names); t++)
		if (strcmp(told_names[t], name) == 0)
			return UM_METER_COUNT + t;
	return -1;
}

/* Reads name=value; false if it is not one. */
static bool
compile_equation(UmShapes *into, UmLine *line, const char *meaning)
{
	const char *value = strchr(meaning, '=');
	char	   *name;

	if (value == NULL)
		return false;
	name = pnstrdup(meaning, value++ - meaning);
	if (*value == '\0')
		bad_meaning(meaning);
	line->value = pstrdup(value);
	if (strcmp(name, "family") == 0)
	{
		line->meaning = UM_MEANS_FAMILY;
		line->family_is = family_number(into, value);
	}
	else if (strcmp(name, "provider") == 0)
		line->meaning = UM_MEANS_IS_PROVIDER;
	else if (strcmp(name, "tier") == 0)
	{
		UmTier		tier;

		if (!um_tier_by_name(um_string_of(value), &tier))
			bad_meaning(meaning);
		line->meaning = UM_MEANS_IS_TIER;
	}
	else if (strcmp(name, "step") == 0)
		line->meaning = UM_MEANS_STEP;
	else
	{
		line->told[0].meter = told_by_name(name);
		if (strcmp(value, "0") != 0 ||
			(line->told[0].meter != UM_METER_INPUT && line->told[0].meter != UM_METER_OUTPUT &&
			 line->told[0].meter != UM_TOLD_OUTPUT_PLAIN))
			bad_meaning(meaning);
		line->meaning = UM_MEANS_IS_THERE;
	}
	return true;
}

/* Reads one word of a meaning that is a count. */
static void
compile_count_word(UmLine *line, char *word, const char *meaning)
{
	if (strcmp(word, "#") == 0)
		line->elements = true;
	else if (strcmp(word, "#distinct") == 0)
		line->elements = line->distinct = true;
	else if (strcmp(word, "text") == 0)
		line->text = true;
	else if (word[0] == '>' && line->told[0].meter == UM_TOLD_TOTAL)
	{
		line->rest = told_by_name(word + 1);
		if (line->rest != UM_METER_REASONING && line->rest != UM_METER_INPUT_AUDIO)
			bad_meaning(meaning);
	}
	else if (word[0] == '*')
	{
		char	   *factor = word + 1;

		if (strspn(factor, "0123456789.e-") != strlen(factor) || *factor == '\0')
			bad_meaning(meaning);
		line->factor = amount_of_text(factor);
	}
	else
	{
		UmTold	   *told;
		int			last;

		if (line->ntold == UM_MAX_TOLD)
			bad_meaning(meaning);
		told = &line->told[line->ntold++];
		told->on_top = word[0] == '+';
		if (told->on_top)
			word++;
		last = (int) strlen(word) - 1;
		told->otherwise = last >= 0 && word[last] == '?';
		if (told->otherwise)
			word[last] = '\0';
		told->meter = told_by_name(word);
		if (told->meter < 0 || (told->on_top && told->otherwise))
			bad_meaning(meaning);
	}
}

/* Reads a meaning. */
static void
compile_meaning(UmShapes *into, UmLine *line, const char *meaning)
{
	const char *words = meaning;
	char	   *word;

	line->rest = -1;
	for (int i = 0; i < (int) lengthof(plain_words); i++)
		if (strcmp(plain_words[i].word, meaning) == 0)
		{
			line->meaning = plain_words[i].meaning;
			return;
		}
	if (compile_equation(into, line, meaning))
		return;
	line->meaning = UM_MEANS_METER;
	while ((word = next_word(&words)) != NULL)
		compile_count_word(line, word, meaning);
	if (line->ntold == 0)
		bad_meaning(meaning);
}

/* A short name for use in paths. */
typedef struct Abbreviation
{
	char	   *name;
	char	   *names;
} Abbreviation;

/* A path with what its short names stand for. */
static char *
expand(const char *path, const Abbreviation *abbreviations, int n)
{
	StringInfoData expanded;

	initStringInfo(&expanded);
	while (*path != '\0')
	{
		bool		found = false;

		for (int i = 0; i < n && !found && *path == '@'; i++)
		{
			int			length = strlen(abbreviations[i].name);

			if (strncmp(path + 1, abbreviations[i].name, length) == 0 &&
				(path[length + 1] == '\0' || strchr(".[|  ", path[length + 1]) != NULL))
			{
				appendStringInfoString(&expanded, abbreviations[i].names);
				path += length + 1;
				found = true;
			}
		}
		if (!found)
			appendStringInfoChar(&expanded, *path++);
	}
	return expanded.data;
}

/* Adds a list's words. */
static void
add_words(UmShapes *into, UmWordList list, const char *words, const char *meaning)
{
	UmTier		tier;
	char	   *word;

	if (list == UM_WORDS_TIER && strcmp(meaning, "hold") != 0 && strcmp(meaning, "prepaid") != 0 &&
		!um_tier_by_name(um_string_of(meaning), &tier))
		bad_meaning(meaning);
	if (list == UM_WORDS_GEO && strcmp(meaning, "hold") != 0 && strcmp(meaning, "-") != 0 &&
		um_meter_by_name(um_string_of(meaning)) == UM_METER_NONE)
		bad_meaning(meaning);
	while ((word = next_word(&words)) != NULL)
	{
		UM_GROW(into->words[list], into->nwords[list]);
		into->words[list][into->nwords[list]++] =
			(UmWord) {folded_copy(word, strlen(word)), pstrdup(meaning)};
	}
}

/* Adds a line of the table. */
static void
add_line(UmShapes *into, const char *family, const char *path, const char *meaning,
		 const Abbreviation *abbreviations, int nabbreviations)
{
	UmLine	   *line;
	const char *paths;
	char	   *one;
	int			alternative = 0;

	for (int list = 0; list < UM_WORDS_COUNT; list++)
		if (strcmp(family, word_lists[list]) == 0)
		{
			add_words(into, (UmWordList) list, path, meaning);
			return;
		}

	line = &into->lines[into->nlines];
	memset(line, 0, sizeof(UmLine));
	line->family = family_number(into, family);
	compile_meaning(into, line, meaning);
	paths = expand(path, abbreviations, nabbreviations);
	if (*paths == '\0')
		bad_path(path, "it is empty");
	while ((one = next_word(&paths)) != NULL)
	{
		if (strcmp(one, "/") == 0)
			bad_path(path, "it is empty");
		add_steps(one[0] == '/' ? into->in_response : into->in_usage,
				  one[0] == '/' ? one + 1 : one,
				  (UmEnd) {into->nlines, alternative++}, 0, path);
	}
	into->nlines++;
}

static int
compare_edges(const void *a, const void *b)
{
	const UmEdge *x = a;
	const UmEdge *y = b;

	/* by the folded name, so that those of one spelling are beside the others */
	char	   *left = folded_copy(x->name, x->length);
	char	   *right = folded_copy(y->name, y->length);
	int			order = strcmp(left, right);

	pfree(left);
	pfree(right);
	return order;
}

static void
sort_trie(UmTrie *trie)
{
	if (trie->nplain > 1)
		qsort(trie->plain, trie->nplain, sizeof(UmEdge), compare_edges);
	for (int i = 0; i < trie->nplain; i++)
		sort_trie(trie->plain[i].to);
	for (int i = 0; i < trie->nother; i++)
		sort_trie(trie->other[i].to);
	for (int i = 0; i < trie->nhere; i++)
		sort_trie(trie->here[i].to);
}

/* What is known without any line, with room for so many. */
static UmShapes *
no_shapes(int nlines)
{
	UmShapes   *empty = palloc0(sizeof(UmShapes));

	empty->lines = palloc0(sizeof(UmLine) * (nlines + 1));
	empty->in_usage = palloc0(sizeof(UmTrie));
	empty->in_response = palloc0(sizeof(UmTrie));
	empty->families = palloc(sizeof(char *));
	empty->families[0] = "*";
	empty->nfamilies = 1;
	return empty;
}

/* Compiles the rows of read_lines. */
static UmShapes *
compile_rows(SPITupleTable *table, uint64 nrows)
{
	UmShapes   *into = no_shapes((int) nrows);
	Abbreviation *abbreviations = palloc(sizeof(Abbreviation) * (nrows + 1));
	int			nabbreviations = 0;

	/* short names first, whatever line they stand on */
	for (int pass = 0; pass < 2; pass++)
		for (uint64 i = 0; i < nrows; i++)
		{
			char	   *family = um_text_column(table->vals[i], table->tupdesc, 1);
			char	   *path = um_text_column(table->vals[i], table->tupdesc, 2);
			char	   *meaning = um_text_column(table->vals[i], table->tupdesc, 3);
			bool		is_short = strcmp(family, "@") == 0;

			CHECK_FOR_INTERRUPTS();
			if (is_short && pass == 0)
				abbreviations[nabbreviations++] = (Abbreviation) {path, meaning};
			else if (!is_short && pass == 1)
				add_line(into, family, path, meaning, abbreviations, nabbreviations);
		}
	sort_trie(into->in_usage);
	sort_trie(into->in_response);
	return into;
}

/* What is known of responses. */
const UmShapes *
um_shapes(void)
{
	uint64		generation = um_generation(UM_TOPIC_SHAPE) + um_generation(UM_TOPIC_PRICE);
	MemoryContext fresh;
	MemoryContext old;
	UmShapes   *compiled;
	UmSpi		spi;

	if (shapes != NULL && shapes_generation == generation)
		return shapes;

	um_watch(UM_TOPIC_SHAPE);
	um_watch(UM_TOPIC_PRICE);
	/* dropped with the query, should the table not compile */
	fresh = AllocSetContextCreate(CurrentMemoryContext, "usage_monitor shapes",
								  ALLOCSET_DEFAULT_SIZES);
	um_spi_begin(&spi);
	um_spi_query(&read_lines, NULL, NULL);
	old = MemoryContextSwitchTo(fresh);
	compiled = compile_rows(SPI_tuptable, SPI_processed);
	MemoryContextSwitchTo(old);
	um_spi_end(&spi);

	MemoryContextSetParent(fresh, TopMemoryContext);
	if (shapes_context != NULL)
		MemoryContextDelete(shapes_context);
	shapes_context = fresh;
	shapes = compiled;
	shapes_generation = generation;
	return shapes;
}

/* Row trigger of usage_field: refuses a line that cannot be compiled. */
Datum
usage_monitor_check_usage_field(PG_FUNCTION_ARGS)
{
	static const UmRelation table = UM_USAGE_FIELD;
	TriggerData *trigdata = um_trigger(fcinfo, "_check_usage_field",
									   TRIGGER_EVENT_BEFORE | TRIGGER_EVENT_ROW, &table, 1);
	HeapTuple	row = TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) ? trigdata->tg_newtuple :
		trigdata->tg_trigtuple;
	TupleDesc	desc = RelationGetDescr(trigdata->tg_relation);
	char	   *field[3];

	for (int i = 0; i < (int) lengthof(field); i++)
	{
		static const char *const names[] = {"family", "path", "meaning"};

		field[i] = um_text_column(row, desc, SPI_fnumber(desc, names[i]));
		if (field[i] == NULL || field[i][0] == '\0')
			ereport(ERROR,
					(errcode(ERRCODE_UM_INVALID_NAME),
					 errmsg("column \"%s\" must not be empty", names[i]),
					 errhint("INSERT INTO usage_monitor.usage_field VALUES ('*', 'prompt_tokens_details.cache_hits', 'cache_read');")));
	}
	if (strcmp(field[0], "@") == 0)
	{
		if (strspn(field[1], "abcdefghijklmnopqrstuvwxyz_") != strlen(field[1]))
			bad_path(field[1], "a short name has small letters only");
	}
	else
		add_line(no_shapes(1), field[0], field[1], field[2], NULL, 0);
	return PointerGetDatum(row);
}
