/*-------------------------------------------------------------------------
 * test_meter.c
 *		The rate of late, from a steady stream, bursts, and nothing.
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "check.h"
#include "meter.h"

#define SECOND INT64_C(1000000)

static void
steady(int64_t start, int count, int64_t every, double wanted, const char *name)
{
	CoMeter		m;
	int64_t		now = start;

	memset(&m, 0, sizeof(m));
	CHECK(co_meter_per_minute(&m, now) == 0, "%s: nothing", name);
	for (int i = 0; i < 500; i++)
	{
		co_meter_count(&m, now, count);
		now += every;
		if (now - start >= 5 * SECOND && now - start >= 5 * every)
		{
			double		rate = co_meter_per_minute(&m, now);

			if (rate < 0.8 * wanted || rate > 1.2 * wanted)
				CHECK(false, "%s: %.1f after %lld s in place of %.1f", name, rate,
					  (long long) ((now - start) / SECOND), wanted);
		}
	}
	CHECK(co_meter_per_minute(&m, now + 1000 * SECOND) == 0, "%s: forgotten", name);
	co_meter_count(&m, now + 1000 * SECOND, 10);
	CHECK(co_meter_per_minute(&m, now + 1002 * SECOND) > 250, "%s: begun anew", name);
}

int
main(void)
{
	steady(1, 1, SECOND / 10, 600, "ten a second");
	steady(1000 * SECOND, 100, 2 * SECOND, 3000, "in groups");
	steady(77, 50, 6 * SECOND, 500, "in bursts");
	return check_done();
}
