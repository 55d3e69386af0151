/*
 * text_span.h
 *		Bytes of a text that belong to somebody else.
 */
#ifndef UM_TEXT_SPAN_H
#define UM_TEXT_SPAN_H

typedef struct UmString
{
	const char *data;			/* NULL: none */
	int			length;
} UmString;

#endif							/* UM_TEXT_SPAN_H */
