/*-------------------------------------------------------------------------
 * stats.h
 *		What tests read: counters, and the last requests.
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_STATS_H
#define SANDBOX_STATS_H

#include <stdint.h>

#include <jansson.h>

#include "call.h"

#define STATS_STATUSES 600

typedef struct Stats
{
	int64_t		requests;		/* read to their end */
	int64_t		answered;		/* answers sent to their end */
	int64_t		broken;			/* ended without a whole answer */
	int64_t		charged;
	int64_t		lists;			/* uploads accepted */
	int64_t		rows;			/* of lists, processed */
	int64_t		refused;		/* by a window: 429 */
	int64_t		timed_out;		/* 524, for their own "timeout" */
	int64_t		faulted;		/* a fault was applied */
	int64_t		in_flight;		/* read, neither answered nor broken */
	int64_t		max_in_flight;
	int64_t		held;			/* of these, or amid their body, held back */
	int64_t		hung;			/* of these, never to be answered */
	int64_t		connections;	/* opened since the start */
	int64_t		connections_now;
	int64_t		max_connections;
	int64_t		by_status[STATS_STATUSES];	/* answers begun */
} Stats;

extern Stats stats;

extern void stats_request(const Call *call);	/* once its answer is decided */
extern json_t *stats_json(void);
extern json_t *stats_recent_json(void);

/* Keeps what is still true: requests in flight, open connections. */
extern void stats_reset(void);

#endif							/* SANDBOX_STATS_H */
