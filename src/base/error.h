/*
 * error.h
 *		The SQLSTATEs of usage_monitor: class UM.  doc/reference/errors.md
 *		lists them, with their comments ("make reference").
 */
#ifndef UM_ERROR_H
#define UM_ERROR_H

#define ERRCODE_UM_INVALID_COUNT		MAKE_SQLSTATE('U','M','0','0','1')	/* or argument: negative, fractional, out of range, or missing */
#define ERRCODE_UM_IMPOSSIBLE_USAGE		MAKE_SQLSTATE('U','M','0','0','2')	/* parts contradict the whole: more cached than input tokens, ... */
#define ERRCODE_UM_INVALID_COST			MAKE_SQLSTATE('U','M','0','0','3')	/* negative, NaN, infinite, or parts above the whole */
#define ERRCODE_UM_INVALID_NAME			MAKE_SQLSTATE('U','M','0','0','4')	/* empty, too long, or missing */
#define ERRCODE_UM_UNKNOWN_TIER			MAKE_SQLSTATE('U','M','0','0','5')	/* neither standard, batch, flex, priority, fast nor ultrafast */
#define ERRCODE_UM_INVALID_AMOUNT		MAKE_SQLSTATE('U','M','0','0','6')	/* of a quota: not above zero */
#define ERRCODE_UM_INVALID_THRESHOLD	MAKE_SQLSTATE('U','M','0','0','7')	/* of a quota: not above 0 and up to 1, or warning above critical */
#define ERRCODE_UM_UNKNOWN_KEYWORD		MAKE_SQLSTATE('U','M','0','0','8')	/* or its value: period, scope, metric, meter, currency, time zone, billing day, ... */
#define ERRCODE_UM_INVALID_PRICE		MAKE_SQLSTATE('U','M','0','0','9')	/* invalid rate, exchange rate, window or range of validity */
#define ERRCODE_UM_UNKNOWN_SHAPE		MAKE_SQLSTATE('U','M','0','1','0')	/* a response that no known API sends, or a catalogue of another format */
#define ERRCODE_UM_READ_ONLY			MAKE_SQLSTATE('U','M','0','1','1')	/* shipped rows, the extension's own columns, settings of a ledger with rows */
#define ERRCODE_UM_UNPRICED				MAKE_SQLSTATE('U','M','0','1','2')	/* a call without a price, where the setting refuses it */
#define ERRCODE_UM_NOT_VERIFIED			MAKE_SQLSTATE('U','M','0','1','3')	/* counters or rollups are not what the ledger says */
#define ERRCODE_UM_QUOTA_EXCEEDED		MAKE_SQLSTATE('U','M','1','0','0')	/* a call that a blocking quota has no room for */
#define ERRCODE_UM_NOT_RESERVED			MAKE_SQLSTATE('U','M','1','0','1')	/* the reservation is not open */

#endif							/* UM_ERROR_H */
