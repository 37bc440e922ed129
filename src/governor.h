/*-------------------------------------------------------------------------
 * governor.h
 *		Rate governor: may a call start now, and if not, when?
 *
 * One per token and service.  Pure; plain data without pointers, so that it
 * can live in shared memory under the lock of whoever owns it.  All times are
 * microseconds of one monotonic clock.  See governor.c for how the end of a
 * window is found.
 *-------------------------------------------------------------------------
 */
#ifndef CO_GOVERNOR_H
#define CO_GOVERNOR_H

#include <stdbool.h>
#include <stdint.h>

#include "headers.h"

#define CO_GOVERNOR_NEVER INT64_MAX

/*
 * One way the service may behave that fits all answers so far: how it rounds,
 * what its windows begin with, when it makes its headers.  Under that guess
 * the current window began, lasts and ends within these bounds.
 */
typedef struct CoGuess
{
	int64_t		begin_low;
	int64_t		begin_high;
	int64_t		end_low;
	int64_t		end_high;
	int64_t		passed;			/* by then the next had begun; 0 = not known */
	int16_t		length_low;		/* seconds */
	int16_t		length_high;
	bool		alive;			/* no answer has contradicted it */
	bool		heard;			/* an answer told the end of this window */
} CoGuess;

#define CO_GOVERNOR_GUESSES 12	/* 3 roundings, 2 beginnings, 2 header times */
#define CO_GOVERNOR_BUCKETS 32
#define CO_GOVERNOR_ENDED 16

typedef struct CoGovernor
{
	int			configured;		/* calls per 60 s set by the user; 0 = learn */
	int			limit;			/* calls per window, as told; 0 = not known */
	int			limit_next;		/* told once, not yet believed; 0 = none */

	/* the current window, as we count it */
	uint32_t	window;			/* its number */
	int64_t		opened;			/* surely begun by then; 0 = not yet */
	int64_t		first;			/* first call in it; 0 = none yet */
	int64_t		last;			/* newest call of all; 0 = none yet */
	int			started;		/* calls started */
	int			open;			/* of these, in flight */
	int			carried;		/* older calls that may count in it */
	int			carried_open;	/* of these, in flight */
	int			low;			/* lowest remaining told; -1 = none */
	int			bare;			/* started later, and ended without telling */
	int64_t		low_sent;		/* when the call that told it was sent ... */
	int64_t		low_heard;		/* ... and answered */
	int64_t		news;			/* when the newest call that told was sent */

	bool		answered;		/* there was an answer, with headers or without */

	/* refusals */
	int64_t		closed;			/* no call before; 0 = no such time */
	bool		probing;		/* one call at a time, until one succeeds */

	/* other clients of the same token */
	int			others;			/* their calls in this window, at least */
	int64_t		others_at;		/* until then */
	int			others_usual;	/* and in a whole one, going by former ones */

	/* probes for the end of the window */
	int			probes;			/* sent in this window */
	bool		dared;			/* one was sent although none may be left */
	int64_t		probed;			/* when the last was sent; 0 = none open */
	int64_t		probed_last;	/* the same, open or not */
	int64_t		latency;		/* usual time to the answer */

	/* calls in flight, by when they were started */
	int			in_flight;		/* all of them */
	int64_t		bucket_last;	/* number of the newest bucket */
	int			bucket[CO_GOVERNOR_BUCKETS];

	/* calls of this window that have ended, by when they did */
	int64_t		ended_last;		/* number of the newest bucket */
	int			ended[CO_GOVERNOR_ENDED];

	CoGuess		guess[CO_GOVERNOR_GUESSES];
} CoGovernor;

/* Handed out by start, handed back by end: which window a call belongs to. */
typedef struct CoTicket
{
	int64_t		started;		/* when it was sent */
	uint32_t	window;			/* number of the window it was counted in */
} CoTicket;

/* Know nothing.  configured: calls per minute, 0 to learn from the headers. */
extern void co_governor_init(CoGovernor *governor, int configured);

/* The setting has changed. */
extern void co_governor_configure(CoGovernor *governor, int configured);

/*
 * When may the next call start?  A value <= now: at once.  A later value: ask
 * again then.  CO_GOVERNOR_NEVER: only the end of a call in flight can change
 * the answer.
 */
extern int64_t co_governor_when(CoGovernor *governor, int64_t now,
								bool interactive);

/* A call starts now: count it. */
extern CoTicket co_governor_start(CoGovernor *governor, int64_t now);

/*
 * The call has ended.  headers: what its answer carried (all -1 if nothing).
 * limited: HTTP 429 or code 1030.  sent: may the service have counted it?
 */
extern void co_governor_end(CoGovernor *governor, const CoTicket *ticket,
							int64_t now, const CoRateHeaders *headers,
							bool limited, bool sent);

/*
 * The process that had started count calls and not ended them is gone: they
 * may have been counted by the service, but will never end here.
 */
extern void co_governor_abandon(CoGovernor *governor, int64_t now, int count);

/* For views: calls per window (0 = not known yet), calls left in the current
 * one as far as known, and when it ends (0 = not known). */
typedef struct CoGovernorState
{
	int			limit;
	int			remaining;
	int			in_flight;
	int64_t		resets_at;
} CoGovernorState;

extern void co_governor_state(const CoGovernor *governor, int64_t now,
							  CoGovernorState *state);

#endif							/* CO_GOVERNOR_H */
