/*
 * as_owner.h
 *		What runs as the ledger's owner for somebody, and for whom.
 */
#ifndef UM_AS_OWNER_H
#define UM_AS_OWNER_H

extern Oid	um_caller(void);

#endif							/* UM_AS_OWNER_H */
