/*-------------------------------------------------------------------------
 * reactor.c
 *		The process that calls handlers: delivers what is in clearout_outbox.
 *
 *		rows of a handler --1--> a batch, its answers, a mark on the handler
 *			--2--> calls, as the role; rows removed, mark wiped: one commit
 *			   all failed, batch of several --> each by itself
 *			   failed, by itself --> later again, with its error
 *
 * Code of users does not run in the worker: it may take long, and may end the
 * process.  So there is this one, which comes when there is something to
 * deliver and leaves when there is nothing (reactor_start.c).
 *
 * Effects of a handler and the removal of its row are one transaction, so that
 * what it does in this database happens once.  Should the process be ended by
 * a call, transaction 1 has left a mark, and the next process knows: a row that
 * was called alone has had an attempt; from a batch, each is called alone then.
 *
 * The call runs as the role in a security-restricted operation, which keeps it
 * from becoming another role and from leaving anything behind that would run
 * later, with the rights of this process (deferred triggers, cursors).  Locks
 * of others are waited for less long than deadlock_timeout: in a deadlock with
 * a session, the victim is the handler.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "compat.h"
#include "guc.h"
#include "handlers.h"
#include "queue.h"
#include "reactor.h"
#include "session.h"
#include "transaction.h"
#include "watch.h"

/* Rows in one transaction at most, and after how long no further is begun. */
#define BATCH_MAX			500
#define BATCH_TIME			500000	/* microseconds */

/* Pauses after failures, in microseconds. */
#define ROW_RETRY_FIRST		INT64CONST(1000000)
#define ROW_RETRY_LAST		INT64CONST(3600000000)
#define LOCK_RETRY			INT64CONST(2000000)

/* After so many failures in a row, a handler is called now and then only. */
#define BREAKER_FAILURES	10
#define HANDLER_RETRY_FIRST	INT64CONST(1000000)
#define HANDLER_RETRY_LAST	INT64CONST(300000000)

#define OWN_RETRY			1000000 /* our tables are locked, or the like */
#define RESCAN				2000000 /* ids do not commit in order */
#define LINGER				5000000 /* idle for so long, we leave */

/* A call that ignores being cancelled is ended with the process. */
#define CANCEL_EVERY_MS		1000
#define CANCELS_MAX			3

static CoDatabase *mine = NULL;
static bool orderly = false;	/* our end is meant */
static const CoHandler *marked = NULL;	/* its calls are under way */
static TimestampTz next_due = DT_NOEND; /* of what waits for a retry */
static MemoryContext turn_context = NULL;
static uint32 reactor_wait_event = 0;

static TimeoutId call_timeout;
static volatile sig_atomic_t timeouts = 0;

/* Where we are with a handler. */
typedef struct Place
{
	int64		handler;
	int64		from;			/* lowest id not looked at */
	bool		exhausted;		/* nothing was left at the last look */
	int			alone;			/* so many rows are to be called alone */
	int			batch;			/* rows to take otherwise */
	bool		was_due;		/* the last one was a row whose time had come */
} Place;

static List *places = NIL;		/* in TopMemoryContext */

/* ---------- statements ---------- */

static const Oid int8_type[] = {INT8OID};
static CoStatement read_handlers =
{CO_TABLE_HANDLERS, "SELECT id, schema_name, coalesce(function_name, ''), takes_array, owner_name,"
	" role_name, failures, coalesce(retry_at, '-infinity'), calls_since IS NOT NULL, coalesce(calls_row, 0),"
	" coalesce(table_name, ''), coalesce(table_oid, 0)"
	" FROM %s.clearout_handlers WHERE origin = $1 AND ended_at IS NULL ORDER BY id",
1, int8_type, NULL, ""};

static const Oid range_types[] = {INT8OID, INT8OID, INT8OID, INT4OID};
static CoStatement read_range =
{CO_TABLE_OUTBOX, "SELECT id, email, attempts, asks FROM %s.clearout_outbox"
	" WHERE handler = $1 AND id >= $2 AND origin = $3"
	" AND failed_at IS NULL AND next_attempt_at IS NULL"
	" ORDER BY handler, id LIMIT $4",
4, range_types, NULL, ""};

static const Oid due_types[] = {INT8OID, TIMESTAMPTZOID, INT8OID, INT4OID};
static CoStatement read_due =
{CO_TABLE_OUTBOX, "SELECT id, email, attempts, asks FROM %s.clearout_outbox"
	" WHERE handler = $1 AND next_attempt_at <= $2 AND origin = $3"
	" AND failed_at IS NULL AND next_attempt_at IS NOT NULL"
	" ORDER BY handler, next_attempt_at LIMIT $4",
4, due_types, NULL, ""};

static CoStatement read_row =
{CO_TABLE_OUTBOX, "SELECT id, email, attempts, asks FROM %s.clearout_outbox WHERE handler = $1 AND id = $2",
2, range_types, NULL, ""};

static CoStatement read_next_due =
{CO_TABLE_OUTBOX, "SELECT next_attempt_at FROM %s.clearout_outbox"
	" WHERE handler = $1 AND next_attempt_at > $2 AND origin = $3"
	" AND failed_at IS NULL AND next_attempt_at IS NOT NULL"
	" ORDER BY handler, next_attempt_at LIMIT 1",
3, due_types, NULL, ""};

static const Oid answer_types[] = {TEXTARRAYOID};
static CoStatement read_answers =
{CO_TABLE_RESULTS, "SELECT a.place, ROW(r.email, r.status, r.safe_to_send, r.sub_status, r.reason,"
	" r.bounce_type, r.disposable, r.free, r.role, r.gibberish, r.suggested_email, r.account,"
	" r.domain, r.mx_record, r.smtp_provider, r.ai_verdict, r.verified_at, r.time_taken,"
	" 'stored', r.raw)::%s.clearout_result"
	" FROM unnest($1) WITH ORDINALITY AS a (email, place)"
	" JOIN %s.clearout_results AS r ON r.email = a.email COLLATE \"C\"",
1, answer_types, NULL, ""};

static const Oid mark_types[] = {INT8OID, INT8OID};
static CoStatement mark_calls =
{CO_TABLE_HANDLERS, "UPDATE %s.clearout_handlers SET calls_since = clock_timestamp(), calls_row = $2 WHERE id = $1",
2, mark_types, NULL, ""};

static CoStatement wipe_mark =
{CO_TABLE_HANDLERS, "UPDATE %s.clearout_handlers SET calls_since = NULL, calls_row = NULL WHERE id = $1",
1, int8_type, NULL, ""};

static const Oid remove_types[] = {INT8OID, INT8ARRAYOID};
static CoStatement remove_rows =
{CO_TABLE_OUTBOX, "DELETE FROM %s.clearout_outbox AS o USING unnest($2) AS k (id)"
	" WHERE o.handler = $1 AND o.id = k.id", 2, remove_types, NULL, ""};

static CoStatement note_success =
{CO_TABLE_HANDLERS, "UPDATE %s.clearout_handlers SET calls_since = NULL, calls_row = NULL,"
	" failures = 0, retry_at = NULL, delivered = delivered + $2, last_call_at = clock_timestamp()"
	" WHERE id = $1", 2, mark_types, NULL, ""};

static const Oid failure_types[] = {INT8OID, INT4OID, TIMESTAMPTZOID, TEXTOID};
static CoStatement note_failure =
{CO_TABLE_HANDLERS, "UPDATE %s.clearout_handlers SET calls_since = NULL, calls_row = NULL,"
	" failures = $2, retry_at = $3, last_error = $4, last_error_at = clock_timestamp()"
	" WHERE id = $1", 4, failure_types, NULL, ""};

static const Oid postpone_types[] = {INT8OID, INT8OID, INT4OID, TIMESTAMPTZOID, BOOLOID, TEXTOID};
static CoStatement postpone_row =
{CO_TABLE_OUTBOX, "UPDATE %s.clearout_outbox SET attempts = $3, next_attempt_at = $4,"
	" failed_at = CASE WHEN $5 THEN clock_timestamp() END, last_error = $6"
	" WHERE handler = $1 AND id = $2", 6, postpone_types, NULL, ""};

static CoStatement end_watch =
{CO_TABLE_HANDLERS, "UPDATE %s.clearout_handlers SET calls_since = NULL, calls_row = NULL,"
	" ended_at = clock_timestamp(), last_error_at = clock_timestamp(),"
	" last_error = 'Its table is gone, or a column or trigger of it.'"
	" WHERE id = $1", 1, int8_type, NULL, ""};

static CoStatement remove_all_rows =
{CO_TABLE_OUTBOX, "DELETE FROM %s.clearout_outbox WHERE handler = $1", 1, int8_type, NULL, ""};

static CoStatement remove_orphans =
{CO_TABLE_OUTBOX, "DELETE FROM %s.clearout_outbox WHERE origin = $1 AND handler = ANY (ARRAY("
	"WITH RECURSIVE present AS ("
	" (SELECT handler FROM %s.clearout_outbox ORDER BY handler LIMIT 1)"
	" UNION ALL SELECT (SELECT o.handler FROM %s.clearout_outbox AS o"
	" WHERE o.handler > p.handler ORDER BY o.handler LIMIT 1)"
	" FROM present AS p WHERE p.handler IS NOT NULL)"
	" SELECT p.handler FROM present AS p WHERE p.handler IS NOT NULL"
	" AND NOT EXISTS (SELECT FROM %s.clearout_handlers AS h WHERE h.id = p.handler)))",
1, int8_type, NULL, ""};

/* ---------- session ---------- */

/*
 * What holds for code of users too: as for the worker, but its triggers fire
 * and its plans are made as everywhere.
 */
static void
session_init(void)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"session_replication_role", "origin"},
		{"synchronous_commit", "local"},
		{"role", "none"},
		{"row_security", "on"},
		{"statement_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"idle_session_timeout", "0"},
#if PG_VERSION_NUM >= 170000
		{"transaction_timeout", "0"},
#endif
		{"lock_timeout", CO_LOCK_TIMEOUT},
		{"exit_on_error", "off"},
		{"application_name", "clearout reactor"}
	};

	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_SESSION);
}

static void
set_local(const char *name, const char *value, GucAction action)
{
	(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION,
							 action, true, 0, false);
}

/*
 * Our own statements are by key, and their plans must stay so, whatever
 * ALTER DATABASE has set.  Until the end of the transaction.
 */
static void
set_own_settings(void)
{
	set_local("enable_seqscan", "off", GUC_ACTION_LOCAL);
	set_local("enable_bitmapscan", "off", GUC_ACTION_LOCAL);
	set_local("enable_indexscan", "on", GUC_ACTION_LOCAL);
	set_local("plan_cache_mode", "force_generic_plan", GUC_ACTION_LOCAL);
	set_local("jit", "off", GUC_ACTION_LOCAL);
	set_local("lock_timeout", CO_LOCK_TIMEOUT, GUC_ACTION_LOCAL);
}

/* ---------- reading ---------- */

/* The tables' owner may have changed their columns. */
static Datum
column(uint64 row, int number, Oid type)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
									  number, &isnull);

	if (isnull || SPI_gettypeid(SPI_tuptable->tupdesc, number) != type)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("tables of handlers do not fit the library of the extension \"clearout\"")));
	return value;
}

static char *
name_column(uint64 row, int number)
{
	return MemoryContextStrdup(turn_context,
							   NameStr(*DatumGetName(column(row, number, NAMEOID))));
}

typedef struct HandlerList
{
	CoHandler  *handler;
	int			count;
} HandlerList;

static void
read_handlers_step(CoCatalog *catalog, void *argument)
{
	HandlerList *list = argument;
	Datum		origin = Int64GetDatum(co_queue_origin());

	set_own_settings();
	list->count = (int) co_execute(catalog, &read_handlers, &origin, " ");
	list->handler = MemoryContextAllocZero(turn_context, Max(list->count, 1) * sizeof(CoHandler));
	for (int i = 0; i < list->count; i++)
	{
		CoHandler  *handler = &list->handler[i];

		handler->id = DatumGetInt64(column(i, 1, INT8OID));
		handler->schema_name = name_column(i, 2);
		handler->function_name = name_column(i, 3);
		handler->takes_array = DatumGetBool(column(i, 4, BOOLOID));
		handler->owner_name = name_column(i, 5);
		handler->role_name = name_column(i, 6);
		handler->failures = DatumGetInt32(column(i, 7, INT4OID));
		handler->retry_at = DatumGetTimestampTz(column(i, 8, TIMESTAMPTZOID));
		handler->called = DatumGetBool(column(i, 9, BOOLOID));
		handler->called_row = DatumGetInt64(column(i, 10, INT8OID));
		handler->table_name = name_column(i, 11);
		handler->table = DatumGetObjectId(column(i, 12, OIDOID));
		if (handler->function_name[0] == '\0')
			handler->function_name = NULL;
	}
}

static void
remove_orphans_step(CoCatalog *catalog, void *argument)
{
	Datum		origin = Int64GetDatum(co_queue_origin());

	(void) argument;
	set_own_settings();
	(void) co_execute(catalog, &remove_orphans, &origin, " ");
}

static Place *
place_of(int64 handler)
{
	ListCell   *cell;
	Place	   *place;
	MemoryContext old;

	foreach(cell, places)
	{
		place = lfirst(cell);
		if (place->handler == handler)
			return place;
	}
	old = MemoryContextSwitchTo(TopMemoryContext);
	place = palloc0(sizeof(Place));
	place->handler = handler;
	place->batch = 1;
	places = lappend(places, place);
	MemoryContextSwitchTo(old);
	return place;
}

/* ---------- a batch ---------- */

typedef struct Batch
{
	const CoHandler *handler;
	Place	   *place;
	CoHandlerCall call;
	FmgrInfo	function;
	int			wanted;
	int			count;
	int64	   *id;
	int		   *attempts;
	Datum	   *email;
	bool	   *asks;
	Datum	   *answer;			/* of type clearout_result, for a watch a
								 * status; 0: there is none */
	bool		resolved;		/* function and role are there and may */
	bool		in_order;		/* the next ones by id, not one whose time has come */
	int			done;			/* so many of them are delivered */
	TimestampTz next_due;

	/* when it has failed */
	const char *error;
	TimestampTz retry_at;
	int			attempts_made;
	bool		for_good;
	int			failures;
	TimestampTz handler_retry_at;
} Batch;

static void
keep_rows(Batch *batch, uint64 count)
{
	MemoryContext old = MemoryContextSwitchTo(turn_context);

	for (uint64 i = 0; i < count; i++)
	{
		batch->id[batch->count] = DatumGetInt64(column(i, 1, INT8OID));
		/* Not with a short header: construct_array() would put copies of its
		 * own, of a shorter life, in their places. */
		batch->email[batch->count] = PointerGetDatum(PG_DETOAST_DATUM_COPY(column(i, 2, TEXTOID)));
		batch->attempts[batch->count] = DatumGetInt32(column(i, 3, INT4OID));
		batch->asks[batch->count] = DatumGetBool(column(i, 4, BOOLOID));
		batch->count++;
	}
	MemoryContextSwitchTo(old);
}

static void
load_answers(CoCatalog *catalog, Batch *batch)
{
	Datum		emails = PointerGetDatum(construct_array(batch->email, batch->count, TEXTOID,
														 -1, false, TYPALIGN_INT));
	uint64		found = co_execute(catalog, &read_answers, &emails, " ");
	MemoryContext old = MemoryContextSwitchTo(turn_context);

	for (uint64 i = 0; i < found; i++)
	{
		int64		place = DatumGetInt64(column(i, 1, INT8OID));

		batch->answer[place - 1] = PointerGetDatum(PG_DETOAST_DATUM_COPY(column(i, 2, batch->call.element_type)));
	}
	MemoryContextSwitchTo(old);
}

/* One of those whose time has come again. */
static void
take_due(CoCatalog *catalog, Batch *batch)
{
	Datum		values[4];

	values[0] = Int64GetDatum(batch->handler->id);
	values[1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[2] = Int64GetDatum(co_queue_origin());
	values[3] = Int32GetDatum(1);
	keep_rows(batch, co_execute(catalog, &read_due, values, "    "));
	if (co_execute(catalog, &read_next_due, values, "   ") > 0)
		batch->next_due = DatumGetTimestampTz(column(0, 1, TIMESTAMPTZOID));
}

/* The next ones by id. */
static void
take_next(CoCatalog *catalog, Batch *batch)
{
	Datum		values[4];
	uint64		count;

	if (batch->place->exhausted)
		return;
	values[0] = Int64GetDatum(batch->handler->id);
	values[1] = Int64GetDatum(batch->place->from);
	values[2] = Int64GetDatum(co_queue_origin());
	values[3] = Int32GetDatum(batch->wanted);
	count = co_execute(catalog, &read_range, values, "    ");
	keep_rows(batch, count);
	batch->in_order = count > 0;
	if (count < batch->wanted)
		batch->place->exhausted = true;
}

/*
 * Transaction 1: what there is to do, and a mark that it has begun.  By turns,
 * so that rows that wait for somebody's lock do not hold up all others.
 */
static void
take_step(CoCatalog *catalog, void *argument)
{
	Batch	   *batch = argument;
	Datum		values[2];

	set_own_settings();
	if (batch->place->was_due)
		take_next(catalog, batch);
	if (batch->count == 0)
		take_due(catalog, batch);
	if (batch->count == 0)
		take_next(catalog, batch);
	if (batch->count == 0)
		return;

	co_handler_resolve(catalog, batch->handler, &batch->call);
	batch->resolved = true;
	if (batch->call.gone)
		return;
	if (batch->handler->function_name == NULL)
		co_watch_load(catalog, batch->count, batch->email, batch->asks, batch->answer, turn_context);
	else
		load_answers(catalog, batch);
	values[0] = Int64GetDatum(batch->handler->id);
	values[1] = Int64GetDatum(batch->id[0]);
	(void) co_execute(catalog, &mark_calls, values, batch->count == 1 ? "  " : " n");
}

static void
timeout_handler(void)
{
	timeouts++;
	InterruptPending = true;
	if (timeouts > CANCELS_MAX)
		ProcDiePending = true;
	else
		QueryCancelPending = true;
	SetLatch(MyLatch);
}

static void
stop_clock(void)
{
	disable_timeout(call_timeout, false);
	if (timeouts > 0)
		QueryCancelPending = false;
}

static void
call_function(Batch *batch, Datum value)
{
	LOCAL_FCINFO(fcinfo, 1);

	InitFunctionCallInfoData(*fcinfo, &batch->function, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = value;
	fcinfo->args[0].isnull = false;
	(void) FunctionCallInvoke(fcinfo);
}

/*
 * One call, as the role, and with a limit of time.  Throws whatever it throws.
 * Without a value: what there is to do for a watch.
 */
static void
call_as_role(CoCatalog *catalog, Batch *batch, Datum value)
{
	Oid			user;
	int			context;
	int			level;
	char		lock_timeout[32];

	snprintf(lock_timeout, sizeof(lock_timeout), "%dms", Max(DeadlockTimeout / 2, 1));
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(batch->call.role,
						   context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	level = NewGUCNestLevel();
	set_local("search_path", "pg_catalog, pg_temp", GUC_ACTION_SAVE);
	set_local("lock_timeout", lock_timeout, GUC_ACTION_SAVE);

	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	enable_timeout_every(call_timeout,
						 TimestampTzPlusMilliseconds(GetCurrentTimestamp(), co_handler_timeout),
						 CANCEL_EVERY_MS);
	if (value != (Datum) 0)
		call_function(batch, value);
	else
		co_watch_apply(catalog, &batch->call, batch->count, batch->email, batch->asks, batch->answer);
	CHECK_FOR_INTERRUPTS();
	stop_clock();
	PopActiveSnapshot();

	/* What it has set is not for the next one. */
	AtEOXact_GUC(false, level);
	SetUserIdAndSecContext(user, context);
}

/*
 * Deferred triggers would run at the commit, which a security-restricted
 * operation does not allow: so all constraints are checked at once.
 */
static void
check_constraints_at_once(void)
{
	ConstraintsSetStmt *statement = makeNode(ConstraintsSetStmt);

	statement->deferred = false;
	AfterTriggerSetState(statement);
}

/* Does what there is to do for all of the batch, or as far as the time allows. */
static void
call_for_batch(CoCatalog *catalog, Batch *batch)
{
	int64		end = co_clock() + BATCH_TIME;
	MemoryContext call_context = AllocSetContextCreate(CurrentMemoryContext, "clearout call",
													   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(call_context);

	if (batch->handler->function_name == NULL)
	{
		call_as_role(catalog, batch, (Datum) 0);
		batch->done = batch->count;
		MemoryContextSwitchTo(old);
		MemoryContextDelete(call_context);
		return;
	}
	fmgr_info_cxt(batch->call.function, &batch->function, old);
	if (batch->handler->takes_array)
	{
		Datum	   *elements = palloc(batch->count * sizeof(Datum));
		int			count = 0;

		for (int i = 0; i < batch->count; i++)
		{
			if (batch->answer[i] != (Datum) 0)
				elements[count++] = batch->answer[i];
		}
		if (count > 0)
			call_as_role(catalog, batch,
						 PointerGetDatum(construct_array(elements, count, batch->call.element_type,
														 -1, false, TYPALIGN_DOUBLE)));
		batch->done = batch->count;
	}
	else
	{
		for (; batch->done < batch->count; batch->done++)
		{
			if (batch->done > 0 && co_clock() >= end)
				break;
			if (batch->answer[batch->done] != (Datum) 0)
				call_as_role(catalog, batch, batch->answer[batch->done]);
			MemoryContextReset(call_context);
		}
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(call_context);
}

/* Transaction 2: the calls, and what they make of our tables. */
static void
call_step(CoCatalog *catalog, void *argument)
{
	Batch	   *batch = argument;
	Datum		values[2];
	Datum	   *ids = palloc(batch->count * sizeof(Datum));

	batch->done = 0;
	check_constraints_at_once();
	call_for_batch(catalog, batch);

	set_own_settings();
	for (int i = 0; i < batch->done; i++)
		ids[i] = Int64GetDatum(batch->id[i]);
	values[0] = Int64GetDatum(batch->handler->id);
	values[1] = PointerGetDatum(construct_array(ids, batch->done, INT8OID, sizeof(int64),
												FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	(void) co_execute(catalog, &remove_rows, values, "  ");
	values[1] = Int64GetDatum(batch->done);
	(void) co_execute(catalog, &note_success, values, "  ");
}

static void
read_called_step(CoCatalog *catalog, void *argument)
{
	Batch	   *batch = argument;
	Datum		values[2];

	set_own_settings();
	values[0] = Int64GetDatum(batch->handler->id);
	values[1] = Int64GetDatum(batch->handler->called_row);
	keep_rows(batch, co_execute(catalog, &read_row, values, "  "));
}

static void
wipe_step(CoCatalog *catalog, void *argument)
{
	Batch	   *batch = argument;
	Datum		id = Int64GetDatum(batch->handler->id);

	set_own_settings();
	(void) co_execute(catalog, &wipe_mark, &id, " ");
}

/* There is nothing left to watch. */
static void
end_step(CoCatalog *catalog, void *argument)
{
	Batch	   *batch = argument;
	Datum		id = Int64GetDatum(batch->handler->id);

	set_own_settings();
	(void) co_execute(catalog, &end_watch, &id, " ");
	(void) co_execute(catalog, &remove_all_rows, &id, " ");
}

/* What a failure means: to the handler, and if it was one row's, to that row. */
static void
failure_step(CoCatalog *catalog, void *argument)
{
	Batch	   *batch = argument;
	Datum		values[6];

	set_own_settings();
	values[0] = Int64GetDatum(batch->handler->id);
	values[1] = Int32GetDatum(batch->failures);
	values[2] = TimestampTzGetDatum(batch->handler_retry_at);
	values[3] = CStringGetTextDatum(batch->error);
	(void) co_execute(catalog, &note_failure, values,
					  batch->handler_retry_at == DT_NOBEGIN ? "  n " : "    ");
	if (batch->count != 1)
		return;
	values[1] = Int64GetDatum(batch->id[0]);
	values[2] = Int32GetDatum(batch->attempts_made);
	values[3] = TimestampTzGetDatum(batch->retry_at);
	values[4] = BoolGetDatum(batch->for_good);
	values[5] = CStringGetTextDatum(batch->error);
	(void) co_execute(catalog, &postpone_row, values, "      ");
}

static TimestampTz
after_backoff(int failures, int64 first, int64 last)
{
	int64		most = Min(first << Min(Max(failures, 0), 30), last);

	/* Half of it is left to chance, so that not all come at once. */
	return GetCurrentTimestamp() + most / 2 +
		(int64) (pg_prng_double(&pg_global_prng_state) * (most / 2));
}

/* Our own statements failed.  False, so that one tries again a little later. */
static bool
complain(const CoTrouble *trouble)
{
	static char complained[CO_REASON_SIZE] = "";

	if (strcmp(complained, trouble->message) != 0)
		ereport(LOG, (errmsg("clearout: the outbox could not be worked on: %s", trouble->message)));
	strlcpy(complained, trouble->message, sizeof(complained));
	return false;
}

static bool
record_failure(Batch *batch)
{
	CoTrouble	trouble;

	if (co_run(failure_step, batch, &trouble))
		return true;
	return complain(&trouble);
}

/* One call with one row failed; its mark is there.  With lock trouble it is
 * nobody's fault, and does not count. */
static bool
row_failed(Batch *batch, const char *error, bool counts)
{
	batch->error = error;
	batch->attempts_made = batch->attempts[0] + (counts ? 1 : 0);
	batch->for_good = batch->attempts_made >= co_handler_attempts;
	batch->retry_at = counts ?
		after_backoff(batch->attempts_made - 1, ROW_RETRY_FIRST, ROW_RETRY_LAST) :
		GetCurrentTimestamp() + LOCK_RETRY;
	batch->failures = batch->handler->failures + (counts ? 1 : 0);
	batch->handler_retry_at = batch->failures < BREAKER_FAILURES ? DT_NOBEGIN :
		after_backoff(batch->failures - BREAKER_FAILURES, HANDLER_RETRY_FIRST, HANDLER_RETRY_LAST);
	return record_failure(batch);
}

/* Function or role are not as they must be: the rows wait, all of them. */
static bool
handler_failed(Batch *batch, const char *error)
{
	batch->count = 0;
	batch->error = error;
	batch->failures = batch->handler->failures + 1;
	batch->handler_retry_at = after_backoff(batch->failures - 1, HANDLER_RETRY_FIRST, HANDLER_RETRY_LAST);
	next_due = Min(next_due, batch->handler_retry_at);
	return record_failure(batch);
}

static Batch *
new_batch(const CoHandler *handler, Place *place)
{
	Batch	   *batch = palloc0(sizeof(Batch));

	batch->handler = handler;
	batch->place = place;
	batch->wanted = place->alone > 0 || handler->failures >= BREAKER_FAILURES ? 1 : place->batch;
	batch->id = palloc(BATCH_MAX * sizeof(int64));
	batch->attempts = palloc(BATCH_MAX * sizeof(int));
	batch->email = palloc(BATCH_MAX * sizeof(Datum));
	batch->asks = palloc(BATCH_MAX * sizeof(bool));
	batch->answer = palloc0(BATCH_MAX * sizeof(Datum));
	batch->next_due = DT_NOEND;
	return batch;
}

/* A process before us was ended in a call, or we could not wipe the mark. */
static bool
look_at_mark(const CoHandler *handler, Place *place)
{
	Batch	   *batch = new_batch(handler, place);
	CoTrouble	trouble;

	if (handler->called_row == 0)
	{
		place->alone = BATCH_MAX;
		place->batch = 1;
		return co_run(wipe_step, batch, &trouble) || complain(&trouble);
	}

	if (!co_run(read_called_step, batch, &trouble))
		return complain(&trouble);
	if (batch->count == 0)
		return co_run(wipe_step, batch, &trouble) || complain(&trouble);
	return row_failed(batch, "The process was ended during the call.", true);
}

typedef enum Served
{
	SERVED_NOTHING,				/* there is nothing to do */
	SERVED_SOME,				/* there may be more */
	SERVED_LATER				/* our own tables are held up */
} Served;

static Served
serve(const CoHandler *handler)
{
	Place	   *place = place_of(handler->id);
	Batch	   *batch;
	CoTrouble	trouble;
	char	   *error;

	if (handler->called)
		return look_at_mark(handler, place) ? SERVED_SOME : SERVED_LATER;
	if (handler->retry_at > GetCurrentTimestamp())
	{
		next_due = Min(next_due, handler->retry_at);
		return SERVED_NOTHING;
	}

	batch = new_batch(handler, place);
	if (!co_run(take_step, batch, &trouble))
	{
		place->exhausted = false;
		if (batch->count > 0 && !batch->resolved && !co_is_lock_trouble(&trouble))
			return handler_failed(batch, pstrdup(trouble.message)) ? SERVED_SOME : SERVED_LATER;
		(void) complain(&trouble);
		return SERVED_LATER;
	}
	next_due = Min(next_due, batch->next_due);
	if (batch->count == 0)
		return SERVED_NOTHING;
	place->was_due = !batch->in_order;
	if (batch->call.gone)
		return co_run(end_step, batch, &trouble) || complain(&trouble) ? SERVED_SOME : SERVED_LATER;

	timeouts = 0;
	marked = handler;
	pgstat_report_activity(STATE_RUNNING,
						   psprintf("%s %s", handler->function_name ? "calling the handler" : "updating the watched table",
									quote_qualified_identifier(handler->schema_name,
															   handler->function_name ? handler->function_name : handler->table_name)));
	if (co_run(call_step, batch, &trouble))
	{
		marked = NULL;
		LockReleaseSession(USER_LOCKMETHOD);	/* advisory locks */
		if (batch->in_order)
			place->from = batch->id[batch->done - 1] + 1;
		if (batch->done < batch->count)
			place->exhausted = false;
		if (place->alone > 0)
			place->alone--;
		else
			place->batch = Min(place->batch * 2, BATCH_MAX);
		pgstat_report_stat(true);
		return SERVED_SOME;
	}

	marked = NULL;
	stop_clock();
	LockReleaseSession(USER_LOCKMETHOD);
	pgstat_report_stat(true);
	place->exhausted = false;

	/* What a watch may not do, or does not find, is no row's fault. */
	if (handler->function_name == NULL &&
		ERRCODE_TO_CATEGORY(trouble.sqlstate) == ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION)
		return handler_failed(batch, pstrdup(trouble.message)) ? SERVED_SOME : SERVED_LATER;
	if (batch->count > 1)
	{
		/* One of them; which, each by itself will tell. */
		place->alone = batch->count;
		place->batch = 1;
		return co_run(wipe_step, batch, &trouble) ? SERVED_SOME : SERVED_LATER;
	}
	if (place->alone > 0)
		place->alone--;
	error = timeouts > 0 && trouble.sqlstate == ERRCODE_QUERY_CANCELED ?
		psprintf("The call took longer than %d ms (clearout.handler_timeout).", co_handler_timeout) :
		pstrdup(trouble.message);
	return row_failed(batch, error, !co_is_lock_trouble(&trouble)) ? SERVED_SOME : SERVED_LATER;
}

/* ---------- the loop ---------- */

/* Whoever is sent away in the middle of a call has not failed at it. */
static void
wipe_mark_at_exit(void)
{
	Batch		batch = {marked};
	CoTrouble	trouble;
	bool		sent_away;

	LWLockAcquire(co_shared->lock, LW_SHARED);
	sent_away = mine->reactor.leave || mine->holds > 0;
	LWLockRelease(co_shared->lock);
	if (!sent_away)
		return;
	stop_clock();
	AbortOutOfAnyTransaction();
	(void) co_run(wipe_step, &batch, &trouble);
}

static void
reactor_exit(int code, Datum argument)
{
	(void) argument;
	if (marked != NULL)
		wipe_mark_at_exit();
	co_reactor_detach(mine, orderly && code == 0, next_due);
}

static void
leave(void)
{
	orderly = true;
	proc_exit(0);
}

static void
leave_if_not_installed(void)
{
	bool		installed;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	installed = OidIsValid(co_catalog_schema());
	PopActiveSnapshot();
	CommitTransactionCommand();
	if (!installed)
	{
		next_due = DT_NOEND;
		leave();
	}
}

/* Have we been told something?  True: rows may have come. */
static bool
check_notes(void)
{
	bool		news;
	bool		go;

	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	news = mine->reactor.news;
	mine->reactor.news = false;
	go = mine->reactor.leave || mine->holds > 0;
	LWLockRelease(co_shared->lock);
	if (go)
		leave();
	return news;
}

static void
wait_for(int64 microseconds)
{
	int64		until_due = next_due == DT_NOEND ? INT64_MAX :
		Max(next_due - GetCurrentTimestamp(), 0);

	pgstat_report_activity(STATE_IDLE, NULL);
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 (long) (Max(Min(microseconds, until_due), 0) / 1000 + 1),
					 co_wait_event(&reactor_wait_event, "ClearoutReactorMain"));
	ResetLatch(MyLatch);
}

static void
look_everywhere(void)
{
	ListCell   *cell;

	foreach(cell, places)
	{
		Place	   *place = lfirst(cell);

		place->from = 0;
		place->exhausted = false;
	}
}

static void
run_loop(void)
{
	bool		rescan = true;
	int64		rescanned_at = 0;
	int64		busy_at = co_clock();

	for (;;)
	{
		HandlerList list = {NULL, 0};
		CoTrouble	trouble;
		bool		more = false;
		bool		later = false;

		MemoryContextReset(turn_context);
		MemoryContextSwitchTo(turn_context);
		QueryCancelPending = false; /* it was for a call that has ended */
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		if (check_notes())
		{
			ListCell   *cell;

			foreach(cell, places)
				((Place *) lfirst(cell))->exhausted = false;
			rescan = true;
		}

		next_due = DT_NOEND;
		if (co_run(read_handlers_step, &list, &trouble))
		{
			for (int i = 0; i < list.count; i++)
			{
				Served		served;

				MemoryContextSwitchTo(turn_context);
				served = serve(&list.handler[i]);
				more |= served == SERVED_SOME;
				later |= served == SERVED_LATER;
			}
		}
		else
		{
			leave_if_not_installed();
			later = !complain(&trouble);
		}

		if (more)
			busy_at = co_clock();
		else if (later)
			wait_for(OWN_RETRY);
		else if (rescan && co_clock() >= rescanned_at + RESCAN)
		{
			rescan = false;
			rescanned_at = co_clock();
			look_everywhere();
		}
		else if (rescan)
			wait_for(rescanned_at + RESCAN - co_clock());
		else if (co_clock() < busy_at + LINGER)
			wait_for(busy_at + LINGER - co_clock());
		else
			leave();
	}
}

void
co_reactor_main(Datum argument)
{
	Oid			dbid = DatumGetObjectId(argument);
	CoTrouble	trouble;

	/* Nothing in our hands is lost by an end at any time. */
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();

	BackgroundWorkerInitializeConnectionByOid(dbid, InvalidOid, 0);
	if (!co_reactor_attach(dbid, &mine))
		proc_exit(0);
	before_shmem_exit(reactor_exit, (Datum) 0);

	session_init();
	call_timeout = RegisterTimeout(USER_TIMEOUT, timeout_handler);
	turn_context = AllocSetContextCreate(TopMemoryContext, "clearout reactor turn",
										 ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(turn_context);
	leave_if_not_installed();
	if (!co_run(remove_orphans_step, NULL, &trouble))
		(void) complain(&trouble);
	run_loop();
}
