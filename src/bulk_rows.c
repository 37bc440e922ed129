/*-------------------------------------------------------------------------
 * bulk_rows.c
 *		Bulk jobs, in the worker: rows of the queue that wait in a list, or
 *		become one.
 *
 * Rows that wait in a list are set back, and its answer will do.  A backlog is
 * moved into lists by itself, see clearout.bulk_threshold.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "bulk_active.h"
#include "clock.h"
#include "guc.h"

#define MOVE_ROWS		2000
#define WAITING_RETRY	(600 * CO_SECOND)

static bool any_open = true;	/* a part is not finished */

/* Rows of the queue are due then, by our doing. */
static TimestampTz rows_due = DT_NOEND;

static bool backlog_news = true;
static int64 backlog_at = 0;
static bool moving = false;
static int64 growing_job = 0;	/* being filled from the queue */
static int	growing_rows = 0;
static int	move_wanted = 0;

void
co_bulk_rows_may_wait(bool open)
{
	any_open = open;
}

void
co_bulk_rows_are_due(void)
{
	rows_due = GetCurrentTimestamp();
	co_queue_look_from(0);
}

bool
co_bulk_is_growing(int64 job)
{
	return job == growing_job;
}

int64
co_bulk_backlog_due(void)
{
	if (moving)
		return co_clock();
	return backlog_news && co_bulk_threshold > 0 ? backlog_at : INT64_MAX;
}

/* Set back what waits in a list; its answer will do. */
static int
set_back_waiting(CoQueueRow *rows, int count)
{
	bool	   *waits = palloc(Max(count, 1) * sizeof(bool));
	CoTrouble	trouble;
	int			left = 0;

	if (!any_open || count == 0)
		return count;
	if (!co_bulk_set_back(rows, count, GetCurrentTimestamp() + WAITING_RETRY, waits, &trouble))
	{
		ereport(LOG, (errmsg("clearout: rows of the queue that wait for a bulk job could not be set back: %s",
							 trouble.message)));
		return count;
	}
	for (int i = 0; i < count; i++)
	{
		if (waits[i])
		{
			rows_due = Min(rows_due, GetCurrentTimestamp() + WAITING_RETRY);
			co_queue_forget(&rows[i]);
		}
		else
			rows[left++] = rows[i];
	}
	return left;
}

TimestampTz
co_bulk_rows_due(void)
{
	TimestampTz due = rows_due;

	rows_due = DT_NOEND;
	return due;
}

void
co_bulk_look_at_backlog(void)
{
	backlog_news = true;
}

/* From so many rows on they are a list. */
static void
judge_backlog(void)
{
	int			count;
	int64		began = co_clock();
	CoTrouble	trouble;

	if (moving || !backlog_news || co_bulk_threshold == 0 || co_clock() < backlog_at)
		return;
	backlog_news = false;
	if (!co_bulk_backlog(co_bulk_threshold < INT_MAX ? co_bulk_threshold + 1 : INT_MAX, &count, &trouble))
		ereport(LOG, (errmsg("clearout: the queue could not be counted: %s", trouble.message)));
	else if (count > co_bulk_threshold)
		moving = true;
	/* counting costs a twentieth of the time at most, however often rows come */
	backlog_at = co_clock() + 20 * (co_clock() - began);
}

static void
stop_moving(void)
{
	moving = false;
	growing_job = 0;
	growing_rows = 0;
	co_bulk_news();
}

int
co_bulk_rows_wanted(void)
{
	judge_backlog();
	move_wanted = Min(MOVE_ROWS, Max(co_bulk_rows - growing_rows, 1));
	return moving ? move_wanted : 0;
}

int
co_bulk_take_over(CoQueueRow *rows, int count)
{
	CoQueueRow *moved;
	int			to_move = 0;
	int			left = 0;
	int			added;
	bool		last = count < move_wanted;
	CoTrouble	trouble;

	count = set_back_waiting(rows, count);
	if (!moving)
		return count;

	moved = palloc(Max(count, 1) * sizeof(CoQueueRow));
	for (int i = 0; i < count; i++)
	{
		if (rows[i].key != NULL && rows[i].priority <= 0 && rows[i].attempts == 0)
			moved[to_move++] = rows[i];
		else
			rows[left++] = rows[i];
	}
	if (to_move > 0)
	{
		if (!co_bulk_move(moved, to_move, &growing_job, &added, &trouble))
		{
			ereport(LOG, (errmsg("clearout: rows of the queue could not be moved into a list: %s",
								 trouble.message)));
			memcpy(rows + left, moved, to_move * sizeof(CoQueueRow));
			left += to_move;
			last = true;
		}
		else
		{
			for (int i = 0; i < to_move; i++)
				co_queue_forget(&moved[i]);
			growing_rows += added;
			any_open = true;
		}
	}
	if (last)
		stop_moving();
	else if (growing_rows >= co_bulk_rows)
	{
		growing_job = 0;
		growing_rows = 0;
		co_bulk_news();
	}
	return left;
}
