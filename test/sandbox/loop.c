/*-------------------------------------------------------------------------
 * loop.c
 *		The one loop of the one thread: descriptors and timers.
 *
 * Timers live in a binary heap; each knows its place, so that it can be
 * moved or taken out.
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "clock.h"
#include "loop.h"
#include "text.h"

#define LOOP_EVENTS 256

static int	epoll_fd = -1;

static struct epoll_event events[LOOP_EVENTS];
static int	nevents;

static Timer **heap;			/* heap[1] is due first */
static size_t heap_len;
static size_t heap_size;

static void
heap_put(size_t place, Timer *timer)
{
	heap[place] = timer;
	timer->place = place;
}

static void
heap_settle(size_t place)
{
	Timer	   *timer = heap[place];

	while (place > 1 && heap[place / 2]->due > timer->due)
	{
		heap_put(place, heap[place / 2]);
		place /= 2;
	}
	for (;;)
	{
		size_t		child = place * 2;

		if (child + 1 <= heap_len && heap[child + 1]->due < heap[child]->due)
			child++;
		if (child > heap_len || heap[child]->due >= timer->due)
			break;
		heap_put(place, heap[child]);
		place = child;
	}
	heap_put(place, timer);
}

void
timer_set(Timer *timer, int64_t due)
{
	timer->due = due;
	if (timer->place == 0)
	{
		if (heap_len + 2 > heap_size)
		{
			heap_size = heap_size ? heap_size * 2 : 256;
			heap = need_more(heap, heap_size * sizeof(*heap));
		}
		heap_put(++heap_len, timer);
	}
	heap_settle(timer->place);
}

void
timer_cancel(Timer *timer)
{
	size_t		place = timer->place;

	if (place == 0)
		return;
	timer->place = 0;
	if (place != heap_len)
	{
		heap_put(place, heap[heap_len--]);
		heap_settle(place);
	}
	else
		heap_len--;
}

static void
timer_run(void)
{
	int64_t		now = clock_ms();

	while (heap_len > 0 && heap[1]->due <= now)
	{
		Timer	   *timer = heap[1];

		timer_cancel(timer);
		timer->fire(timer->arg);
	}
}

void
loop_init(void)
{
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
	{
		perror("clearout-sandbox: epoll_create1");
		exit(1);
	}
}

void
loop_watch(Watch *watch, uint32_t what)
{
	struct epoll_event event = {.events = what, .data.ptr = watch};

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, watch->fd, &event) < 0)
	{
		perror("clearout-sandbox: epoll_ctl");
		exit(1);
	}
}

/* May be called for another watch while events are being served. */
void
loop_unwatch(Watch *watch)
{
	epoll_ctl(epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
	for (int i = 0; i < nevents; i++)
		if (events[i].data.ptr == watch)
			events[i].data.ptr = NULL;
}

void
loop_turn(int64_t limit)
{
	if (heap_len > 0)
	{
		int64_t		left = heap[1]->due - clock_ms();

		if (left < 0)
			left = 0;
		if (limit < 0 || left < limit)
			limit = left;
	}
	nevents = epoll_wait(epoll_fd, events, LOOP_EVENTS,
						 limit < 0 ? -1 : limit > 60000 ? 60000 : (int) limit);
	for (int i = 0; i < nevents; i++)
	{
		Watch	   *watch = events[i].data.ptr;

		if (watch)
			watch->ready(watch->arg);
	}
	nevents = 0;
	timer_run();
}
