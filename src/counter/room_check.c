/*
 * room_check.c
 *		Looks whether a blocking quota has room, and refuses what it has none for.
 */
#include "postgres.h"

#include "base/access.h"
#include "base/amount.h"
#include "base/as_owner.h"
#include "base/catalog.h"
#include "base/compat.h"
#include "base/error.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "counter/counter_from_ledger.h"
#include "counter/counter_place.h"
#include "counter/escrow.h"
#include "counter/reserved.h"
#include "counter/room_check.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "quota/quota_cache.h"
#include "utils/acl.h"

/* May a role use what is in the extension's schema?  LookupFuncName() refuses others. */
static bool
may_look_into_schema(Oid user)
{
	Oid			schema = get_namespace_oid(UM_SCHEMA, false);

	return object_aclcheck(NamespaceRelationId, schema, user, ACL_USAGE) == ACLCHECK_OK &&
		object_aclcheck(NamespaceRelationId, schema, GetUserId(), ACL_USAGE) == ACLCHECK_OK;
}

/*
 * May the one who records see how much of a quota is used: in its table, or by
 * asking check_quota()?  What others use is not told to who is confined to his
 * organisations.
 */
static bool
may_see_figures(const UmQuota *quota)
{
	Oid			user = um_caller();
	Oid			check_quota;

	if (quota->org == NULL && quota->scope != UM_SCOPE_ORG && um_caller_orgs(UM_TO_SEE) != NULL)
		return false;
	/* at COMMIT it may be somebody who has called a function that records, and may do no more */
	if (!may_look_into_schema(user))
		return false;
	if (pg_class_aclcheck(um_relation(UM_QUOTA), user, ACL_SELECT) == ACLCHECK_OK)
		return true;
	check_quota = LookupFuncName(list_make2(makeString(UM_SCHEMA), makeString("check_quota")),
								 -1, NULL, true);
	return OidIsValid(check_quota) &&
		object_aclcheck(ProcedureRelationId, check_quota, user, ACL_EXECUTE) == ACLCHECK_OK;
}

/*
 * Refuses what a blocking quota has no room for.  Which quota it was, a program
 * reads from the field that has the name of a violated constraint.
 */
void
um_room_refuse(const UmQuota *quota, const UmCounterName *name, Numeric used, Numeric reserved, Numeric delta)
{
	bool		may_see = may_see_figures(quota);

	ereport(ERROR,
			(errcode(ERRCODE_UM_QUOTA_EXCEEDED),
			 quota->scope == UM_SCOPE_ALL ?
			 errmsg("quota \"%s\" is exceeded", quota->name) :
			 errmsg("quota \"%s\" of %s \"%s\" is exceeded", quota->name,
					um_scope_name(quota->scope),
					pnstrdup(name->subject.data, name->subject.length)),
	/* an application that only inserts need not know the figures */
			 may_see ? errdetail("%s of %s are used and %s reserved, and this adds %s.",
								 amount_text(used), amount_text(quota->amount), amount_text(reserved),
								 amount_text(delta)) : 0,
			 err_generic_string(PG_DIAG_SCHEMA_NAME, UM_SCHEMA),
			 err_generic_string(PG_DIAG_TABLE_NAME, "quota"),
			 err_generic_string(PG_DIAG_CONSTRAINT_NAME, quota->name),
			 quota->period == UM_PERIOD_LIFETIME ?
			 errhint("Raise the quota with usage_monitor.raise_quota(), or for good with usage_monitor.set_quota().") :
			 errhint("Wait for the next period, or raise the quota with usage_monitor.raise_quota().")));
}

/*
 * Looks whether a blocking quota has room for what the transaction adds, so
 * that the statement fails and not the commit.  What was found is kept: only
 * where that would not do it looks again.
 */
void
um_room_check(const UmQuota *quota, UmPending *pending)
{
	bool		live;
	Numeric		delta = um_pending_sum(pending, &live);
	Numeric		room;
	Numeric		reserved;
	UmCounters	counters;
	UmCounterRow row;
	const UmCounterName *name = &pending->name;

	/* a correction downwards needs no room, and there may be less than none */
	if (compare(delta, zero()) <= 0 ||
		(pending->room != NULL && compare(delta, pending->room) <= 0))
		return;

	um_counters_open(&counters, AccessShareLock);
	if ((um_place_find(name, um_own_slot()) != NULL &&	/* or there is hardly one */
		 um_counter_read(&counters, name, um_own_slot(), &row) && um_share_fits(quota, &row, delta)) ||
		(um_counter_read(&counters, name, UM_HEADER, &row) && um_share_fits(quota, &row, delta)))
		room = row.share;
	else
	{
		Numeric		used;

		if (!um_counter_used(&counters, name, &used))
			used = um_ledger_sum(quota, name);
		/* what is reserved just now may be given back: the flush will know */
		reserved = um_reserved(name, false);
		room = minus(quota->amount, plus(used, reserved));
		if (compare(delta, room) > 0)
			um_room_refuse(quota, name, used, reserved, delta);
	}
	um_counters_close(&counters, AccessShareLock);
	pending->room = um_pending_copy_room(room);
}
