/*
 * text_span.h
 *		Bytes of a text that belong to somebody else.
 */
#ifndef UM_TEXT_SPAN_H
#define UM_TEXT_SPAN_H

#include "base/compat.h"
#include "utils/builtins.h"

typedef struct UmString
{
	const char *data;			/* NULL: none */
	int			length;
} UmString;

#define UM_EMPTY ((UmString) {"", 0})

/* The organisation of who names none. */
#define UM_DEFAULT_ORG "default"

/* The bytes of a text, which may be null. */
static inline UmString
um_text_string(Datum value, bool isnull)
{
	UmString	string = {NULL, 0};

	if (!isnull)
	{
		text	   *bytes = DatumGetTextPP(value);

		string.data = VARDATA_ANY(bytes);
		string.length = VARSIZE_ANY_EXHDR(bytes);
	}
	return string;
}

/* Are these the same bytes?  None are not the same as an empty string. */
static inline bool
um_string_equal(UmString a, UmString b)
{
	return a.length == b.length &&
		(a.data == NULL || b.data == NULL ? a.data == b.data : memcmp(a.data, b.data, a.length) == 0);
}

/* Compares the bytes with a string that ends with a zero. */
static inline int
um_string_order(UmString string, const char *other)
{
	int			order = strncmp(string.data, other, string.length);

	return order != 0 ? order : other[string.length] == '\0' ? 0 : -1;
}

/* A text of those bytes. */
static inline Datum
um_string_text(UmString string)
{
	return PointerGetDatum(cstring_to_text_with_len(string.data, string.length));
}

/* A string that ends with a zero, which may be NULL. */
static inline UmString
um_string_of(const char *string)
{
	return (UmString) {string, string == NULL ? 0 : (int) strlen(string)};
}

extern UmString um_string_trimmed(UmString string);
extern bool um_string_like(UmString string, UmString pattern);

#endif							/* UM_TEXT_SPAN_H */
