/*-------------------------------------------------------------------------
 * verify.h
 *		Verify an address, from inside a backend.
 *-------------------------------------------------------------------------
 */
#ifndef CO_VERIFY_H
#define CO_VERIFY_H

#include "catalog.h"
#include "error.h"
#include "row.h"
#include "slots.h"

/*
 * The answer about an address in normal form: the stored one if it is fresh,
 * else that of the service, which is waited for; timeout in microseconds.
 * NULL, and *row is the answer; or why there is none.
 */
extern CoFailure *co_verify_key(const CoCatalog *catalog, const char *key,
								int64 timeout, const CoFreshness *accepts,
								CoRow *row);

#endif							/* CO_VERIFY_H */
