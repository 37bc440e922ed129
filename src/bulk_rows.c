/*-------------------------------------------------------------------------
 * bulk_rows.c
 *		Bulk jobs, in the worker: rows of the queue that wait in a list are set
 *		back, and its answer will do.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "bulk_active.h"
#include "bulk_backlog.h"

#define WAITING_RETRY	(600 * CO_SECOND)

static bool any_open = true;	/* a part is not finished */

/* Rows of the queue are due then, by our doing. */
static TimestampTz rows_due[CO_QUEUE_KINDS] = {DT_NOEND, DT_NOEND};

void
co_bulk_rows_may_wait(bool open)
{
	any_open = open;
}

void
co_bulk_rows_are_due(CoQueueKind kind)
{
	rows_due[kind] = GetCurrentTimestamp();
	co_queue_look_from(0);
}

/* Set back what waits in a list; its answer will do.  -1: it failed. */
static int
set_back_waiting(CoQueueKind kind, CoQueueRow *rows, int count)
{
	bool	   *waits = palloc(Max(count, 1) * sizeof(bool));
	CoTrouble	trouble;
	int			left = 0;

	if (!any_open || count == 0)
		return count;
	if (!co_bulk_set_back(kind, rows, count, GetCurrentTimestamp() + WAITING_RETRY, waits, &trouble))
	{
		ereport(LOG, (errmsg("clearout: rows of the queue that wait for a bulk job could not be set back: %s",
							 trouble.message)));
		return -1;
	}
	for (int i = 0; i < count; i++)
	{
		if (waits[i])
		{
			rows_due[kind] = Min(rows_due[kind], GetCurrentTimestamp() + WAITING_RETRY);
			co_queue_forget(&rows[i]);
		}
		else
			rows[left++] = rows[i];
	}
	return left;
}

TimestampTz
co_bulk_rows_due(CoQueueKind kind)
{
	TimestampTz due = rows_due[kind];

	rows_due[kind] = DT_NOEND;
	return due;
}

int
co_bulk_take_over(CoQueueKind kind, CoQueueRow *rows, int count, bool end)
{
	bool		added;
	int			left = set_back_waiting(kind, rows, count);

	if (left < 0 || kind != CO_QUEUE_VERIFY)
		return left;
	left = co_backlog_move(rows, left, end, &added);
	any_open |= added;
	return left;
}
