/*-------------------------------------------------------------------------
 * test_retry.c
 *		Every way a call can end leads to the action that was promised.
 *-------------------------------------------------------------------------
 */
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "check.h"
#include "retry.h"

#define NOW INT64_C(1700000000000000)

static const CoRetryPolicy policy = {5, 1000000, 60000000};

/* One ending, and what is to become of it. */
typedef struct Expectation
{
	CoFault		fault;
	bool		sent;
	int			http_status;
	int			code;
	CoAction	action;
	int			queue;			/* attempts that a queued request gets */
	int			interactive;	/* attempts while somebody waits */
	CoPause		pause;
	CoErrorClass error_class;
	bool		maybe_paid;
} Expectation;

#define SERVICE(http, code) CO_FAULT_SERVICE, true, http, code
#define RETRY(queue, interactive) CO_ACTION_RETRY, queue, interactive, CO_PAUSE_NONE
#define GIVE_UP CO_ACTION_GIVE_UP, 1, 1, CO_PAUSE_NONE
#define PAUSE(cause) CO_ACTION_PAUSE, 1, 1, CO_PAUSE_##cause
#define WINDOW CO_ACTION_WINDOW, 1, 1, CO_PAUSE_NONE

static const Expectation expectations[] = {
	{CO_FAULT_NONE, true, 200, 0, CO_ACTION_DONE, 1, 1, CO_PAUSE_NONE, CO_ERROR_NONE, false},

	/* every code that the service is known to have */
	{SERVICE(401, 1000), PAUSE(UNAUTHORIZED), CO_ERROR_UNAUTHORIZED, false},
	{SERVICE(200, 1001), RETRY(5, 5), CO_ERROR_SERVICE, false},
	{SERVICE(402, 1002), PAUSE(CREDITS), CO_ERROR_CREDITS, false},
	{SERVICE(200, 1004), GIVE_UP, CO_ERROR_BAD_INPUT, false},
	{SERVICE(200, 1007), GIVE_UP, CO_ERROR_SERVICE, false},
	{SERVICE(200, 1008), GIVE_UP, CO_ERROR_SERVICE, false},
	{SERVICE(200, 1017), PAUSE(DAILY_LIMIT), CO_ERROR_DAILY_LIMIT, false},
	{SERVICE(200, 1027), GIVE_UP, CO_ERROR_SERVICE, false},
	{SERVICE(402, 1028), PAUSE(CREDITS), CO_ERROR_CREDITS, false},
	{SERVICE(200, 1029), GIVE_UP, CO_ERROR_SERVICE, false},
	{SERVICE(429, 1030), WINDOW, CO_ERROR_RATE_LIMIT, false},
	{SERVICE(402, 1031), PAUSE(CREDITS), CO_ERROR_CREDITS, false},
	{SERVICE(200, 1032), PAUSE(DAILY_LIMIT), CO_ERROR_DAILY_LIMIT, false},
	{SERVICE(403, 1074), PAUSE(UNAUTHORIZED), CO_ERROR_UNAUTHORIZED, false},
	{SERVICE(200, 1083), RETRY(5, 5), CO_ERROR_SERVICE, false},
	{SERVICE(200, 1088), GIVE_UP, CO_ERROR_BAD_INPUT, false},
	{SERVICE(402, 1099), PAUSE(CREDITS), CO_ERROR_CREDITS, false},
	{SERVICE(200, 1100), GIVE_UP, CO_ERROR_BAD_INPUT, false},
	{SERVICE(200, 1104), GIVE_UP, CO_ERROR_SERVICE, false},
	{SERVICE(200, 1116), GIVE_UP, CO_ERROR_SERVICE, false},

	/* the code counts, whatever HTTP status it comes with */
	{SERVICE(200, 1000), PAUSE(UNAUTHORIZED), CO_ERROR_UNAUTHORIZED, false},
	{SERVICE(400, 1002), PAUSE(CREDITS), CO_ERROR_CREDITS, false},
	{SERVICE(200, 1031), PAUSE(CREDITS), CO_ERROR_CREDITS, false},
	{SERVICE(429, 1017), PAUSE(DAILY_LIMIT), CO_ERROR_DAILY_LIMIT, false},
	{SERVICE(402, 1032), PAUSE(DAILY_LIMIT), CO_ERROR_DAILY_LIMIT, false},
	{SERVICE(200, 1030), WINDOW, CO_ERROR_RATE_LIMIT, false},
	{SERVICE(200, 1074), PAUSE(UNAUTHORIZED), CO_ERROR_UNAUTHORIZED, false},
	{SERVICE(403, 1008), GIVE_UP, CO_ERROR_SERVICE, false},
	{SERVICE(400, 1004), GIVE_UP, CO_ERROR_BAD_INPUT, false},

	/* codes nobody has heard of: the HTTP status counts */
	{SERVICE(200, 1999), GIVE_UP, CO_ERROR_SERVICE, false},
	{SERVICE(200, 0), GIVE_UP, CO_ERROR_SERVICE, false},
	{SERVICE(200, -1), GIVE_UP, CO_ERROR_SERVICE, false},
	{SERVICE(503, 1999), RETRY(5, 5), CO_ERROR_SERVICE, false},
	{SERVICE(402, 1999), PAUSE(CREDITS), CO_ERROR_CREDITS, false},

	/* every HTTP status that is documented, and others */
	{SERVICE(400, 0), GIVE_UP, CO_ERROR_BAD_INPUT, false},
	{SERVICE(401, 0), PAUSE(UNAUTHORIZED), CO_ERROR_UNAUTHORIZED, false},
	{SERVICE(402, 0), PAUSE(CREDITS), CO_ERROR_CREDITS, false},
	{SERVICE(403, 0), PAUSE(UNAUTHORIZED), CO_ERROR_UNAUTHORIZED, false},
	{SERVICE(404, 0), GIVE_UP, CO_ERROR_SERVICE, false},
	{SERVICE(405, 0), GIVE_UP, CO_ERROR_SERVICE, false},
	{SERVICE(407, 0), GIVE_UP, CO_ERROR_SERVICE, false},
	{SERVICE(408, 0), RETRY(5, 5), CO_ERROR_TIMEOUT, false},
	{SERVICE(413, 0), GIVE_UP, CO_ERROR_BAD_INPUT, false},
	{SERVICE(415, 0), GIVE_UP, CO_ERROR_SERVICE, false},
	{SERVICE(418, 0), GIVE_UP, CO_ERROR_BAD_INPUT, false},
	{SERVICE(422, 0), GIVE_UP, CO_ERROR_BAD_INPUT, false},
	{SERVICE(429, 0), WINDOW, CO_ERROR_RATE_LIMIT, false},
	{SERVICE(499, 0), GIVE_UP, CO_ERROR_BAD_INPUT, false},
	{SERVICE(500, 0), RETRY(5, 5), CO_ERROR_SERVICE, false},
	{SERVICE(502, 0), RETRY(5, 5), CO_ERROR_SERVICE, false},
	{SERVICE(503, 0), RETRY(5, 5), CO_ERROR_SERVICE, false},
	{SERVICE(504, 0), RETRY(5, 5), CO_ERROR_SERVICE, false},
	{SERVICE(520, 0), RETRY(5, 5), CO_ERROR_SERVICE, false},
	{SERVICE(524, 0), RETRY(2, 1), CO_ERROR_TIMEOUT, false},
	{SERVICE(599, 0), RETRY(5, 5), CO_ERROR_SERVICE, false},
	{SERVICE(302, 0), GIVE_UP, CO_ERROR_SERVICE, false},
	{SERVICE(0, 0), GIVE_UP, CO_ERROR_SERVICE, false},
	{SERVICE(101, 0), GIVE_UP, CO_ERROR_SERVICE, false},
	{SERVICE(999, 0), GIVE_UP, CO_ERROR_SERVICE, false},

	/* no usable answer, but perhaps a paid one */
	{CO_FAULT_MALFORMED, true, 200, 0, RETRY(2, 1), CO_ERROR_SERVICE, true},
	{CO_FAULT_MISMATCH, true, 200, 0, RETRY(2, 1), CO_ERROR_SERVICE, true},
	{CO_FAULT_TOO_LARGE, true, 200, 0, RETRY(2, 1), CO_ERROR_SERVICE, true},
	{CO_FAULT_TIMEOUT, true, 0, 0, RETRY(5, 1), CO_ERROR_TIMEOUT, true},
	{CO_FAULT_LOST, true, 0, 0, RETRY(5, 1), CO_ERROR_SERVICE, true},
	{CO_FAULT_GARBLED, true, 0, 0, RETRY(5, 1), CO_ERROR_SERVICE, true},
	{CO_FAULT_TLS, true, 0, 0, RETRY(5, 1), CO_ERROR_SERVICE, true},
	{CO_FAULT_LOCAL, true, 200, 0, RETRY(5, 1), CO_ERROR_LOCAL, true},
	{CO_FAULT_REDIRECT, true, 302, 0, GIVE_UP, CO_ERROR_SERVICE, false},

	/* nothing was sent */
	{CO_FAULT_RESOLVE, false, 0, 0, RETRY(5, 5), CO_ERROR_UNREACHABLE, false},
	{CO_FAULT_CONNECT, false, 0, 0, RETRY(5, 5), CO_ERROR_UNREACHABLE, false},
	{CO_FAULT_TLS, false, 0, 0, RETRY(5, 1), CO_ERROR_UNREACHABLE, false},
	{CO_FAULT_TIMEOUT, false, 0, 0, RETRY(5, 5), CO_ERROR_UNREACHABLE, false},
	{CO_FAULT_LOST, false, 0, 0, RETRY(5, 5), CO_ERROR_UNREACHABLE, false},
	{CO_FAULT_GARBLED, false, 0, 0, RETRY(5, 5), CO_ERROR_UNREACHABLE, false},
	{CO_FAULT_TOO_LARGE, false, 0, 0, RETRY(5, 5), CO_ERROR_UNREACHABLE, false},
	{CO_FAULT_LOCAL, false, 0, 0, RETRY(5, 5), CO_ERROR_LOCAL, false}
};

static CoOutcome
make_outcome(CoFault fault, bool sent, int http_status, int code)
{
	CoOutcome	outcome = {fault, sent, http_status, code, "secret@example.com"};

	return outcome;
}

static void
check_expectation(const Expectation *e, bool interactive)
{
	CoOutcome	outcome = make_outcome(e->fault, e->sent, e->http_status, e->code);
	int			limit = interactive ? e->interactive : e->queue;
	const char *who = interactive ? "interactive" : "queue";

	for (int attempt = 1; attempt <= 7; attempt++)
	{
		CoDecision	decision = co_retry_decide(&outcome, attempt, interactive,
											   NOW, 0.5, &policy);
		CoAction	action = e->action;

		if (action == CO_ACTION_RETRY && attempt >= limit)
			action = CO_ACTION_GIVE_UP;
		CHECK(decision.action == action,
			  "fault %d sent %d HTTP %d code %d %s attempt %d: action %d, expected %d",
			  e->fault, e->sent, e->http_status, e->code, who, attempt,
			  decision.action, action);
		CHECK(decision.pause == e->pause &&
			  decision.error_class == e->error_class &&
			  decision.maybe_paid == e->maybe_paid,
			  "fault %d sent %d HTTP %d code %d %s: pause %d class %d paid %d",
			  e->fault, e->sent, e->http_status, e->code, who, decision.pause,
			  decision.error_class, decision.maybe_paid);
		CHECK(decision.action == CO_ACTION_RETRY ? decision.retry_at > NOW :
			  decision.retry_at == 0, "retry_at %lld",
			  (long long) decision.retry_at);
	}
}

static int64_t
delay(int attempt, double random, int64_t base, int64_t cap)
{
	CoOutcome	outcome = make_outcome(CO_FAULT_CONNECT, false, 0, 0);
	CoRetryPolicy p = {INT_MAX, base, cap};
	CoDecision	decision = co_retry_decide(&outcome, attempt, false, NOW, random, &p);

	CHECK(decision.action == CO_ACTION_RETRY, "attempt %d", attempt);
	return decision.retry_at - NOW;
}

static void
check_jitter(void)
{
	static const double randoms[] = {0.0, 0.001, 0.25, 0.5, 0.75, 0.999, 0.9999999999999999};
	int64_t		bound = 1000000;

	for (int attempt = 1; attempt <= 40; attempt++)
	{
		int64_t		last = 0;

		for (size_t i = 0; i < sizeof(randoms) / sizeof(randoms[0]); i++)
		{
			int64_t		d = delay(attempt, randoms[i], 1000000, 60000000);

			CHECK(d >= 10000 && d <= bound && d >= last,
				  "attempt %d random %g: %lld", attempt, randoms[i], (long long) d);
			last = d;
		}
		CHECK(delay(attempt, 0.5, 1000000, 60000000) == bound / 2,
			  "attempt %d: not half the bound", attempt);
		bound = bound * 2 > 60000000 ? 60000000 : bound * 2;
	}

	/* never sooner than the floor */
	CHECK(delay(1, 0.0, 1000000, 60000000) == 10000, "floor");
	CHECK(delay(1, 0.5, 0, 60000000) == 10000, "no base");
	CHECK(delay(INT_MAX - 1, 0.5, 0, 60000000) == 10000, "no base, late");
	CHECK(delay(1, 0.5, -5, -5) == 10000, "absurd policy");
	CHECK(delay(9, 0.5, 1000000, 100) == 10000, "a cap below the floor");

	/* dice that are not in [0, 1), numbers at the end of their range */
	CHECK(delay(1, NAN, 1000000, 60000000) == 10000, "NaN");
	CHECK(delay(1, -1.0, 1000000, 60000000) == 10000, "negative");
	CHECK(delay(1, 7.0, 1000000, 60000000) == 1000000, "beyond one");
	CHECK(delay(0, 1.0, 1000000, 60000000) == 1000000, "attempt 0");
	CHECK(delay(INT_MAX - 1, 0.5, 1000000, 60000000) == 30000000, "attempt INT_MAX");
	{
		CoOutcome	outcome = make_outcome(CO_FAULT_CONNECT, false, 0, 0);
		CoRetryPolicy p = {INT_MAX, INT64_MAX, INT64_MAX};
		CoDecision	decision = co_retry_decide(&outcome, 3, false, NOW,
											   0.9999999999999999, &p);

		CHECK(decision.retry_at == INT64_MAX, "%lld", (long long) decision.retry_at);
	}
}

static void
check_text(CoFault fault, bool sent, int http_status, int code,
		   const char *expected)
{
	CoOutcome	outcome = make_outcome(fault, sent, http_status, code);
	char		text[80];

	co_outcome_describe(&outcome, text, sizeof(text));
	CHECK(strcmp(text, expected) == 0, "\"%s\", expected \"%s\"", text, expected);
}

static void
check_describe(void)
{
	CoOutcome	outcome = make_outcome(CO_FAULT_SERVICE, true, 402, 1002);
	char		text[8] = "xxxxxxx";

	check_text(CO_FAULT_SERVICE, true, 503, 0, "HTTP 503");
	check_text(CO_FAULT_SERVICE, true, 402, 1002, "HTTP 402, code 1002");
	check_text(CO_FAULT_TIMEOUT, true, 0, 0, "no answer in time");
	check_text(CO_FAULT_TIMEOUT, false, 0, 0, "no connection in time");
	check_text(CO_FAULT_CONNECT, false, 0, 0, "connection refused or unreachable");
	check_text(CO_FAULT_REDIRECT, true, 302, 0, "HTTP 302, redirect refused");
	check_text(CO_FAULT_MALFORMED, true, 200, 0, "HTTP 200, answer not understood");
	check_text(CO_FAULT_NONE, true, 200, 0, "answered");

	/* each fault has a phrase, and none repeats what the service said */
	for (int fault = CO_FAULT_NONE; fault <= CO_FAULT_MISMATCH; fault++)
	{
		CoOutcome	any = make_outcome(fault, true, 200, 1000);
		char		phrase[200];

		co_outcome_describe(&any, phrase, sizeof(phrase));
		CHECK(phrase[0] != '\0' && strstr(phrase, "unknown") == NULL &&
			  strstr(phrase, "secret") == NULL, "fault %d: %s", fault, phrase);
	}

	co_outcome_describe(&outcome, text, sizeof(text));
	CHECK(strcmp(text, "HTTP 40") == 0, "\"%s\"", text);
	co_outcome_describe(&outcome, text, 1);
	CHECK(text[0] == '\0', "\"%s\"", text);
	text[0] = 'x';
	co_outcome_describe(&outcome, text, 0);
	CHECK(text[0] == 'x', "\"%s\"", text);
}

int
main(void)
{
	for (size_t i = 0; i < sizeof(expectations) / sizeof(expectations[0]); i++)
	{
		check_expectation(&expectations[i], false);
		check_expectation(&expectations[i], true);
	}

	/* one attempt means one */
	{
		CoOutcome	outcome = make_outcome(CO_FAULT_CONNECT, false, 0, 0);
		CoRetryPolicy once = {1, 1000000, 60000000};

		CHECK(co_retry_decide(&outcome, 1, false, NOW, 0.5, &once).action ==
			  CO_ACTION_GIVE_UP, "max_attempts 1");
		once.max_attempts = 0;
		CHECK(co_retry_decide(&outcome, 1, false, NOW, 0.5, &once).action ==
			  CO_ACTION_GIVE_UP, "max_attempts 0");
	}

	/* no ending, however odd, is without an action that ends or delays it */
	for (int fault = -1; fault <= CO_FAULT_MISMATCH + 1; fault++)
	{
		for (int http = -1; http <= 1000; http++)
		{
			CoOutcome	outcome = make_outcome(fault, http % 2 == 0, http, 0);
			CoDecision	decision = co_retry_decide(&outcome, 1, true, NOW, 0.5,
												   &policy);

			if ((decision.action == CO_ACTION_DONE) != (fault == CO_FAULT_NONE) ||
				(decision.action == CO_ACTION_PAUSE) != (decision.pause != CO_PAUSE_NONE) ||
				(decision.maybe_paid && decision.action == CO_ACTION_RETRY))
				CHECK(false, "fault %d HTTP %d", fault, http);
		}
	}

	check_jitter();
	check_describe();
	return check_done();
}
