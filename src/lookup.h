/*-------------------------------------------------------------------------
 * lookup.h
 *		Look a stored answer up.
 *-------------------------------------------------------------------------
 */
#ifndef CO_LOOKUP_H
#define CO_LOOKUP_H

#include "utils/relcache.h"

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

/*
 * Leave only those of the keys for which no fresh answer is stored; returns how
 * many these are.  A table that is locked against readers is passed over.
 */
extern int	co_lookup_remove_fresh(const CoCatalog *catalog, char **keys, int count,
								   const CoFreshness *accepts);

/* Is this a plain index on the column "email" alone, in its own order? */
extern bool co_is_email_index(Relation index, AttrNumber email);

#endif							/* CO_LOOKUP_H */
