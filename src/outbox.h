/*-------------------------------------------------------------------------
 * outbox.h
 *		Tell handlers and listeners of stored answers: the worker's part.
 *-------------------------------------------------------------------------
 */
#ifndef CO_OUTBOX_H
#define CO_OUTBOX_H

#include "catalog.h"

/*
 * Note for each handler that answers to these addresses (text) are stored;
 * part of the transaction, opened by co_run(), that stores them.  Waits for
 * nobody: throws OBJECT_IN_USE if somebody has locked the tables.
 */
extern void co_outbox_put(CoCatalog *catalog, const Datum *emails, int count);

/* Once a turn: notify what has been committed, and have it delivered. */
extern void co_outbox_tell(void);

/* At the worker's start: have delivered what a predecessor has left. */
extern void co_outbox_begin(void);

#endif							/* CO_OUTBOX_H */
