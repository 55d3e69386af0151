/*
 * text_span.c
 *		Trimming texts, and comparing them with patterns.
 */
#include "postgres.h"

#include "base/text_span.h"

static bool
is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* A string without the blanks round it. */
UmString
um_string_trimmed(UmString string)
{
	while (string.length > 0 && is_blank(string.data[string.length - 1]))
		string.length--;
	while (string.length > 0 && is_blank(string.data[0]))
	{
		string.data++;
		string.length--;
	}
	return string;
}

/* Is the string what the pattern says, where * stands for any run of bytes? */
bool
um_string_like(UmString string, UmString pattern)
{
	int			p = 0;
	int			s = 0;
	int			star = -1;		/* the last one that was passed, */
	int			from = 0;		/* and where what follows it is looked for */

	while (s < string.length)
	{
		if (p < pattern.length && pattern.data[p] == '*')
		{
			star = p++;
			from = s;
		}
		else if (p < pattern.length && pattern.data[p] == string.data[s])
		{
			p++;
			s++;
		}
		else if (star >= 0)
		{
			p = star + 1;
			s = ++from;
		}
		else
			return false;
	}
	while (p < pattern.length && pattern.data[p] == '*')
		p++;
	return p == pattern.length;
}
