/*-------------------------------------------------------------------------
 * row_by_row.h
 *		Put addresses into the queue one by one, and many of them.
 *-------------------------------------------------------------------------
 */
#ifndef CO_ROW_BY_ROW_H
#define CO_ROW_BY_ROW_H

#include "nodes/nodes.h"

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
 * To be called around any command that is not a plain query.  It may find that
 * this session still uses a table of ours: so what is open is closed, and
 * nothing is kept open by what triggers do meanwhile, unless all that the
 * command does is to run queries.  What the first returns is for the second,
 * also after an error.
 */
extern bool co_row_by_row_begin_command(Node *command);
extern void co_row_by_row_end_command(bool before);

#endif							/* CO_ROW_BY_ROW_H */
