/*-------------------------------------------------------------------------
 * enqueue.h
 *		Put addresses into the queue, from inside a backend.
 *-------------------------------------------------------------------------
 */
#ifndef CO_ENQUEUE_H
#define CO_ENQUEUE_H

#include "catalog.h"
#include "keys.h"
#include "slots.h"
#include "transaction.h"

/* On whose account, how urgent, and what makes a call needless. */
typedef struct CoEnqueue
{
	Oid			requester;
	int			priority;
	CoFreshness accepts;
} CoEnqueue;

/*
 * Have this address (in normal form) verified some time after the commit; the
 * caller has looked, no fresh answer is stored.  False if that is needless: it
 * waits already.
 */
extern bool co_enqueue_unanswered(const CoCatalog *catalog, const char *key,
								  const CoEnqueue *enqueue);

/*
 * The same for many, which are sorted here, and but for those that a fresh
 * answer is stored for; returns how many were put in.
 */
extern uint64 co_enqueue_keys(const CoCatalog *catalog, CoKeys *keys,
							  const CoEnqueue *enqueue);

/* To be called before each look-up whose address may go into the queue. */
extern void co_enqueue_before_lookup(const CoCatalog *catalog);

/*
 * Run one statement of ours as the owner of its table, out of reach of the
 * caller's search_path.  An error ends the transaction, which puts everything
 * back.
 */
extern uint64 co_execute_as_owner(const CoCatalog *catalog, CoStatement *statement,
								  Datum *values, const char *nulls);

/* Errors out if it is not one that rows of the queue may have. */
extern void co_require_priority(int priority);

#endif							/* CO_ENQUEUE_H */
