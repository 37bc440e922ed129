/*-------------------------------------------------------------------------
 * queueshape.h
 *		Is clearout_queue as the extension makes it?
 *-------------------------------------------------------------------------
 */
#ifndef CO_QUEUESHAPE_H
#define CO_QUEUESHAPE_H

#include "utils/relcache.h"

/* Its columns, counted from 0. */
typedef enum CoQueueColumn
{
	CO_QUEUE_PRIORITY,
	CO_QUEUE_ID,
	CO_QUEUE_EMAIL,
	CO_QUEUE_ACCEPTS_SINCE,
	CO_QUEUE_REQUESTED_BY,
	CO_QUEUE_ENQUEUED_AT,
	CO_QUEUE_ORIGIN,
	CO_QUEUE_ATTEMPTS,
	CO_QUEUE_NEXT_ATTEMPT_AT,
	CO_QUEUE_MAYBE_PAID,
	CO_QUEUE_FAILED_AT,
	CO_QUEUE_LAST_ERROR,
	CO_QUEUE_NAME,
	CO_QUEUE_DOMAIN,
	CO_QUEUE_QUEUE_ID,
	CO_QUEUE_SOUGHT_SINCE,
	CO_QUEUE_COLUMNS
} CoQueueColumn;

/* An index that takes new rows of addresses: a btree on columns. */
typedef struct CoQueueIndex
{
	Oid			id;
	bool		unique;
	int			columns;
	CoQueueColumn column[CO_QUEUE_COLUMNS];
} CoQueueIndex;

#define CO_QUEUE_INDEXES 8

typedef struct CoQueueShape
{
	Oid			queue;
	uint64		version;		/* which of those that this backend has read */
	bool		known;			/* if not, nothing else is told */
	int			indexes;
	CoQueueIndex index[CO_QUEUE_INDEXES];
	int			email_index;	/* which of these finds an address */
	Oid			sequence;		/* that numbers the rows ... */
	int64		increment;		/* ... in such steps */
} CoQueueShape;

/*
 * As it is now; the table must be open, and locked for writing.  What it says
 * may change at the next call of whatever takes invalidation messages in.  To
 * be called as the table's owner.
 */
extern const CoQueueShape *co_queue_shape(Relation queue);

/* Has nothing been said of a change since then? */
extern bool co_queue_shape_stands(const CoQueueShape *shape);

/* Has it these columns, and no others?  The table must be open. */
extern bool co_queue_has_known_columns(Relation queue);

/* Is this column null in a new row of an address? */
extern bool co_queue_is_left_null(CoQueueColumn column);

#endif							/* CO_QUEUESHAPE_H */
