/*-------------------------------------------------------------------------
 * remove.h
 *		Remove rows of clearout_queue without the executor.
 *-------------------------------------------------------------------------
 */
#ifndef CO_REMOVE_H
#define CO_REMOVE_H

#include "queue.h"

/*
 * Remove these rows, as far as nobody has them locked or has changed them
 * since; the table is locked, and there is an active snapshot.  Returns how
 * many were removed.  -1, and nothing is done, if the table is not as the
 * extension made it: then it takes a DELETE.
 */
extern int	co_remove(Oid queue, const CoQueueRow *rows, int count);

#endif							/* CO_REMOVE_H */
