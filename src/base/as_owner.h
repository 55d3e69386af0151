#ifndef UM_AS_OWNER_H
#define UM_AS_OWNER_H

extern Oid	um_caller(void);

#endif							/* UM_AS_OWNER_H */
