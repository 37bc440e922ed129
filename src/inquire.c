/*-------------------------------------------------------------------------
 * inquire.c
 *		One question to the finder, a check or a look-up, from inside a
 *		backend.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "arguments.h"
#include "ask.h"
#include "clock.h"
#include "inquire.h"
#include "statement.h"
#include "worker.h"

/* A table that is locked against readers is looked at again after so long. */
#define LOCKED_RETRY_MS		10

void
co_inquiry_options(FunctionCallInfo fcinfo, int first, int default_age,
				   CoInquiry *inquiry)
{
	int64		timeout = PG_ARGISNULL(first) ? (int64) co_wait_timeout * 1000
		: co_interval_argument(PG_GETARG_INTERVAL_P(first), "timeout");
	int64		age = (int64) default_age * USECS_PER_SEC;

	inquiry->timeout = Min(timeout, USECS_PER_DAY);
	if (PG_NARGS() > first + 1 && !PG_ARGISNULL(first + 1))
		age = co_interval_argument(PG_GETARG_INTERVAL_P(first + 1), "max_age");
	inquiry->since = co_oldest_accepted(age);
	inquiry->on_error = CO_ON_ERROR_ERROR;
	if (PG_NARGS() > first + 2)
		inquiry->on_error = PG_ARGISNULL(first + 2) ? (CoOnError) co_on_error
			: co_on_error_parse(text_to_cstring(PG_GETARG_TEXT_PP(first + 2)));

	if (co_am_worker)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the Clearout service cannot be asked inside a Clearout worker"),
				 errdetail("It would wait for itself.")));
}

/* What the statement remembers it under: no address begins like that. */
static char *
heard_key(const CoInquiry *inquiry)
{
	return psprintf("\001%s\001%s", co_endpoints[inquiry->endpoint].name, inquiry->key);
}

/*
 * Read what is known to be stored.  It is committed, so it is there, unless
 * somebody has removed it since, or has the table locked.
 */
static void
read_answer(const CoCatalog *catalog, CoInquiry *inquiry, TimestampTz asked_at,
			int64 deadline)
{
	TimestampTz since = asked_at != 0 ? asked_at : inquiry->since;
	bool		locked;

	for (;;)
	{
		if (co_stored_find(catalog, inquiry->endpoint, inquiry->key, since,
						   &inquiry->stored, &locked))
			return;

		/* By the service's own times something newer was there already. */
		if (!locked && co_stored_find(catalog, inquiry->endpoint, inquiry->key,
									  DT_NOBEGIN, &inquiry->stored, &locked))
			return;
		if (!locked || co_clock() >= deadline)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the answer was stored, but cannot be read"),
					 locked ? errdetail("Its table is locked.") :
					 errdetail("It was removed at once.")));
		CHECK_FOR_INTERRUPTS();
		pg_usleep(LOCKED_RETRY_MS * 1000L);
	}
}

/* Is it settled by what was heard in this statement, or by what is stored? */
static bool
is_settled(const CoCatalog *catalog, CoInquiry *inquiry, const char *heard)
{
	TimestampTz since = inquiry->since;
	TimestampTz asked_at = 0;

	if (co_statement_recall(heard, &asked_at, &inquiry->failure))
	{
		if (inquiry->failure != NULL)
			return true;
		since = Min(since, asked_at);
	}
	if (!co_stored_find(catalog, inquiry->endpoint, inquiry->key, since,
						&inquiry->stored, NULL))
		return false;
	inquiry->by_call = asked_at != 0;
	return true;
}

static void
ask(const CoCatalog *catalog, CoInquiry *inquiry, const char *heard)
{
	CoFreshness accepts = {inquiry->since, inquiry->since, inquiry->since};
	int64		deadline = co_clock() + inquiry->timeout;
	CoQuestion	question = {0};

	co_require_spending_allowed();
	if (co_endpoints[inquiry->endpoint].costs)
		co_statement_count_call();

	question.endpoint = inquiry->endpoint;
	question.key = inquiry->key;
	inquiry->failure = co_ask(&question, 1, &accepts, deadline, true);
	if (inquiry->failure != NULL)
		co_statement_remember(heard, 0, inquiry->failure);
	else
	{
		if (question.asked_at != 0)
			co_statement_remember(heard, question.asked_at, NULL);
		inquiry->by_call = question.asked_at != 0;
		read_answer(catalog, inquiry, question.asked_at, deadline);
	}
}

void
co_inquire(const CoCatalog *catalog, CoInquiry *inquiry)
{
	char	   *heard = heard_key(inquiry);

	inquiry->failure = NULL;
	inquiry->by_call = false;
	if (strlen(inquiry->key) >= CO_KEY_SIZE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("what is asked for is too long"),
				 errdetail("It has %zu bytes; %d is the most.", strlen(inquiry->key), CO_KEY_SIZE - 1)));

	if (!is_settled(catalog, inquiry, heard))
	{
		/* No time means no call, which is not worth remembering. */
		if (inquiry->timeout == 0)
			inquiry->failure = co_failure_no_time(inquiry->endpoint);
		else
			ask(catalog, inquiry, heard);
	}
	if (inquiry->failure != NULL && inquiry->on_error == CO_ON_ERROR_ERROR)
		co_failure_raise(inquiry->failure);
}
