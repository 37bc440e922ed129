/*-------------------------------------------------------------------------
 * clock.h
 *		The two clocks, in milliseconds, and how the API writes a time.
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_CLOCK_H
#define SANDBOX_CLOCK_H

#include <stdint.h>

#define CLOCK_TEXT_SIZE 64

extern int64_t clock_ms(void);	/* monotonic: timers */
extern int64_t clock_wall_ms(void); /* since 1970: windows, time stamps */

/* 2025-09-01T04:31:20.042Z, as in verified_on */
extern void clock_iso(int64_t wall_ms, char text[CLOCK_TEXT_SIZE]);

/* Fri Jul 10 2020 10:59:19 GMT+0000 (UTC), as in the message of a 429 */
extern void clock_long(int64_t wall_ms, char text[CLOCK_TEXT_SIZE]);

#endif							/* SANDBOX_CLOCK_H */
