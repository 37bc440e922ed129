/*-------------------------------------------------------------------------
 * status.c
 *		The view clearout_status: what shared memory knows of this database.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "convert.h"
#include "slots.h"
#include "usage.h"

PG_FUNCTION_INFO_V1(clearout_status_info);

typedef enum StatusColumn
{
	STATUS_WORKER_PID,
	STATUS_STATE,
	STATUS_REASON,
	STATUS_SINCE,
	STATUS_RESTARTS,
	STATUS_REQUESTS_WAITING,
	STATUS_CALLS_IN_FLIGHT,
	STATUS_ANSWERS_UNSTORED,
	STATUS_SPILLED,
	STATUS_SLOTS_USED,
	STATUS_SLOTS_TOTAL,
	STATUS_RATE_LIMIT,			/* and what follows, one window */
	STATUS_RATE_REMAINING,
	STATUS_RATE_RESETS_IN,
	STATUS_CALLS,
	STATUS_ANSWERS,
	STATUS_JOINED,
	STATUS_FAULTS,
	STATUS_LAST_ERROR,
	STATUS_LAST_ERROR_AT,
	STATUS_ANSWERS_PER_MINUTE,
	STATUS_CREDITS,
	STATUS_CREDITS_AT,
	STATUS_BUDGET,
	STATUS_BUDGET_SPENT,
	STATUS_QUEUE_BEGIN,
	STATUS_FIND_LIMIT,			/* and what follows, as for STATUS_RATE_LIMIT */
	STATUS_FIND_REMAINING,
	STATUS_FIND_RESETS_IN,
	STATUS_COLUMNS
} StatusColumn;

/* What is copied out under the lock. */
typedef struct Status
{
	bool		known;
	CoDatabase	database;
	int			waiting;
	int			slots_used;
	CoGovernorState rate;
	CoGovernorState find_rate;
	CoCredits	credits;
	TimestampTz credits_told;
} Status;

static void
copy_status(Status *status)
{
	int			index;

	memset(status, 0, sizeof(*status));
	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	index = co_database_entry(MyDatabaseId, false);
	status->slots_used = co_shared->slots_used;
	if (index >= 0)
	{
		status->known = true;
		status->database = co_shared->database[index];
		if (status->database.token >= 0)
		{
			const CoToken *token = &co_shared->token[status->database.token];

			co_governor_state(&token->governor[CO_SERVICE_VERIFY], co_clock(), &status->rate);
			co_governor_state(&token->governor[CO_SERVICE_FIND], co_clock(), &status->find_rate);
			status->credits = token->credits;
			status->credits_told = token->credits_told;
		}
		for (int i = 0; i < co_shared->slot_count; i++)
		{
			CoSlot	   *slot = &co_shared->slot[i];

			if (slot->database == index &&
				(slot->state == CO_SLOT_FILLED || slot->state == CO_SLOT_TAKEN))
				status->waiting++;
		}
	}
	LWLockRelease(co_shared->lock);
}

static const char *const condition_words[] = {
	[CO_CONDITION_WORKING] = "running",
	[CO_CONDITION_NOT_CONFIGURED] = "not configured",
	[CO_CONDITION_OUTDATED] = "update needed",
	[CO_CONDITION_PAUSED] = "paused",
	[CO_CONDITION_BUDGET] = "budget used up",
	[CO_CONDITION_UNSTORED] = "storing failed"
};

static const char *
state_word(const Status *status)
{
	if (!status->known)
		return "no worker";
	switch (status->database.state)
	{
		case CO_DATABASE_RUNNING:
			return condition_words[status->database.condition];
		case CO_DATABASE_STARTING:
			return "starting";
		case CO_DATABASE_WANTED:
			return status->database.failures > 0 ? "backoff" : "starting";
		case CO_DATABASE_UNUSED:
		case CO_DATABASE_ABSENT:
			break;
	}
	return "no worker";
}

/* Reasons can hold file names, which are in whatever encoding. */
static char *
shown_text(const char *text)
{
	char		clean[CO_REASON_SIZE];

	co_message_set(clean, sizeof(clean), text, strlen(text));
	return co_text_from_utf8(clean);
}

/* Three columns: the limit, what is left of it, and until when. */
static void
show_window(const CoGovernorState *rate, Datum *values, bool *nulls)
{
	int64		left = rate->resets_at - co_clock();

	if (rate->limit > 0)
	{
		values[0] = Int32GetDatum(rate->limit);
		values[1] = Int32GetDatum(rate->remaining);
		nulls[0] = nulls[1] = false;
	}
	if (left > 0)
	{
		Interval   *interval = palloc0(sizeof(Interval));

		interval->time = left;
		values[2] = IntervalPGetDatum(interval);
		nulls[2] = false;
	}
}

Datum
clearout_status_info(PG_FUNCTION_ARGS)
{
	Datum		values[STATUS_COLUMNS];
	bool		nulls[STATUS_COLUMNS];
	TupleDesc	type;
	Status		status;

	if (get_call_result_type(fcinfo, NULL, &type) != TYPEFUNC_COMPOSITE ||
		type->natts != STATUS_COLUMNS)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("clearout_status_info() does not fit the library of the extension \"clearout\""),
				 errhint("Run ALTER EXTENSION clearout UPDATE.")));

	memset(nulls, true, sizeof(nulls));
	memset(values, 0, sizeof(values));

#define SET(column, datum) (values[column] = (datum), nulls[column] = false)
	if (co_shared == NULL)
	{
		SET(STATUS_STATE, CStringGetTextDatum("not preloaded"));
		SET(STATUS_REASON, CStringGetTextDatum("The library is not in shared_preload_libraries."));
		PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(type), values, nulls)));
	}

	copy_status(&status);
	SET(STATUS_STATE, CStringGetTextDatum(state_word(&status)));
	SET(STATUS_SLOTS_USED, Int32GetDatum(status.slots_used));
	SET(STATUS_SLOTS_TOTAL, Int32GetDatum(co_shared->slot_count));
	if (status.known)
	{
		const CoDatabase *database = &status.database;
		int			in_flight = 0;

		for (int i = 0; i < CO_SERVICE_COUNT; i++)
			in_flight += database->in_flight[i];

		if (database->worker_pid != 0)
			SET(STATUS_WORKER_PID, Int32GetDatum(database->worker_pid));
		if (database->reason[0] != '\0')
			SET(STATUS_REASON, CStringGetTextDatum(shown_text(database->reason)));
		SET(STATUS_SINCE, TimestampTzGetDatum(database->changed_at));
		SET(STATUS_RESTARTS, Int64GetDatum(database->restarts));
		SET(STATUS_REQUESTS_WAITING, Int32GetDatum(status.waiting));
		SET(STATUS_CALLS_IN_FLIGHT, Int32GetDatum(in_flight));
		SET(STATUS_ANSWERS_UNSTORED, Int32GetDatum(database->unstored));
		SET(STATUS_SPILLED, BoolGetDatum(database->spilled));
		SET(STATUS_CALLS, Int64GetDatum(database->calls));
		SET(STATUS_ANSWERS, Int64GetDatum(database->answers));
		SET(STATUS_JOINED, Int64GetDatum(database->joined));
		SET(STATUS_FAULTS, Int64GetDatum(database->faults));
		if (database->last_error[0] != '\0')
		{
			SET(STATUS_LAST_ERROR, CStringGetTextDatum(shown_text(database->last_error)));
			SET(STATUS_LAST_ERROR_AT, TimestampTzGetDatum(database->last_error_at));
		}
		if (database->state == CO_DATABASE_RUNNING)
		{
			Datum		begin[CO_PRIORITIES];

			for (int i = 0; i < CO_PRIORITIES; i++)
				begin[i] = Int64GetDatum(database->queue_begin[i]);
			SET(STATUS_QUEUE_BEGIN,
				PointerGetDatum(construct_array(begin, CO_PRIORITIES, INT8OID, sizeof(int64),
												FLOAT8PASSBYVAL, TYPALIGN_DOUBLE)));
			SET(STATUS_ANSWERS_PER_MINUTE,
				Float8GetDatum(rint(co_meter_per_minute(&database->meter, co_clock()))));
			if (database->budget >= 0)
			{
				SET(STATUS_BUDGET, Int64GetDatum(database->budget));
				/* An idle worker does not wake up for a new day. */
				SET(STATUS_BUDGET_SPENT,
					Int64GetDatum(database->budget_day == co_usage_today() ? database->budget_spent : 0));
			}
		}
		if (status.credits.known)
		{
			SET(STATUS_CREDITS, Int64GetDatum(co_credits_left(&status.credits)));
			SET(STATUS_CREDITS_AT, TimestampTzGetDatum(status.credits_told));
		}
		show_window(&status.rate, &values[STATUS_RATE_LIMIT], &nulls[STATUS_RATE_LIMIT]);
		show_window(&status.find_rate, &values[STATUS_FIND_LIMIT], &nulls[STATUS_FIND_LIMIT]);
	}
#undef SET
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(type), values, nulls)));
}
