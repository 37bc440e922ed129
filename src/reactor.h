/*-------------------------------------------------------------------------
 * reactor.h
 *		The process that calls handlers: its start, its end, its news.
 *-------------------------------------------------------------------------
 */
#ifndef CO_REACTOR_H
#define CO_REACTOR_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "slots.h"

/* Rows may have come to clearout_outbox in this database. */
extern void co_reactor_news(Oid dbid);

/* The following want the lock held. */

/* Set its latch, if it runs. */
extern void co_reactor_wake(CoDatabase *database);

/* It is to make room for one that sees settings as they are now. */
extern void co_reactor_replace(CoDatabase *database);

/*
 * It is to leave at once, whatever it does: its work is safe to be broken
 * off.  Returns its process id, 0 if there is none.
 */
extern int	co_reactor_evict(CoDatabase *database);

/* Is none there, nor on its way? */
extern bool co_reactor_is_gone(const CoDatabase *database);

/*
 * For the launcher, with no lock held: start one if it is time.  Returns when
 * to look again, DT_NOEND if not before there is news.
 */
extern TimestampTz co_reactor_tend(int index, TimestampTz now);

/* --- for the reactor itself --- */

/* Become the reactor of this database: false if it may have none. */
extern bool co_reactor_attach(Oid dbid, CoDatabase **database);

/*
 * Leave; another one is to come at that time, DT_NOEND: when there is news.
 * Not orderly: as soon as possible, with backoff.
 */
extern void co_reactor_detach(CoDatabase *database, bool orderly, TimestampTz next);

extern PGDLLEXPORT void co_reactor_main(Datum argument);

#endif							/* CO_REACTOR_H */
