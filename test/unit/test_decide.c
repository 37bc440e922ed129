/*-------------------------------------------------------------------------
 * test_decide.c
 *		What is different for calls that are not verifications.
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "check.h"
#include "decide.h"

static const CoRetryPolicy policy = {3, 1000, 1000000};

static CoDecision
decide(CoEndpointId endpoint, CoFault fault, bool sent, int http, int code, int attempt,
	   bool interactive)
{
	CoOutcome	outcome = {.fault = fault, .sent = sent, .http_status = http, .code = code};

	return co_decide(endpoint, &outcome, attempt, interactive, 5000000, 0.5, &policy);
}

static void
expect(const char *what, CoDecision decision, CoAction action, CoErrorClass error_class,
	   bool maybe_paid)
{
	CHECK(decision.action == action && decision.error_class == error_class &&
		  decision.maybe_paid == maybe_paid,
		  "%s: action %d, class %d, paid %d", what, decision.action,
		  decision.error_class, decision.maybe_paid);
	CHECK((decision.action == CO_ACTION_RETRY) == (decision.retry_at > 5000000),
		  "%s: retry at %lld", what, (long long) decision.retry_at);
	CHECK((decision.action == CO_ACTION_PAUSE) == (decision.pause != CO_PAUSE_NONE),
		  "%s: pause %d", what, decision.pause);
}

int
main(void)
{
	const int64_t second = 1000000;
	const int64_t day = 86400 * second;
	int64_t		last = 0;
	int			looks = 0;

	/* what may be paid for is as for a verification */
	for (int i = 0; i < CO_ENDPOINT_COUNT; i++)
	{
		if (!co_endpoints[i].costs)
			continue;
		expect(co_endpoints[i].name, decide(i, CO_FAULT_LOST, true, 0, 0, 1, true),
			   CO_ACTION_GIVE_UP, CO_ERROR_SERVICE, true);
		expect(co_endpoints[i].name, decide(i, CO_FAULT_LOST, true, 0, 0, 1, false),
			   CO_ACTION_RETRY, CO_ERROR_SERVICE, true);
		expect(co_endpoints[i].name, decide(i, CO_FAULT_SERVICE, true, 402, 1002, 1, true),
			   CO_ACTION_PAUSE, CO_ERROR_CREDITS, false);
	}

	/* what is free is asked again, and never said to be paid for */
	expect("lost", decide(CO_ENDPOINT_CREDITS, CO_FAULT_LOST, true, 0, 0, 1, true),
		   CO_ACTION_RETRY, CO_ERROR_SERVICE, false);
	expect("lost, last attempt", decide(CO_ENDPOINT_CREDITS, CO_FAULT_LOST, true, 0, 0, 3, true),
		   CO_ACTION_GIVE_UP, CO_ERROR_SERVICE, false);
	expect("timeout", decide(CO_ENDPOINT_FIND_STATUS, CO_FAULT_TIMEOUT, true, 0, 0, 1, true),
		   CO_ACTION_RETRY, CO_ERROR_TIMEOUT, false);
	expect("nonsense", decide(CO_ENDPOINT_AUTOCOMPLETE, CO_FAULT_MALFORMED, true, 200, 0, 1, true),
		   CO_ACTION_RETRY, CO_ERROR_SERVICE, false);
	/* a refused certificate is told at once all the same */
	expect("certificate", decide(CO_ENDPOINT_CREDITS, CO_FAULT_TLS, false, 0, 0, 1, true),
		   CO_ACTION_GIVE_UP, CO_ERROR_UNREACHABLE, false);

	/* without a token there is no window, and none is refused */
	expect("public 429", decide(CO_ENDPOINT_AUTOCOMPLETE, CO_FAULT_SERVICE, true, 429, 1030, 1, true),
		   CO_ACTION_GIVE_UP, CO_ERROR_RATE_LIMIT, false);
	expect("public 401", decide(CO_ENDPOINT_AUTOCOMPLETE, CO_FAULT_SERVICE, true, 401, 1000, 1, true),
		   CO_ACTION_GIVE_UP, CO_ERROR_SERVICE, false);
	expect("public 1017", decide(CO_ENDPOINT_AUTOCOMPLETE, CO_FAULT_SERVICE, true, 200, 1017, 1, true),
		   CO_ACTION_GIVE_UP, CO_ERROR_DAILY_LIMIT, false);
	expect("429", decide(CO_ENDPOINT_MX, CO_FAULT_SERVICE, true, 429, 1030, 1, true),
		   CO_ACTION_WINDOW, CO_ERROR_RATE_LIMIT, false);

	/* an account may lack these */
	expect("plan 403", decide(CO_ENDPOINT_ACCOUNT_PLAN, CO_FAULT_SERVICE, true, 403, 0, 1, true),
		   CO_ACTION_GIVE_UP, CO_ERROR_SERVICE, false);
	expect("name 403", decide(CO_ENDPOINT_NAME, CO_FAULT_SERVICE, true, 403, 0, 1, true),
		   CO_ACTION_GIVE_UP, CO_ERROR_SERVICE, false);
	expect("plan 403, 1074", decide(CO_ENDPOINT_ACCOUNT_PLAN, CO_FAULT_SERVICE, true, 403, 1074, 1, true),
		   CO_ACTION_PAUSE, CO_ERROR_UNAUTHORIZED, false);
	expect("plan 401", decide(CO_ENDPOINT_ACCOUNT_PLAN, CO_FAULT_SERVICE, true, 401, 0, 1, true),
		   CO_ACTION_PAUSE, CO_ERROR_UNAUTHORIZED, false);
	expect("mx 403", decide(CO_ENDPOINT_MX, CO_FAULT_SERVICE, true, 403, 0, 1, true),
		   CO_ACTION_PAUSE, CO_ERROR_UNAUTHORIZED, false);

	/* a search that is gone */
	expect("1104", decide(CO_ENDPOINT_FIND_STATUS, CO_FAULT_SERVICE, true, 200, 1104, 1, true),
		   CO_ACTION_GIVE_UP, CO_ERROR_SERVICE, false);

	/* looks at a search come soon, then rarely, and end after a day */
	for (int64_t now = 0; now != -1;)
	{
		int64_t		next = co_decide_next_look(0, now);

		if (next == 0)
		{
			CHECK(now >= day && now <= day + 601 * second, "given up after %lld s", (long long) (now / second));
			break;
		}
		CHECK(next - now >= 2 * second && next - now <= 600 * second, "after %lld", (long long) (next - now));
		CHECK(next - now >= last, "sooner than before");
		last = next - now;
		now = next;
		looks++;
	}
	CHECK(looks > 100 && looks < 300, "%d looks", looks);
	CHECK(co_decide_next_look(10 * second, 5 * second) == 7 * second, "begun in the future");
	return check_done();
}
