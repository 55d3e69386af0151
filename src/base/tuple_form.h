#ifndef UM_TUPLE_FORM_H
#define UM_TUPLE_FORM_H

#include "access/htup.h"
#include "access/tupdesc.h"

extern HeapTuple um_form_tuple(TupleDesc desc, Datum *values, bool *nulls);

#endif							/* UM_TUPLE_FORM_H */
