#ifndef UM_LIMITS_H
#define UM_LIMITS_H

extern int	um_max_tags;
extern int	um_max_reservation_ttl; /* seconds */
extern int	um_request_id_window;	/* minutes; 0: no end */

extern void um_limits_init(void);

#endif							/* UM_LIMITS_H */
