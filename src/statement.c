/*-------------------------------------------------------------------------
 * statement.c
 *		What one statement has heard and caused.
 *
 * SELECT (clearout_verify(e)).* calls the function once per column.  With
 * max_age => '0', or when the service fails, each of these would ask again:
 * twenty credits, or twenty timeouts.  So each outcome holds for the rest of
 * the statement that heard it.  Only the last few are kept, since such calls
 * follow each other at once, and the backend's memory must not grow with the
 * table.
 *
 * A statement is known by its start, which all that the client sent in one
 * message shares.  A failure is forgotten sooner.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "tcop/pquery.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/timestamp.h"

#include "guc.h"
#include "statement.h"

#define HEARD_COUNT		64

/* A failure holds no longer than that, so that a loop may try again. */
#define FAILURE_HOLDS	INT64CONST(1000000)

typedef struct Heard
{
	char	   *key;			/* NULL: unused */
	TimestampTz asked_at;
	CoFailure  *failure;
	TimestampTz heard_at;
	MemoryContext context;		/* of all the above */
} Heard;

static TimestampTz statement_start = 0;
static Heard heard[HEARD_COUNT];
static int	next_place = 0;
static int	calls = 0;

static void
forget(Heard *place)
{
	if (place->context != NULL)
		MemoryContextDelete(place->context);
	memset(place, 0, sizeof(*place));
}

/*
 * When did the statement start?  A cursor, or a portal that the client fetches
 * from bit by bit, is one statement however many messages that takes.
 */
static TimestampTz
current_statement(void)
{
	return ActivePortal != NULL ? ActivePortal->creation_time
		: GetCurrentStatementStartTimestamp();
}

/* Is it still the same statement?  If not, start anew. */
static void
look_at_clock(void)
{
	if (statement_start == current_statement())
		return;
	statement_start = current_statement();
	calls = 0;
	for (int i = 0; i < HEARD_COUNT; i++)
	{
		if (heard[i].key != NULL)
			forget(&heard[i]);
	}
}

bool
co_statement_recall(const char *key, TimestampTz *asked_at, CoFailure **failure)
{
	look_at_clock();
	for (int i = 0; i < HEARD_COUNT; i++)
	{
		if (heard[i].key != NULL && strcmp(heard[i].key, key) == 0)
		{
			if (heard[i].failure != NULL &&
				GetCurrentTimestamp() - heard[i].heard_at > FAILURE_HOLDS)
				continue;
			*asked_at = heard[i].asked_at;
			*failure = heard[i].failure ? co_failure_copy(heard[i].failure) : NULL;
			return true;
		}
	}
	return false;
}

void
co_statement_remember(const char *key, TimestampTz asked_at,
					  const CoFailure *failure)
{
	Heard	   *place = &heard[next_place];
	MemoryContext old;

	look_at_clock();
	next_place = (next_place + 1) % HEARD_COUNT;
	forget(place);
	place->context = AllocSetContextCreate(TopMemoryContext, "clearout heard",
										   ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(place->context);
	place->asked_at = asked_at;
	if (failure != NULL)
		place->failure = co_failure_copy(failure);
	place->heard_at = GetCurrentTimestamp();
	place->key = pstrdup(key);
	MemoryContextSwitchTo(old);
}

void
co_statement_count_call(void)
{
	look_at_clock();
	if (co_statement_limit > 0 && calls >= co_statement_limit)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("one statement may cause %d calls of the Clearout service", co_statement_limit),
				 errdetail("Each may cost credits. Answers received so far are stored."),
				 errhint("Use clearout_enqueue() or clearout_bulk_verify() for many addresses, or increase \"clearout.statement_limit\".")));
	calls++;
}
