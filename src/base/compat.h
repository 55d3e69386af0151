/*
 * compat.h
 *		What later servers have, for earlier ones, as the later ones have it.
 */
#ifndef UM_COMPAT_H
#define UM_COMPAT_H

#include "access/genam.h"
#include "utils/rel.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* PostgreSQL 16: one function for the rights on whatever it is */
#if PG_VERSION_NUM < 160000
#define object_aclcheck(class, object, role, mode) \
	((class) == NamespaceRelationId ? pg_namespace_aclcheck(object, role, mode) : pg_proc_aclcheck(object, role, mode))
#define object_ownercheck(class, object, role)	pg_class_ownercheck(object, role)
#endif

/* PostgreSQL 17 */
#if PG_VERSION_NUM < 170000
#define TransamVariables	ShmemVariableCache
#define MyProcNumber		MyBackendId
#endif

/* PostgreSQL 18 */
#if PG_VERSION_NUM < 180000
#define index_beginscan(heap, index, snapshot, instrument, nkeys, norderbys) \
	index_beginscan(heap, index, snapshot, nkeys, norderbys)
#define RelationGetPrimaryKeyIndex(relation, deferrable_ok) \
	RelationGetPrimaryKeyIndex(relation)
#define pg_noreturn			pg_attribute_noreturn()
#endif

#endif							/* UM_COMPAT_H */
