/*-------------------------------------------------------------------------
 * spending.h
 *		Budgets: may this role cause another paid call today?
 *
 * The worker's side of clearout.daily_budget, clearout.credit_floor and
 * clearout_set_budget().  Whoever causes a call pays for it: the first of the
 * sessions that wait for its answer whose budget allows it, or else the first
 * of the queue's rows.  Calls in flight count in full.
 *-------------------------------------------------------------------------
 */
#ifndef CO_SPENDING_H
#define CO_SPENDING_H

#include "codec.h"
#include "slots.h"

/* Whoever pays for a call; his budget. */
typedef struct CoSpender CoSpender;

/* Handed out when a call starts, handed back when it ends. */
typedef struct CoCharge
{
	CoSpender  *spender;		/* NULL: there is nothing to end */
	CoService	service;
	int			price;			/* at most */
	int32		day;			/* when it started */
} CoCharge;

/* Read budgets, and what was spent today.  Of the worker of this database. */
extern void co_spending_init(CoDatabase *database);

/* Settings, or clearout_budgets, may have changed. */
extern void co_spending_reread(void);

/* clearout_resume() may have adopted searches, and written down what they may
 * cost: what was spent is to be read anew. */
extern void co_spending_adopted(void);

/*
 * Once a turn of the loop.  True if roles that could not spend may do so now,
 * so that all of the queue is to be looked at again.
 */
extern bool co_spending_turn(void);

/* True, once, if a role that had nothing left has something again. */
extern bool co_spending_is_relieved(void);

/* Is one of these two waiting to be asked? */
extern bool co_spending_wants_turn(void);

/*
 * What hinders a call at this price, whoever asks for it; NULL if nothing does.
 * A sentence.
 */
extern const char *co_spending_hindrance(int price);

/* The same for the status view, where what was not tried hinders nothing. */
extern const char *co_spending_shown_hindrance(void);

/* Does any budget bound what this role, or all of the database, may spend? */
extern bool co_spending_bounds(const char *role);
extern bool co_spending_bounds_all(void);

/* May this role cause it? */
extern bool co_spending_allows(const char *role, int price);

/* Why not; a sentence. */
extern const char *co_spending_refusal(const char *role);

/* Roles that have nothing left, as an array of type name. */
extern Datum co_spending_used_up_roles(void);

/* Has anybody been refused for want of a budget, so that a new day matters? */
extern bool co_spending_anybody_waits(void);

/* When may it be otherwise?  By the clock; for work that waits for a budget. */
extern int64 co_spending_wake_at(void);

extern void co_spending_begin(CoCharge *charge, const char *role,
							  CoEndpointId endpoint);

/* Likewise for a list of the bulk API, which costs so much at most. */
extern void co_spending_begin_list(CoCharge *charge, const char *role, CoService service,
								   int price);

/* The call was answered and has cost so much; status is for the statistics. */
extern void co_spending_end(CoCharge *charge, const char *status, int credits);

/*
 * The service goes on after the call, and charges when it has found: until it
 * says what it was, all that it can be is spent.  So a budget holds while
 * searches are open, in the next worker as well.
 */
extern void co_spending_end_open(CoCharge *charge);

/*
 * That search, begun then, has ended with the call that asked how far it is,
 * and has cost so much.
 */
extern void co_spending_end_search(CoCharge *charge, TimestampTz began, int credits);

/* It was not.  maybe_paid: it may have been charged all the same. */
extern void co_spending_end_failed(CoCharge *charge, bool sent, bool maybe_paid);

/* ---------- the balance, for clearout.credit_floor ---------- */

/* When is it to be asked for?  By the clock; CO_HINDRANCE_NEVER: not. */
extern int64 co_spending_balance_at(const bool *waiting, int64 now);
extern void co_spending_balance_started(int64 now);

/* NULL: there is no answer; text says why. */
extern void co_spending_balance_landed(const CoCreditsAnswer *answer, const char *text);

#endif							/* CO_SPENDING_H */
