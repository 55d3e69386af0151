/*
 * read_time.c
 *		When a response was made.
 */
#include "postgres.h"

#include "base/decimal.h"
#include "record/reader_internal.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

/* Reads an instant as ISO 8601 or as seconds or milliseconds since 1970. */
bool
um_read_time(UmNode *node, TimestampTz *time)
{
	const TimestampTz earliest = ((TimestampTz) (2015 - 2000) * 365 + 4) * USECS_PER_DAY;
	TimestampTz latest = GetCurrentTimestamp() + USECS_PER_DAY;

	if (node->value.type == jbvNumeric)
	{
		const int128 million = 1000000;
		UmDecimal	decimal;
		int128		micros;

		if (!um_decimal_from_numeric(node->value.val.numeric, &decimal) || decimal.scale > 18 ||
			decimal.mantissa <= 0 || decimal.mantissa > (int128) MAX_COUNT * MAX_COUNT / million)
			return false;
		micros = decimal.mantissa * million / um_power_of_ten(decimal.scale);
		/* seconds, milliseconds or microseconds */
		if (micros > million * million * 100000000)
			micros /= million;
		else if (micros > million * million * 100000)
			micros /= 1000;
		if (micros > million * million * 100000)
			return false;
		*time = (TimestampTz) micros -
			(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	}
	else if (node->value.type == jbvString && node->value.val.string.len < MAXDATELEN - 1)
	{
		char	   *text = um_node_text(node);
		char		work[MAXDATELEN + MAXDATEFIELDS];
		char	   *field[MAXDATEFIELDS];
		int			ftype[MAXDATEFIELDS];
		int			nfields,
					dtype,
					zone;
		struct pg_tm tm;
		fsec_t		fsec;
		int			length = strlen(text);
#if PG_VERSION_NUM >= 160000
		DateTimeErrorExtra extra;
#endif

		/* nothing but 2026-11-20T12:00:00, which is UTC where it does not say */
		if (length < 19 || strspn(text, "0123456789") != 4 || text[4] != '-' ||
			(text[10] != 'T' && text[10] != ' '))
			return false;
		if (text[length - 1] != 'Z' && strpbrk(text + 11, "+-") == NULL)
			text = psprintf("%sZ", text);
		if (ParseDateTime(text, work, sizeof(work), field, ftype, MAXDATEFIELDS, &nfields) != 0 ||
			DecodeDateTime(field, ftype, nfields, &dtype, &tm, &fsec, &zone
#if PG_VERSION_NUM >= 160000
						   , &extra
#endif
						   ) != 0 ||
			dtype != DTK_DATE || tm2timestamp(&tm, fsec, &zone, time) != 0)
			return false;
	}
	else
		return false;
	return *time >= earliest && *time <= latest;
}
