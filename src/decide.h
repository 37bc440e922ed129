/*-------------------------------------------------------------------------
 * decide.h
 *		What to do about a call that did not bring an answer, by endpoint.
 *
 * Pure.  retry.c has the rules for a call that is paid for; here is what is
 * different elsewhere.
 *-------------------------------------------------------------------------
 */
#ifndef CO_DECIDE_H
#define CO_DECIDE_H

#include "endpoint.h"
#include "retry.h"

/* As co_retry_decide(). */
extern CoDecision co_decide(CoEndpointId endpoint, const CoOutcome *outcome,
							int attempt, bool interactive, int64_t now,
							double random, const CoRetryPolicy *policy);

/*
 * When to ask again how far a search has come, for one that was begun then, in
 * microseconds; 0: it has been long enough.
 */
extern int64_t co_decide_next_look(int64_t begun, int64_t now);

#endif							/* CO_DECIDE_H */
