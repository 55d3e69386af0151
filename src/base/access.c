/*
 * access.c
 *		Who is confined to which organisations.
 *
 * As soon as the table access names an organisation, everybody is confined to
 * what it gives to him and to the roles whose privileges he has: to some
 * organisations, or, by a row without one, to none.  Superusers, whoever
 * bypasses row security and the ledger's owner are not.  So a row that is missing
 * shows less, and never more.
 *
 * Policies call _own(org), which the planner replaces by what holds for the
 * user: one condition that an index serves, or nothing but a look whether that
 * is still so.  Plans of row security are made anew for another role and when
 * the tables are said to have changed; one that should have been, and was not,
 * finds no row.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/table.h"
#include "access/tableam.h"
#include "base/access.h"
#include "base/as_owner.h"
#include "base/catalog.h"
#include "base/text_span.h"
#include "catalog/namespace.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/supportnodes.h"
#include "rewrite/rowsecurity.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(usage_monitor_own);
PG_FUNCTION_INFO_V1(usage_monitor_rolled_up);
PG_FUNCTION_INFO_V1(usage_monitor_rollups_apply);
PG_FUNCTION_INFO_V1(usage_monitor_confined_to);
PG_FUNCTION_INFO_V1(usage_monitor_confinement);
PG_FUNCTION_INFO_V1(usage_monitor_own_support);
PG_FUNCTION_INFO_V1(usage_monitor_check_support);
PG_FUNCTION_INFO_V1(usage_monitor_own_orgs);
PG_FUNCTION_INFO_V1(usage_monitor_caller_orgs);
PG_FUNCTION_INFO_V1(usage_monitor_is_open);
PG_FUNCTION_INFO_V1(usage_monitor_check_org);

/* What is remembered of a user. */
typedef struct Known
{
	Oid			user;			/* InvalidOid: of nobody */
	uint64		table;			/* of when it was read */
	uint64		roles;
	UmAccess	access;
	MemoryContext context;
} Known;

/* Of the current user, and of whom the owner acts for. */
static Known known[2];

static uint64 roles = 1;		/* goes up with roles and memberships */
static bool plans_depend;		/* has anybody been confined, in this session? */

static void
roles_changed(Datum arg, int cacheid, uint32 hash)
{
	roles++;
	if (plans_depend)
		ResetPlanCache();
}

/* Asks to be told of changes. */
void
um_access_init(void)
{
	CacheRegisterSyscacheCallback(AUTHOID, roles_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, roles_changed, (Datum) 0);
}

/* A private function of organisations, whether the user may look into the schema or not. */
static Oid
find_function(const char *name)
{
	Oid			argtype = TEXTARRAYOID;
	oidvector  *types = buildoidvector(&argtype, 1);

	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum(name),
						   PointerGetDatum(types),
						   ObjectIdGetDatum(get_namespace_oid(UM_PRIVATE_SCHEMA, false)));
}

/* The columns of access. */
enum
{
	COL_ROLE = 1,
	COL_ACCESS,
	COL_ORG
};

static int
compare_texts(const void *a, const void *b)
{
	text	   *x = DatumGetTextPP(*(const Datum *) a);
	text	   *y = DatumGetTextPP(*(const Datum *) b);
	int			x_length = VARSIZE_ANY_EXHDR(x);
	int			y_length = VARSIZE_ANY_EXHDR(y);
	int			order = memcmp(VARDATA_ANY(x), VARDATA_ANY(y), Min(x_length, y_length));

	return order != 0 ? order : x_length - y_length;
}

/* The different ones of some organisations, ascending. */
static ArrayType *
make_array(List *orgs, int *count)
{
	Datum	   *values = palloc(sizeof(Datum) * (list_length(orgs) + 1));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, orgs)
		values[n++] = PointerGetDatum(lfirst(lc));
	qsort(values, n, sizeof(Datum), compare_texts);
	*count = 0;
	for (int i = 0; i < n; i++)
		if (i == 0 || compare_texts(&values[i], &values[*count - 1]) != 0)
			values[(*count)++] = values[i];
	return construct_array(values, *count, TEXTOID, -1, false, TYPALIGN_INT);
}

/* Notes an organisation that a row gives to the user. */
static void
note_org(List **orgs, const char *access, text *org)
{
	/* the row of roles that others are members of */
	if (VARSIZE_ANY_EXHDR(org) == 0)
		return;
	orgs[UM_TO_SEE] = lappend(orgs[UM_TO_SEE], org);
	if (access != NULL && strcmp(access, "writer") == 0)
		orgs[UM_TO_RECORD] = lappend(orgs[UM_TO_RECORD], org);
	if (access != NULL && strcmp(access, "manager") == 0)
		orgs[UM_TO_MANAGE] = lappend(orgs[UM_TO_MANAGE], org);
}

/* Reads what the table has for a user. */
static void
load(Known *entry, Oid user)
{
	UmAccess   *access = &entry->access;
	bool		has_all = has_bypassrls_privilege(user) || has_privs_of_role(user, um_owner());
	List	   *orgs[UM_PURPOSES] = {NIL};
	Relation	relation = table_open(um_relation(UM_ACCESS), AccessShareLock);
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	Snapshot	snapshot = RegisterSnapshot(IsInParallelMode() ? GetActiveSnapshot() : GetLatestSnapshot());
	TableScanDesc scan = table_beginscan(relation, snapshot, 0, NULL);
	MemoryContext old;

	memset(access, 0, sizeof(UmAccess));
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;
		Oid			role = get_role_oid(TextDatumGetCString(slot_getattr(slot, COL_ROLE, &isnull)), true);
		Datum		kind = slot_getattr(slot, COL_ACCESS, &isnull);
		char	   *kind_name = isnull ? NULL : TextDatumGetCString(kind);
		Datum		org = slot_getattr(slot, COL_ORG, &isnull);

		CHECK_FOR_INTERRUPTS();
		access->is_on |= !isnull;
		if (has_all || !OidIsValid(role) || !has_privs_of_role(user, role))
			continue;
		if (isnull)
			has_all = true;
		else
			note_org(orgs, kind_name, DatumGetTextPCopy(org));
	}
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(slot);
	table_close(relation, AccessShareLock);

	access->is_confined = access->is_on && !has_all;
	plans_depend |= access->is_on;
	if (!access->is_confined)
		return;
	if (entry->context == NULL)
		entry->context = AllocSetContextCreate(TopMemoryContext, "usage_monitor access", ALLOCSET_SMALL_SIZES);
	MemoryContextReset(entry->context);
	old = MemoryContextSwitchTo(entry->context);
	for (int p = 0; p < UM_PURPOSES; p++)
		access->orgs[p] = make_array(orgs[p], &access->count[p]);
	MemoryContextSwitchTo(old);
}

/* What holds for a user; good until the next call. */
static const UmAccess *
access_of(Oid user)
{
	Known	   *entry = &known[user == GetUserId() ? 0 : 1];

	/* whatever makes it unknown where the table is counts as a change of it */
	if (entry->user != user || entry->table != um_generation(UM_TOPIC_ACCESS) || entry->roles != roles)
	{
		uint64		table;
		uint64		now = roles;

		um_watch(UM_TOPIC_ACCESS);
		table = um_generation(UM_TOPIC_ACCESS);
		entry->user = InvalidOid;
		load(entry, user);
		entry->user = user;
		entry->table = table;
		entry->roles = now;
	}
	return &entry->access;
}

/* What holds for the current user. */
const UmAccess *
um_access(void)
{
	return access_of(GetUserId());
}

/* The organisations that the one for whom the owner acts is confined to; NULL: he is not. */
ArrayType *
um_caller_orgs(UmPurpose purpose)
{
	return access_of(um_caller())->orgs[purpose];
}

/* Are these the same organisations?  NULL: every one. */
bool
um_access_equal(const ArrayType *a, const ArrayType *b)
{
	return a == NULL || b == NULL ? a == b :
		VARSIZE(a) == VARSIZE(b) && memcmp(a, b, VARSIZE(a)) == 0;
}

/* The organisations of an array of them; memory is the caller's. */
static Datum *
take_apart(ArrayType *orgs, int *count)
{
	Datum	   *values;

	deconstruct_array(orgs, TEXTOID, -1, false, TYPALIGN_INT, &values, NULL, count);
	return values;
}

static bool
includes(const UmAccess *access, UmPurpose purpose, UmString org)
{
	Datum		wanted;
	Datum	   *values;
	int			count;

	if (!access->is_confined)
		return true;
	wanted = um_string_text(org);
	values = take_apart(access->orgs[purpose], &count);
	return bsearch(&wanted, values, count, sizeof(Datum), compare_texts) != NULL;
}

/* May the current user see what is of an organisation? */
bool
um_may_see(UmString org)
{
	return includes(um_access(), UM_TO_SEE, org);
}

/* Has the one for whom the owner acts an organisation, for that purpose? */
bool
um_caller_has(UmPurpose purpose, UmString org)
{
	return includes(access_of(um_caller()), purpose, org);
}

/*
 * Refuses an organisation that the one for whom this runs is not for, and does
 * not repeat it.  Returns the one that is meant: who is confined to one means
 * it by the default, which a row without any has.
 */
UmString
um_check_org(UmPurpose purpose, UmString org)
{
	const UmAccess *access = access_of(um_caller());
	int			count;

	if (includes(access, purpose, org))
		return org;
	if (access->count[purpose] == 1 && um_string_equal(org, um_string_of(UM_DEFAULT_ORG)))
		return um_text_string(datumCopy(take_apart(access->orgs[purpose], &count)[0], false, -1), false);
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("role \"%s\" has no access to that organisation",
					GetUserNameFromId(um_caller(), true)),
			 errhint("SELECT usage_monitor.grant_access(role, access, org => ...) gives a role an organisation.")));
}

/* Has the ledger policies that are not ours? */
static bool
has_other_policies(void)
{
	static uint64 generation;
	static bool result;
	Relation	relation;

	if (generation == um_generation(UM_TOPIC_LEDGER))
		return result;
	um_watch(UM_TOPIC_LEDGER);
	relation = table_open(um_relation(UM_USAGE), AccessShareLock);
	generation = um_generation(UM_TOPIC_LEDGER);
	result = false;
	if (relation->rd_rsdesc != NULL)
	{
		ListCell   *lc;

		foreach(lc, relation->rd_rsdesc->policies)
		{
			const char *name = ((RowSecurityPolicy *) lfirst(lc))->policy_name;

			if (name != NULL && strcmp(name, "_open") != 0 && strcmp(name, "_own") != 0)
				result = true;
		}
	}
	table_close(relation, AccessShareLock);
	return result;
}

/* Is row security on the ledger ours alone, to confine some to their organisations? */
static bool
is_open(void)
{
	return um_access()->is_on && !has_other_policies();
}

/*
 * Is the current user's view of the ledger less than all of it, or than all of
 * his organisations?  Asked for each row of a rollup.
 */
bool
um_has_row_security(void)
{
	static Oid	user;
	static uint64 ledger;
	static uint64 table;
	static uint64 role;
	static bool no_force;
	static bool result;

	if (user != GetUserId() || ledger != um_generation(UM_TOPIC_LEDGER) ||
		table != um_generation(UM_TOPIC_ACCESS) || role != roles || no_force != InNoForceRLSOperation())
	{
		user = InvalidOid;
		um_watch(UM_TOPIC_LEDGER);
		um_watch(UM_TOPIC_ACCESS);
		result = check_enable_rls(um_relation(UM_USAGE), InvalidOid, true) == RLS_ENABLED && !is_open();
		ledger = um_generation(UM_TOPIC_LEDGER);
		table = um_generation(UM_TOPIC_ACCESS);
		role = roles;
		no_force = InNoForceRLSOperation();
		user = GetUserId();
	}
	return result;
}

/* _own(org): may the current user see and record what is of that organisation? */
Datum
usage_monitor_own(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(PG_ARGISNULL(0) ? !um_access()->is_confined : um_may_see(um_text_string(PG_GETARG_DATUM(0), false)));
}

/* _rolled_up(org): may he, by the rollups? */
Datum
usage_monitor_rolled_up(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(DatumGetBool(usage_monitor_own(fcinfo)) && !um_has_row_security());
}

static ArrayType *
array_argument(FunctionCallInfo fcinfo)
{
	return PG_ARGISNULL(0) ? NULL : PG_GETARG_ARRAYTYPE_P(0);
}

/* _confined_to(orgs): is the current user confined to just these?  NULL: to none. */
Datum
usage_monitor_confined_to(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(um_access_equal(array_argument(fcinfo), um_access()->orgs[UM_TO_SEE]));
}

/* _rollups_apply(orgs): if he is, may his query use the rollups? */
Datum
usage_monitor_rollups_apply(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(um_access_equal(array_argument(fcinfo), um_access()->orgs[UM_TO_SEE]) && !um_has_row_security());
}

/* To how many organisations, as _confinement() has it. */
static int
confinement(void)
{
	const UmAccess *access = um_access();

	return !access->is_confined ? 0 : access->count[UM_TO_SEE] == 1 ? 1 : 2;
}

/* _confinement(): 0, the current user is not confined; 1, to one organisation; 2, to several or none. */
Datum
usage_monitor_confinement(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(confinement());
}

/* The purpose that an argument names; NULL: to see. */
static UmPurpose
purpose_argument(FunctionCallInfo fcinfo, int argument)
{
	char	   *access = PG_ARGISNULL(argument) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argument));

	return access == NULL ? UM_TO_SEE :
		strcmp(access, "writer") == 0 ? UM_TO_RECORD :
		strcmp(access, "manager") == 0 ? UM_TO_MANAGE : UM_TO_SEE;
}

static Datum
orgs_of(FunctionCallInfo fcinfo, const UmAccess *access)
{
	if (!access->is_confined)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(datumCopy(PointerGetDatum(access->orgs[purpose_argument(fcinfo, 0)]), false, -1));
}

/* _own_orgs(access): what the current user is confined to; NULL: he is not. */
Datum
usage_monitor_own_orgs(PG_FUNCTION_ARGS)
{
	return orgs_of(fcinfo, um_access());
}

/* _caller_orgs(access): what the one for whom the owner acts is confined to. */
Datum
usage_monitor_caller_orgs(PG_FUNCTION_ARGS)
{
	return orgs_of(fcinfo, access_of(um_caller()));
}

/* _is_open(): is row security of the ledger there to confine alone? */
Datum
usage_monitor_is_open(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(is_open());
}

/* _check_org(org, access): the organisation that the one for whom the owner acts means; refuses one that is not his. */
Datum
usage_monitor_check_org(PG_FUNCTION_ARGS)
{
	UmString	org = PG_ARGISNULL(0) ? um_string_of(UM_DEFAULT_ORG) : um_text_string(PG_GETARG_DATUM(0), false);

	PG_RETURN_DATUM(um_string_text(um_check_org(purpose_argument(fcinfo, 1), org)));
}

/* argument = ANY (the organisations), or = the only one, as an index has it. */
static Expr *
make_condition(Node *argument, const UmAccess *access, Const *orgs, Oid collation)
{
	ScalarArrayOpExpr *any;

	if (access->count[UM_TO_SEE] == 1)
	{
		int			count;
		Datum		org = datumCopy(take_apart(access->orgs[UM_TO_SEE], &count)[0], false, -1);
		OpExpr	   *equal = (OpExpr *) make_opclause(TextEqualOperator, BOOLOID, false, (Expr *) argument,
													 (Expr *) makeConst(TEXTOID, -1, collation, -1, org, false, false),
													 InvalidOid, collation);

		equal->opfuncid = F_TEXTEQ;
		return (Expr *) equal;
	}
	any = makeNode(ScalarArrayOpExpr);
	any->opno = TextEqualOperator;
	any->opfuncid = F_TEXTEQ;
	any->useOr = true;
	any->inputcollid = collation;
	any->args = list_make2(argument, copyObject(orgs));
	any->location = -1;
	return (Expr *) any;
}

/*
 * Planner support of _own() and _rolled_up(), which become a condition on org
 * and a look whether it still is the user's, and of _confinement().
 */
Datum
usage_monitor_own_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);
	const UmAccess *access;
	FuncExpr   *call;
	Oid			function;
	Const	   *orgs;
	Expr	   *check;

	if (!IsA(request, SupportRequestSimplify))
		PG_RETURN_POINTER(NULL);
	call = ((SupportRequestSimplify *) request)->fcall;
	if (call->args == NIL)
		PG_RETURN_POINTER(makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(confinement()),
									false, true));

	function = find_function(strcmp(get_func_name(call->funcid), "_own") == 0 ?
							 "_confined_to" : "_rollups_apply");
	if (!OidIsValid(function))
		PG_RETURN_POINTER(NULL);
	access = um_access();
	orgs = makeConst(TEXTARRAYOID, -1, call->inputcollid, -1,
					 access->is_confined ? datumCopy(PointerGetDatum(access->orgs[UM_TO_SEE]), false, -1) : (Datum) 0,
					 !access->is_confined, false);
	check = (Expr *) makeFuncExpr(function, BOOLOID, list_make1(orgs), InvalidOid, call->inputcollid,
								  COERCE_EXPLICIT_CALL);
	if (!access->is_confined)
		PG_RETURN_POINTER(check);
	PG_RETURN_POINTER(make_andclause(list_make2(check,
												make_condition(linitial(call->args), access, orgs,
															   call->inputcollid))));
}

/*
 * Planner support of the looks whether a plan is still the user's: they mostly
 * let all rows through, where the planner would expect a third of them.
 */
Datum
usage_monitor_check_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);

	if (!IsA(request, SupportRequestSelectivity))
		PG_RETURN_POINTER(NULL);
	((SupportRequestSelectivity *) request)->selectivity = 1.0;
	PG_RETURN_POINTER(request);
}
