/*
 * asked_call.c
 *		The call that somebody asks about before it is made.
 */
#include "postgres.h"

#include "admission/asked_call.h"
#include "ledger/row_check.h"
#include "pricing/price.h"
#include "utils/inval.h"

/* An argument that is a name, without the blanks round it. */
static UmString
name_argument(FunctionCallInfo fcinfo, int argument)
{
	UmString	name = {NULL, 0};

	if (!PG_ARGISNULL(argument))
		name = um_string_trimmed(um_text_string(PG_GETARG_DATUM(argument), false));
	/* an empty one stands for NULL, where that may be */
	if (name.length == 0 && argument != UM_ASKED_ORG && argument != UM_ASKED_MODEL)
		name.data = NULL;
	return name;
}

/* The organisation that is meant by who asks; refuses one that is not his. */
static UmString
org_argument(FunctionCallInfo fcinfo, UmPurpose purpose)
{
	UmString	org = name_argument(fcinfo, UM_ASKED_ORG);

	return um_check_org(purpose, org.data == NULL ? um_string_of(UM_DEFAULT_ORG) : org);
}

/* A copy of a name that somebody may forget. */
static UmString
copy_of(const char *name)
{
	return (UmString) {pstrdup(name), strlen(name)};
}

/*
 * Reads the call from the first arguments of a function, as the ledger will
 * have it, and refuses what that would refuse.
 */
void
um_asked_call(FunctionCallInfo fcinfo, UmPurpose purpose, TimestampTz ts, UmAskedCall *call)
{
	static const UmScope scopes[] = {
		UM_SCOPE_ORG, UM_SCOPE_USER, UM_SCOPE_PROJECT, UM_SCOPE_DEPARTMENT, UM_SCOPE_SESSION,
		UM_SCOPE_MODEL, UM_SCOPE_PROVIDER
	};
	const UmPriceList *list;
	UmString   *subject;

	memset(call, 0, sizeof(UmAskedCall));
	subject = call->row.subject;
	call->row.ts = ts;
	subject[UM_SCOPE_ALL].data = "";
	for (int i = 0; i < (int) lengthof(scopes); i++)
		subject[scopes[i]] = i == UM_ASKED_ORG ? org_argument(fcinfo, purpose) : name_argument(fcinfo, i);
	call->provider = subject[UM_SCOPE_PROVIDER];
	call->row.model = subject[UM_SCOPE_MODEL];
	if (!PG_ARGISNULL(UM_ASKED_TAGS))
		call->row.tags = PG_GETARG_JSONB_P(UM_ASKED_TAGS);
	um_call_check(&subject[UM_SCOPE_ORG], call->row.tags);

	AcceptInvalidationMessages();
	if (call->row.model.data == NULL)
		return;
	list = um_price_list(subject[UM_SCOPE_ORG], call->provider, call->row.model);
	if (list->model != NULL)
		subject[UM_SCOPE_MODEL] = copy_of(list->model);
	if (call->provider.data == NULL && list->provider != NULL)
		subject[UM_SCOPE_PROVIDER] = copy_of(list->provider);
}

/* Why a call whose cost is not known is not allowed. */
char *
um_asked_no_price(UmString model)
{
	return model.data == NULL ? pstrdup("there is no price: give the cost") :
		psprintf("there is no price for model \"%.*s\": give the cost", model.length, model.data);
}
