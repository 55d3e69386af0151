#ifndef UM_ACCESS_H
#define UM_ACCESS_H

#include "base/text_span.h"
#include "utils/array.h"

/* What an organisation is asked for. */
typedef enum UmPurpose
{
	UM_TO_SEE,					/* with any access */
	UM_TO_RECORD,				/* as writer */
	UM_TO_MANAGE,				/* as manager */
	UM_PURPOSES
} UmPurpose;

typedef struct UmAccess
{
	bool		is_on;			/* somebody is confined */
	bool		is_confined;	/* the user is */
	ArrayType  *orgs[UM_PURPOSES];	/* then to these, ascending; else NULL */
	int			count[UM_PURPOSES]; /* of them */
} UmAccess;

extern void um_access_init(void);
extern const UmAccess *um_access(void);
extern ArrayType *um_caller_orgs(UmPurpose purpose);
extern bool um_access_equal(const ArrayType *a, const ArrayType *b);
extern bool um_may_see(UmString org);
extern bool um_caller_has(UmPurpose purpose, UmString org);
extern UmString um_check_org(UmPurpose purpose, UmString org);
extern bool um_has_row_security(void);

#endif							/* UM_ACCESS_H */
