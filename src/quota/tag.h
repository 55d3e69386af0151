/*
 * tag.h
 *		The tags of a call.
 */
#ifndef UM_TAG_H
#define UM_TAG_H

#include "quota/quota.h"

extern UmString um_tag_value(const JsonbValue *value);

#endif							/* UM_TAG_H */
