/*-------------------------------------------------------------------------
 * enqueue.c
 *		SQL functions that put work into the queue and tend it.
 *
 * A row is written in the caller's transaction, so what is rolled back was
 * never enqueued.  The worker is woken when the transaction commits, whatever
 * way the row came: a statement trigger notes COPY and plain INSERTs as well.
 *
 * The functions write as the owner of the tables, with search_path pinned: the
 * caller needs the right to execute them, and nothing else.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "arguments.h"
#include "bulk.h"
#include "enqueue.h"
#include "fresh.h"
#include "guc.h"
#include "handlers.h"
#include "lookup.h"
#include "price.h"
#include "put.h"
#include "queue.h"
#include "row_by_row.h"
#include "slots.h"
#include "transaction.h"

PG_FUNCTION_INFO_V1(clearout_enqueue);
PG_FUNCTION_INFO_V1(clearout_enqueue_array);
PG_FUNCTION_INFO_V1(clearout_refresh);
PG_FUNCTION_INFO_V1(clearout_retry);
PG_FUNCTION_INFO_V1(clearout_pause);
PG_FUNCTION_INFO_V1(clearout_resume);
PG_FUNCTION_INFO_V1(clearout_origin);
PG_FUNCTION_INFO_V1(clearout_queue_note);
PG_FUNCTION_INFO_V1(clearout_budgets_note);

/* ---------- telling the worker ---------- */

/* Noted in this transaction: rows from this id on may have come. */
static bool noted = false;
static int64 noted_from = 0;
static bool noted_resume = false;

static void
tell_worker(int64 from, bool resume)
{
	int			index;

	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	index = co_database_entry(MyDatabaseId, true);
	if (index >= 0)
	{
		CoDatabase *database = &co_shared->database[index];

		if (!database->queue_news || from < database->queue_from)
			database->queue_from = from;
		database->queue_news = true;
		database->resume |= resume;
		if (!database->queue_full || from == 0 || resume)
			co_worker_wake(database);
		if (database->worker == NULL)
			co_launcher_wake();
	}
	LWLockRelease(co_shared->lock);
}

static void
transaction_callback(XactEvent event, void *argument)
{
	(void) argument;
	if (event == XACT_EVENT_COMMIT && noted)
		tell_worker(noted_from, noted_resume);
	else if (event == XACT_EVENT_PREPARE && noted)
	{
		int			index;

		LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
		index = co_database_entry(MyDatabaseId, true);
		if (index >= 0)
			co_shared->database[index].queue_prepared = true;
		LWLockRelease(co_shared->lock);
	}
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
		event == XACT_EVENT_PREPARE)
		noted = noted_resume = false;
}

/*
 * The flag stays, since there may be more of them; it costs a look at the
 * whole queue per COMMIT PREPARED, in databases that enqueue that way.
 */
void
co_queue_after_commit_prepared(void)
{
	int			index;
	bool		prepared = false;

	LWLockAcquire(co_shared->lock, LW_SHARED);
	index = co_database_entry(MyDatabaseId, false);
	if (index >= 0)
		prepared = co_shared->database[index].queue_prepared;
	LWLockRelease(co_shared->lock);
	if (prepared)
		tell_worker(0, false);
}

void
co_queue_note(int64 id)
{
	static bool registered = false;

	if (co_shared == NULL || !IsUnderPostmaster)
		return;
	if (!registered)
	{
		RegisterXactCallback(transaction_callback, NULL);
		registered = true;
	}
	noted_from = noted ? Min(noted_from, id) : id;
	noted = true;
}

void
co_queue_note_resume(void)
{
	co_queue_note(0);
	noted_resume = true;
}

/* ---------- statements, as the owner of the tables ---------- */

static int
begin_statements(void)
{
	int			guc_level = NewGUCNestLevel();

	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	SPI_connect();
	return guc_level;
}

static void
end_statements(int guc_level)
{
	SPI_finish();
	AtEOXact_GUC(false, guc_level);
}

uint64
co_execute_as_owner(const CoCatalog *catalog, CoStatement *statement,
					Datum *values, const char *nulls)
{
	int			guc_level = begin_statements();
	uint64		count = co_execute(catalog, statement, values, nulls);

	end_statements(guc_level);
	return count;
}

#define WAITS "EXISTS (SELECT FROM %s.clearout_queue AS q" \
	" WHERE q.email = a.email AND q.failed_at IS NULL AND q.origin = $4)"

static const Oid enqueue_types[] = {TEXTARRAYOID, INT4OID, NAMEOID, INT8OID, TIMESTAMPTZOID};
static CoStatement enqueue_addresses =
{CO_TABLE_QUEUE, "INSERT INTO %s.clearout_queue (email, priority, requested_by, accepts_since)"
	" SELECT a.email, $2, $3, $5 FROM (SELECT u.email COLLATE \"C\""
	" FROM unnest($1) AS u (email)) AS a"
	" WHERE NOT " WAITS,
5, enqueue_types, NULL, ""};

/*
 * The rows are locked: an address that is forgotten meanwhile would come back
 * with what is put in here.  So whoever forgets it waits for us; and we do not
 * wait, but leave out what is locked.  (A weaker lock would wait, in spite of
 * SKIP LOCKED, for who locks a version of the row that is newer.)
 */
static const Oid refresh_types[] = {INT8OID, INT4OID, NAMEOID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID};
static CoStatement refresh_stale =
{CO_TABLE_QUEUE, "INSERT INTO %s.clearout_queue (email, priority, requested_by, accepts_since)"
	" SELECT a.email, $2, $3, a.since FROM (SELECT r.email,"
	" CASE r.status WHEN 'unknown' THEN $6 WHEN 'catch_all' THEN $7 ELSE $5 END AS since"
	" FROM %s.clearout_results AS r"
	" WHERE NOT " CO_FRESH("$5", "$6", "$7")
	" ORDER BY greatest(r.verified_at, r.asked_at) FOR NO KEY UPDATE OF r SKIP LOCKED) AS a"
	" WHERE NOT " WAITS " LIMIT $1",
7, refresh_types, NULL, ""};

static CoStatement retry_failed =
{CO_TABLE_QUEUE, "UPDATE %s.clearout_queue SET failed_at = NULL, attempts = 0,"
	" next_attempt_at = NULL, queue_id = NULL, sought_since = NULL"
	" WHERE failed_at IS NOT NULL", 0, refresh_types, NULL, ""};

/*
 * A search that is under way counts with all that it may cost, which is set
 * right when it ends (see co_spending_end_search()).  Where it was begun, that
 * was written down; so it is here, or its end would make a budget larger.
 */
static const Oid adopt_types[] = {INT8OID};
static CoStatement adopt_rows =
{CO_TABLE_QUEUE, "WITH adopted AS (UPDATE %s.clearout_queue SET origin = $1 WHERE origin <> $1"
	" RETURNING queue_id, sought_since, requested_by, failed_at),"
	" searches AS (SELECT date(sought_since AT TIME ZONE 'UTC') AS day, requested_by AS role,"
	" count(*) AS searches FROM adopted"
	" WHERE queue_id IS NOT NULL AND sought_since IS NOT NULL AND failed_at IS NULL GROUP BY 1, 2)"
	" SELECT (SELECT count(*) FROM adopted), array_agg(day), array_agg(role), array_agg(searches)"
	" FROM searches", 1, adopt_types, NULL, ""};

static const Oid book_types[] = {DATEARRAYOID, TEXTARRAYOID, INT8ARRAYOID, INT8OID, INT4OID};
static CoStatement book_searches =
{CO_TABLE_USAGE, "INSERT INTO %s.clearout_usage_parts"
	" (day, service, role, origin, calls, valid, invalid, catch_all, unknown, other, faults, credits)"
	" SELECT s.day, 'find', s.role, $4, 0, 0, 0, 0, 0, 0, 0, $5 * s.searches"
	" FROM unnest($1, $2, $3) AS s (day, role, searches)", 5, book_types, NULL, ""};

static const Oid pause_types[] = {BOOLOID, NAMEOID};
static CoStatement set_pause =
{CO_TABLE_CONTROL, "UPDATE %s.clearout_control SET paused = $1, changed_at = now(), changed_by = $2",
2, pause_types, NULL, ""};

static Datum
name_of(Oid role)
{
	return DirectFunctionCall1(namein, CStringGetDatum(GetUserNameFromId(role, false)));
}

/* ---------- putting in ---------- */

void
co_require_priority(int priority)
{
	if (priority < CO_PRIORITY_MIN || priority > CO_PRIORITY_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("priority %d is out of range", priority),
				 errhint("Priorities are from %d to %d; the higher is taken first.",
						 CO_PRIORITY_MIN, CO_PRIORITY_MAX)));
}

static int
priority_argument(FunctionCallInfo fcinfo, int number)
{
	int			priority = PG_ARGISNULL(number) ? 0 : PG_GETARG_INT32(number);

	co_require_priority(priority);
	return priority;
}

static void
require_writable(const char *function)
{
	PreventCommandIfReadOnly(function);
	PreventCommandDuringRecovery(function);
}

/* The same by the executor, where the owner has changed the table. */
static uint64
insert_keys(const CoCatalog *catalog, const CoKey *keys, int count, const CoEnqueue *enqueue)
{
	Datum	   *elements = MemoryContextAllocHuge(CurrentMemoryContext, count * sizeof(Datum));
	Datum		values[5];

	for (int i = 0; i < count; i++)
		elements[i] = PointerGetDatum(keys[i].text);
	values[0] = PointerGetDatum(construct_array(elements, count, TEXTOID, -1, false, TYPALIGN_INT));
	values[1] = Int32GetDatum(enqueue->priority);
	values[2] = name_of(enqueue->requester);
	values[3] = Int64GetDatum(co_queue_origin());
	values[4] = TimestampTzGetDatum(enqueue->accepts.verdict);
	return co_execute_as_owner(catalog, &enqueue_addresses, values, "     ");
}

static uint64
put_keys(const CoCatalog *catalog, const CoKey *keys, int count, const CoEnqueue *enqueue)
{
	uint64		written;

	if (!co_put(catalog, keys, count, enqueue, &written))
		written = insert_keys(catalog, keys, count, enqueue);
	return written;
}

bool
co_enqueue_unanswered(const CoCatalog *catalog, const char *key, const CoEnqueue *enqueue)
{
	CoKey		one = {0, co_key_text(key)};

	co_row_by_row_note();
	return put_keys(catalog, &one, 1, enqueue) > 0;
}

/*
 * From so many look-ups on, a transaction keeps the locks that they take.  A
 * rollback to a savepoint may take them away, so this is done time and again.
 */
#define LOOKUPS_UNTIL_KEPT 64

void
co_enqueue_before_lookup(const CoCatalog *catalog)
{
	static TimestampTz transaction;	/* the one that was counted */
	static int	count;

	if (transaction != GetCurrentTransactionStartTimestamp())
	{
		transaction = GetCurrentTransactionStartTimestamp();
		count = 0;
	}
	if (++count % LOOKUPS_UNTIL_KEPT == 0)
		co_lookup_keep_locks(catalog);
}

static bool
enqueue_key(const CoCatalog *catalog, const char *key, const CoEnqueue *enqueue)
{
	CoRow		row;
	bool		put;

	if (co_row_by_row_enqueue(catalog, key, enqueue, &put))
		return put;
	co_enqueue_before_lookup(catalog);
	return !co_lookup(catalog, key, &enqueue->accepts, &row, NULL) &&
		co_enqueue_unanswered(catalog, key, enqueue);
}

/* In the order of the keys, and so of the index, which is faster. */
uint64
co_enqueue_keys(const CoCatalog *catalog, CoKeys *keys, const CoEnqueue *enqueue)
{
	co_keys_sort(keys);
	if (keys->count > 0)
		co_lookup_remove_fresh(catalog, keys, &enqueue->accepts);
	return keys->count == 0 ? 0 : put_keys(catalog, keys->key, keys->count, enqueue);
}

Datum
clearout_enqueue(PG_FUNCTION_ARGS)
{
	CoEnqueue	enqueue;
	CoAddressError error;
	CoCatalog	catalog;
	char	   *key;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	enqueue.priority = priority_argument(fcinfo, 1);
	require_writable("clearout_enqueue()");

	key = co_key_argument(PG_GETARG_TEXT_PP(0), &error);
	if (key == NULL)
		PG_RETURN_BOOL(false);	/* malformed: the verdict is known */

	enqueue.requester = GetUserId();
	enqueue.accepts = co_accepted_ages(NULL);
	co_catalog_of_function(fcinfo, &catalog);
	PG_RETURN_BOOL(enqueue_key(&catalog, key, &enqueue));
}

Datum
clearout_enqueue_array(PG_FUNCTION_ARGS)
{
	CoEnqueue	enqueue;
	CoCatalog	catalog;
	CoKeys	   *keys;
	ArrayIterator emails;
	Datum		email;
	bool		isnull;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	enqueue.priority = priority_argument(fcinfo, 1);
	require_writable("clearout_enqueue()");

	keys = co_keys_create();
	emails = array_create_iterator(PG_GETARG_ARRAYTYPE_P(0), 0, NULL);
	while (array_iterate(emails, &email, &isnull))
	{
		CoAddressError error;

		CHECK_FOR_INTERRUPTS();
		if (!isnull)
			(void) co_keys_add(keys, DatumGetTextPP(email), &error);
		CHECK_FOR_INTERRUPTS();
	}
	array_free_iterator(emails);

	enqueue.requester = GetUserId();
	enqueue.accepts = co_accepted_ages(NULL);
	co_catalog_of_function(fcinfo, &catalog);
	PG_RETURN_INT64((int64) co_enqueue_keys(&catalog, keys, &enqueue));
}

Datum
clearout_refresh(PG_FUNCTION_ARGS)
{
	CoFreshness accepts = co_accepted_ages(PG_ARGISNULL(0) ? NULL : PG_GETARG_INTERVAL_P(0));
	CoCatalog	catalog;
	Datum		values[7];
	char		nulls[8] = "       ";

	if (!PG_ARGISNULL(1) && PG_GETARG_INT64(1) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"max_rows\" must not be negative")));
	require_writable("clearout_refresh()");
	co_catalog_of_function(fcinfo, &catalog);
	nulls[0] = PG_ARGISNULL(1) ? 'n' : ' ';
	values[0] = PG_ARGISNULL(1) ? (Datum) 0 : PG_GETARG_DATUM(1);
	values[1] = Int32GetDatum(PG_ARGISNULL(2) ? 0 : priority_argument(fcinfo, 2));
	values[2] = name_of(GetUserId());
	values[3] = Int64GetDatum(co_queue_origin());
	values[4] = TimestampTzGetDatum(accepts.verdict);
	values[5] = TimestampTzGetDatum(accepts.unknown);
	values[6] = TimestampTzGetDatum(accepts.catch_all);
	PG_RETURN_INT64((int64) co_execute_as_owner(&catalog, &refresh_stale, values, nulls));
}

/* ---------- tending ---------- */

Datum
clearout_retry(PG_FUNCTION_ARGS)
{
	CoCatalog	catalog;
	uint64		count;

	require_writable("clearout_retry()");
	co_catalog_of_function(fcinfo, &catalog);
	count = co_execute_as_owner(&catalog, &retry_failed, NULL, NULL);
	if (count > 0)
		co_queue_note(0);
	PG_RETURN_INT64((int64) count);
}

static void
write_pause(FunctionCallInfo fcinfo, bool paused)
{
	CoCatalog	catalog;
	Datum		values[2];

	co_catalog_of_function(fcinfo, &catalog);
	values[0] = BoolGetDatum(paused);
	values[1] = name_of(GetUserId());
	(void) co_execute_as_owner(&catalog, &set_pause, values, "  ");
	co_queue_note(0);
}

Datum
clearout_pause(PG_FUNCTION_ARGS)
{
	require_writable("clearout_pause()");
	write_pause(fcinfo, true);
	PG_RETURN_VOID();
}

/* In two statements, since the two tables may belong to different roles. */
static int64
adopt_queue(const CoCatalog *catalog)
{
	int			guc_level = begin_statements();
	Datum		values[5] = {Int64GetDatum(co_queue_origin())};
	HeapTuple	found;
	TupleDesc	columns;
	bool		isnull;
	bool		nothing;
	int64		adopted;

	(void) co_execute(catalog, &adopt_rows, values, " ");
	found = SPI_tuptable->vals[0];
	columns = SPI_tuptable->tupdesc;
	adopted = DatumGetInt64(SPI_getbinval(found, columns, 1, &isnull));
	for (int i = 0; i < 3; i++)
		values[i] = SPI_getbinval(found, columns, i + 2, &nothing);
	if (!nothing)
	{
		values[3] = Int64GetDatum(co_queue_origin());
		values[4] = Int32GetDatum(co_price_most(CO_ENDPOINT_FIND));
		(void) co_execute(catalog, &book_searches, values, "     ");
	}
	end_statements(guc_level);
	return adopted;
}

Datum
clearout_resume(PG_FUNCTION_ARGS)
{
	CoCatalog	catalog;
	int64		adopted;

	require_writable("clearout_resume()");
	write_pause(fcinfo, false);
	co_queue_note_resume();
	co_catalog_of_function(fcinfo, &catalog);
	adopted = adopt_queue(&catalog);
	co_handlers_adopt(&catalog);
	co_bulk_adopt(&catalog);
	PG_RETURN_INT64(adopted);
}

Datum
clearout_origin(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(co_queue_origin());
}

/* ---------- noting rows that come ---------- */

/*
 * BEFORE INSERT FOR EACH STATEMENT on clearout_queue: the rows to come will
 * have ids above the last one given out.  The first statement of a
 * transaction tells enough.
 */
Datum
clearout_queue_note(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Oid			sequence;
	Oid			user;
	int			context;
	FmgrInfo	flinfo;
	LOCAL_FCINFO(call, 1);
	Datum		last;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("clearout_queue_note() must be called by a statement trigger")));
	if (noted)
		PG_RETURN_POINTER(NULL);

	sequence = get_relname_relid("clearout_queue_id_seq",
								 RelationGetNamespace(trigger->tg_relation));
	if (!OidIsValid(sequence))
	{
		co_queue_note(0);
		PG_RETURN_POINTER(NULL);
	}

	/* Whoever inserts needs no right on the sequence, so neither do we. */
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(trigger->tg_relation->rd_rel->relowner,
						   context | SECURITY_LOCAL_USERID_CHANGE);
	fmgr_info(fmgr_internal_function("pg_sequence_last_value"), &flinfo);
	InitFunctionCallInfoData(*call, &flinfo, 1, InvalidOid, NULL, NULL);
	call->args[0].value = ObjectIdGetDatum(sequence);
	call->args[0].isnull = false;
	last = FunctionCallInvoke(call);
	SetUserIdAndSecContext(user, context);
	co_queue_note(call->isnull ? 0 : DatumGetInt64(last) + 1);
	PG_RETURN_POINTER(NULL);
}

/* For each statement that changes clearout_budgets. */
Datum
clearout_budgets_note(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("clearout_budgets_note() must be called by a trigger")));
	co_queue_note(0);
	PG_RETURN_POINTER(NULL);
}
