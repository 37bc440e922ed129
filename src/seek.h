/*-------------------------------------------------------------------------
 * seek.h
 *		Searches that the service goes on with after the call has ended.
 *
 * A call of the finder that runs into its timeout ends with a queue id.  It is
 * written into the queue at once, in a row of its own if none asked for the
 * call, so that the search survives us and whoever waits; the row leaves with
 * the answer.  When it is due, the service is asked how far the search has
 * come.
 *-------------------------------------------------------------------------
 */
#ifndef CO_SEEK_H
#define CO_SEEK_H

#include "flight.h"

/*
 * Write down that the service seeks on for this flight, and that it is to be
 * asked at next_look how far it has come.  A row that was written for that is
 * the flight's then.  *left: a row that asks for it was locked, and does not
 * know.  Never throws; false if it could not be written.
 */
extern bool co_seek_remember(CoFlight *flight, TimestampTz next_look, bool *left);

/* We leave: write down what could not be written so far. */
extern void co_seek_leave(void);

/*
 * Give flights that are NEW the search that is under way for them.  *locked is
 * set if somebody has the queue locked, so that nobody knows.  Never throws.
 */
extern void co_seek_attach(bool *locked);

#endif							/* CO_SEEK_H */
