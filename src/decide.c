/*-------------------------------------------------------------------------
 * decide.c
 *		What to do about a call that did not bring an answer, by endpoint.
 *
 * Pure.
 *-------------------------------------------------------------------------
 */
#include "decide.h"

/*
 * How far a search has come is asked soon at first, since somebody may be
 * waiting, and then more and more rarely.  How long the service keeps a search
 * is not documented; after a day there is no hope.
 */
#define LOOK_FIRST		INT64_C(2000000)
#define LOOK_LAST		INT64_C(600000000)
#define LOOK_SHARE		8		/* of the time that it has taken so far */
#define SEARCH_LASTS	INT64_C(86400000000)

static CoDecision
give_up(CoDecision decision, CoErrorClass error_class)
{
	decision.action = CO_ACTION_GIVE_UP;
	decision.pause = CO_PAUSE_NONE;
	decision.error_class = error_class;
	decision.retry_at = 0;
	return decision;
}

CoDecision
co_decide(CoEndpointId id, const CoOutcome *outcome, int attempt, bool interactive,
		  int64_t now, double random, const CoRetryPolicy *policy)
{
	const CoEndpoint *endpoint = &co_endpoints[id];
	CoDecision	decision = co_retry_decide(outcome, attempt, interactive, now, random, policy);

	/* Without a token none can be refused, and no window is known to wait for. */
	if (co_endpoint_is_public(id))
	{
		if (decision.action == CO_ACTION_WINDOW)
			return give_up(decision, CO_ERROR_RATE_LIMIT);
		if (decision.action == CO_ACTION_PAUSE)
			return give_up(decision, decision.pause == CO_PAUSE_UNAUTHORIZED ?
						   CO_ERROR_SERVICE : decision.error_class);
	}

	/*
	 * An account may lack what is not in the vendor's own document; that its
	 * token is refused there says nothing about the rest.
	 */
	if (decision.action == CO_ACTION_PAUSE && outcome->http_status == 403 &&
		outcome->code == 0 &&
		(endpoint->service == CO_SERVICE_OTHER || endpoint->service == CO_SERVICE_NAME))
		return give_up(decision, CO_ERROR_SERVICE);

	/* What costs nothing may be asked as often as need be. */
	if (!endpoint->costs)
	{
		if (decision.action == CO_ACTION_GIVE_UP && decision.maybe_paid && interactive)
			decision = co_retry_decide(outcome, attempt, false, now, random, policy);
		decision.maybe_paid = false;
	}
	return decision;
}

int64_t
co_decide_next_look(int64_t begun, int64_t now)
{
	int64_t		age = now > begun ? now - begun : 0;
	int64_t		delay = age / LOOK_SHARE;

	if (age >= SEARCH_LASTS)
		return 0;
	if (delay < LOOK_FIRST)
		delay = LOOK_FIRST;
	if (delay > LOOK_LAST)
		delay = LOOK_LAST;
	return now + delay;
}
