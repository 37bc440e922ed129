/*-------------------------------------------------------------------------
 * clock.h
 *		The clock of rates, backoffs and time limits: it never jumps.
 *
 * Pure.
 *-------------------------------------------------------------------------
 */
#ifndef CO_CLOCK_H
#define CO_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Microseconds since some fixed moment, the same for all processes. */
static inline int64_t
co_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

#endif							/* CO_CLOCK_H */
