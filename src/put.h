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

#endif							/* CO_PUT_H */
