/*-------------------------------------------------------------------------
 * retry.c
 *		What to do about a call that did not bring an answer.
 *
 * Pure.  The policy is one table, read from the top: the first rule that
 * matches decides.  Clearout's own code comes before the HTTP status, since
 * several codes travel under HTTP 200 and the status of others is not
 * documented.
 *
 * Two things shape it.  A verification costs a credit once the service has
 * answered it, so a call that was sent and whose answer was lost may be paid
 * for twice: the queue asks again, a caller who waits is told instead.  And a
 * cause that holds for every call (token, credits, daily limit, rate) is no
 * fault of this request, so it costs it no attempt.
 *-------------------------------------------------------------------------
 */
#include "retry.h"

#include <limits.h>
#include <stddef.h>
#include <stdio.h>

/*
 * No retry starts sooner than this, whatever the dice say: a refused
 * connection fails within microseconds, and full jitter may roll a zero.
 * It holds even if the policy's cap is lower.
 */
#define FLOOR_MICROSECONDS 10000

#define ANY		(-1)			/* the column does not matter */
#define NO		0
#define YES		1

/* Attempts at most, the first included; the policy's max_attempts holds too. */
#define ONCE	1				/* never again */
#define TWICE	2
#define ALL		INT_MAX			/* as many as the policy allows */

typedef struct Rule
{
	/* if ... */
	int			fault;
	int			sent;			/* YES, NO or ANY */
	int			code;			/* Clearout's, or ANY */
	int			http_from;		/* a range of HTTP statuses, or ANY */
	int			http_to;

	/* ... then */
	CoAction	action;
	int			queue;			/* for CO_ACTION_RETRY: attempts at most ... */
	int			interactive;	/* ... and when somebody waits */
	CoPause		pause;
	CoErrorClass error_class;
	bool		maybe_paid;
} Rule;

#define CODE(code) \
	CO_FAULT_SERVICE, ANY, code, ANY, ANY
#define HTTP(from, to) \
	CO_FAULT_SERVICE, ANY, ANY, from, to
#define FAULT(fault, sent) \
	fault, sent, ANY, ANY, ANY

#define RETRY(queue, interactive, error_class, maybe_paid) \
	CO_ACTION_RETRY, queue, interactive, CO_PAUSE_NONE, error_class, maybe_paid
#define GIVE_UP(error_class) \
	CO_ACTION_GIVE_UP, ONCE, ONCE, CO_PAUSE_NONE, error_class, false
#define PAUSE(pause, error_class) \
	CO_ACTION_PAUSE, ONCE, ONCE, pause, error_class, false
#define WINDOW \
	CO_ACTION_WINDOW, ONCE, ONCE, CO_PAUSE_NONE, CO_ERROR_RATE_LIMIT, false

static const Rule rules[] = {
	{FAULT(CO_FAULT_NONE, ANY),
	CO_ACTION_DONE, ONCE, ONCE, CO_PAUSE_NONE, CO_ERROR_NONE, false},

	/*
	 * Clearout's codes.  Meanings: overview page and OpenAPI document of the
	 * API; 1031 and 1032 are the twins of 1002 and 1017.
	 */

	/* the token is wrong, or may not be used from here: so for every call */
	{CODE(1000), PAUSE(CO_PAUSE_UNAUTHORIZED, CO_ERROR_UNAUTHORIZED)},
	{CODE(1074), PAUSE(CO_PAUSE_UNAUTHORIZED, CO_ERROR_UNAUTHORIZED)},

	/* no credits, or not enough of them */
	{CODE(1002), PAUSE(CO_PAUSE_CREDITS, CO_ERROR_CREDITS)},
	{CODE(1028), PAUSE(CO_PAUSE_CREDITS, CO_ERROR_CREDITS)},
	{CODE(1031), PAUSE(CO_PAUSE_CREDITS, CO_ERROR_CREDITS)},
	{CODE(1099), PAUSE(CO_PAUSE_CREDITS, CO_ERROR_CREDITS)},

	/* the day's ration is used up: "try again the next day" */
	{CODE(1017), PAUSE(CO_PAUSE_DAILY_LIMIT, CO_ERROR_DAILY_LIMIT)},
	{CODE(1032), PAUSE(CO_PAUSE_DAILY_LIMIT, CO_ERROR_DAILY_LIMIT)},

	/* the rate limit; the governor knows when its window ends */
	{CODE(1030), WINDOW},

	/* too many lists at work (verify, find): they end by themselves */
	{CODE(1001), RETRY(ALL, ALL, CO_ERROR_SERVICE, false)},
	{CODE(1083), RETRY(ALL, ALL, CO_ERROR_SERVICE, false)},

	/* what was asked is at fault: no address column, name, file type */
	{CODE(1004), GIVE_UP(CO_ERROR_BAD_INPUT)},
	{CODE(1088), GIVE_UP(CO_ERROR_BAD_INPUT)},
	{CODE(1100), GIVE_UP(CO_ERROR_BAD_INPUT)},

	/*
	 * One list or queued call is gone, is not ours, or is in no state for
	 * that.  Before the statuses, so that a 1008 under HTTP 403 does not stop
	 * everything else.
	 */
	{CODE(1007), GIVE_UP(CO_ERROR_SERVICE)},
	{CODE(1008), GIVE_UP(CO_ERROR_SERVICE)},
	{CODE(1027), GIVE_UP(CO_ERROR_SERVICE)},
	{CODE(1029), GIVE_UP(CO_ERROR_SERVICE)},
	{CODE(1104), GIVE_UP(CO_ERROR_SERVICE)},
	{CODE(1116), GIVE_UP(CO_ERROR_SERVICE)},

	/* HTTP statuses, for failures without a code that we know. */

	/* a business failure of a kind that we do not know: it will be repeated */
	{HTTP(200, 299), GIVE_UP(CO_ERROR_SERVICE)},

	/* the base URL is wrong, or something else answers there */
	{HTTP(300, 399), GIVE_UP(CO_ERROR_SERVICE)},

	{HTTP(400, 400), GIVE_UP(CO_ERROR_BAD_INPUT)},	/* validation failed */
	{HTTP(401, 401), PAUSE(CO_PAUSE_UNAUTHORIZED, CO_ERROR_UNAUTHORIZED)},
	{HTTP(402, 402), PAUSE(CO_PAUSE_CREDITS, CO_ERROR_CREDITS)},
	/* documented as forbidden without a code: a disabled token, presumably */
	{HTTP(403, 403), PAUSE(CO_PAUSE_UNAUTHORIZED, CO_ERROR_UNAUTHORIZED)},

	/* path, method, proxy or content type: our configuration, not the input */
	{HTTP(404, 405), GIVE_UP(CO_ERROR_SERVICE)},
	{HTTP(407, 407), GIVE_UP(CO_ERROR_SERVICE)},
	{HTTP(415, 415), GIVE_UP(CO_ERROR_SERVICE)},

	/* the server did not get the whole request in time (RFC 9110 15.5.9) */
	{HTTP(408, 408), RETRY(ALL, ALL, CO_ERROR_TIMEOUT, false)},

	/* 429 is documented with and without 1030 */
	{HTTP(429, 429), WINDOW},

	{HTTP(400, 499), GIVE_UP(CO_ERROR_BAD_INPUT)},

	/*
	 * The timeout of the request ran out.  By the documents that costs
	 * nothing, but an answer found later may be charged, so it is asked once
	 * more at most; and a caller who has waited that long has waited enough.
	 */
	{HTTP(524, 524), RETRY(TWICE, ONCE, CO_ERROR_TIMEOUT, false)},

	/* it says that it failed, so nothing was answered and nothing paid */
	{HTTP(500, 599), RETRY(ALL, ALL, CO_ERROR_SERVICE, false)},

	/* Answers that are none. */

	/*
	 * The answer was given, so it is presumably paid for, and is likely to be
	 * the same the next time: one more try, for the queue alone.
	 */
	{FAULT(CO_FAULT_MALFORMED, ANY), RETRY(TWICE, ONCE, CO_ERROR_SERVICE, true)},
	{FAULT(CO_FAULT_MISMATCH, ANY), RETRY(TWICE, ONCE, CO_ERROR_SERVICE, true)},
	{FAULT(CO_FAULT_TOO_LARGE, YES), RETRY(TWICE, ONCE, CO_ERROR_SERVICE, true)},

	/* a gateway or a captive portal; redirects are never followed */
	{FAULT(CO_FAULT_REDIRECT, ANY), GIVE_UP(CO_ERROR_SERVICE)},

	/* Sent, and nothing is known of what became of it. */
	{FAULT(CO_FAULT_TIMEOUT, YES), RETRY(ALL, ONCE, CO_ERROR_TIMEOUT, true)},
	{FAULT(CO_FAULT_LOST, YES), RETRY(ALL, ONCE, CO_ERROR_SERVICE, true)},
	{FAULT(CO_FAULT_GARBLED, YES), RETRY(ALL, ONCE, CO_ERROR_SERVICE, true)},
	/* the connection's encryption failed half-way through the answer */
	{FAULT(CO_FAULT_TLS, YES), RETRY(ALL, ONCE, CO_ERROR_SERVICE, true)},
	/* no memory to read the answer */
	{FAULT(CO_FAULT_LOCAL, YES), RETRY(ALL, ONCE, CO_ERROR_LOCAL, true)},

	/* Not sent. */

	/* a refused certificate does not heal while somebody waits */
	{FAULT(CO_FAULT_TLS, ANY), RETRY(ALL, ONCE, CO_ERROR_UNREACHABLE, false)},
	{FAULT(CO_FAULT_LOCAL, ANY), RETRY(ALL, ALL, CO_ERROR_LOCAL, false)},
	{FAULT(CO_FAULT_RESOLVE, ANY), RETRY(ALL, ALL, CO_ERROR_UNREACHABLE, false)},
	{FAULT(CO_FAULT_CONNECT, ANY), RETRY(ALL, ALL, CO_ERROR_UNREACHABLE, false)},
	{FAULT(CO_FAULT_TIMEOUT, ANY), RETRY(ALL, ALL, CO_ERROR_UNREACHABLE, false)},
	{FAULT(CO_FAULT_LOST, ANY), RETRY(ALL, ALL, CO_ERROR_UNREACHABLE, false)},
	{FAULT(CO_FAULT_GARBLED, ANY), RETRY(ALL, ALL, CO_ERROR_UNREACHABLE, false)},
	{FAULT(CO_FAULT_TOO_LARGE, ANY), RETRY(ALL, ALL, CO_ERROR_UNREACHABLE, false)},

	/* whatever is left, such as a failure with a status of no known class */
	{ANY, ANY, ANY, ANY, ANY, GIVE_UP(CO_ERROR_SERVICE)}
};

static bool
matches(const Rule *rule, const CoOutcome *outcome)
{
	return (rule->fault == ANY || rule->fault == (int) outcome->fault) &&
		(rule->sent == ANY || (rule->sent == YES) == outcome->sent) &&
		(rule->code == ANY || rule->code == outcome->code) &&
		(rule->http_from == ANY || (outcome->http_status >= rule->http_from &&
									outcome->http_status <= rule->http_to));
}

/* A point between the floor and min(cap, base * 2^(attempt - 1)). */
static int64_t
backoff(int attempt, double random, const CoRetryPolicy *policy)
{
	int64_t		bound = policy->base;
	int64_t		delay;

	for (int i = 1; i < attempt && bound > 0 && bound < policy->cap; i++)
		bound = bound > INT64_MAX / 2 ? INT64_MAX : bound * 2;
	if (bound > policy->cap)
		bound = policy->cap;

	/* written so that it is false for NaN too */
	if (!(random > 0.0))
		random = 0.0;
	if (random >= 1.0 || (double) bound * random >= (double) bound)
		delay = bound;
	else
		delay = (int64_t) ((double) bound * random);
	return delay > FLOOR_MICROSECONDS ? delay : FLOOR_MICROSECONDS;
}

CoDecision
co_retry_decide(const CoOutcome *outcome, int attempt, bool interactive,
				int64_t now, double random, const CoRetryPolicy *policy)
{
	const Rule *rule = rules;
	CoDecision	decision;

	while (!matches(rule, outcome))
		rule++;					/* the last one matches everything */

	decision.action = rule->action;
	decision.pause = rule->pause;
	decision.retry_at = 0;
	decision.error_class = rule->error_class;
	decision.maybe_paid = rule->maybe_paid;

	if (rule->action == CO_ACTION_RETRY)
	{
		if (attempt >= policy->max_attempts ||
			attempt >= (interactive ? rule->interactive : rule->queue))
			decision.action = CO_ACTION_GIVE_UP;
		else
		{
			int64_t		delay = backoff(attempt, random, policy);

			decision.retry_at = now > INT64_MAX - delay ? INT64_MAX : now + delay;
		}
	}
	return decision;
}

void
co_outcome_describe(const CoOutcome *outcome, char *text, int size)
{
	const char *phrase = "unknown fault";

	if (size <= 0)
		return;

	switch (outcome->fault)
	{
		case CO_FAULT_NONE:
			phrase = "answered";
			break;
		case CO_FAULT_LOCAL:
			phrase = "no memory, no descriptors or a bad URL on our side";
			break;
		case CO_FAULT_RESOLVE:
			phrase = "host name not resolved";
			break;
		case CO_FAULT_CONNECT:
			phrase = "connection refused or unreachable";
			break;
		case CO_FAULT_TLS:
			phrase = "TLS handshake or certificate refused";
			break;
		case CO_FAULT_TIMEOUT:
			phrase = outcome->sent ? "no answer in time" : "no connection in time";
			break;
		case CO_FAULT_LOST:
			phrase = "connection lost";
			break;
		case CO_FAULT_GARBLED:
			phrase = "answer is not valid HTTP";
			break;
		case CO_FAULT_TOO_LARGE:
			phrase = "answer is too large";
			break;
		case CO_FAULT_REDIRECT:
			phrase = "redirect refused";
			break;
		case CO_FAULT_SERVICE:
			if (outcome->code != 0)
				snprintf(text, size, "HTTP %d, code %d", outcome->http_status,
						 outcome->code);
			else
				snprintf(text, size, "HTTP %d", outcome->http_status);
			return;
		case CO_FAULT_MALFORMED:
			phrase = "answer not understood";
			break;
		case CO_FAULT_MISMATCH:
			phrase = "answer is for another address";
			break;
	}

	/* faults have a status where an answer had begun; of use for a redirect */
	if (outcome->fault != CO_FAULT_NONE && outcome->http_status != 0)
		snprintf(text, size, "HTTP %d, %s", outcome->http_status, phrase);
	else
		snprintf(text, size, "%s", phrase);
}
