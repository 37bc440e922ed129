/*-------------------------------------------------------------------------
 * row_by_row.h
 *		Put addresses into the queue one by one, and many of them.
 *-------------------------------------------------------------------------
 */
#ifndef CO_ROW_BY_ROW_H
#define CO_ROW_BY_ROW_H

#include "enqueue.h"

/*
 * Put this address (in normal form) into the queue, unless that is needless:
 * then *put is false.  False if the caller has to do it in the common way: the
 * transaction has not put in many so far, or a table is locked, or is not as
 * the extension made it.
 */
extern bool co_row_by_row_enqueue(const CoCatalog *catalog, const char *key,
								  const CoEnqueue *enqueue, bool *put);

/* One was put in in the common way. */
extern void co_row_by_row_note(void);

/*
 * Close what is kept open.  To be called before any command that may find that
 * this session still uses a table of ours.
 */
extern void co_row_by_row_close(void);

#endif							/* CO_ROW_BY_ROW_H */
