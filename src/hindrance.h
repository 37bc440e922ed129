/*-------------------------------------------------------------------------
 * hindrance.h
 *		May calls of a service be made now?  Pauses and the circuit breaker.
 *
 * One per service.  Pure: all times are microseconds of the clock that never
 * jumps, but for those called wall, which are microseconds since 1970.
 *
 *		open --refused--> paused --the account says that it is over--> open
 *		                    |  it does not say: one call tries --answered--^
 *		                    |
 *		                    '-- lifted: token, setting, clearout_resume() --> open
 *
 * A pause is checked now and then, with growing delays: by a balance enquiry,
 * which costs nothing; and only where that does not tell, by one call, which
 * costs nothing if it is refused.
 *-------------------------------------------------------------------------
 */
#ifndef CO_HINDRANCE_H
#define CO_HINDRANCE_H

#include <stdbool.h>
#include <stdint.h>

#include "retry.h"

#define CO_CHECK_FIRST	INT64_C(5000000)
#define CO_CHECK_LAST	INT64_C(600000000)

/* From so many failures in a row on, the service seems to be down. */
#define CO_BREAKER_FAILURES	5
#define CO_BREAKER_FIRST	INT64_C(1000000)
#define CO_BREAKER_LAST		INT64_C(60000000)

#define CO_HINDRANCE_NEVER INT64_MAX

typedef struct CoHindrance
{
	CoPause		pause;
	bool		own;			/* a call of this service was refused, and not
								 * of another one with the same token */
	bool		confirmed;		/* the balance says the same */
	int64_t		since;			/* calls begun before tell nothing */
	int64_t		until;			/* wall: it ends then, by what is known; 0: not
								 * known */
	int64_t		check_at;
	int64_t		delay;			/* kept until a call succeeds */
	bool		asked;			/* the balance, in this pause */
	bool		try_call;		/* at check_at a call is tried ... */
	bool		trying;			/* ... and that is under way */

	/* the service seems to be down, or does not; for the queue alone */
	int			failures;		/* in a row */
	int64_t		breaker_delay;
	int64_t		breaker_at;		/* the next may be sent then; 0: any */
	int64_t		breaker_since;	/* calls begun before are no probe */
} CoHindrance;

extern void co_hindrance_init(CoHindrance *hindrance);

/*
 * May a call start now?  Otherwise *when is when to ask again, by the clock;
 * CO_HINDRANCE_NEVER: only news can change that.
 */
extern bool co_hindrance_allows(const CoHindrance *hindrance, bool interactive,
								int64_t now, int64_t *when);

/* A call starts, and will be answered by now + timeout if ever. */
extern void co_hindrance_start(CoHindrance *hindrance, bool interactive,
							   int64_t now, int64_t timeout);

/* A call that was begun then was answered: true if that has ended a pause. */
extern bool co_hindrance_success(CoHindrance *hindrance, int64_t started);

/* It failed.  there: the service is, since it has refused what was asked. */
extern void co_hindrance_failure(CoHindrance *hindrance, int64_t started,
								 bool there, int64_t now);

/*
 * A call was refused for a cause that holds for all of them; own: one of this
 * service.  True if that is news.
 */
extern bool co_hindrance_pause(CoHindrance *hindrance, CoPause cause, bool own,
							   int64_t started, int64_t now, int64_t wall);

/* The token, a setting or a command may have ended the cause.  True if there
 * was a pause. */
extern bool co_hindrance_lift(CoHindrance *hindrance);

/* Is it time to ask for the balance?  waiting: there is work for the service. */
extern bool co_hindrance_wants_balance(const CoHindrance *hindrance,
									   bool waiting, int64_t now);

/* When will it be?  CO_HINDRANCE_NEVER: not by the clock. */
extern int64_t co_hindrance_balance_at(const CoHindrance *hindrance, bool waiting);

/* What a balance enquiry has brought. */
typedef struct CoBalance
{
	bool		answered;
	int64_t		credits;		/* -1: not told */
	int64_t		daily_left;		/* -1: there is no daily limit */
	int64_t		daily_reset;	/* wall; anything absurd: not told */
} CoBalance;

/*
 * Asked because of this pause, and told.  price: credits that a call needs at
 * least.  True if that has ended the pause.
 */
extern bool co_hindrance_told(CoHindrance *hindrance, const CoBalance *balance,
							  int64_t price, int64_t now, int64_t wall);

/* The enquiry itself was refused as the calls are: the token it is. */
extern void co_hindrance_told_unauthorized(CoHindrance *hindrance, int64_t now);

/* The next day of UTC begins then. */
extern int64_t co_next_day(int64_t wall);

#endif							/* CO_HINDRANCE_H */
