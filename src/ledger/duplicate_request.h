/*
 * duplicate_request.h
 *		Recognising a request that is in the ledger already.
 */
#ifndef UM_DUPLICATE_REQUEST_H
#define UM_DUPLICATE_REQUEST_H

#include "access/htup.h"
#include "base/text_span.h"
#include "utils/relcache.h"

extern bool um_request_any_is_retry;
extern bool um_request_is_retry(Relation relation, HeapTuple row,
								UmString org, UmString request_id);

#endif							/* UM_DUPLICATE_REQUEST_H */
