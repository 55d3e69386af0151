#ifndef UM_RESERVATION_ROW_H
#define UM_RESERVATION_ROW_H

#include "base/catalog.h"
#include "base/text_span.h"

/* The columns of reservation. */
enum
{
	UM_RES_RESERVATION_ID, UM_RES_STATE, UM_RES_ORG, UM_RES_DEPARTMENT, UM_RES_PROJECT, UM_RES_USER_ID,
	UM_RES_SESSION_ID, UM_RES_PROVIDER, UM_RES_MODEL, UM_RES_TAGS, UM_RES_COST, UM_RES_TOKENS,
	UM_RES_REQUESTS, UM_RES_CREATED_AT, UM_RES_EXPIRES_AT, UM_RES_ENDED_AT, UM_RES_USAGE_ID,
	UM_RES_COLUMNS
};

/* A row of it, taken apart. */
typedef struct UmReservation
{
	HeapTuple	tuple;			/* as it was read */
	Datum		values[UM_RES_COLUMNS];
	bool		nulls[UM_RES_COLUMNS];
} UmReservation;

extern void um_reservation_store(UmReservation *row);
extern bool um_reservation_lock_open(Datum reservation_id, UmString org, UmReservation *row);
extern void um_reservation_end(UmReservation *row, const char *state, Datum usage_id, bool has_usage_id);

#endif							/* UM_RESERVATION_ROW_H */
