/*-------------------------------------------------------------------------
 * test_credits.c
 *		The estimate of an account's credits is never above what is left, and
 *		the floor is kept.
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "credits.h"

#define SECOND INT64_C(1000000)

static void
test_words(void)
{
	CoCredits	c;

	memset(&c, 0, sizeof(c));
	CHECK(!co_credits_allow(&c, 0, 1), "not known: no call");
	CHECK(co_credits_are_doubtful(&c, 0, 0), "to be asked");
	co_credits_told(&c, 10, c.spent, SECOND);
	CHECK(co_credits_left(&c) == 10, "told");
	CHECK(co_credits_allow(&c, 9, 1) && !co_credits_allow(&c, 10, 1), "down to the floor, not below");
	CHECK(!co_credits_allow(&c, 7, 4) && co_credits_allow(&c, 6, 4), "by price");
	co_credits_start(&c, 4);
	CHECK(co_credits_left(&c) == 6, "in flight counts in full");
	co_credits_end(&c, 4, 2);
	CHECK(co_credits_left(&c) == 8, "and what it has cost then");
	CHECK(!co_credits_are_doubtful(&c, 0, SECOND), "for a while");
	CHECK(co_credits_are_doubtful(&c, 0, 1000 * SECOND), "not for ever");
	CHECK(co_credits_are_doubtful(&c, 8, SECOND), "half of what was above the floor is gone");
	co_credits_told(&c, -1, c.spent, SECOND);
	CHECK(!co_credits_allow(&c, 0, 1), "not told: no call");
}

/*
 * An account and two databases, at random: whatever is in flight when the
 * account is asked, nothing is started that could go below the floor.
 */
static void
test_random(void)
{
	const int	floor = 50;
	int			below = 0;
	int			calls = 0;

	for (int round = 0; round < 2000; round++)
	{
		CoCredits	c;
		int64_t		account = floor + rand() % 40;
		int			price[20];
		bool		charged[20];
		int			flying = 0;
		bool		asking = false;
		int64_t		spent_then = 0;
		int64_t		snapshot = -1;	/* what the account will answer */

		memset(&c, 0, sizeof(c));
		for (int step = 0; step < 200; step++)
		{
			int			what = rand() % 6;

			if (what == 0 && !asking)
			{
				asking = true;
				spent_then = c.spent;
				snapshot = -1;
			}
			else if (what == 1 && asking)
			{
				if (snapshot < 0)
					snapshot = account;
				co_credits_told(&c, snapshot, spent_then, step);
				asking = false;
			}
			else if (what == 2 && asking && snapshot < 0)
				snapshot = account; /* seen now, answered later */
			else if (what == 3 && flying < 20)
			{
				int			p = rand() % 2 ? 1 : 4;

				if (!co_credits_allow(&c, floor, p))
					continue;
				co_credits_start(&c, p);
				price[flying] = p;
				charged[flying++] = false;
				calls++;
			}
			else if (what == 4 && flying > 0)
			{
				int			i = rand() % flying;

				if (!charged[i])
					account -= price[i];
				charged[i] = true;
			}
			else if (what == 5 && flying > 0)
			{
				int			i = rand() % flying;

				if (!charged[i])
					account -= price[i];
				co_credits_end(&c, price[i], price[i]);
				price[i] = price[--flying];
				charged[i] = charged[flying];
			}
			if (account < floor)
				below++;
		}
	}
	CHECK(below == 0, "%d times below the floor", below);
	CHECK(calls > 10000, "%d calls were made", calls);
}

int
main(void)
{
	srand(1);
	test_words();
	test_random();
	return check_done();
}
