/*-------------------------------------------------------------------------
 * landed.c
 *		Commit what was answered, and only then wake whoever waits for it.
 *
 *		landed --group--> stored --> callers are woken, rows of the queue are
 *		   ^  |							gone with the same commit
 *		   +--+ cannot be stored: again once a second, and no call meanwhile
 *
 * What could not be put where it belongs lies in a spill (see store.c), and is
 * merged from there: soon at first, then more and more rarely.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "pgstat.h"

#include "clock.h"
#include "flight.h"
#include "forget.h"
#include "landed.h"
#include "store.h"

/* So many answers are stored together: their places are free again soon, and
 * a flush for each such group costs little. */
#define STORE_GROUP			100
#define STORE_RETRY			INT64CONST(1000000)
#define MERGE_FIRST			INT64CONST(1000000)
#define MERGE_LAST			INT64CONST(30000000)
#define MERGE_REFUSED		INT64CONST(600000000)

static CoDatabase *mine = NULL;

static int64 store_retry_at = 0;	/* != 0: they cannot be stored */
static char store_reason[CO_REASON_SIZE];
static int64 merge_at = 1;		/* 0: the spills are empty; at first, what a
								 * predecessor has left */
static int64 merge_delay = MERGE_FIRST;

void
co_landed_init(CoDatabase *database)
{
	mine = database;
}

int
co_landed_wanted(void)
{
	return store_retry_at != 0 ? INT_MAX :
		Max(STORE_GROUP - co_flight_count(CO_FLIGHT_LANDED), 0);
}

const char *
co_landed_trouble(void)
{
	return store_retry_at != 0 ? store_reason : NULL;
}

void
co_landed_note_spilled(void)
{
	merge_delay = MERGE_FIRST;
	merge_at = co_clock() + merge_delay;
	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	mine->spilled = true;
	LWLockRelease(co_shared->lock);
}

/* It is stored: everybody who has asked for it reads it. */
static void
tell(CoFlight *flight)
{
	CoReply		reply = {0};

	reply.stored = true;
	reply.asked_at = flight->asked_at;
	co_flight_answer(flight, &reply);
}

/* Log that answers cannot be stored, or can again; not every second. */
static void
log_trouble(bool all, int kept)
{
	if (!all && store_retry_at == 0)
		ereport(WARNING,
				(errmsg("clearout: answers cannot be stored: %s", store_reason),
				 errdetail("%d answers are kept in memory, and no call is made until they are stored.",
						   kept)));
	else if (all && store_retry_at != 0)
		ereport(LOG, (errmsg("clearout: answers are stored again")));
}

CoLandedNews
co_landed_store(bool at_once)
{
	CoLandedNews news = {false, false};
	int			landed;
	int			count;
	CoAnswer  **answers;
	CoFlight  **flights;
	bool		spilled = false;
	bool		all;
	int			i = 0;
	int			stored = 0;
	dlist_iter	iter;

	news.rows_left = co_forget_landed();
	landed = co_flight_count(CO_FLIGHT_LANDED);
	count = at_once || store_retry_at != 0 ? landed : Min(landed, STORE_GROUP);
	if (count == 0 || (!at_once && store_retry_at != 0 && co_clock() < store_retry_at))
		return news;

	answers = palloc(count * sizeof(CoAnswer *));
	flights = palloc(count * sizeof(CoFlight *));
	dlist_foreach(iter, co_flights(CO_FLIGHT_LANDED))
	{
		if (i == count)
			break;
		flights[i] = dlist_container(CoFlight, node, iter.cur);
		answers[i] = &flights[i]->answer;
		answers[i]->row = flights[i]->row;
		answers[i]->row_count = flights[i]->row_count;
		i++;
	}

	all = co_store_answers(answers, count, &spilled, store_reason, sizeof(store_reason));
	for (i = 0; i < count; i++)
		stored += flights[i]->answer.state != CO_ANSWER_UNSTORED;

	log_trouble(all, landed - stored);
	store_retry_at = all ? 0 : co_clock() + STORE_RETRY;

	/* Whoever has his answer finds in the status what has become of it. */
	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	mine->answers += stored;
	co_meter_count(&mine->meter, co_clock(), stored);
	mine->unstored = all ? 0 : landed - stored;
	if (all && mine->condition == CO_CONDITION_UNSTORED)
	{
		mine->condition = CO_CONDITION_WORKING;
		mine->reason[0] = '\0';
	}
	LWLockRelease(co_shared->lock);
	if (spilled)
		co_landed_note_spilled();

	for (i = 0; i < count; i++)
	{
		if (flights[i]->answer.state == CO_ANSWER_UNSTORED)
			continue;
		tell(flights[i]);
		news.search_ended |= flights[i]->search != NULL;
		for (int row = 0; row < flights[i]->row_count; row++)
			co_queue_forget(&flights[i]->row[row]);
		co_flight_end(flights[i]);
	}
	news.rows_left |= co_queue_rows_left();
	pgstat_report_stat(true);
	return news;
}

void
co_landed_merge(void)
{
	int			moved;
	bool		left;
	bool		refused;

	if (merge_at == 0 || co_clock() < merge_at)
		return;
	co_store_merge_spill(&moved, &left, &refused);
	if (moved > 0)
		merge_delay = MERGE_FIRST;
	else
		merge_delay = Min(merge_delay * 2, MERGE_LAST);

	/* A constraint may be mended some day; nobody waits for that. */
	if (refused)
		merge_delay = MERGE_REFUSED;
	merge_at = left ? co_clock() + merge_delay : 0;
	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	mine->spilled = left;
	LWLockRelease(co_shared->lock);
	pgstat_report_stat(true);
}

int64
co_landed_due(int64 now)
{
	int64		due = merge_at != 0 ? merge_at : INT64_MAX;

	if (store_retry_at != 0)
		return Min(due, store_retry_at);
	/* more than one group */
	return co_flight_count(CO_FLIGHT_LANDED) > 0 ? now : due;
}
