/*
 * shape.h
 *		What the table usage_field knows of responses, compiled: tries of paths
 *		that lead to lines, and lists of words.
 */
#ifndef UM_SHAPE_H
#define UM_SHAPE_H

#include "pricing/meter.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

/* What a line can tell: the meters of the price book, and what is between them. */
enum
{
	UM_TOLD_INPUT_PLAIN = UM_METER_COUNT,	/* without cached and written tokens */
	UM_TOLD_OUTPUT_PLAIN,		/* without reasoning */
	UM_TOLD_CACHE_WRITE_5M,
	UM_TOLD_TOTAL,
	UM_TOLD_COST,
	UM_TOLD_COUNT
};

typedef enum UmMeaning
{
	UM_MEANS_METER,
	UM_MEANS_NOTHING,			/* known, and of no account */
	UM_MEANS_HOLD,				/* costs money that cannot be read */
	UM_MEANS_REFUSE,			/* this is no call */
	UM_MEANS_USAGE,				/* a usage object */
	UM_MEANS_OPEN,				/* an envelope */
	UM_MEANS_STEP,				/* a usage object on top of the response's */
	UM_MEANS_ATTEMPT,			/* a step if it is another model's; else in the response's counts */
	UM_MEANS_CALL,				/* a call of its own, in place of the response's */
	UM_MEANS_FAMILY,			/* it is there, so the family is ... */
	UM_MEANS_IS_PROVIDER,
	UM_MEANS_IS_TIER,
	UM_MEANS_IS_THERE,			/* ... so input or output is told, or left out for being zero */
	UM_MEANS_MODEL,
	UM_MEANS_STEP_MODEL,
	UM_MEANS_ID,
	UM_MEANS_PROVIDER,
	UM_MEANS_ERROR,
	UM_MEANS_TIME,
	UM_MEANS_TIER,
	UM_MEANS_GEO,
	UM_MEANS_BEGINS,			/* a stream */
	UM_MEANS_ENDS
} UmMeaning;

/* A meter as a line names it. */
typedef struct UmTold
{
	int			meter;			/* UM_METER_... or UM_TOLD_... */
	bool		on_top;			/* +meter */
	bool		otherwise;		/* meter?: if no other line tells it */
} UmTold;

#define UM_MAX_TOLD 2

typedef struct UmLine
{
	int			family;			/* 0: any */
	UmMeaning	meaning;
	int			ntold;
	UmTold		told[UM_MAX_TOLD];
	bool		elements;		/* #: as many as match */
	bool		distinct;		/* #distinct: different ones */
	bool		text;			/* a number that is written as a string */
	Numeric		factor;			/* NULL: one */
	int			rest;			/* of a total: what it has beyond the rest; -1: nothing */
	int			family_is;		/* family= */
	const char *value;			/* provider=, tier=, step= */
} UmLine;

/* A condition on an object: [path], [path=word|word], [path!=word]; * in a path is any element. */
typedef struct UmCondition
{
	int			npath;
	char	  **path;			/* folded names */
	bool		negative;
	bool		compares;
	int			nwords;
	char	  **words;			/* in lower case, may hold stars */
} UmCondition;

/* Where a path of a line ends. */
typedef struct UmEnd
{
	int			line;
	int			alternative;	/* of the line's paths */
} UmEnd;

typedef struct UmTrie UmTrie;

/* A step of a path. */
typedef struct UmEdge
{
	const char *name;			/* folded, unless exact */
	int			length;
	bool		exact;			/* =name: spelled so */
	bool		any;			/* a star alone */
	const char *condition_text;
	int			nconditions;
	UmCondition *conditions;
	UmTrie	   *to;
} UmEdge;

struct UmTrie
{
	UmEdge	   *plain;			/* sorted by name once compiled */
	int			nplain;
	UmEdge	   *other;			/* names with stars */
	int			nother;
	UmEdge	   *here;			/* conditions on the object itself */
	int			nhere;
	UmEnd	   *ends;
	int			nends;
};

typedef enum UmWordList
{
	UM_WORDS_TIER,
	UM_WORDS_GEO,
	UM_WORDS_PROVIDER,
	UM_WORDS_COUNT
} UmWordList;

typedef struct UmWord
{
	char	   *word;			/* folded */
	char	   *meaning;
} UmWord;

typedef struct UmShapes
{
	UmLine	   *lines;
	int			nlines;
	UmTrie	   *in_usage;		/* paths from a usage object */
	UmTrie	   *in_response;	/* paths from the response */
	UmWord	   *words[UM_WORDS_COUNT];
	int			nwords[UM_WORDS_COUNT];
	char	  **families;
	int			nfamilies;
} UmShapes;

extern const UmShapes *um_shapes(void);
extern int	um_fold(const char *name, int length, char *folded);
extern const char *um_word_meaning(const UmShapes *shapes, UmWordList list,
								   const char *word, int length);
extern const char *um_told_name(int meter);

/* Counts of tokens, which are whole numbers. */
static inline bool
um_told_is_whole(int meter)
{
	return meter < UM_METER_REQUEST ||
		(meter >= UM_METER_COUNT && meter != UM_TOLD_COST);
}

/* Quantities that may have a fraction: times, sizes, and money.  All others are counted. */
static inline bool
um_told_is_measured(int meter)
{
	return meter < UM_METER_COUNT ? um_meters[meter].kind == UM_KIND_MEASURE : meter == UM_TOLD_COST;
}

#endif							/* UM_SHAPE_H */
