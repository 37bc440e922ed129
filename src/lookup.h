/*-------------------------------------------------------------------------
 * lookup.h
 *		Look a stored answer up.
 *-------------------------------------------------------------------------
 */
#ifndef CO_LOOKUP_H
#define CO_LOOKUP_H

#include "utils/relcache.h"

#include "catalog.h"
#include "keys.h"
#include "row.h"
#include "slots.h"

/*
 * The stored answer for this key that is fresh by "accepts", palloc'd; false
 * if there is none.  Reads what is committed now, whatever snapshot the
 * transaction has.  No lock is left behind, and none is waited for: a table
 * that somebody has locked against readers is passed over, and *locked set
 * (may be NULL).  Where the last attempt ended with "unknown", and only that
 * attempt is fresh, the row speaks of the attempt.
 */
extern bool co_lookup(const CoCatalog *catalog, const char *key,
							const CoFreshness *accepts, CoRow *row,
							bool *locked);

/*
 * Leave only those of the keys, which are sorted, for which no fresh answer is
 * stored.  A table that is locked against readers is passed over.
 */
extern void co_lookup_remove_fresh(const CoCatalog *catalog, CoKeys *keys,
								   const CoFreshness *accepts);

/*
 * For somebody who looks up many, one by one: keep the locks for reading until
 * the end of the transaction, as a query does, since to take and release them
 * each time costs more than the look-up.
 */
extern void co_lookup_keep_locks(const CoCatalog *catalog);

#endif							/* CO_LOOKUP_H */
