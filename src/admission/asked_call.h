#ifndef UM_ASKED_CALL_H
#define UM_ASKED_CALL_H

#include "base/access.h"
#include "fmgr.h"
#include "quota/quota_match.h"

/* The arguments that name it, which come first. */
enum
{
	UM_ASKED_ORG, UM_ASKED_USER_ID, UM_ASKED_PROJECT, UM_ASKED_DEPARTMENT, UM_ASKED_SESSION_ID,
	UM_ASKED_MODEL, UM_ASKED_PROVIDER, UM_ASKED_TAGS, UM_ASKED_ARGUMENTS
};

/* The call, as the ledger will have it. */
typedef struct UmAskedCall
{
	UmCounted	row;			/* without a cost: what it will use comes beside it */
	UmString	provider;		/* as it was given; NULL: it was not */
} UmAskedCall;

extern void um_asked_call(FunctionCallInfo fcinfo, UmPurpose purpose, TimestampTz ts,
						  UmAskedCall *call);
extern char *um_asked_no_price(UmString model);

#endif							/* UM_ASKED_CALL_H */
