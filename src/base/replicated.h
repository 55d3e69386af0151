#ifndef UM_REPLICATED_H
#define UM_REPLICATED_H

extern void um_replicated_init(void);
extern bool um_is_replicated(void);
extern bool um_replicated_is_live(void);
extern bool um_replicated_is_copied(void);

#endif							/* UM_REPLICATED_H */
