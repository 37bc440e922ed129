/*-------------------------------------------------------------------------
 * reactor_start.c
 *		Start and end of the process that calls handlers (reactor.c).
 *
 * The launcher starts it when there is something to deliver, and it leaves when
 * there is nothing left.  So databases without handlers never have one, and
 * whoever has them spares the process while all is quiet.  What is to be
 * delivered stands in a table: whatever ends the process, nothing is lost.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "funcapi.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "reactor.h"

PG_FUNCTION_INFO_V1(clearout_reactor_info);

/* One that comes to its end by itself is started again after so long ... */
#define FIRST_RESTART	INT64CONST(1000000)
#define LAST_RESTART	INT64CONST(60000000)

/* ... and one for which there is no process. */
#define NO_PROCESS_RETRY INT64CONST(5000000)

/* The postmaster tells us when it starts and ends; this is for the case that
 * it could not even start. */
#define STARTING_LOOK	INT64CONST(1000000)

static BackgroundWorkerHandle **handles = NULL; /* by index of the entry */

void
co_reactor_wake(CoDatabase *database)
{
	if (database->reactor.process != NULL)
		SetLatch(&database->reactor.process->procLatch);
}

void
co_reactor_news(Oid dbid)
{
	int			index;

	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	index = co_database_entry(dbid, true);
	if (index >= 0)
	{
		CoReactor  *reactor = &co_shared->database[index].reactor;

		reactor->news = true;
		if (reactor->state != CO_REACTOR_NONE)
			co_reactor_wake(&co_shared->database[index]);
		else if (reactor->start_at == 0 || reactor->reason[0] == '\0')
		{
			/* After trouble, the time that was set for the next try holds. */
			reactor->start_at = GetCurrentTimestamp();
			co_launcher_wake();
		}
	}
	LWLockRelease(co_shared->lock);
}

void
co_reactor_replace(CoDatabase *database)
{
	Assert(LWLockHeldByMeInMode(co_shared->lock, LW_EXCLUSIVE));
	if (database->reactor.state != CO_REACTOR_NONE)
	{
		database->reactor.leave = true;
		co_reactor_wake(database);
	}
}

/*
 * While it is in our list it is alive, and the process id is its own: it takes
 * itself off the list under this lock.
 */
int
co_reactor_evict(CoDatabase *database)
{
	Assert(LWLockHeldByMeInMode(co_shared->lock, LW_EXCLUSIVE));
	co_reactor_replace(database);
	if (database->reactor.pid != 0)
		(void) kill(database->reactor.pid, SIGTERM);
	return database->reactor.pid;
}

bool
co_reactor_is_gone(const CoDatabase *database)
{
	return database->reactor.state == CO_REACTOR_NONE;
}

/* ---------- for the launcher ---------- */

static TimestampTz
backoff(int failures)
{
	return Min(FIRST_RESTART << Min(failures, 20), LAST_RESTART);
}

static void
start(int index)
{
	CoReactor  *reactor = &co_shared->database[index].reactor;
	BackgroundWorker worker = {0};
	Oid			dbid = co_shared->database[index].dbid;
	MemoryContext old;
	bool		started;

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "clearout", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "co_reactor_main", sizeof(worker.bgw_function_name));
	snprintf(worker.bgw_name, sizeof(worker.bgw_name), "clearout reactor for database %u", dbid);
	strlcpy(worker.bgw_type, "clearout reactor", sizeof(worker.bgw_type));
	worker.bgw_main_arg = ObjectIdGetDatum(dbid);
	worker.bgw_notify_pid = MyProcPid;

	if (handles[index] != NULL)
		pfree(handles[index]);
	handles[index] = NULL;
	old = MemoryContextSwitchTo(TopMemoryContext);
	started = RegisterDynamicBackgroundWorker(&worker, &handles[index]);
	MemoryContextSwitchTo(old);
	if (started)
		return;

	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	if (reactor->reason[0] == '\0')
		ereport(LOG,
				(errmsg("clearout: handlers of database %u are not called: max_worker_processes is used up", dbid),
				 errdetail("It is tried again every few seconds; no answer is lost.")));
	reactor->state = CO_REACTOR_NONE;
	reactor->changed_at = GetCurrentTimestamp();
	reactor->start_at = reactor->changed_at + NO_PROCESS_RETRY;
	strlcpy(reactor->reason, "No background worker is free: max_worker_processes is used up.",
			sizeof(reactor->reason));
	LWLockRelease(co_shared->lock);
}

/* One that was started and has ended before it reported for work. */
static void
check_starting(int index)
{
	CoReactor  *reactor = &co_shared->database[index].reactor;
	pid_t		pid;

	if (handles[index] != NULL &&
		GetBackgroundWorkerPid(handles[index], &pid) != BGWH_STOPPED)
		return;
	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	if (reactor->state == CO_REACTOR_STARTING)
	{
		reactor->state = CO_REACTOR_NONE;
		reactor->changed_at = GetCurrentTimestamp();
		reactor->start_at = reactor->changed_at + backoff(reactor->failures++);
		strlcpy(reactor->reason, "Its process could not start; see the server log.",
				sizeof(reactor->reason));
	}
	LWLockRelease(co_shared->lock);
}

TimestampTz
co_reactor_tend(int index, TimestampTz now)
{
	CoDatabase *database = &co_shared->database[index];
	CoReactor  *reactor = &database->reactor;
	bool		due = false;
	TimestampTz next = DT_NOEND;

	if (handles == NULL)
		handles = MemoryContextAllocZero(TopMemoryContext,
										 sizeof(BackgroundWorkerHandle *) * co_shared->database_count);
	if (reactor->state == CO_REACTOR_STARTING)
		check_starting(index);

	/*
	 * The worker's being there tells that the database has the extension and
	 * may be connected to.  It wakes us when it comes, and so does whoever
	 * lifts a hold.
	 */
	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	if (reactor->state == CO_REACTOR_STARTING)
		next = now + STARTING_LOOK;
	else if (reactor->state == CO_REACTOR_NONE && reactor->start_at != 0 &&
			 database->state == CO_DATABASE_RUNNING && database->holds == 0)
	{
		next = reactor->start_at;
		if (next <= now)
		{
			reactor->state = CO_REACTOR_STARTING;
			reactor->changed_at = now;
			reactor->leave = false;
			next = now + STARTING_LOOK;
			due = true;
		}
	}
	LWLockRelease(co_shared->lock);

	if (due)
	{
		start(index);
		if (reactor->state == CO_REACTOR_NONE)
			next = reactor->start_at;
	}
	return next;
}

/* ---------- for the reactor ---------- */

bool
co_reactor_attach(Oid dbid, CoDatabase **result)
{
	int			index;
	bool		welcome;

	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	index = co_database_entry(dbid, false);
	welcome = index >= 0 && co_shared->database[index].reactor.process == NULL &&
		co_shared->database[index].holds == 0;
	if (welcome)
	{
		CoReactor  *reactor = &co_shared->database[index].reactor;

		reactor->state = CO_REACTOR_RUNNING;
		reactor->changed_at = GetCurrentTimestamp();
		reactor->process = MyProc;
		reactor->pid = MyProcPid;
		reactor->reason[0] = '\0';
		*result = &co_shared->database[index];
	}
	else if (index >= 0 && co_shared->database[index].reactor.state == CO_REACTOR_STARTING)
	{
		co_shared->database[index].reactor.state = CO_REACTOR_NONE;
		co_launcher_wake();
	}
	LWLockRelease(co_shared->lock);
	return welcome;
}

void
co_reactor_detach(CoDatabase *database, bool orderly, TimestampTz next)
{
	CoReactor  *reactor = &database->reactor;
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	/* Who is sent away has not failed. */
	orderly = orderly || database->holds > 0 || reactor->leave;
	if (orderly && (reactor->leave || database->holds > 0 || reactor->news))
		next = now;
	reactor->failures = orderly ? 0 : reactor->failures + 1;
	reactor->start_at = !orderly ? now + backoff(reactor->failures - 1) :
		next == DT_NOEND ? 0 : next;
	if (!orderly)
		strlcpy(reactor->reason, "Its process was ended; see the server log.",
				sizeof(reactor->reason));
	reactor->state = CO_REACTOR_NONE;
	reactor->changed_at = now;
	reactor->process = NULL;
	reactor->pid = 0;
	reactor->leave = false;
	co_launcher_wake();
	LWLockRelease(co_shared->lock);
}

/* ---------- for the curious ---------- */

Datum
clearout_reactor_info(PG_FUNCTION_ARGS)
{
	static const char *const words[] = {
		[CO_REACTOR_NONE] = "idle",
		[CO_REACTOR_STARTING] = "starting",
		[CO_REACTOR_RUNNING] = "running"
	};
	Datum		values[4] = {0};
	bool		nulls[4] = {true, false, true, true};
	CoReactor	reactor = {0};
	TupleDesc	type;
	int			index;

	if (get_call_result_type(fcinfo, NULL, &type) != TYPEFUNC_COMPOSITE ||
		type->natts != lengthof(values))
		elog(ERROR, "unexpected result type");

	if (co_shared != NULL)
	{
		LWLockAcquire(co_shared->lock, LW_SHARED);
		index = co_database_entry(MyDatabaseId, false);
		if (index >= 0)
			reactor = co_shared->database[index].reactor;
		LWLockRelease(co_shared->lock);
	}
	nulls[0] = reactor.pid == 0;
	values[0] = Int32GetDatum(reactor.pid);
	values[1] = CStringGetTextDatum(reactor.state == CO_REACTOR_NONE && reactor.reason[0] != '\0' ?
									"waiting" : words[reactor.state]);
	nulls[2] = reactor.state != CO_REACTOR_NONE || reactor.reason[0] == '\0';
	values[2] = CStringGetTextDatum(reactor.reason);
	nulls[3] = reactor.state == CO_REACTOR_RUNNING || reactor.start_at == 0;
	values[3] = TimestampTzGetDatum(reactor.start_at);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(type), values, nulls)));
}
