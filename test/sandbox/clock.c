/*-------------------------------------------------------------------------
 * clock.c
 *		The two clocks, in milliseconds, and how the API writes a time.
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "clock.h"

static int64_t
read_clock(clockid_t which)
{
	struct timespec now;

	clock_gettime(which, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t
clock_ms(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

int64_t
clock_wall_ms(void)
{
	return read_clock(CLOCK_REALTIME);
}

void
clock_iso(int64_t wall_ms, char text[CLOCK_TEXT_SIZE])
{
	static time_t known = -1;	/* many answers fall into one second */
	static char known_text[24];
	time_t		seconds = (time_t) (wall_ms / 1000);

	if (seconds != known)
	{
		struct tm	tm;

		gmtime_r(&seconds, &tm);
		strftime(known_text, sizeof(known_text), "%Y-%m-%dT%H:%M:%S", &tm);
		known = seconds;
	}
	snprintf(text, CLOCK_TEXT_SIZE, "%s.%03dZ", known_text, (int) (wall_ms % 1000));
}

void
clock_long(int64_t wall_ms, char text[CLOCK_TEXT_SIZE])
{
	time_t		seconds = (time_t) (wall_ms / 1000);
	struct tm	tm;

	gmtime_r(&seconds, &tm);
	strftime(text, CLOCK_TEXT_SIZE, "%a %b %d %Y %H:%M:%S GMT+0000 (UTC)", &tm);
}
