/*-------------------------------------------------------------------------
 * bulk_backlog.c
 *		Rows of the queue that become lists (clearout.bulk_threshold).
 *
 * Whoever has put a row into the queue pays for it, so each role's rows go into
 * lists of its own.  A list is paid for as a whole: one that costs more than is
 * left of a budget would wait, and one that costs more than the budget for
 * ever.  So what a budget bounds stays in the queue, and is verified row by
 * row as far as it reaches.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "bulk.h"
#include "bulk_backlog.h"
#include "bulk_table.h"
#include "clock.h"
#include "guc.h"
#include "spending.h"

/* Rows in one transaction. */
#define MOVE_ROWS		2000

/* Lists that grow at the same time, each for a role. */
#define GROWING_MAX		16

typedef struct Growing
{
	char		role[NAMEDATALEN];
	int64		job;			/* 0: the next row begins one */
	int			rows;
} Growing;

static Growing growing[GROWING_MAX];
static int	growing_count = 0;

static bool look = true;
static int64 look_at = 0;
static bool moving = false;

void
co_backlog_look(void)
{
	look = true;
}

/* From so many rows on they are lists. */
static void
judge(void)
{
	int			count;
	int64		began = co_clock();
	CoTrouble	trouble;

	if (moving || !look || co_bulk_threshold == 0 || co_clock() < look_at)
		return;
	look = false;
	if (co_spending_bounds_all())
		return;
	if (!co_bulk_backlog(co_bulk_threshold < INT_MAX ? co_bulk_threshold + 1 : INT_MAX, &count, &trouble))
		ereport(LOG, (errmsg("clearout: the queue could not be counted: %s", trouble.message)));
	else if (count > co_bulk_threshold)
		moving = true;
	/* counting costs a twentieth of the time at most, however often rows come */
	look_at = co_clock() + 20 * (co_clock() - began);
}

/* The lists are as long as they get: they can be sent. */
static void
stop(void)
{
	moving = false;
	growing_count = 0;
	co_bulk_news();
}

int
co_backlog_wanted(void)
{
	judge();
	return moving ? MOVE_ROWS : 0;
}

int64
co_backlog_due(void)
{
	if (moving)
		return co_clock();
	return look && co_bulk_threshold > 0 ? look_at : INT64_MAX;
}

bool
co_backlog_grows(int64 job)
{
	for (int i = 0; i < growing_count; i++)
	{
		if (growing[i].job == job)
			return true;
	}
	return false;
}

static Growing *
growing_of(const char *role)
{
	Growing    *g;

	for (int i = 0; i < growing_count; i++)
	{
		if (strcmp(growing[i].role, role) == 0)
			return &growing[i];
	}
	if (growing_count == GROWING_MAX)
	{
		/* the oldest has to be content with what it has */
		memmove(growing, growing + 1, (GROWING_MAX - 1) * sizeof(Growing));
		growing_count--;
		co_bulk_news();
	}
	g = &growing[growing_count++];
	strlcpy(g->role, role, sizeof(g->role));
	g->job = 0;
	g->rows = 0;
	return g;
}

/* Rows of one role; how many were moved. */
static int
move_rows(const CoQueueRow *rows, int count)
{
	int			done = 0;

	while (done < count)
	{
		Growing    *g = growing_of(rows[done].role);
		int			some = Min(count - done, Max(co_bulk_rows - g->rows, 1));
		int			added;
		CoTrouble	trouble;

		if (!co_bulk_move(rows + done, some, g->role, &g->job, &added, &trouble))
		{
			ereport(LOG, (errmsg("clearout: rows of the queue could not be moved into a list: %s",
								 trouble.message)));
			return done;
		}
		for (int i = 0; i < some; i++)
			co_queue_forget(&rows[done + i]);
		done += some;
		g->rows += added;
		if (g->rows >= co_bulk_rows)
		{
			g->job = 0;
			g->rows = 0;
			co_bulk_news();
		}
	}
	return done;
}

static int
compare_roles(const void *a, const void *b)
{
	const CoQueueRow *first = a;
	const CoQueueRow *second = b;
	int			result = strcmp(first->role, second->role);

	return result != 0 ? result : first->id < second->id ? -1 : first->id > second->id;
}

int
co_backlog_move(CoQueueRow *rows, int count, bool end, bool *added)
{
	CoQueueRow *moved;
	int			to_move = 0;
	int			left = 0;

	*added = false;
	if (!moving)
		return count;
	moved = palloc(Max(count, 1) * sizeof(CoQueueRow));
	for (int i = 0; i < count; i++)
	{
		if (rows[i].key != NULL && rows[i].priority <= 0 && rows[i].attempts == 0 &&
			!co_spending_bounds(rows[i].role))
			moved[to_move++] = rows[i];
		else
			rows[left++] = rows[i];
	}
	qsort(moved, to_move, sizeof(CoQueueRow), compare_roles);
	for (int i = 0; i < to_move;)
	{
		int			some = 1;
		int			done;

		while (i + some < to_move && strcmp(moved[i + some].role, moved[i].role) == 0)
			some++;
		done = move_rows(moved + i, some);
		*added |= done > 0;
		if (done < some)
		{
			/* not now: one by one */
			memcpy(rows + left, moved + i + done, (to_move - i - done) * sizeof(CoQueueRow));
			left += to_move - i - done;
			end = true;
			break;
		}
		i += some;
	}
	pfree(moved);
	if (end)
		stop();
	return left;
}
