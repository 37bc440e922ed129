/*-------------------------------------------------------------------------
 * put.h
 *		Write rows of clearout_queue without the executor.
 *-------------------------------------------------------------------------
 */
#ifndef CO_PUT_H
#define CO_PUT_H

#include "enqueue.h"
#include "keys.h"

/*
 * Put those of the keys into the queue that do not wait in it, whatever the
 * snapshot shows; they must be in order and without duplicates.  False if the
 * table is not as the extension made it: then the executor has to do it, with
 * whatever the table's owner has added.
 */
extern bool co_put(const CoCatalog *catalog, const CoKey *keys, int count,
				   const CoEnqueue *enqueue, uint64 *written);

/*
 * The same for one key after the other, within one transaction: what is opened
 * for a row stays open for the next, in the memory context and for the resource
 * owner that it is opened in (row_by_row.c).  The locks stay at the end.
 */
typedef struct CoPutter CoPutter;

/* NULL if the table is not as the extension made it. */
extern CoPutter *co_putter_begin(const CoCatalog *catalog, const CoEnqueue *enqueue);

/* Is the table as it was? */
extern bool co_putter_stands(const CoPutter *putter);

/* False if it waits already. */
extern bool co_putter_put(CoPutter *putter, text *key, const CoEnqueue *enqueue);

extern void co_putter_end(CoPutter *putter);

#endif							/* CO_PUT_H */
