/*
 * error.h
 *		The SQLSTATEs of usage_monitor: class UM.  README.md lists them.
 */
#ifndef UM_ERROR_H
#define UM_ERROR_H

#define ERRCODE_UM_INVALID_COUNT		MAKE_SQLSTATE('U','M','0','0','1')	/* negative, fractional */
#define ERRCODE_UM_IMPOSSIBLE_USAGE		MAKE_SQLSTATE('U','M','0','0','2')	/* parts contradict the whole */
#define ERRCODE_UM_INVALID_COST			MAKE_SQLSTATE('U','M','0','0','3')	/* negative, NaN, infinite */
#define ERRCODE_UM_INVALID_NAME			MAKE_SQLSTATE('U','M','0','0','4')	/* empty or too long */
#define ERRCODE_UM_UNKNOWN_TIER			MAKE_SQLSTATE('U','M','0','0','5')
#define ERRCODE_UM_INVALID_AMOUNT		MAKE_SQLSTATE('U','M','0','0','6')	/* of a quota */
#define ERRCODE_UM_INVALID_THRESHOLD	MAKE_SQLSTATE('U','M','0','0','7')
#define ERRCODE_UM_UNKNOWN_KEYWORD		MAKE_SQLSTATE('U','M','0','0','8')	/* period, scope, metric, meter, ... */
#define ERRCODE_UM_INVALID_PRICE		MAKE_SQLSTATE('U','M','0','0','9')
#define ERRCODE_UM_UNKNOWN_SHAPE		MAKE_SQLSTATE('U','M','0','1','0')	/* of a provider's response */
#define ERRCODE_UM_READ_ONLY			MAKE_SQLSTATE('U','M','0','1','1')	/* shipped rows, the extension's own columns */
#define ERRCODE_UM_UNPRICED				MAKE_SQLSTATE('U','M','0','1','2')	/* refused by the setting */
#define ERRCODE_UM_QUOTA_EXCEEDED		MAKE_SQLSTATE('U','M','1','0','0')	/* refused by a blocking quota */

#endif							/* UM_ERROR_H */
