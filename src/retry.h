/*-------------------------------------------------------------------------
 * retry.h
 *		What to do about a call that did not bring an answer.
 *
 * Pure: the clock and the dice are arguments.  One table, from (fault, HTTP
 * status, code) to an action; see retry.c.
 *-------------------------------------------------------------------------
 */
#ifndef CO_RETRY_H
#define CO_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "outcome.h"

typedef enum CoAction
{
	CO_ACTION_DONE,				/* an answer: store it */
	CO_ACTION_RETRY,			/* again at retry_at, as the next attempt */
	CO_ACTION_WINDOW,			/* 429: again when the governor allows; not
								 * counted as an attempt */
	CO_ACTION_PAUSE,			/* this cause holds for every call of the
								 * service: see pause; not an attempt */
	CO_ACTION_GIVE_UP			/* asking again will not help, or may cost */
} CoAction;

/* Why work stands still; who ends it differs. */
typedef enum CoPause
{
	CO_PAUSE_NONE,
	CO_PAUSE_UNAUTHORIZED,		/* 401, 1000, 403: until the token changes */
	CO_PAUSE_CREDITS,			/* 402, 1002, 1031, 1099: until credits are back */
	CO_PAUSE_DAILY_LIMIT		/* 1017, 1032: until the next day */
} CoPause;

/* What the caller is told; each has an SQLSTATE of its own (error.c). */
typedef enum CoErrorClass
{
	CO_ERROR_NONE,
	CO_ERROR_UNAUTHORIZED,
	CO_ERROR_CREDITS,
	CO_ERROR_DAILY_LIMIT,
	CO_ERROR_RATE_LIMIT,
	CO_ERROR_TIMEOUT,			/* the service or the network took too long */
	CO_ERROR_UNREACHABLE,		/* nothing was sent: DNS, connect, TLS */
	CO_ERROR_SERVICE,			/* it answered with a failure, or nonsense, or
								 * broke off */
	CO_ERROR_BAD_INPUT,			/* it refuses what was asked */
	CO_ERROR_LOCAL				/* our own machine: memory, descriptors */
} CoErrorClass;

typedef struct CoRetryPolicy
{
	int			max_attempts;	/* 1 = never again */
	int64_t		base;			/* microseconds: bound of the first backoff */
	int64_t		cap;			/* microseconds: bound of every backoff */
} CoRetryPolicy;

typedef struct CoDecision
{
	CoAction	action;
	CoPause		pause;			/* when CO_ACTION_PAUSE */
	int64_t		retry_at;		/* when CO_ACTION_RETRY */
	CoErrorClass error_class;	/* what to say if the caller is told now */
	bool		maybe_paid;		/* sent, perhaps answered and charged, but the
								 * answer is lost */
} CoDecision;

/*
 * attempt: how many attempts this request has had, this one included (>= 1).
 * interactive: somebody waits.  A call that may have been charged although
 * its answer is lost is repeated for the queue only (as an attempt), never
 * behind an interactive caller's back: he is told, and decides.
 * random: uniform in [0, 1); full jitter over base * 2^(attempt - 1), up to
 * cap, but never sooner than 10 ms from now.
 */
extern CoDecision co_retry_decide(const CoOutcome *outcome, int attempt,
								  bool interactive, int64_t now,
								  double random, const CoRetryPolicy *policy);

/*
 * A phrase for the status view and the log: made from fault, HTTP status and
 * code alone, so that no address and no word of the service gets there.
 */
extern void co_outcome_describe(const CoOutcome *outcome, char *text,
								int size);

#endif							/* CO_RETRY_H */
