/*-------------------------------------------------------------------------
 * gate.h
 *		Which services take calls now?  The worker's side of pauses.
 *
 * The decisions are those of hindrance.c, per service.  Here they meet the
 * log, the callers, and the table clearout_pauses, by which a pause outlives
 * the worker and by which the status view shows it.
 *-------------------------------------------------------------------------
 */
#ifndef CO_GATE_H
#define CO_GATE_H

#include "codec.h"
#include "hindrance.h"
#include "slots.h"

/* Take over what a predecessor knew. */
extern void co_gate_init(void);

/* May a call start now?  If not, *when as for co_hindrance_allows(). */
extern bool co_gate_allows(CoService service, bool interactive, int64 now, int64 *when);

/* A call has started; timeout in microseconds. */
extern void co_gate_started(CoService service, bool interactive, int64 now, int64 timeout);

/* A call that was started then has brought an answer; or it has not. */
extern void co_gate_success(CoService service, int64 started);
extern void co_gate_failure(CoService service, int64 started,
							const CoOutcome *outcome, const CoDecision *decision);

extern bool co_gate_is_paused(CoService service);
extern bool co_gate_is_unauthorized(void);

/* What callers are told while it is paused. */
extern const CoReply *co_gate_reply(CoService service);

/* Why a service is paused, as a sentence; "" if none is. */
extern const char *co_gate_reason(void);

/* The token, a setting or clearout_resume() may have ended all causes. */
extern void co_gate_lift(void);

/* ---------- the balance, which tells whether a pause is over ---------- */

/*
 * When is it to be asked for?  By the clock; CO_HINDRANCE_NEVER: not.
 * waiting: is there work, by service?  wish: somebody else wants it then.
 */
extern int64 co_gate_balance_at(const bool *waiting, int64 wish);

/* It cannot be asked for before then. */
extern void co_gate_balance_later(int64 when);

/* It has been asked for, at that time by the clock. */
extern void co_gate_balance_started(int64 now);

/* Is it being asked for; and is it worth a caller's while to wait for it? */
extern bool co_gate_balance_asked(void);
extern bool co_gate_balance_is_near(int64 now);
extern int64 co_gate_balance_near_until(void);

/* The answer; its outcome says whether it is one. */
extern void co_gate_balance_landed(const CoCreditsAnswer *answer,
								   const CoOutcome *outcome);

/* ---------- clearout_pauses ---------- */

/* Write down what has changed.  Never throws; commits. */
extern void co_gate_write(void);

/* When is that to be tried again?  0: nothing has changed. */
extern int64 co_gate_write_at(void);

#endif							/* CO_GATE_H */
