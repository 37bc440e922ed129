/*-------------------------------------------------------------------------
 * governor.c
 *		Rate governor: may a call start now, and if not, when?
 *
 * The service allows so many calls per window.  We are told how many, how
 * many are left, and in how many whole seconds the window ends; not how long
 * it is, nor how the seconds are rounded.  To use a window fully, calls must
 * start soon after it has begun; to be never refused, none may start that
 * does not fit into the old window while the new one may not have begun.
 *
 *	 begin         end_low     end_high = opened
 *	   |-------------[------------]----------------
 *	     our calls    probe?       the next window's calls
 *
 * So we keep bounds for the end of the current window.  Calls start as long
 * as some are left, then we wait for the upper bound: there a new window has
 * surely begun, and we count anew.  Calls that were under way between the
 * bounds, or sent shortly before, may count in either window, so they count
 * in both, until their answers tell.
 *
 * What an answer tells depends on how the service behaves: "reset: 7" stands
 * for (6, 7], [6.5, 7.5) or [7, 8) seconds, counted from the arrival of the
 * call or from the answer; windows lie on a grid, or each begins with the
 * first call after the former's end.  These are the twelve guesses.  Each
 * has bounds of its own for the window's begin, length (whole seconds, always
 * the same) and end; any two narrow the third.  Every answer narrows the
 * bounds under every guess, and a guess whose bounds cross is dead.  We go by
 * the earliest and the latest bound of all that are alive.  Should none be
 * left, then something has changed, and all are possible again.
 *
 * Two kinds of probe narrow the bounds further.  Some calls of each window
 * are kept back until the moment when, after the best we know, reset should
 * change by one: on which side of the change the answer lies halves the
 * bounds.  And one is kept for the turn of the window, and sent between the
 * bounds.  It cannot be refused, since the old window has room for it.  If
 * more remain after it than before, then the new window has begun; if not,
 * the old one had not ended when it was sent.  Once the bounds are a few
 * milliseconds apart, nothing is kept back.  Small limits are not probed:
 * one call of ten is worth more than a second of sixty.  Interactive calls
 * leave but the last one, for the turn: where they are all there is, windows
 * would begin ever later without it, until one of the service's had passed
 * unused.
 *
 * Other clients of the token show in remaining: less than we have used.
 * From then on we leave room for what they may have called since we heard,
 * and go by remaining alone.
 *
 * A refused call (429) closes the window until it has surely ended.  After
 * that, one call goes alone, and the others follow when it is not refused.
 *-------------------------------------------------------------------------
 */
#include "governor.h"

#include <string.h>

#define MILLISECOND INT64_C(1000)
#define SECOND		INT64_C(1000000)

/* A trial account was seen with ten verifications a minute. */
#define CO_GOVERNOR_FIRST_CALLS 10

/* The window that the service documents; assumed while nothing is told. */
#define DEFAULT_LENGTH 60
#define LENGTH_MIN 2			/* seconds */
#define LENGTH_MAX 3600			/* a longer reset is not believed */
#define CLOSED_MAX (120 * SECOND)

/* Within this time of being sent, a call has been counted. */
#define ARRIVAL (2 * SECOND)

/* Time it takes to start a window's calls, where nothing holds them up */
#define SPREAD (250 * MILLISECOND)

#define BUCKET (2 * SECOND)
#define ENDED_BUCKET (250 * MILLISECOND)

/* The service may reckon in milliseconds. */
#define SLACK (2 * MILLISECOND)

#define PROBE_LIMIT 50			/* below that, no call is spent on probes */
#define PROBES 4				/* kept for changes of reset, per window */
#define PROBE_WIDTH (20 * MILLISECOND)	/* bounds so near are good enough */
#define DARE_WINDOWS 4			/* see dare_time() */

/* Below that, interactive calls have no share of their own; 5 % above it. */
#define SHARE_LIMIT 20

/* Ask again that often for what only another process's call can change. */
#define POLL SECOND

#define FOREVER (INT64_MAX / 4) /* may be added to */

/* Under a guess, the window that an answer's headers speak of */
typedef enum Verdict
{
	UNSURE,
	OLDER,
	CURRENT,
	NEXT						/* so the current one has ended */
} Verdict;

static int64_t
max64(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t
min64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* ---------- guesses ---------- */

static bool
begins_with_call(int guess)
{
	return guess % 2 != 0;
}

static bool
made_at_response(int guess)
{
	return guess / 2 % 2 != 0;
}

/* What a reset of zero stands for, at most */
static int64_t
rounding(int guess)
{
	return guess / 4 * (SECOND / 2);
}

/* How far two clocks may differ after so many seconds: 100 ppm */
static int64_t
drift(int length)
{
	return SLACK + length * (SECOND / 10000);
}

static int64_t
floor_seconds(int64_t time)
{
	return time >= 0 ? time / SECOND : -((-time + SECOND - 1) / SECOND);
}

static int
clamp_length(int64_t length)
{
	return length < 1 ? 1 : length > LENGTH_MAX + 1 ? LENGTH_MAX + 1 : (int) length;
}

/* The end is the begin plus the length: what is known of two tells the third. */
static void
guess_settle(CoGuess *guess)
{
	int64_t		least = guess->end_low - guess->begin_high;
	int64_t		most = guess->end_high - guess->begin_low;
	int64_t		slack = drift(guess->length_high < DEFAULT_LENGTH ?
							  guess->length_high : DEFAULT_LENGTH);
	int			low = clamp_length(-floor_seconds(-(least - slack)));
	int			high = clamp_length(floor_seconds(most + slack));

	if (low > guess->length_low)
		guess->length_low = (int16_t) low;
	if (high < guess->length_high)
		guess->length_high = (int16_t) high;
	guess->end_low = max64(guess->end_low, guess->begin_low +
						   guess->length_low * SECOND - drift(guess->length_low));
	guess->end_high = min64(guess->end_high, guess->begin_high +
							guess->length_high * SECOND + drift(guess->length_high));
	if (guess->end_low > guess->end_high || guess->length_low > guess->length_high)
		guess->alive = false;
}

/* The window had begun by then. */
static void
guess_began(CoGuess *guess, int64_t high)
{
	if (!guess->alive || guess->begin_high <= high)
		return;
	guess->begin_high = high;
	guess_settle(guess);
}

static void
guess_reset(CoGuess *guess, int64_t opened)
{
	memset(guess, 0, sizeof(*guess));
	guess->alive = true;
	guess->begin_low = opened - (LENGTH_MAX + 1) * SECOND;
	guess->begin_high = opened + ARRIVAL;
	guess->end_low = opened;
	guess->end_high = FOREVER;
	guess->length_low = LENGTH_MIN;
	guess->length_high = LENGTH_MAX;
}

static void
guesses_reset(CoGovernor *governor)
{
	for (int i = 0; i < CO_GOVERNOR_GUESSES; i++)
		guess_reset(&governor->guess[i], governor->opened);
}

/* When the window ends at the latest; without an answer, we assume. */
static int64_t
guess_end_high(const CoGovernor *governor, const CoGuess *guess)
{
	int64_t		length = DEFAULT_LENGTH;
	int64_t		first = governor->first ? governor->first : governor->opened;

	if (guess->heard || guess->passed)
		return guess->end_high;
	if (guess->length_low > length)
		length = guess->length_low;
	if (guess->length_high < length)
		length = guess->length_high;
	return min64(guess->end_high, first + length * SECOND +
				 SPREAD + (governor->limit > 0 ? ARRIVAL : 0));
}

/* The current window has surely ended by then ... */
static int64_t
end_high(const CoGovernor *governor)
{
	int64_t		high = -1;

	for (int i = 0; i < CO_GOVERNOR_GUESSES; i++)
		if (governor->guess[i].alive)
			high = max64(high, guess_end_high(governor, &governor->guess[i]));
	return high;
}

/* ... and surely not before. */
static int64_t
end_low(const CoGovernor *governor)
{
	int64_t		low = FOREVER;

	for (int i = 0; i < CO_GOVERNOR_GUESSES; i++)
		if (governor->guess[i].alive)
			low = min64(low, governor->guess[i].end_low);
	return low;
}

/* The window that contains now began then or later. */
static int64_t
end_low_assumed(const CoGovernor *governor, int64_t now)
{
	int64_t		low = FOREVER;

	for (int i = 0; i < CO_GOVERNOR_GUESSES; i++)
	{
		const CoGuess *guess = &governor->guess[i];
		int64_t		bound = guess->end_low;

		if (!guess->alive)
			continue;
		if (!guess->heard && !guess->passed)
			bound = max64(bound, now - SECOND *
						  (guess->length_low > DEFAULT_LENGTH ?
						   guess->length_low : DEFAULT_LENGTH));
		low = min64(low, bound);
	}
	return low;
}

static int64_t
begin_low(const CoGovernor *governor)
{
	int64_t		low = FOREVER;

	for (int i = 0; i < CO_GOVERNOR_GUESSES; i++)
		if (governor->guess[i].alive)
			low = min64(low, governor->guess[i].begin_low);
	return low;
}

static int
length_low(const CoGovernor *governor)
{
	int			low = LENGTH_MAX;

	for (int i = 0; i < CO_GOVERNOR_GUESSES; i++)
		if (governor->guess[i].alive && governor->guess[i].length_low < low)
			low = governor->guess[i].length_low;
	return low;
}

static bool
any_alive(const CoGovernor *governor)
{
	for (int i = 0; i < CO_GOVERNOR_GUESSES; i++)
		if (governor->guess[i].alive)
			return true;
	return false;
}

/* ---------- calls in flight by age ---------- */

static void
buckets_advance(CoGovernor *governor, int64_t now)
{
	int64_t		newest = now / BUCKET;

	if (newest - governor->bucket_last >= CO_GOVERNOR_BUCKETS)
		memset(governor->bucket, 0, sizeof(governor->bucket));
	else
		for (int64_t i = governor->bucket_last + 1; i <= newest; i++)
			governor->bucket[i % CO_GOVERNOR_BUCKETS] = 0;
	governor->bucket_last = max64(governor->bucket_last, newest);
}

static void
bucket_leave(CoGovernor *governor, int64_t started)
{
	int64_t		number = started / BUCKET;

	if (number <= governor->bucket_last &&
		number > governor->bucket_last - CO_GOVERNOR_BUCKETS &&
		governor->bucket[number % CO_GOVERNOR_BUCKETS] > 0)
		governor->bucket[number % CO_GOVERNOR_BUCKETS]--;
}

/* Calls in flight that were started since then */
static int
in_flight_since(const CoGovernor *governor, int64_t since)
{
	int64_t		first = since / BUCKET;
	int			count = 0;

	if (first <= governor->bucket_last - CO_GOVERNOR_BUCKETS)
		return governor->open + governor->carried_open;
	for (int64_t i = first; i <= governor->bucket_last; i++)
		count += governor->bucket[i % CO_GOVERNOR_BUCKETS];
	return count;
}

/* A call of this window has ended. */
static void
ended_add(CoGovernor *governor, int64_t now)
{
	int64_t		newest = now / ENDED_BUCKET;

	if (newest - governor->ended_last >= CO_GOVERNOR_ENDED)
		memset(governor->ended, 0, sizeof(governor->ended));
	else
		for (int64_t i = governor->ended_last + 1; i <= newest; i++)
			governor->ended[i % CO_GOVERNOR_ENDED] = 0;
	governor->ended_last = max64(governor->ended_last, newest);
	governor->ended[newest % CO_GOVERNOR_ENDED]++;
}

/* Calls of this window that ended since then */
static int
ended_since(const CoGovernor *governor, int64_t since)
{
	int64_t		first = max64(since / ENDED_BUCKET,
							  governor->ended_last - CO_GOVERNOR_ENDED + 1);
	int			count = 0;

	for (int64_t i = first; i <= governor->ended_last; i++)
		count += governor->ended[i % CO_GOVERNOR_ENDED];
	return count;
}

/* Calls of other clients in a whole window, going by what we saw of it */
static int
others_rate(const CoGovernor *governor)
{
	int64_t		length = length_low(governor) * SECOND;
	int64_t		begin = begin_low(governor);
	int64_t		part;

	if (begin < governor->opened - length)
		begin = governor->opened - length;
	begin += (governor->opened - begin) / 2;
	part = max64(governor->others_at - begin, length / 16);
	return (int) min64(governor->others * length / part, governor->limit);
}

/* Is there another client of the token? */
static bool
shared(const CoGovernor *governor)
{
	return governor->others_usual + governor->others > 0;
}

/* ---------- windows ---------- */

/*
 * Under this guess, what do we know of the window that contains now?  The
 * calls that may have begun it were sent since then.
 */
static void
guess_roll(CoGovernor *governor, int number, int64_t now, int64_t since)
{
	CoGuess    *guess = &governor->guess[number];
	int64_t		low = guess->end_low;
	int64_t		high = min64(guess_end_high(governor, guess), now);

	if (low > high)
		low = high;
	if (begins_with_call(number))
	{
		guess->begin_low = max64(low, since);
		guess->begin_high = guess->passed ? guess->passed : FOREVER;
	}
	else if (now - low < guess->length_low * SECOND)
	{
		guess->begin_low = low;
		guess->begin_high = high;
	}
	else if (guess->length_low == guess->length_high)
	{
		int64_t		step = guess->length_low * SECOND;
		int64_t		more = (now - high) / step;

		/* drift adds up over what was slept through */
		guess->begin_low = low + more * (step - drift(guess->length_low));
		guess->begin_high = high + more * (step + drift(guess->length_low));
	}
	else
	{
		guess->begin_low = low;
		guess->begin_high = now;
	}
	guess->end_low = now;
	guess->end_high = FOREVER;
	guess->heard = false;
	guess->passed = 0;
	guess_settle(guess);
}


/* What other clients do fades, unless it is seen again. */
static void
others_fade(CoGovernor *governor)
{
	int			rate = others_rate(governor);

	governor->others_usual = (governor->others_usual * 3 + 3) / 4;
	if (governor->others_usual <= 3)
		governor->others_usual = 0;
	if (rate > governor->others_usual)
		governor->others_usual = rate;
	governor->others = 0;
}

/*
 * Of the calls of our first window, how many may count in the next one,
 * because its turn was in their midst?  Then more remain than we have left,
 * although no answer said that a window had begun; and bounds drawn from the
 * answers of both are worth nothing.
 */
static int
straddled(const CoGovernor *governor)
{
	int			counted = governor->limit - governor->low + governor->open;

	if (governor->window > 0 || governor->low < 0 || governor->bare > 0 ||
		shared(governor) || counted >= governor->started)
		return 0;
	for (int i = 0; i < CO_GOVERNOR_GUESSES; i++)
		if (governor->guess[i].alive && governor->guess[i].passed)
			return 0;
	return counted;
}

/* The current window has surely ended: begin the next. */
static void
roll(CoGovernor *governor, int64_t now)
{
	int64_t		low = end_low_assumed(governor, now);
	int			young = 0;
	int			late = ended_since(governor, low);
	int64_t		since = now;

	/* a window that begins with a call began no earlier than since */
	if (governor->last > low - ARRIVAL)
		young = in_flight_since(governor, low - ARRIVAL);
	if (young + late == 1 && governor->probed_last == governor->last)
		since = governor->probed_last;
	else if (young + late > 0)
		since = 0;
	if (shared(governor))
		since = 0;

	buckets_advance(governor, now);
	others_fade(governor);
	governor->carried_open = young;
	governor->carried = young + late;
	if (straddled(governor) > governor->carried)
		governor->carried = straddled(governor);
	for (int i = 0; i < CO_GOVERNOR_GUESSES; i++)
		if (governor->guess[i].alive)
			guess_roll(governor, i, now, since);
	governor->window++;
	governor->opened = now;
	governor->first = 0;
	governor->started = 0;
	governor->open = 0;
	memset(governor->ended, 0, sizeof(governor->ended));
	governor->low = -1;
	governor->bare = 0;
	governor->news = 0;
	governor->probes = 0;
	governor->dared = false;
	governor->probed = 0;
	governor->probed_last = 0;
	if (!any_alive(governor))
		guesses_reset(governor);
}

static void
advance(CoGovernor *governor, int64_t now)
{
	if (governor->opened == 0)
	{
		governor->opened = now;
		guesses_reset(governor);
	}
	else if (now >= end_high(governor) && now >= governor->closed)
		roll(governor, now);
}

/* ---------- how many calls are left ---------- */

static int
allowed(const CoGovernor *governor)
{
	if (governor->limit == 0)
	{
		if (governor->configured > 0 &&
			(governor->answered || governor->configured < CO_GOVERNOR_FIRST_CALLS))
			return governor->configured;
		return CO_GOVERNOR_FIRST_CALLS;
	}
	if (governor->configured > 0 && governor->configured < governor->limit)
		return governor->configured;
	return governor->limit;
}

/* What other clients may call in a window */
static int
others_expected(const CoGovernor *governor)
{
	int			rate = governor->others > 0 ? others_rate(governor) : 0;

	return rate > governor->others_usual ? rate : governor->others_usual;
}

/* What other clients may have called since we last heard */
static int
unheard(const CoGovernor *governor, int64_t now)
{
	int64_t		since;
	int64_t		length;
	int64_t		count;

	if (!shared(governor))
		return 0;
	since = governor->low >= 0 ? governor->low_sent :
		max64(begin_low(governor), now - LENGTH_MAX * SECOND);
	length = length_low(governor) * SECOND;
	since = max64(since, now - length);
	count = others_expected(governor) * (now - since) / length;
	return (int) min64(count + 1, LENGTH_MAX);
}

/*
 * After a pause, one call goes ahead of the others and asks how many are
 * left: another client may have begun meanwhile.
 */
static bool
out_of_touch(const CoGovernor *governor, int64_t now)
{
	int64_t		old = max64(4 * governor->latency, SECOND / 5);

	return governor->low >= 0 && governor->open > 0 && governor->last > governor->news &&
		governor->news < governor->last - old && now < governor->last + old;
}

/* Calls that may start in this window; may be negative */
static int
available(const CoGovernor *governor, int64_t now)
{
	int			left = allowed(governor) - governor->started - governor->carried;
	int			other = unheard(governor, now);

	if (governor->limit > 0)
	{
		int			told = governor->low >= 0 ?
			governor->low - governor->bare - governor->open - governor->carried_open :
			governor->limit - governor->started - governor->carried;

		if (told - other < left)
			left = told - other;
	}
	return left;
}

/* The last part of the window, where nothing needs to be kept back */
static int64_t
tail(const CoGovernor *governor)
{
	int64_t		low = end_low(governor);
	int64_t		length = low - governor->opened;
	int64_t		part = min64(2 * governor->latency, ARRIVAL);

	if (part > length / 2)
		return governor->opened;
	return low - max64(part, length / 5);
}

/* Calls that the queue leaves to interactive ones */
static int
share(const CoGovernor *governor)
{
	int			limit = allowed(governor);

	if (limit < SHARE_LIMIT)
		return 0;
	return limit / 20;
}

/* When a probe can tell something about the end of the window */
static int64_t
probe_time(const CoGovernor *governor, int64_t now)
{
	int64_t		low = end_low(governor);
	int64_t		high = end_high(governor);
	int64_t		width = high - low;
	int64_t		middle = low + width / 2 - governor->latency / 2;

	if (allowed(governor) < PROBE_LIMIT || width <= PROBE_WIDTH ||
		width * 3 / 4 <= governor->latency)
		return FOREVER;
	if (governor->low < 0)
		return governor->started > 0 ? now + POLL : FOREVER - 1;	/* no answer yet */
	if (now >= low && !shared(governor))
		return governor->probed > low ? FOREVER : max64(middle, now);

	/* reset changes at whole seconds before the end */
	if (governor->probes < PROBES)
	{
		int			widest = 0;
		int64_t		at;
		int64_t		most = 0;

		for (int i = 0; i < CO_GOVERNOR_GUESSES; i++)
		{
			const CoGuess *guess = &governor->guess[i];

			if (guess->alive && guess->end_high - guess->end_low > most)
			{
				widest = i;
				most = guess->end_high - guess->end_low;
			}
		}
		if (most > PROBE_WIDTH && most * 3 / 4 > governor->latency)
		{
			at = governor->guess[widest].end_low + most / 2 -
				governor->latency / 2 - rounding(widest);
			at -= (at - now) / SECOND * SECOND;
			if (at < now - 10 * MILLISECOND)
				at += SECOND;
			if (at < low || shared(governor))
				return at;
		}
	}
	/* nothing can be kept for the turn of the window: another may take it */
	return shared(governor) ? FOREVER : middle;
}

/*
 * A call may be worth a refusal.  Where another client takes all that is left
 * of each window, no probe can be kept for its turn: if we know the end badly,
 * one of a few windows is asked all the same.  And whatever we were told, we
 * do not stay silent for longer than a refusal would close the window.
 */
static int64_t
dare_time(const CoGovernor *governor)
{
	int64_t		low = end_low(governor);
	int64_t		width = end_high(governor) - low;
	int64_t		silence = CLOSED_MAX +
		(governor->last ? governor->last : governor->opened);

	if (!shared(governor) || governor->dared || governor->probing ||
		governor->window % DARE_WINDOWS != 0 ||
		governor->low < 0 || governor->open > 0 || allowed(governor) < PROBE_LIMIT ||
		width < length_low(governor) * SECOND / 8 ||
		width < 2 * governor->latency ||
		governor->started + governor->carried >= allowed(governor))
		return silence;
	return min64(silence, low + width / 2);
}

/*
 * Of the calls that are left, how many are not to be started yet?  *again
 * becomes the time when that may change.
 */
static int
kept_back(const CoGovernor *governor, int64_t now, bool interactive,
		  int64_t probe, int64_t *again)
{
	int			kept = 0;

	if (probe < FOREVER)
	{
		kept = 1;
		if (!interactive && (now < tail(governor) || shared(governor)))
			kept += PROBES - governor->probes;
		/* what others will have taken by then must be left, too */
		if (shared(governor) && probe > now && governor->low >= 0)
			kept += (int) (others_expected(governor) * (probe - now) /
						   (length_low(governor) * SECOND)) + 1;
		*again = min64(*again, probe);
	}
	if (now < tail(governor) && !interactive)
	{
		kept += share(governor);
		*again = min64(*again, tail(governor));
	}
	return kept;
}

/*
 * When may a call start, if there are some left?
 *
 * A person's call need not wait for our curiosity, except for the very last
 * of a window.  If persons want all of it, some of them have to wait anyway;
 * and without probes we would never learn when the window ends, so that each
 * one would begin later in the service's than the one before, until one of
 * the service's windows was slept through.
 */
static int64_t
probing_when(const CoGovernor *governor, int64_t now, bool interactive, int left)
{
	int64_t		again = end_high(governor);
	int64_t		probe = probe_time(governor, now);

	/* nothing was told of this window yet: only a call can change that */
	if (governor->low < 0 && governor->started == 0)
		return now;

	if (!interactive && out_of_touch(governor, now))
		return min64(again, now + min64(governor->latency / 2 + MILLISECOND, POLL));

	if (probe <= now)
	{
		/* the last call is for the turn of the window */
		if (governor->probed == 0 &&
			(left > 1 || now >= end_low(governor) || shared(governor)))
			return now;
		probe = now + governor->latency / 4 + MILLISECOND;
	}
	if (left > kept_back(governor, now, interactive, probe, &again))
		return now;
	return min64(max64(again, now + MILLISECOND), dare_time(governor));
}

int64_t
co_governor_when(CoGovernor *governor, int64_t now, bool interactive)
{
	int			left;
	int64_t		when;

	advance(governor, now);
	left = available(governor, now);
	if (now < governor->closed)
		when = governor->closed;
	else if (governor->probing && governor->open > 0 &&
			 now < governor->last + CLOSED_MAX)
		when = now + POLL;
	else if (left <= 0)
		when = min64(end_high(governor), dare_time(governor));
	else if (governor->probing)
		when = now;
	else
		when = probing_when(governor, now, interactive, left);
	return min64(when, now + DEFAULT_LENGTH * SECOND);
}

/* Is the call that starts now a probe? */
static void
note_probe(CoGovernor *governor, int64_t now)
{
	if (available(governor, now) <= 0)
		governor->dared = true;
	else if (governor->probed == 0 && probe_time(governor, now) <= now)
	{
		governor->probed = now;
		governor->probed_last = now;
		if (now < end_low(governor) || shared(governor))
			governor->probes++;
	}
}

CoTicket
co_governor_start(CoGovernor *governor, int64_t now)
{
	CoTicket	ticket;

	advance(governor, now);
	buckets_advance(governor, now);
	note_probe(governor, now);
	if (governor->first == 0)
	{
		governor->first = now;
		for (int i = 0; i < CO_GOVERNOR_GUESSES; i++)
			guess_began(&governor->guess[i], now + ARRIVAL);
	}
	governor->bucket[now / BUCKET % CO_GOVERNOR_BUCKETS]++;
	governor->last = now;
	governor->started++;
	governor->open++;
	governor->in_flight++;
	ticket.started = now;
	ticket.window = governor->window;
	return ticket;
}

/* ---------- answers ---------- */

static void
guess_narrow(CoGuess *guess, int64_t low, int64_t high)
{
	guess->end_low = max64(guess->end_low, low);
	guess->end_high = min64(guess->end_high, high);
	guess->heard = true;
	guess_settle(guess);
}

/* Windows last so long. */
static void
guess_at_least(CoGuess *guess, int64_t least)
{
	int			length = clamp_length(-floor_seconds(-(least - SLACK)));

	if (length <= guess->length_low)
		return;
	guess->length_low = (int16_t) length;
	guess_settle(guess);
}

/* Narrow the bounds of a guess by what an answer said of reset. */
static Verdict
guess_hear(CoGovernor *governor, int number, int64_t sent, int64_t now,
		   const CoRateHeaders *headers, bool limited)
{
	CoGuess    *guess = &governor->guess[number];
	int64_t		from = sent;
	int64_t		to = now;
	int64_t		low;
	int64_t		high;

	/* a refusal may come from another part of the service */
	if (limited)
		;
	else if (made_at_response(number))
		from = max64(sent, now - ARRIVAL);
	else
		to = min64(now, sent + ARRIVAL);
	low = from + (headers->reset - 1) * SECOND + rounding(number) - drift(headers->reset);
	high = to + headers->reset * SECOND + rounding(number) + drift(headers->reset);

	/* nothing counted: between two windows that begin with a call */
	if (headers->remaining == headers->limit && begins_with_call(number))
		return UNSURE;

	/* no window has more left than its length */
	guess_at_least(guess, low - from);
	if (!guess->alive)
		return UNSURE;

	if (to < guess->begin_low)
		return OLDER;
	if (from < min64(governor->opened, guess->begin_high))
		return high < guess->end_low ? OLDER : UNSURE;
	if (to >= guess->end_low)
	{
		bool		fresh = !guess->heard && guess->length_low < guess->length_high;

		if (low > guess->end_high)
		{
			guess->end_high = min64(guess->end_high, to);
			guess->passed = guess->passed ? min64(guess->passed, to) : to;
			if (guess->end_low > guess->end_high)
				guess->alive = false;
			return NEXT;
		}
		if (!fresh && high >= guess->end_low + guess->length_low * SECOND -
			drift(guess->length_low))
			return UNSURE;
		/* the window that we learn about may have begun by this answer only */
		if (fresh)
			guess->begin_high = max64(guess->begin_high, to);
	}
	guess_narrow(guess, max64(low, from), high);
	return CURRENT;
}

/* True if the call surely counted in the window that was current. */
static bool
hear_reset(CoGovernor *governor, int64_t sent, int64_t now,
		   const CoRateHeaders *headers, bool limited, bool current)
{
	bool		sure = true;

	for (int i = 0; i < CO_GOVERNOR_GUESSES; i++)
	{
		Verdict		verdict;

		if (!governor->guess[i].alive)
			continue;
		verdict = guess_hear(governor, i, sent, now, headers, limited);
		if (governor->guess[i].alive && verdict != (current ? CURRENT : OLDER))
			sure = false;
	}
	if (any_alive(governor))
		return sure;

	/* what was left of another window says nothing about this one */
	guesses_reset(governor);
	if (sent > governor->low_heard)
		governor->low = -1;
	for (int i = 0; i < CO_GOVERNOR_GUESSES; i++)
		guess_hear(governor, i, sent, now, headers, limited);
	return false;
}

/*
 * A remaining that rose proves that a window has begun, unless what was said
 * about its end speaks against it: the service may give calls back.
 */
static bool
hear_rise(CoGovernor *governor, int64_t now, bool begun)
{
	bool		plausible = false;

	for (int i = 0; i < CO_GOVERNOR_GUESSES; i++)
		if (governor->guess[i].alive && governor->guess[i].end_low <= now)
			plausible = true;
	if (!plausible)
		return false;
	for (int i = 0; i < CO_GOVERNOR_GUESSES; i++)
	{
		CoGuess    *guess = &governor->guess[i];

		if (!guess->alive)
			continue;
		guess->end_high = min64(guess->end_high, now);
		if (begun)
			guess->passed = guess->passed ? min64(guess->passed, now) : now;
		if (guess->end_low > guess->end_high)
			guess->alive = false;
	}
	return true;
}

/* So few remain that it must still be the old window, when this was sent. */
static void
hear_no_rise(CoGovernor *governor, int64_t sent)
{
	for (int i = 0; i < CO_GOVERNOR_GUESSES; i++)
	{
		CoGuess    *guess = &governor->guess[i];

		if (!guess->alive || guess->end_low >= sent)
			continue;
		guess->end_low = sent;
		guess_settle(guess);
	}
	if (!any_alive(governor))
		guesses_reset(governor);
}

/* True if the call surely counted in the window that was current. */
static bool
hear_remaining(CoGovernor *governor, int64_t sent, int64_t now, int remaining,
			   bool limited)
{
	int			others;
	bool		sure = false;

	if (governor->low >= 0 && remaining > governor->low &&
		sent > governor->low_heard &&
		hear_rise(governor, now, remaining < governor->limit))
		return false;
	if (!shared(governor) &&
		remaining < governor->limit - ended_since(governor, end_low(governor)) -
		in_flight_since(governor, end_low(governor) - ARRIVAL) - 1)
	{
		hear_no_rise(governor, sent);
		sure = true;
	}
	others = governor->limit - remaining - governor->started - governor->carried;
	if ((!limited || shared(governor)) && others > governor->others)
	{
		governor->others = others;
		governor->others_at = now;
	}
	if (governor->low < 0 || remaining <= governor->low)
	{
		governor->low = remaining;
		governor->bare = 0;
		governor->low_sent = sent;
		governor->low_heard = now;
	}
	return sure;
}

/* Are the headers believable?  A new limit is believed when told twice. */
static bool
believable(CoGovernor *governor, const CoRateHeaders *headers)
{
	if (headers->limit <= 0 || headers->remaining < 0 || headers->reset < 0 ||
		headers->remaining > headers->limit || headers->reset > LENGTH_MAX)
		return false;
	if (governor->limit == 0 || governor->limit_next == headers->limit)
	{
		if (governor->limit != headers->limit)
			governor->low = -1;
		governor->limit = headers->limit;
	}
	governor->limit_next = headers->limit == governor->limit ? 0 : headers->limit;
	return headers->limit == governor->limit;
}

/* What is left is none, whatever we thought. */
static void
refused(CoGovernor *governor, int64_t now, bool told, int reset)
{
	int64_t		wait = (told ? reset + 1 : DEFAULT_LENGTH) * SECOND;

	governor->low = 0;
	governor->low_sent = now;
	governor->low_heard = now;
	governor->probing = true;
	/* another client took the rest: no reason to doubt what we know */
	if (told && shared(governor) && end_high(governor) < now + min64(wait, CLOSED_MAX))
		return;
	governor->closed = max64(governor->closed, now + min64(wait, CLOSED_MAX));
}

/* A call has ended: take it off the books.  True if it was carried over. */
static bool
leave(CoGovernor *governor, const CoTicket *ticket)
{
	if (governor->in_flight > 0)
		governor->in_flight--;
	bucket_leave(governor, ticket->started);
	if (governor->probed == ticket->started)
		governor->probed = 0;
	if (ticket->window == governor->window)
	{
		if (governor->open > 0)
			governor->open--;
		return false;
	}
	if (governor->carried_open == 0 || ticket->window + 1 != governor->window ||
		ticket->started < begin_low(governor) - ARRIVAL)
		return false;
	governor->carried_open--;
	return true;
}

/* An answer to a call of the current window, with headers if told */
static void
hear_current(CoGovernor *governor, const CoTicket *ticket, int64_t now,
			 const CoRateHeaders *headers, bool told, bool limited)
{
	bool		sure = false;

	/* a call has begun a window by the time of its answer, at the latest */
	for (int i = 0; i < CO_GOVERNOR_GUESSES; i++)
		guess_began(&governor->guess[i], now);
	if (!any_alive(governor))
		guesses_reset(governor);

	if (told)
	{
		sure = hear_reset(governor, ticket->started, now, headers, limited, true);
		sure |= hear_remaining(governor, ticket->started, now,
							   headers->remaining, limited);
		governor->news = max64(governor->news, ticket->started);
	}
	else if (ticket->started > governor->low_sent)
		governor->bare++;

	/* what was refused, counts nowhere */
	if (governor->limit > 0 && !sure && !limited && now >= end_low(governor) &&
		ticket->started >= end_low(governor) - ARRIVAL)
		ended_add(governor, now);
}

void
co_governor_end(CoGovernor *governor, const CoTicket *ticket, int64_t now,
				const CoRateHeaders *headers, bool limited, bool sent)
{
	bool		current = ticket->window == governor->window;
	bool		carried = leave(governor, ticket);
	bool		told;
	int64_t		latency = now - ticket->started;

	if (!sent)
	{
		if (current && governor->started > 0)
			governor->started--;
		if (carried && governor->carried > 0)
			governor->carried--;
		return;
	}

	governor->latency = governor->latency == 0 ? latency :
		governor->latency + (latency - governor->latency) / 32;
	governor->answered = true;
	told = believable(governor, headers);
	if (current)
		hear_current(governor, ticket, now, headers, told, limited);
	else if (told &&
			 hear_reset(governor, ticket->started, now, headers, limited, false) &&
			 carried && governor->carried > 0)
		governor->carried--;

	if (limited)
		refused(governor, now, told, headers->reset);
	else if (current && now >= governor->closed)
		governor->probing = false;
}

void
co_governor_abandon(CoGovernor *governor, int64_t now, int count)
{
	int			part = governor->in_flight - governor->open - governor->carried_open;

	(void) now;
	if (count > governor->in_flight)
		count = governor->in_flight;
	governor->in_flight -= count;

	/*
	 * We do not know of which windows they were.  Those that matter least
	 * come first, so that too many rather than too few are waited for, until
	 * the window ends.  They stay among the calls started.
	 */
	if (part > 0)
		count -= count < part ? count : part;
	part = count < governor->carried_open ? count : governor->carried_open;
	governor->carried_open -= part;
	governor->bare += part;
	count -= part;
	part = count < governor->open ? count : governor->open;
	governor->open -= part;
	governor->bare += part;
	governor->probed = 0;
}

void
co_governor_configure(CoGovernor *governor, int configured)
{
	governor->configured = configured;
}

void
co_governor_init(CoGovernor *governor, int configured)
{
	memset(governor, 0, sizeof(*governor));
	governor->configured = configured;
	governor->low = -1;
}

void
co_governor_state(const CoGovernor *governor, int64_t now, CoGovernorState *state)
{
	bool		known = governor->limit > 0 || governor->configured > 0;
	int			left = available(governor, now);
	int64_t		end = max64(end_high(governor), governor->closed);

	state->limit = known ? allowed(governor) : 0;
	state->in_flight = governor->in_flight;
	if (governor->opened > 0 && now < end)
	{
		state->remaining = left > 0 && now >= governor->closed ? left : 0;
		state->resets_at = end;
	}
	else
	{
		/* the next call begins a window */
		state->remaining = allowed(governor);
		state->resets_at = 0;
	}
}
