/*
 * as_owner.c
 *		What runs as the ledger's owner for somebody, and for whom.
 *
 * In a function that is SECURITY DEFINER nobody can tell who called it:
 * neither the session's user nor the role that it has set need be whose code
 * did.  So the public functions that ask are these here, and what they do is
 * in functions of the same name and arguments in the private schema; what a
 * private one does, in one whose name ends with _as_owner.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "base/as_owner.h"
#include "base/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(usage_monitor_as_owner);
PG_FUNCTION_INFO_V1(usage_monitor_caller);

static Oid	caller;				/* for whom the owner runs something; InvalidOid: nobody */

/* The user for whom this runs: who called what runs as the owner, or the current one. */
Oid
um_caller(void)
{
	return OidIsValid(caller) && GetUserId() == um_owner() ? caller : GetUserId();
}

/* Finds the function of the same name and arguments in the private schema. */
static FmgrInfo *
find_private(FmgrInfo *public)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(public->fn_oid));
	Form_pg_proc form;
	Oid			schema = get_namespace_oid(UM_PRIVATE_SCHEMA, false);
	FmgrInfo   *private;
	NameData	name;
	Oid			function;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", public->fn_oid);
	form = (Form_pg_proc) GETSTRUCT(tuple);
	/* not LookupFuncName(): the user need not be able to look into that schema */
	namestrcpy(&name, psprintf("%s%s", NameStr(form->proname), form->pronamespace == schema ? "_as_owner" : ""));
	function = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, NameGetDatum(&name),
							   PointerGetDatum(&form->proargtypes), ObjectIdGetDatum(schema));
	if (!OidIsValid(function))
		elog(ERROR, "there is no function \"%s\" to run as the owner", NameStr(name));
	ReleaseSysCache(tuple);

	private = MemoryContextAllocZero(public->fn_mcxt, sizeof(FmgrInfo));
	fmgr_info_cxt(function, private, public->fn_mcxt);
	return private;
}

/* Calls the private function of the same name as the ledger's owner. */
Datum
usage_monitor_as_owner(PG_FUNCTION_ARGS)
{
	FunctionCallInfo inner = palloc0(SizeForFunctionCallInfo(fcinfo->nargs));
	Oid			before = caller;
	Oid			owner = um_owner();
	Oid			user;
	int			security;
	Datum		result;

	if (fcinfo->flinfo->fn_extra == NULL)
		fcinfo->flinfo->fn_extra = find_private(fcinfo->flinfo);
	InitFunctionCallInfoData(*inner, fcinfo->flinfo->fn_extra, fcinfo->nargs, fcinfo->fncollation,
							 fcinfo->context, fcinfo->resultinfo);
	memcpy(inner->args, fcinfo->args, sizeof(NullableDatum) * fcinfo->nargs);

	GetUserIdAndSecContext(&user, &security);
	/* what the owner calls on somebody's behalf is still for him */
	if (!OidIsValid(caller) || user != owner)
		caller = user;
	PG_TRY();
	{
		SetUserIdAndSecContext(owner, security | SECURITY_LOCAL_USERID_CHANGE);
		result = FunctionCallInvoke(inner);
	}
	PG_FINALLY();
	{
		caller = before;		/* an error resets the user by itself */
	}
	PG_END_TRY();
	SetUserIdAndSecContext(user, security);

	fcinfo->isnull = inner->isnull;
	return result;
}

/* _caller(): the name of the role for which this runs. */
Datum
usage_monitor_caller(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(GetUserNameFromId(um_caller(), false)));
}
