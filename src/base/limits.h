#ifndef UM_LIMITS_H
#define UM_LIMITS_H

extern int	um_max_tags;
extern int	um_max_reservation_ttl; /* seconds */
extern int	um_request_id_window;	/* minutes; 0: no end */

extern void um_limits_init(void);
extern void um_limit_define(const char *name, int *value, int initial, int least, int most, int unit,
							const char *description, const char *detail);

#endif							/* UM_LIMITS_H */
