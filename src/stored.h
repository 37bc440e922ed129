/*-------------------------------------------------------------------------
 * stored.h
 *		Look up what is stored of the finder's answers and of look-ups.
 *-------------------------------------------------------------------------
 */
#ifndef CO_STORED_H
#define CO_STORED_H

#include "catalog.h"
#include "endpoint.h"
#include "people.h"

/* A stored answer, palloc'd. */
typedef struct CoStored
{
	TimestampTz age;			/* the later of what the service says and of when
								 * it was asked */
	Datum		lookup[CO_LOOKUP_COLUMNS];	/* unless it is a person's */
	bool		lookup_null[CO_LOOKUP_COLUMNS];
	Datum		person[CO_PERSON_COLUMNS];	/* if it is */
	bool		person_null[CO_PERSON_COLUMNS];
} CoStored;

/*
 * The stored answer to this question that is no older than since; false if
 * there is none.  Reads what is committed now, and waits for nobody; see
 * co_lookup(), which does the same for verifications.
 */
extern bool co_stored_find(const CoCatalog *catalog, CoEndpointId endpoint,
						   const char *key, TimestampTz since,
						   CoStored *stored, bool *locked);

#endif							/* CO_STORED_H */
