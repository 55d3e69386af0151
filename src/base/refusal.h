#ifndef UM_REFUSAL_H
#define UM_REFUSAL_H

extern void um_refusal_init(void);

#endif							/* UM_REFUSAL_H */
