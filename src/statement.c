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
 * message shares.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"

#include "guc.h"
#include "statement.h"

#define HEARD_COUNT		64

typedef struct Heard
{
	char	   *key;			/* NULL: unused */
	TimestampTz asked_at;
	CoFailure  *failure;
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

/* Is it still the same statement?  If not, start anew. */
static void
look_at_clock(void)
{
	if (statement_start == GetCurrentStatementStartTimestamp())
		return;
	statement_start = GetCurrentStatementStartTimestamp();
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
			*asked_at = heard[i].asked_at;
			*failure = heard[i].failure;
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
	{
		place->failure = palloc0(sizeof(CoFailure));
		place->failure->sqlstate = failure->sqlstate;
		place->failure->message = pstrdup(failure->message);
		if (failure->detail)
			place->failure->detail = pstrdup(failure->detail);
		if (failure->hint)
			place->failure->hint = pstrdup(failure->hint);
	}
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
				 errhint("Verify in smaller statements, or raise \"clearout.statement_limit\".")));
	calls++;
}
