/*-------------------------------------------------------------------------
 * ask.c
 *		Hand questions to the worker, and wait for the answers.
 *
 * While waiting, nothing of ours is held but the slots: no lock, no pin, no
 * snapshot beyond those of the caller's statement.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/timestamp.h"

#include "ask.h"
#include "clock.h"
#include "compat.h"

#define LAUNCHER_POLL_MS 500

static uint32 answer_wait_event = 0;

/* What is under way in one co_ask(). */
typedef struct Asking
{
	CoQuestion *questions;
	int			count;
	int			next;			/* first that was not tried yet */
	int			first;			/* first that may hold a slot */
	int			open;			/* how many hold a slot */
	int			most;			/* how many may */
} Asking;

static void
fail(CoQuestion *question, CoFailure *failure)
{
	question->state = CO_QUESTION_FAILED;
	question->failure = failure;
}

/* Claim slots for what is new.  Returns the first failure. */
static CoFailure *
claim(Asking *asking, const CoFreshness *accepts, int64 deadline)
{
	CoFailure  *first = NULL;

	while (asking->next < asking->count && asking->open < asking->most)
	{
		CoQuestion *question = &asking->questions[asking->next];
		CoReply		reply;

		if (question->state == CO_QUESTION_NEW)
		{
			if (co_slot_claim(question->endpoint, question->key, accepts,
							  deadline, &question->slot, &reply))
			{
				question->state = CO_QUESTION_ASKED;
				asking->open++;
			}
			else if (reply.refusal == CO_REFUSED_NO_SLOT && asking->open > 0)
				break;			/* some of ours will come free */
			else
			{
				fail(question, co_failure_from_reply(&reply));
				if (first == NULL)
					first = question->failure;
			}
		}
		asking->next++;
	}
	return first;
}

/* Take the replies that are there.  Returns the first failure. */
static CoFailure *
collect(Asking *asking, bool *any)
{
	CoFailure  *first = NULL;
	bool		prefix = true;

	*any = false;
	for (int i = asking->first; i < asking->next; i++)
	{
		CoQuestion *question = &asking->questions[i];
		CoReply		reply;

		if (question->state == CO_QUESTION_ASKED)
		{
			CoProgress	progress;

			if (!co_slot_poll(question->slot, &reply, &progress))
			{
				prefix = false;
				continue;
			}
			co_slot_release(question->slot);
			asking->open--;
			*any = true;
			if (reply.stored)
			{
				question->state = CO_QUESTION_ANSWERED;
				question->asked_at = reply.asked_at;
			}
			else
			{
				fail(question, co_failure_from_reply(&reply));
				if (first == NULL)
					first = question->failure;
			}
		}
		if (prefix)
			asking->first = i + 1;
	}
	return first;
}

/* The deadline has passed: nothing more will come. */
static CoFailure *
give_up(Asking *asking)
{
	CoFailure  *first = NULL;

	for (int i = asking->first; i < asking->count; i++)
	{
		CoQuestion *question = &asking->questions[i];
		CoReply		reply;
		CoProgress	progress = CO_PROGRESS_NONE;

		if (question->state == CO_QUESTION_ASKED)
		{
			(void) co_slot_poll(question->slot, &reply, &progress);
			co_slot_release(question->slot);
			asking->open--;
		}
		else if (question->state != CO_QUESTION_NEW)
			continue;
		if (progress == CO_PROGRESS_NONE && co_slot_is_without_worker(&reply))
			fail(question, co_failure_from_reply(&reply));
		else
			fail(question, co_failure_timeout(progress));
		if (first == NULL)
			first = question->failure;
	}
	return first;
}

static void
release_all(Asking *asking)
{
	for (int i = asking->first; i < asking->next && asking->open > 0; i++)
	{
		if (asking->questions[i].state == CO_QUESTION_ASKED)
		{
			co_slot_release(asking->questions[i].slot);
			asking->questions[i].state = CO_QUESTION_NEW;
			asking->open--;
		}
	}
}

CoFailure *
co_ask(CoQuestion *questions, int count, const CoFreshness *accepts,
	   int64 deadline, bool stop_at_failure)
{
	Asking	   *asking = palloc0(sizeof(Asking));
	CoFailure  *volatile first = NULL;

	asking->questions = questions;
	asking->count = count;
	asking->most = co_shared ? Max(1, co_shared->slot_count / 4) : 1;

	PG_TRY();
	{
		while (first == NULL || !stop_at_failure)
		{
			CoFailure  *failure;
			bool		any;
			int64		timeout;

			CHECK_FOR_INTERRUPTS();
			failure = claim(asking, accepts, deadline);
			if (failure != NULL && first == NULL)
				first = failure;
			failure = collect(asking, &any);
			if (failure != NULL && first == NULL)
				first = failure;
			if (any)
				continue;
			if (asking->open == 0 && asking->next == count)
				break;

			timeout = (deadline - co_clock() + 999) / 1000;
			if (timeout <= 0 || co_slot_is_hopeless())
			{
				failure = give_up(asking);
				if (first == NULL)
					first = failure;
				break;
			}
			/* Nobody wakes us when the launcher does not come back. */
			if (co_shared != NULL && co_shared->launcher == NULL)
				timeout = Min(timeout, LAUNCHER_POLL_MS);
			(void) WaitLatch(MyLatch,
							 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 (long) Min(timeout, INT_MAX),
							 co_wait_event(&answer_wait_event, "ClearoutAnswer"));
			ResetLatch(MyLatch);
		}
	}
	PG_FINALLY();
	{
		release_all(asking);
	}
	PG_END_TRY();

	return first;
}

void
co_require_spending_allowed(void)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot ask the Clearout service during recovery"),
				 errhint("Stored answers can be read; ask on the primary server.")));
	if (XactReadOnly)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot ask the Clearout service in a read-only transaction"),
				 errhint("Stored answers can be read in it.")));
}
