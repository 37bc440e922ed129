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
 * Look for one key after the other: is an answer stored that is fresh by
 * "accepts"?  in_order: they come in their order, each of them once, and
 * neighbours are read together.  Reads what was committed at the begin.  A
 * table that is locked against readers is passed over; co_looker_is_blind()
 * tells.  The locks are held until the end.
 */
typedef struct CoLooker CoLooker;
extern CoLooker *co_looker_begin(const CoCatalog *catalog, bool in_order);
extern bool co_looker_finds(CoLooker *looker, text *key, const CoFreshness *accepts);
extern bool co_looker_is_blind(const CoLooker *looker);

/* Did the last look meet an answer at all, fresh or not? */
extern bool co_looker_met(const CoLooker *looker);
extern void co_looker_end(CoLooker *looker);

/*
 * Likewise, but from time to time within a transaction, in any order.  Reads
 * what is committed at each look and what the transaction itself has written,
 * without a snapshot: an answer that is being written over may be missed, and
 * so are the first ones in an empty table.  So nothing that is paid for may
 * hang on it alone.
 * co_looker_rest() lets go of the pages until the next look.
 */
extern CoLooker *co_looker_begin_lasting(const CoCatalog *catalog);
extern void co_looker_rest(CoLooker *looker);

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
