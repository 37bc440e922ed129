/*-------------------------------------------------------------------------
 * forget.c
 *		Remove all that is known about an address.
 *
 * clearout_forget() removes the rows in its own transaction.  But a call about
 * the address may be on the wire, and its answer is stored by the worker, who
 * cannot see that transaction before its commit and must not wait for it.  So
 * the address is also written to clearout_forgotten.  At commit the worker is
 * told; it removes what has been stored meanwhile, marks the calls on the
 * wire, so that what they bring is dropped, and only then removes the row.
 * That is repeated after a crash, which ends the calls as well.
 *
 * A table that keeps addresses gets an entry in "statements" below, and is
 * known to both sides.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "arguments.h"
#include "clock.h"
#include "enqueue.h"
#include "flight.h"
#include "forget.h"
#include "queue.h"
#include "transaction.h"

PG_FUNCTION_INFO_V1(clearout_forget);
PG_FUNCTION_INFO_V1(clearout_expire);

/* Addresses that the worker looks at together. */
#define SWEEP_BATCH 100

/* There may be millions; others are not to wait for all of them. */
#define SWEEP_TIME 20000		/* microseconds */

/*
 * $1: the addresses, in normal form and as they were given.  $2: for the
 * worker, what was asked for until then; NULL: all, whatever its age.
 */
static const Oid forget_types[] = {TEXTARRAYOID, TIMESTAMPTZOID};

#define FORGET(table, sql) {table, sql, 2, forget_types, NULL, ""}
#define OF_ADDRESS \
	"kind IN ('catchall', 'disposable', 'business', 'free', 'role', 'gibberish', 'reverse_email')"
#define ASKED_UNTIL "($2 IS NULL OR asked_at <= $2)"

static CoStatement statements[] = {
	FORGET(CO_TABLE_RESULTS, "DELETE FROM %s.clearout_results"
		   " WHERE email = ANY ($1) AND " ASKED_UNTIL),
	FORGET(CO_TABLE_SPILL, "DELETE FROM %s.clearout_spill"
		   " WHERE email = ANY ($1) AND " ASKED_UNTIL),
	/* Who writes to the queue himself need not know the normal form: all is read. */
	FORGET(CO_TABLE_QUEUE, "DELETE FROM %s.clearout_queue"
		   " WHERE (email = ANY ($1) OR %s.clearout_normalize(email) = ANY ($1)) AND $2 IS NULL"),
	/* What a list still has to send, or has had no answer to. */
	FORGET(CO_TABLE_JOBS, "DELETE FROM %s.clearout_spool"
		   " WHERE asked = ANY ($1) AND $2 IS NULL"),
	FORGET(CO_TABLE_OUTBOX, "DELETE FROM %s.clearout_outbox"
		   " WHERE email = ANY ($1) AND ($2 IS NULL OR created_at <= $2)"),
	/* What was found about a person whose address it is. */
	FORGET(CO_TABLE_PEOPLE, "DELETE FROM %s.clearout_people"
		   " WHERE (%s.clearout_normalize(email) = ANY ($1) OR EXISTS (SELECT FROM unnest(emails) AS e (address)"
		   " WHERE e.address = ANY ($1) OR %s.clearout_normalize(e.address) = ANY ($1))) AND $2 IS NULL"),
	FORGET(CO_TABLE_LOOKUPS, "DELETE FROM %s.clearout_lookups"
		   " WHERE " OF_ADDRESS " AND key = ANY ($1) AND " ASKED_UNTIL),
	/* There a person's addresses are in the answer alone. */
	FORGET(CO_TABLE_LOOKUP_SPILL, "DELETE FROM %s.clearout_lookup_spill"
		   " WHERE (" OF_ADDRESS " AND key = ANY ($1) OR kind = 'find' AND EXISTS ("
		   "SELECT FROM jsonb_path_query(answer, '$.emails[*].email_address') AS e (address)"
		   " WHERE e.address #>> '{}' = ANY ($1)"
		   " OR %s.clearout_normalize(e.address #>> '{}') = ANY ($1)))"
		   " AND " ASKED_UNTIL)
};

/* What the worker has put there meanwhile is in normal form: by the index. */
static CoStatement forget_given_back =
FORGET(CO_TABLE_QUEUE, "DELETE FROM %s.clearout_queue WHERE email = ANY ($1) AND $2 IS NULL");

static const Oid note_types[] = {TEXTARRAYOID};
static CoStatement note_forgotten =
{CO_TABLE_FORGOTTEN, "INSERT INTO %s.clearout_forgotten (email) SELECT unnest($1)",
1, note_types, NULL, ""};

static const Oid read_types[] = {INT8OID, INT4OID};
static CoStatement read_forgotten =
{CO_TABLE_FORGOTTEN, "SELECT id, email FROM %s.clearout_forgotten WHERE id > $1 ORDER BY id LIMIT $2",
2, read_types, NULL, ""};

static const Oid done_types[] = {INT8ARRAYOID};
static CoStatement remove_forgotten =
{CO_TABLE_FORGOTTEN, "DELETE FROM %s.clearout_forgotten WHERE id = ANY ($1)",
1, done_types, NULL, ""};

/* ---------- in a session ---------- */

static Datum
text_array(char **texts, int count)
{
	Datum	   *elements = palloc(Max(count, 1) * sizeof(Datum));

	for (int i = 0; i < count; i++)
		elements[i] = CStringGetTextDatum(texts[i]);
	return PointerGetDatum(construct_array(elements, count, TEXTOID, -1, false, TYPALIGN_INT));
}

Datum
clearout_forget(PG_FUNCTION_ARGS)
{
	text	   *email = PG_GETARG_TEXT_PP(0);
	CoCatalog	catalog;
	CoAddressError error;
	char	   *emails[2];
	int			count = 0;
	char	   *key;
	Datum		values[2];
	uint64		removed = 0;

	PreventCommandIfReadOnly("clearout_forget()");
	PreventCommandDuringRecovery("clearout_forget()");
	co_catalog_of_function(fcinfo, &catalog);

	key = co_key_argument(email, &error);
	if (key != NULL)
		emails[count++] = key;
	if (key == NULL || strcmp(key, text_to_cstring(email)) != 0)
		emails[count++] = text_to_cstring(email);

	/* First the note, so that the worker cannot miss what is there now. */
	values[0] = text_array(emails, count);
	(void) co_execute_as_owner(&catalog, &note_forgotten, values, " ");
	values[1] = (Datum) 0;
	for (int i = 0; i < lengthof(statements); i++)
		removed += co_execute_as_owner(&catalog, &statements[i], values, " n");

	/* What a list has not answered goes from the spool back to the queue. */
	removed += co_execute_as_owner(&catalog, &forget_given_back, values, " n");
	co_queue_note(0);
	PG_RETURN_INT64((int64) removed);
}

/* ---------- by age ---------- */

static const Oid expire_types[] = {TIMESTAMPTZOID, INT8OID};

#define EXPIRE(table, name, age) \
	{table, "DELETE FROM %s." name " WHERE ctid = ANY (ARRAY(SELECT ctid FROM %s." name \
		" WHERE " age " < $1 LIMIT $2 FOR UPDATE SKIP LOCKED))", 2, expire_types, NULL, ""}

static CoStatement expiries[] = {
	EXPIRE(CO_TABLE_RESULTS, "clearout_results", "greatest(verified_at, asked_at, attempted_at)"),
	EXPIRE(CO_TABLE_SPILL, "clearout_spill", "greatest(verified_at, asked_at, attempted_at)"),
	EXPIRE(CO_TABLE_PEOPLE, "clearout_people", "greatest(found_at, asked_at)"),
	EXPIRE(CO_TABLE_LOOKUPS, "clearout_lookups", "greatest(answered_at, asked_at)"),
	EXPIRE(CO_TABLE_LOOKUP_SPILL, "clearout_lookup_spill", "greatest(answered_at, asked_at)"),
	EXPIRE(CO_TABLE_QUEUE, "clearout_queue", "failed_at")
};

Datum
clearout_expire(PG_FUNCTION_ARGS)
{
	CoCatalog	catalog;
	int64		age;
	int64		left = PG_ARGISNULL(1) ? PG_INT64_MAX : PG_GETARG_INT64(1);
	int64		removed = 0;
	Datum		values[2];

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	age = co_interval_argument(PG_GETARG_INTERVAL_P(0), "max_age");
	if (left < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"max_rows\" must not be negative")));
	PreventCommandIfReadOnly("clearout_expire()");
	PreventCommandDuringRecovery("clearout_expire()");
	co_catalog_of_function(fcinfo, &catalog);

	values[0] = TimestampTzGetDatum(co_oldest_accepted(age));
	for (int i = 0; i < lengthof(expiries); i++)
	{
		int64		count;

		values[1] = Int64GetDatum(left - removed);
		count = (int64) co_execute_as_owner(&catalog, &expiries[i], values, "  ");
		removed += count;
	}
	PG_RETURN_INT64(removed);
}

/* ---------- in the worker ---------- */

typedef struct Sweep
{
	MemoryContext context;
	int			count;
	Datum		ids[SWEEP_BATCH];
	char	   *emails[SWEEP_BATCH];
} Sweep;

/* Where the sweep is: ids up to this one are done, or could not be. */
static int64 after = 0;
static bool some_left = false;	/* could not be */

static void
read_step(CoCatalog *catalog, void *argument)
{
	Sweep	   *sweep = argument;
	Datum		values[2];
	uint64		rows;

	values[0] = Int64GetDatum(after);
	values[1] = Int32GetDatum(SWEEP_BATCH);
	rows = co_execute(catalog, &read_forgotten, values, "  ");
	sweep->count = 0;
	for (uint64 i = 0; i < rows; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	columns = SPI_tuptable->tupdesc;
		bool		isnull;
		Datum		id = SPI_getbinval(tuple, columns, 1, &isnull);
		char	   *email = SPI_getvalue(tuple, columns, 2);

		if (isnull || email == NULL || SPI_gettypeid(columns, 1) != INT8OID)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table \"clearout_forgotten\" does not fit the library of the extension \"clearout\"")));
		after = DatumGetInt64(id);
		sweep->ids[sweep->count] = Int64GetDatum(after);
		sweep->emails[sweep->count++] = MemoryContextStrdup(sweep->context, email);
	}
}

static void
delete_step(CoCatalog *catalog, void *argument)
{
	Sweep	   *sweep = argument;
	Datum		values[2];

	values[0] = text_array(sweep->emails, sweep->count);
	values[1] = TimestampTzGetDatum(GetCurrentTimestamp());
	for (int i = 0; i < lengthof(statements); i++)
		(void) co_execute(catalog, &statements[i], values, "  ");
}

static void
done_step(CoCatalog *catalog, void *argument)
{
	Sweep	   *sweep = argument;
	Datum		value = PointerGetDatum(construct_array(sweep->ids, sweep->count, INT8OID,
														sizeof(int64), FLOAT8PASSBYVAL,
														TYPALIGN_DOUBLE));

	(void) co_execute(catalog, &remove_forgotten, &value, " ");
}

/* Its rows have been removed by whoever had the address forgotten. */
static bool
drop_rows(CoFlight *flight)
{
	bool		any = flight->row_count > 0;

	for (int i = 0; i < flight->row_count; i++)
		co_queue_forget(&flight->row[i]);
	flight->row_count = 0;
	return any;
}

/*
 * What is on the wire comes back, and is dropped then.  What waits for its
 * turn is not asked any more, unless a session waits for it: it asks anew, as
 * it were.
 */
static bool
forget_flights(const char *email)
{
	bool		rows_left = false;

	for (int endpoint = 0; endpoint < CO_ENDPOINT_COUNT; endpoint++)
	{
		CoFlight   *flight = co_flight_look_up((CoEndpointId) endpoint, email);

		if (flight == NULL)
			continue;
		rows_left |= drop_rows(flight);
		if (flight->state == CO_FLIGHT_IN_FLIGHT || flight->state == CO_FLIGHT_LANDED)
		{
			flight->forgotten = true;
			for (int i = 0; i < flight->waiter_count; i++)
				flight->waiter[i].forgotten = true;
		}
		else if (flight->waiter_count == 0)
			co_flight_end(flight);
	}
	return rows_left;
}

void
co_forget_anew(void)
{
	after = 0;
	some_left = false;
}

CoForgetting
co_forget_sweep(bool *rows_left)
{
	int64		end = co_clock() + SWEEP_TIME;
	bool		left;

	*rows_left = false;
	do
	{
		Sweep	   *sweep = palloc0(sizeof(Sweep));
		CoTrouble	trouble;

		sweep->context = CurrentMemoryContext;
		if (!co_run(read_step, sweep, &trouble))
		{
			ereport(LOG, (errmsg("clearout: clearout_forgotten could not be read: %s", trouble.message)));
			co_forget_anew();
			return CO_FORGETTING_LATER;
		}
		if (sweep->count == 0)
		{
			left = some_left;
			co_forget_anew();
			return left ? CO_FORGETTING_LATER : CO_FORGETTING_DONE;
		}
		for (int i = 0; i < sweep->count; i++)
			*rows_left |= forget_flights(sweep->emails[i]);

		/* Somebody may hold a row: then the address stays here a little. */
		if (!co_run(delete_step, sweep, &trouble) || !co_run(done_step, sweep, &trouble))
		{
			if (!co_is_lock_trouble(&trouble))
				ereport(LOG, (errmsg("clearout: addresses could not be forgotten: %s", trouble.message)));
			some_left = true;
		}
	} while (co_clock() < end);
	return CO_FORGETTING_MORE;
}

/* Who asked before is told; who has asked since is left. */
static int
dismiss_waiters(CoFlight *flight)
{
	CoReply		reply = {0};
	int			left = 0;

	reply.error_class = CO_ERROR_SERVICE;
	reply.maybe_paid = true;
	strlcpy(reply.outcome.message, "its answer was dropped, since the address was forgotten meanwhile",
			sizeof(reply.outcome.message));
	for (int i = 0; i < flight->waiter_count; i++)
	{
		if (flight->waiter[i].forgotten)
			co_slot_answer(flight->waiter[i].slot, &reply);
		else
			flight->waiter[left++] = flight->waiter[i];
	}
	flight->waiter_count = left;
	return left;
}

bool
co_forget_landed(void)
{
	dlist_mutable_iter iter;
	bool		rows_left = false;

	dlist_foreach_modify(iter, co_flights(CO_FLIGHT_LANDED))
	{
		CoFlight   *flight = dlist_container(CoFlight, node, iter.cur);

		if (!flight->forgotten)
			continue;
		rows_left |= drop_rows(flight);
		if (dismiss_waiters(flight) == 0)
			co_flight_end(flight);
		else
		{
			/* The answer is older than the question: it is asked anew. */
			co_flight_drop_answer(flight);
			flight->forgotten = false;
			co_flight_set_progress(flight, CO_PROGRESS_NONE);
			co_flight_line_up(flight);
		}
	}
	return rows_left;
}
