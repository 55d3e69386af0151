#ifndef UM_TAG_H
#define UM_TAG_H

#include "base/text_span.h"
#include "utils/jsonb.h"

extern UmString um_tag_value(const JsonbValue *value);

#endif							/* UM_TAG_H */
