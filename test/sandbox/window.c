/*-------------------------------------------------------------------------
 * window.c
 *		The rate limit: so many requests in a fixed window of time.
 *
 * Requests count when they arrive.  Without a limit the windows are kept all
 * the same, so that tests can see how many requests came in each.
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "settings.h"
#include "text.h"
#include "window.h"

static void
remember(Window *window)
{
	if (window->now.start == 0)
		return;
	if (window->past == NULL)
		window->past = need(WINDOW_HISTORY * sizeof(WindowRecord));
	window->past[window->next_past] = window->now;
	window->next_past = (window->next_past + 1) % WINDOW_HISTORY;
	if (window->npast < WINDOW_HISTORY)
		window->npast++;
	memset(&window->now, 0, sizeof(window->now));
}

/* Make sure that the current window covers now. */
static void
advance(Window *window, int64_t now)
{
	int64_t		length = settings.window_ms;

	if (window->now.start != 0 && now >= window->now.start && now < window->now.end)
		return;
	remember(window);
	window->now.start = settings.window_start == WINDOW_ALIGNED ? now - now % length : now;
	window->now.end = window->now.start + length;
}

static void
describe(const Window *window, int64_t limit, int64_t now, Rate *rate)
{
	int64_t		left = window->now.end - now;

	rate->known = limit > 0;
	rate->limit = limit;
	rate->remaining = limit > window->now.counted ? limit - window->now.counted : 0;
	rate->end = window->now.end;
	switch (settings.reset_rounding)
	{
		case ROUND_DOWN:
			rate->reset = left / 1000;
			break;
		case ROUND_NEAREST:
			rate->reset = (left + 500) / 1000;
			break;
		default:
			rate->reset = (left + 999) / 1000;
			break;
	}
}

void
window_count(Window *window, int64_t limit, Rate *rate)
{
	int64_t		now = clock_wall_ms();

	advance(window, now);
	window->now.limit = limit;
	rate->refused = limit > 0 && window->now.counted >= limit;
	if (rate->refused)
		window->now.refused++;
	else
		window->now.counted++;
	describe(window, limit, now, rate);
}

void
window_look(Window *window, int64_t limit, Rate *rate)
{
	int64_t		now = clock_wall_ms();

	advance(window, now);
	describe(window, limit, now, rate);
}

void
window_restart(Window *window)
{
	if (window->now.start == 0)
		return;
	window->now.end = clock_wall_ms();
	remember(window);
}

void
window_forget(Window *window)
{
	free(window->past);
	memset(window, 0, sizeof(*window));
}
