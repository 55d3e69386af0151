/*
 * grow.h
 *		Arrays that grow one by one.
 */
#ifndef UM_GROW_H
#define UM_GROW_H

/* Makes room for one more element of an array, NULL at first, that has so many and loses none. */
static inline void *
um_grow(void *array, int n, Size size)
{
	/* it has room for a power of two of them: is that used up? */
	if ((n & (n - 1)) != 0)
		return array;
	return array == NULL ? palloc(size) : repalloc_huge(array, size * n * 2);
}

#define UM_GROW(array, n)	((array) = um_grow((array), (n), sizeof(*(array))))

#endif							/* UM_GROW_H */
