/*-------------------------------------------------------------------------
 * hindrance.c
 *		May calls of a service be made now?  Pauses and the circuit breaker.
 *
 * Pure.
 *-------------------------------------------------------------------------
 */
#include "hindrance.h"

#include <string.h>

#define DAY INT64_C(86400000000)

static int64_t
least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t
most(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

int64_t
co_next_day(int64_t wall)
{
	return (wall / DAY + 1) * DAY;
}

void
co_hindrance_init(CoHindrance *hindrance)
{
	memset(hindrance, 0, sizeof(*hindrance));
}

bool
co_hindrance_allows(const CoHindrance *hindrance, bool interactive, int64_t now,
					int64_t *when)
{
	*when = CO_HINDRANCE_NEVER;
	if (hindrance->pause != CO_PAUSE_NONE)
	{
		/* who tries needs not ask whether the service is there */
		if (!hindrance->try_call || hindrance->trying)
			return false;
		*when = hindrance->check_at;
		return now >= hindrance->check_at;
	}
	if (interactive || hindrance->breaker_at == 0)
		return true;
	*when = hindrance->breaker_at;
	return now >= hindrance->breaker_at;
}

void
co_hindrance_start(CoHindrance *hindrance, bool interactive, int64_t now,
				   int64_t timeout)
{
	if (hindrance->pause != CO_PAUSE_NONE)
		hindrance->trying = true;
	/* One at a time, until one is answered. */
	if (!interactive && hindrance->breaker_at != 0)
		hindrance->breaker_at = now + most(hindrance->breaker_delay, timeout);
}

/* No pause any more.  The delay stays, in case that was an error. */
static void
end_pause(CoHindrance *hindrance)
{
	hindrance->pause = CO_PAUSE_NONE;
	hindrance->own = false;
	hindrance->confirmed = false;
	hindrance->asked = false;
	hindrance->try_call = false;
	hindrance->trying = false;
	hindrance->until = 0;
}

static void
close_breaker(CoHindrance *hindrance)
{
	hindrance->failures = 0;
	hindrance->breaker_delay = 0;
	hindrance->breaker_at = 0;
}

bool
co_hindrance_success(CoHindrance *hindrance, int64_t started)
{
	close_breaker(hindrance);
	if (hindrance->pause == CO_PAUSE_NONE)
	{
		if (started >= hindrance->since)
			hindrance->delay = 0;
		return false;
	}
	if (started < hindrance->since)
		return false;
	hindrance->delay = 0;
	end_pause(hindrance);
	return true;
}

/* Look again after the delay, and after twice as long the next time. */
static void
check_later(CoHindrance *hindrance, int64_t now)
{
	hindrance->check_at = now + hindrance->delay;
	hindrance->delay = least(hindrance->delay * 2, CO_CHECK_LAST);
}

void
co_hindrance_failure(CoHindrance *hindrance, int64_t started, bool there,
					 int64_t now)
{
	/* The call that tried has brought nothing; ask again, then try again. */
	if (hindrance->trying && started >= hindrance->since)
	{
		hindrance->trying = false;
		hindrance->try_call = false;
		check_later(hindrance, now);
	}
	if (there)
	{
		close_breaker(hindrance);
		return;
	}
	/* All that were on the wire when it went down are one failure. */
	if (hindrance->breaker_at != 0 && started < hindrance->breaker_since)
		return;
	if (hindrance->failures < CO_BREAKER_FAILURES)
		hindrance->failures++;
	if (hindrance->failures < CO_BREAKER_FAILURES)
		return;
	hindrance->breaker_delay = hindrance->breaker_delay == 0 ? CO_BREAKER_FIRST :
		least(hindrance->breaker_delay * 2, CO_BREAKER_LAST);
	hindrance->breaker_at = now + hindrance->breaker_delay;
	hindrance->breaker_since = now;
}

bool
co_hindrance_pause(CoHindrance *hindrance, CoPause cause, bool own,
				   int64_t started, int64_t now, int64_t wall)
{
	close_breaker(hindrance);
	if (hindrance->pause == cause)
	{
		if (own)
			hindrance->own = true;
		if (hindrance->trying && own && started >= hindrance->since)
		{
			hindrance->trying = false;
			hindrance->try_call = false;
			check_later(hindrance, now);
		}
		return false;
	}

	/* Sent before the pause that there is, it knows less than that. */
	if (hindrance->pause != CO_PAUSE_NONE && started < hindrance->since)
		return false;
	end_pause(hindrance);
	hindrance->pause = cause;
	hindrance->own = own;
	hindrance->since = now;
	hindrance->until = cause == CO_PAUSE_DAILY_LIMIT ? co_next_day(wall) : 0;
	hindrance->delay = most(hindrance->delay, CO_CHECK_FIRST);
	hindrance->check_at = now;	/* the balance, at once */
	return true;
}

bool
co_hindrance_lift(CoHindrance *hindrance)
{
	bool		paused = hindrance->pause != CO_PAUSE_NONE;

	end_pause(hindrance);
	hindrance->delay = 0;
	return paused;
}

int64_t
co_hindrance_balance_at(const CoHindrance *hindrance, bool waiting)
{
	if (hindrance->pause == CO_PAUSE_NONE || hindrance->try_call)
		return CO_HINDRANCE_NEVER;
	/* Once in any case; after that only if it is of use to somebody. */
	if (hindrance->asked && !waiting)
		return CO_HINDRANCE_NEVER;
	return hindrance->check_at;
}

bool
co_hindrance_wants_balance(const CoHindrance *hindrance, bool waiting, int64_t now)
{
	return co_hindrance_balance_at(hindrance, waiting) <= now;
}

bool
co_hindrance_told(CoHindrance *hindrance, const CoBalance *balance,
				  int64_t price, int64_t now, int64_t wall)
{
	bool		tells = balance->answered;
	bool		refuses = false;
	bool		over;

	switch (hindrance->pause)
	{
		case CO_PAUSE_NONE:
			return false;
		case CO_PAUSE_UNAUTHORIZED:
			/* It takes the token. */
			break;
		case CO_PAUSE_CREDITS:
			tells = tells && balance->credits >= 0;
			refuses = tells && balance->credits < price;
			break;
		case CO_PAUSE_DAILY_LIMIT:
			refuses = tells && balance->daily_left == 0;
			if (refuses)
				hindrance->until = balance->daily_reset > wall &&
					balance->daily_reset <= wall + 2 * DAY ?
					balance->daily_reset : co_next_day(wall);
			break;
	}

	/*
	 * What the balance has never confirmed, it cannot call off: calls may be
	 * refused for something that it does not show.
	 */
	over = tells && !refuses &&
		(hindrance->confirmed || !hindrance->own ||
		 (hindrance->until != 0 && wall >= hindrance->until));
	if (over)
	{
		end_pause(hindrance);
		return true;
	}
	hindrance->asked = true;
	if (refuses)
		hindrance->confirmed = true;
	else
		hindrance->try_call = true;
	check_later(hindrance, now);
	if (hindrance->until > wall)
		hindrance->check_at = least(hindrance->check_at, now + (hindrance->until - wall));
	return false;
}

void
co_hindrance_told_unauthorized(CoHindrance *hindrance, int64_t now)
{
	hindrance->asked = true;
	hindrance->confirmed = true;
	hindrance->try_call = false;
	check_later(hindrance, now);
}
