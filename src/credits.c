/*-------------------------------------------------------------------------
 * credits.c
 *		What an account has left: told now and then, estimated in between.
 *
 * Pure.  Calls in flight when the account was asked count as not yet charged,
 * whether they were or not: the estimate errs to the low side, and a floor is
 * never passed by our own calls.
 *-------------------------------------------------------------------------
 */
#include "credits.h"

#define STALE INT64_C(600000000)

void
co_credits_told(CoCredits *credits, int64_t available, int64_t spent_then,
				int64_t now)
{
	credits->known = available >= 0;
	credits->told = available;
	credits->told_at = now;
	credits->base = spent_then;
}

void
co_credits_start(CoCredits *credits, int price)
{
	credits->reserved += price;
}

void
co_credits_end(CoCredits *credits, int price, int cost)
{
	credits->reserved -= price;
	credits->spent += cost;
}

int64_t
co_credits_left(const CoCredits *credits)
{
	return credits->told - (credits->spent - credits->base) - credits->reserved;
}

bool
co_credits_allow(const CoCredits *credits, int64_t floor, int price)
{
	return credits->known && co_credits_left(credits) - price >= floor;
}

bool
co_credits_are_doubtful(const CoCredits *credits, int64_t floor, int64_t now)
{
	int64_t		above = credits->told - floor;

	if (!credits->known || now - credits->told_at > STALE)
		return true;
	return credits->spent - credits->base > (above > 2 ? above / 2 : 1);
}
