/*-------------------------------------------------------------------------
 * queuescan.h
 *		Read rows of clearout_queue by key, without the executor.
 *-------------------------------------------------------------------------
 */
#ifndef CO_QUEUESCAN_H
#define CO_QUEUESCAN_H

#include "executor/tuptable.h"

typedef enum CoQueueScanned
{
	CO_QUEUE_SCAN_UNFIT,		/* the table is not as the extension made it:
								 * nothing was read, it takes a SELECT */
	CO_QUEUE_SCAN_STOPPED,		/* by the caller */
	CO_QUEUE_SCAN_ENDED			/* there are no more */
} CoQueueScanned;

/*
 * Is told of a row; its columns are at their numbers (queueshape.h), up to
 * failed_at.  They are gone at the next.  False: no more of them.
 */
typedef bool (*CoQueueVisit) (TupleTableSlot *slot, void *argument);

/*
 * Show the addresses of this priority and origin that neither wait nor have
 * failed, in the order of their ids, from this one on.
 */
extern CoQueueScanned co_queue_scan(Oid queue_id, int priority, int64 from, int64 origin,
									CoQueueVisit visit, void *argument);

#endif							/* CO_QUEUESCAN_H */
