/*-------------------------------------------------------------------------
 * lookup.h
 *		Look a stored answer up.
 *-------------------------------------------------------------------------
 */
#ifndef CO_LOOKUP_H
#define CO_LOOKUP_H

#include "catalog.h"
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

#endif							/* CO_LOOKUP_H */
