/*
 * reader_internal.h
 *		What the files that read a response share.
 */
#ifndef UM_READER_INTERNAL_H
#define UM_READER_INTERNAL_H

#include "datatype/timestamp.h"
#include "record/node.h"

/* larger counts are refused */
#define MAX_COUNT		INT64CONST(1000000000000000000)

/* of the fields that are unread, so many are kept */
#define MAX_UNREAD		50

/* A quantity: of tokens, or of anything else. */
typedef struct UmValue
{
	int64		count;
	Numeric		number;			/* NULL: it is a count */
} UmValue;

/* What a field told of a meter. */
typedef struct UmSaid
{
	bool		known;
	UmValue		value;
} UmSaid;

/* All that an object, or the chunks of a stream, told. */
typedef struct UmCounts
{
	UmSaid		whole[UM_TOLD_COUNT];
	UmSaid		on_top[UM_TOLD_COUNT];
	UmSaid		otherwise[UM_TOLD_COUNT];
	UmSaid		before[UM_TOLD_COUNT];	/* the most that an earlier chunk of the stream said, if more */
	int			rest;			/* what the total has beyond the rest; -1: nothing */
	bool		any;
} UmCounts;

/* A place that a line's path leads to. */
typedef struct UmHit
{
	UmEnd		end;
	UmNode	   *node;
	uint64		group;			/* elements of one list have the same */
	bool		in_response;	/* by a path from the response */
	int			number;			/* the order in which they were found */
} UmHit;

/* A usage object, or a response. */
typedef struct UmObject
{
	UmNode	   *root;
	uint32		number;
	bool		is_usage;		/* paths from the usage object hold */
	bool		is_response;	/* paths from the response hold */
	int			family;			/* line that told it; INT_MAX: none did */
	int			depth;
	UmHit	   *hits;
	int			nhits;
	UmNode	  **leaves;
	int			nleaves;
} UmObject;

/* Objects that tell of the same: the chunks of a stream, or just one. */
typedef struct UmObjectPlace
{
	const char *name;			/* NULL: of just one */
	int			name_length;
	UmObject  **objects;
	int			nobjects;
} UmObjectPlace;

/* What a chunk of a stream, or a response, says of itself. */
typedef struct UmChunk
{
	const char *id;
	bool		counted;		/* it has usage */
	int			depth;
} UmChunk;

/* A word, a step, ... that was found on the way. */
typedef struct UmFound
{
	UmMeaning	meaning;
	UmEnd		end;
	UmNode	   *node;
	int			depth;
	int			number;
	int			family;
} UmFound;

/* A state of the pass: how far a path has been followed. */
typedef struct UmState
{
	UmTrie	   *trie;
	uint64		group;
	bool		in_response;
} UmState;

/* What is unread, or another reason not to price the call. */
typedef struct UmUnread
{
	char	   *path;
	UmNode	   *node;			/* NULL: the path is a sentence */
} UmUnread;

typedef struct UmReader
{
	const UmShapes *shapes;
	bool		is_stream;
	UmState    *states;
	int			nstates;
	int			maxstates;
	UmHit	   *hits;			/* of the object that is walked */
	int			nhits;
	int			maxhits;
	UmNode	  **leaves;
	int			nleaves;
	int			maxleaves;
	uint32		nobjects;
	bool		in_usage;		/* a usage object is walked */
	UmObjectPlace *places;
	int			nplaces;
	UmFound    *found;
	int			nfound;
	UmUnread	unread[MAX_UNREAD];
	int			nunread;
	bool		is_there[UM_TOLD_COUNT];	/* input=0 and the like */
	bool		empty_usage;	/* usage: null */
	UmNode	   *wrong_usage;	/* usage: 5 */
} UmReader;

#define KNOWN(t, m)		((t)->whole[m].known)
#define COUNT(t, m)		((t)->whole[m].known ? (t)->whole[m].value.count : 0)

/* read_unread.c */
extern char *um_path_of(const UmObject *object, UmNode *node);
extern char *um_shown(UmNode *node);
extern void um_hold(UmReader *r, char *path, UmNode *node);
extern bool um_any_field_unread(const UmReader *r);
extern Jsonb *um_unread_object(UmReader *r);
extern void um_unknown_shape(const char *what);

/* read_count.c */
extern bool um_value_is_zero(const UmValue *value);
extern int	um_value_compare(const UmValue *a, const UmValue *b);
extern char *um_value_text(const UmValue *value);
extern int64 um_count_plus(int64 a, int64 b);
extern void um_value_add(UmValue *to, const UmValue *value);
extern UmValue um_value_of(int64 count, bool whole);
extern UmValue um_read_number(const UmObject *object, const UmLine *line, UmNode *node);

/* read_paths.c */
extern UmObject *um_look_at_object(UmReader *r, UmNode *root, bool as_response, int depth);
extern int	um_family_line(UmReader *r, const UmObject *object, bool in_response);

/* read_fields.c */
extern void um_tell_object(UmReader *r, UmObject *object, int family, UmCounts *told);

/* read_totals.c */
extern void um_count_set(UmCounts *t, int meter, int64 count);
extern void um_derive_counts(UmReader *r, UmCounts *t);
extern void um_merge_usage(UmReader *r, UmCounts *all, const UmCounts *told);

/* read_envelope.c */
extern void um_look_at_envelope(UmReader *r, UmNode *root, UmChunk *chunk);

/* read_stream.c */
extern UmNode *um_look_at_chunks(UmReader *r, UmNode *root);
extern void um_tell_chunks(UmReader *r, const UmObjectPlace *place, UmCounts *told);

/* read_time.c */
extern bool um_read_time(UmNode *node, TimestampTz *time);

#endif							/* UM_READER_INTERNAL_H */
