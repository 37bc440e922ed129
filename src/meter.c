/*-------------------------------------------------------------------------
 * meter.c
 *		How many a minute, of late?  An average that forgets.
 *
 * Pure.  Counts fade with a time constant of a minute, so that windows of a
 * minute and bursts in them even out.  What has only just begun is divided by
 * the time that it could be counted in.
 *-------------------------------------------------------------------------
 */
#include "meter.h"

#include <math.h>

#define MEMORY 60.0				/* seconds */
#define LEAST 1.0				/* no rate is told from less time */

static double
seconds(int64_t from, int64_t to)
{
	return to > from ? (double) (to - from) / 1000000 : 0;
}

static double
faded(const CoMeter *meter, int64_t now)
{
	return meter->count * exp(-seconds(meter->at, now) / MEMORY);
}

void
co_meter_count(CoMeter *meter, int64_t now, int count)
{
	double		left = faded(meter, now);

	if (left < 0.5)
	{
		left = 0;
		meter->began = now;
	}
	meter->count = left + count;
	meter->at = now;
}

double
co_meter_per_minute(const CoMeter *meter, int64_t now)
{
	double		counted = seconds(meter->began, now);
	double		rate = faded(meter, now);

	if (rate < 0.5)
		return 0;
	if (counted < LEAST)
		counted = LEAST;
	return rate * 60 / (MEMORY * (1 - exp(-counted / MEMORY)));
}
