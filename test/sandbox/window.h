/*-------------------------------------------------------------------------
 * window.h
 *		The rate limit: so many requests in a fixed window of time.
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_WINDOW_H
#define SANDBOX_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#define WINDOW_HISTORY 1024		/* older windows are forgotten */

typedef struct WindowRecord
{
	int64_t		start;			/* wall clock, ms; 0 = no window yet */
	int64_t		end;
	int64_t		limit;
	int64_t		counted;		/* requests let through */
	int64_t		refused;		/* answered with 429 */
} WindowRecord;

typedef struct Window
{
	WindowRecord now;
	WindowRecord *past;			/* ring */
	int			npast;
	int			next_past;
} Window;

/* What the three headers say. */
typedef struct Rate
{
	bool		known;			/* false: there is no limit, send no headers */
	bool		refused;
	int64_t		limit;
	int64_t		remaining;
	int64_t		reset;			/* seconds */
	int64_t		end;			/* of the window, wall clock, ms */
} Rate;

/* A limit of 0 is none.  window_count() counts a request, window_look() not. */
extern void window_count(Window *window, int64_t limit, Rate *rate);
extern void window_look(Window *window, int64_t limit, Rate *rate);

/* Ends the current window early; the next request begins another. */
extern void window_restart(Window *window);
extern void window_forget(Window *window);

#endif							/* SANDBOX_WINDOW_H */
