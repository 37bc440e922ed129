/*-------------------------------------------------------------------------
 * bulk_backlog.h
 *		Rows of the queue that become lists (clearout.bulk_threshold).
 *-------------------------------------------------------------------------
 */
#ifndef CO_BULK_BACKLOG_H
#define CO_BULK_BACKLOG_H

#include "queue.h"

/* Rows have come to the queue: is it a backlog? */
extern void co_backlog_look(void);

/* How many rows it would take at once; 0: none in particular. */
extern int	co_backlog_wanted(void);

/*
 * Rows that were taken from the queue; those that go into a list leave it.
 * Returns how many are left, at the front.  end: they are the last ones.
 * *added: lists have grown.
 */
extern int	co_backlog_move(CoQueueRow *rows, int count, bool end, bool *added);

/* Is this job one that still gets rows? */
extern bool co_backlog_grows(int64 job);

/* When there is something to do, if rows may be taken; INT64_MAX: nothing. */
extern int64 co_backlog_due(void);

#endif							/* CO_BULK_BACKLOG_H */
