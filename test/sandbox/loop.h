/*-------------------------------------------------------------------------
 * loop.h
 *		The one loop of the one thread: descriptors and timers.
 *
 * Everything runs in one thread, so nothing here or elsewhere takes a lock,
 * and a delayed answer costs a place in a heap instead of a thread.
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_LOOP_H
#define SANDBOX_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Timer
{
	int64_t		due;			/* clock_ms() */
	size_t		place;			/* in the heap, from 1; 0 = not set */
	void		(*fire) (void *arg);
	void	   *arg;
} Timer;

typedef struct Watch
{
	int			fd;
	void		(*ready) (void *arg);
	void	   *arg;
} Watch;

extern void timer_set(Timer *timer, int64_t due);	/* also moves one */
extern void timer_cancel(Timer *timer);

extern void loop_init(void);
extern void loop_watch(Watch *watch, uint32_t events);
extern void loop_unwatch(Watch *watch);

/*
 * One turn: wait at most limit ms (-1: for as long as it takes), then serve
 * what is ready and what is due.
 */
extern void loop_turn(int64_t limit);

#endif							/* SANDBOX_LOOP_H */
