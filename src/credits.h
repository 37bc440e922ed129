/*-------------------------------------------------------------------------
 * credits.h
 *		What an account has left: told now and then, estimated in between.
 *
 * One per token, shared by all databases that use it.  Pure; plain data, so
 * that it can live in shared memory under the lock of whoever owns it.  Times
 * are microseconds of the clock that never jumps.
 *-------------------------------------------------------------------------
 */
#ifndef CO_CREDITS_H
#define CO_CREDITS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct CoCredits
{
	bool		known;
	int64_t		told;			/* by the account ... */
	int64_t		told_at;		/* ... then; the answer came */
	int64_t		base;			/* value of spent when it was asked */
	int64_t		spent;			/* by all our calls that have ended; a counter */
	int64_t		reserved;		/* for our calls in flight */
} CoCredits;

/* The account has told; spent_then: the counter when it was asked. */
extern void co_credits_told(CoCredits *credits, int64_t available,
							int64_t spent_then, int64_t now);

/* A call starts that may cost so much; it has ended, and cost that. */
extern void co_credits_start(CoCredits *credits, int price);
extern void co_credits_end(CoCredits *credits, int price, int cost);

/* What is left at least, if nobody else spends.  Only if known. */
extern int64_t co_credits_left(const CoCredits *credits);

/* May a call of this price be made without going below the floor? */
extern bool co_credits_allow(const CoCredits *credits, int64_t floor, int price);

/*
 * Is the estimate worth asking the account again?  After half of what was
 * above the floor is spent, since others may spend too, or ten minutes.
 */
extern bool co_credits_are_doubtful(const CoCredits *credits, int64_t floor, int64_t now);

#endif							/* CO_CREDITS_H */
