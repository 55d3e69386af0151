/*
 * limits.h
 *		What a client may ask for at most.
 */
#ifndef UM_LIMITS_H
#define UM_LIMITS_H

extern int	um_max_tags;
extern int	um_max_reservation_ttl; /* seconds */

extern void um_limits_init(void);

#endif							/* UM_LIMITS_H */
