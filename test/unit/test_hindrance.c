/*-------------------------------------------------------------------------
 * test_hindrance.c
 *		A pause begins, is checked and ends as promised; the breaker lets one
 *		call at a time through.
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "check.h"
#include "hindrance.h"

#define SECOND INT64_C(1000000)
#define DAY (86400 * SECOND)
#define NOW (1000 * SECOND)
#define WALL (INT64_C(20000) * DAY + 3600 * SECOND)	/* one o'clock */

static const CoBalance unanswered = {false, -1, -1, 0};

static CoBalance
balance(int64_t credits, int64_t daily_left, int64_t reset)
{
	CoBalance	result = {true, credits, daily_left, reset};

	return result;
}

static bool
allows(const CoHindrance *h, bool interactive, int64_t now)
{
	int64_t		when;

	return co_hindrance_allows(h, interactive, now, &when);
}

static int64_t
when(const CoHindrance *h, int64_t now)
{
	int64_t		result;

	(void) co_hindrance_allows(h, false, now, &result);
	return result;
}

static CoHindrance
paused(CoPause cause, bool own)
{
	CoHindrance h;

	co_hindrance_init(&h);
	CHECK(co_hindrance_pause(&h, cause, own, NOW - SECOND, NOW, WALL), "cause %d is news", cause);
	return h;
}

static void
test_begin(void)
{
	CoHindrance h;

	co_hindrance_init(&h);
	CHECK(allows(&h, true, NOW) && allows(&h, false, NOW), "nothing hinders at first");
	CHECK(!co_hindrance_wants_balance(&h, true, NOW), "nothing to ask");

	h = paused(CO_PAUSE_CREDITS, true);
	CHECK(!allows(&h, true, NOW) && !allows(&h, false, NOW + DAY), "paused for all");
	CHECK(when(&h, NOW) == CO_HINDRANCE_NEVER, "only news ends it");
	CHECK(co_hindrance_wants_balance(&h, false, NOW), "asked at once, even with nothing to do");
	CHECK(!co_hindrance_pause(&h, CO_PAUSE_CREDITS, true, NOW - SECOND, NOW + 1, WALL), "the next refusal is no news");
	CHECK(h.since == NOW, "nor a later beginning");

	CHECK(!co_hindrance_success(&h, NOW - 1), "an answer to a call from before tells nothing");
	CHECK(!allows(&h, true, NOW), "still paused");
	CHECK(!co_hindrance_pause(&h, CO_PAUSE_DAILY_LIMIT, true, NOW - 1, NOW + 1, WALL), "nor does another refusal of such a call");
	CHECK(h.pause == CO_PAUSE_CREDITS, "the cause stays");
	CHECK(co_hindrance_pause(&h, CO_PAUSE_UNAUTHORIZED, false, NOW + 1, NOW + 2, WALL), "a later one is news");
	CHECK(h.pause == CO_PAUSE_UNAUTHORIZED && !h.own, "and the cause from then on");
	CHECK(co_hindrance_success(&h, NOW + 3), "an answer to a call begun later ends it");
	CHECK(allows(&h, false, NOW), "and all is open");
	CHECK(!co_hindrance_success(&h, NOW + 3), "once");

	h = paused(CO_PAUSE_CREDITS, true);
	CHECK(co_hindrance_lift(&h) && allows(&h, false, NOW), "lifted");
	CHECK(!co_hindrance_lift(&h), "once");
}

static void
test_credits(void)
{
	CoHindrance h = paused(CO_PAUSE_CREDITS, true);
	CoBalance	none = balance(0, -1, 0);
	CoBalance	some = balance(3, -1, 0);
	CoBalance	unknown = balance(-1, -1, 0);
	int64_t		now = NOW;
	int64_t		last = 0;

	/* Confirmed, asked with growing delays, and over when there are some. */
	for (int i = 0; i < 12; i++)
	{
		int64_t		at;

		CHECK(!co_hindrance_told(&h, &none, 1, now, WALL), "none left");
		CHECK(!allows(&h, true, now + DAY), "no call is tried: the balance tells");
		CHECK(co_hindrance_balance_at(&h, false) == CO_HINDRANCE_NEVER, "not asked again for nobody");
		at = co_hindrance_balance_at(&h, true);
		CHECK(at - now >= CO_CHECK_FIRST && at - now <= CO_CHECK_LAST && at - now >= last, "delay %lld", (long long) (at - now));
		CHECK(!co_hindrance_wants_balance(&h, true, at - 1) && co_hindrance_wants_balance(&h, true, at), "asked then");
		last = at - now;
		now = at;
	}
	CHECK(last == CO_CHECK_LAST, "up to the bound");
	CHECK(!co_hindrance_told(&h, &some, 4, now, WALL), "fewer than a call costs");
	CHECK(co_hindrance_told(&h, &some, 3, now, WALL), "enough");
	CHECK(allows(&h, true, now) && allows(&h, false, now), "open for all");

	/* Refused again at once: the delay goes on growing. */
	CHECK(co_hindrance_pause(&h, CO_PAUSE_CREDITS, true, now, now, WALL), "refused again");
	CHECK(!co_hindrance_told(&h, &none, 1, now, WALL) && h.check_at == now + CO_CHECK_LAST, "nothing is forgotten");
	CHECK(co_hindrance_told(&h, &some, 1, now, WALL), "over");
	CHECK(!co_hindrance_success(&h, now + 1), "and a call was answered");
	CHECK(co_hindrance_pause(&h, CO_PAUSE_CREDITS, true, now + 2, now + 2, WALL), "paused anew");
	CHECK(!co_hindrance_told(&h, &none, 1, now, WALL) && h.check_at == now + CO_CHECK_FIRST, "with short delays");

	/* What the balance does not show, one call finds out. */
	for (int kind = 0; kind < 3; kind++)
	{
		const CoBalance *told = kind == 0 ? &some : kind == 1 ? &unknown : &unanswered;
		int64_t		at;

		h = paused(CO_PAUSE_CREDITS, true);
		CHECK(!co_hindrance_told(&h, told, 1, NOW, WALL), "kind %d does not end it", kind);
		CHECK(!allows(&h, true, NOW + 1), "not yet");
		CHECK(co_hindrance_balance_at(&h, true) == CO_HINDRANCE_NEVER, "not asked, but tried");
		at = when(&h, NOW);
		CHECK(at == NOW + CO_CHECK_FIRST && allows(&h, true, at) && allows(&h, false, at), "a call then");
		co_hindrance_start(&h, false, at, SECOND);
		CHECK(!allows(&h, true, at) && !allows(&h, false, at + DAY), "one alone");
		CHECK(!co_hindrance_pause(&h, CO_PAUSE_CREDITS, true, NOW - 1, at + 1, WALL), "a late refusal of another");
		CHECK(h.trying, "changes nothing");
		CHECK(!co_hindrance_pause(&h, CO_PAUSE_CREDITS, true, at, at + 1, WALL), "refused");
		CHECK(!allows(&h, true, at + DAY), "no more calls");
		CHECK(co_hindrance_balance_at(&h, true) == at + 1 + 2 * CO_CHECK_FIRST, "but the balance again");
		CHECK(!co_hindrance_told(&h, told, 1, at + DAY, WALL), "still nothing");
		co_hindrance_start(&h, true, at + 2 * DAY, SECOND);
		co_hindrance_failure(&h, at + 2 * DAY, false, at + 2 * DAY + 1);
		CHECK(h.pause == CO_PAUSE_CREDITS && !h.trying, "it was lost: nothing is known");
		CHECK(!co_hindrance_told(&h, told, 1, at + 3 * DAY, WALL), "still nothing");
		co_hindrance_start(&h, true, at + 4 * DAY, SECOND);
		CHECK(co_hindrance_success(&h, at + 4 * DAY), "answered");
		CHECK(allows(&h, false, at + 4 * DAY), "all go on");
	}
}

static void
test_token(void)
{
	CoBalance	some = balance(3, -1, 0);
	CoHindrance h = paused(CO_PAUSE_UNAUTHORIZED, false);

	CHECK(co_hindrance_told(&h, &some, 1, NOW, WALL), "the token is good, and no call of this service was refused");
	h = paused(CO_PAUSE_UNAUTHORIZED, true);
	CHECK(!co_hindrance_told(&h, &some, 1, NOW, WALL), "a call of this service was");
	CHECK(h.try_call, "so one tries");
	h = paused(CO_PAUSE_UNAUTHORIZED, true);
	co_hindrance_told_unauthorized(&h, NOW);
	CHECK(!allows(&h, true, NOW + DAY), "the enquiry was refused too");
	CHECK(co_hindrance_balance_at(&h, true) == NOW + CO_CHECK_FIRST, "asked again later");
	CHECK(!co_hindrance_told(&h, &unanswered, 1, NOW, WALL), "no answer is no sign");
	CHECK(h.pause == CO_PAUSE_UNAUTHORIZED, "paused");
	h = paused(CO_PAUSE_UNAUTHORIZED, true);
	co_hindrance_told_unauthorized(&h, NOW);
	CHECK(co_hindrance_told(&h, &some, 1, NOW, WALL), "accepted again");
}

static void
test_daily(void)
{
	int64_t		midnight = INT64_C(20001) * DAY;
	CoBalance	used = balance(3, 0, WALL + 7200 * SECOND);
	CoBalance	absurd = balance(3, 0, WALL + 30 * DAY);
	CoBalance	past = balance(3, 0, WALL - 1);
	CoBalance	left = balance(3, 10, 0);
	CoBalance	unlimited = balance(3, -1, 0);
	CoHindrance h = paused(CO_PAUSE_DAILY_LIMIT, true);

	CHECK(co_next_day(midnight - 1) == midnight && co_next_day(midnight) == midnight + DAY, "the next day");
	CHECK(h.until == midnight, "the next day, if nothing else is known");
	CHECK(!co_hindrance_told(&h, &absurd, 1, NOW, WALL) && h.until == midnight, "an absurd date");
	CHECK(!co_hindrance_told(&h, &past, 1, NOW, WALL) && h.until == midnight, "one that is over");
	CHECK(!co_hindrance_told(&h, &used, 1, NOW, WALL) && h.until == WALL + 7200 * SECOND, "the date that was named");
	CHECK(co_hindrance_told(&h, &left, 1, NOW, WALL), "raised meanwhile");

	/* The check falls on the end. */
	h = paused(CO_PAUSE_DAILY_LIMIT, true);
	used.daily_reset = WALL + 2 * SECOND;
	CHECK(!co_hindrance_told(&h, &used, 1, NOW, WALL), "ends in two seconds");
	CHECK(co_hindrance_balance_at(&h, true) == NOW + 2 * SECOND, "asked then");
	CHECK(co_hindrance_told(&h, &unlimited, 1, NOW + 2 * SECOND, WALL + 2 * SECOND), "over");

	/* Not shown by the balance: a call tries, and the date ends it. */
	h = paused(CO_PAUSE_DAILY_LIMIT, true);
	CHECK(!co_hindrance_told(&h, &unlimited, 1, NOW, WALL), "no limit is told");
	CHECK(when(&h, NOW) == NOW + CO_CHECK_FIRST, "a call tries");
	co_hindrance_start(&h, false, NOW + CO_CHECK_FIRST, SECOND);
	co_hindrance_pause(&h, CO_PAUSE_DAILY_LIMIT, true, NOW + CO_CHECK_FIRST, NOW + CO_CHECK_FIRST, WALL);
	CHECK(co_hindrance_told(&h, &unlimited, 1, NOW + DAY, midnight), "the next day");
}

static void
test_breaker(void)
{
	CoHindrance h;
	int64_t		now = NOW;
	int64_t		delay = 0;

	co_hindrance_init(&h);
	for (int i = 1; i < CO_BREAKER_FAILURES; i++)
		co_hindrance_failure(&h, now, false, now);
	CHECK(allows(&h, false, now), "a few failures are nothing");
	co_hindrance_failure(&h, now, true, now);
	for (int i = 1; i < CO_BREAKER_FAILURES; i++)
		co_hindrance_failure(&h, now, false, now);
	CHECK(allows(&h, false, now), "nor are they in a row, if it is there in between");
	co_hindrance_failure(&h, now, false, now);
	CHECK(!allows(&h, false, now) && allows(&h, true, now), "the queue waits; who waits himself may try");
	co_hindrance_failure(&h, now - 1, false, now + 1);
	CHECK(when(&h, now) == now + CO_BREAKER_FIRST, "those on the wire do not count");

	for (int i = 0; i < 10; i++)
	{
		int64_t		at = when(&h, now);

		CHECK(at - now >= delay && at - now <= CO_BREAKER_LAST, "delay %lld", (long long) (at - now));
		delay = at - now;
		now = at;
		CHECK(allows(&h, false, now), "one then");
		co_hindrance_start(&h, false, now, 5 * SECOND);
		CHECK(!allows(&h, false, now + 4 * SECOND), "and no other while it is on the wire");
		co_hindrance_failure(&h, now, false, now);
	}
	CHECK(delay == CO_BREAKER_LAST, "up to the bound");
	now = when(&h, now);
	co_hindrance_start(&h, false, now, SECOND);
	CHECK(!co_hindrance_success(&h, now), "no pause is ended");
	CHECK(allows(&h, false, now), "up again: all go");
	for (int i = 1; i < CO_BREAKER_FAILURES; i++)
		co_hindrance_failure(&h, now, false, now);
	CHECK(allows(&h, false, now), "counted from the beginning");
	co_hindrance_failure(&h, now, false, now);
	CHECK(co_hindrance_pause(&h, CO_PAUSE_CREDITS, true, now, now, WALL), "it refuses, so it is there");
	CHECK(co_hindrance_lift(&h) && allows(&h, false, now), "no breaker any more");
}

int
main(void)
{
	test_begin();
	test_credits();
	test_token();
	test_daily();
	test_breaker();
	return check_done();
}
