/*-------------------------------------------------------------------------
 * watch.h
 *		Tables of users whose status column is kept true.
 *-------------------------------------------------------------------------
 */
#ifndef CO_WATCH_H
#define CO_WATCH_H

#include "handlers.h"

/*
 * Find the watched table and check that the role still may do this; throws
 * where it may not.  call->gone if there is nothing left to watch.
 */
extern void co_watch_resolve(const CoCatalog *catalog, const CoHandler *handler,
							 CoHandlerCall *call);

/*
 * The statuses (text) to write for these addresses (text), 0 where there is
 * none.  For those that ask, only that of a fresh answer.
 */
extern void co_watch_load(const CoCatalog *catalog, int count, const Datum *emails,
						  const bool *asks, Datum *statuses, MemoryContext context);

/* As the role: have verified what asks and has no status, write the others. */
extern void co_watch_apply(const CoCatalog *catalog, const CoHandlerCall *call,
						   int count, const Datum *emails, const bool *asks,
						   const Datum *statuses);

#endif							/* CO_WATCH_H */
