/*-------------------------------------------------------------------------
 * launcher.c
 *		One process per server: starts and replaces the workers.
 *
 *		pg_database at start -----\
 *		CREATE EXTENSION, commit --+--> WANTED --> worker --> RUNNING
 *		a caller without a worker /        ^                     |
 *		                                   +---- backoff --------+ it ends
 *
 * It is connected to no database, so it stands in nobody's way.  Whether a
 * database has the extension is for the worker to see: one that finds none
 * leaves again, and says so in the database's entry.
 *
 * Templates get no worker: nobody works in them, and connections to them get
 * in the way of CREATE DATABASE.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/procarray.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "clock.h"
#include "compat.h"
#include "guc.h"
#include "launcher.h"
#include "reactor.h"
#include "slots.h"

/* Workers that look whether their database has the extension, at once. */
#define STARTING_MAX		2

/* One that takes longer waits for a lock, and takes no place any more. */
#define STARTING_TIME		INT64CONST(5000000)

/* Time until another try when no background worker was to be had. */
#define NO_PROCESS_RETRY	INT64CONST(5000000)

static BackgroundWorkerHandle **handles;	/* by index of the entry */
static uint32 launcher_wait_event = 0;

void
co_launcher_init(void)
{
	BackgroundWorker launcher = {0};

	/* pg_upgrade runs servers to move catalogs; nothing may be spent there. */
	if (IsBinaryUpgrade)
		return;

	launcher.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	launcher.bgw_start_time = BgWorkerStart_RecoveryFinished;
	launcher.bgw_restart_time = 5;
	strlcpy(launcher.bgw_library_name, "clearout", sizeof(launcher.bgw_library_name));
	strlcpy(launcher.bgw_function_name, "co_launcher_main", sizeof(launcher.bgw_function_name));
	strlcpy(launcher.bgw_name, "clearout launcher", sizeof(launcher.bgw_name));
	strlcpy(launcher.bgw_type, "clearout launcher", sizeof(launcher.bgw_type));
	RegisterBackgroundWorker(&launcher);
}

static void
launcher_exit(int code, Datum argument)
{
	(void) code;
	(void) argument;
	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	co_shared->launcher = NULL;
	co_shared->launcher_left_at = co_clock();
	LWLockRelease(co_shared->lock);
}

/* Is the database named in clearout.databases, or is that empty? */
static bool
is_listed(const char *name)
{
	char	   *copy;
	List	   *names;
	ListCell   *cell;

	if (co_databases == NULL || co_databases[0] == '\0')
		return true;
	copy = pstrdup(co_databases);
	if (!SplitIdentifierString(copy, ',', &names))
		return false;
	foreach(cell, names)
	{
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	}
	return false;
}

/* Why this database gets no worker; NULL if it may have one. */
static const char *
obstacle(Form_pg_database form)
{
	if (!form->datallowconn)
		return "The database accepts no connections.";
	if (form->datistemplate)
		return "The database is a template; templates get no worker.";
	if (!is_listed(NameStr(form->datname)))
		return "The database is not listed in clearout.databases.";
	return NULL;
}

/*
 * Look through pg_database.  With a dbid: why that one gets no worker, palloc'd
 * in the caller's context, NULL if it may have one.  Without: want a worker
 * for every database that may have one, and let those of all others leave.
 */
static char *
look_at_databases(Oid dbid)
{
	MemoryContext context = CurrentMemoryContext;
	const char *found = "The database does not exist any more.";
	char	   *result = NULL;
	Relation	databases;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	databases = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(databases, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);

		if (OidIsValid(dbid))
		{
			if (form->oid == dbid)
				found = obstacle(form);
		}
		else if (obstacle(form) == NULL)
		{
			LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
			(void) co_database_entry(form->oid, true);
			LWLockRelease(co_shared->lock);
		}
		else
		{
			LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
			co_database_replace_worker(co_database_entry(form->oid, false));
			LWLockRelease(co_shared->lock);
		}
	}
	table_endscan(scan);
	table_close(databases, AccessShareLock);
	if (OidIsValid(dbid) && found != NULL)
		result = MemoryContextStrdup(context, found);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return result;
}

static void
start_worker(int index)
{
	CoDatabase *database = &co_shared->database[index];
	BackgroundWorker worker = {0};
	Oid			dbid = database->dbid;
	char	   *reason;

	reason = look_at_databases(dbid);
	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	if (database->holds > 0)
	{
		/* Put on it meanwhile; whoever lifts it wakes us. */
		LWLockRelease(co_shared->lock);
		return;
	}
	if (reason != NULL)
	{
		co_database_refuse(database, reason);
		database->state = CO_DATABASE_ABSENT;	/* and then UNUSED */
		co_reactor_evict(database);
		co_launcher_wake();
		LWLockRelease(co_shared->lock);
		pfree(reason);
		return;
	}
	database->state = CO_DATABASE_STARTING;
	database->changed_at = GetCurrentTimestamp();
	database->starting_at = co_clock();
	LWLockRelease(co_shared->lock);

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "clearout", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "co_worker_main", sizeof(worker.bgw_function_name));
	snprintf(worker.bgw_name, sizeof(worker.bgw_name), "clearout worker for database %u", dbid);
	strlcpy(worker.bgw_type, "clearout worker", sizeof(worker.bgw_type));
	worker.bgw_main_arg = ObjectIdGetDatum(dbid);
	worker.bgw_notify_pid = MyProcPid;

	if (handles[index] != NULL)
		pfree(handles[index]);
	handles[index] = NULL;
	if (!RegisterDynamicBackgroundWorker(&worker, &handles[index]))
	{
		LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
		database->state = CO_DATABASE_WANTED;
		database->changed_at = GetCurrentTimestamp();
		database->start_at = co_clock() + NO_PROCESS_RETRY;
		strlcpy(database->reason,
				"No background worker is free: max_worker_processes is used up.",
				sizeof(database->reason));
		co_database_refuse(database, database->reason);
		LWLockRelease(co_shared->lock);
	}
}

/* A worker that was started and has ended before it reported for work. */
static void
check_starting(int index)
{
	CoDatabase *database = &co_shared->database[index];
	pid_t		pid;

	if (handles[index] != NULL &&
		GetBackgroundWorkerPid(handles[index], &pid) != BGWH_STOPPED)
		return;

	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	if (database->state == CO_DATABASE_STARTING)
	{
		database->state = CO_DATABASE_WANTED;
		database->changed_at = GetCurrentTimestamp();
		database->failures++;
		database->start_at = co_clock() +
			INT64CONST(1000000) * (1 << Min(database->failures, 6));
		strlcpy(database->reason, "Its worker could not start; see the server log.",
				sizeof(database->reason));
		co_database_refuse(database, database->reason);
	}
	LWLockRelease(co_shared->lock);
}

/* Move every entry along.  Returns milliseconds until the next is due, or -1. */
static long
tend_databases(void)
{
	int64		now = co_clock();
	TimestampTz wall = GetCurrentTimestamp();
	int64		next = PG_INT64_MAX;
	int			starting = 0;

	for (int i = 0; i < co_shared->databases_high; i++)
	{
		CoDatabase *database = &co_shared->database[i];
		CoDatabaseState state;
		int64		start_at;
		TimestampTz reactor_due;

		LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
		if (database->state == CO_DATABASE_ABSENT && database->holds == 0 &&
			co_reactor_is_gone(database))
			database->state = CO_DATABASE_UNUSED;
		state = database->state;
		start_at = database->start_at;
		if (database->holds > 0 && state == CO_DATABASE_WANTED)
			start_at = PG_INT64_MAX;	/* whoever lifts the hold wakes us */
		LWLockRelease(co_shared->lock);

		if (state == CO_DATABASE_STARTING)
		{
			check_starting(i);
			if (database->state != CO_DATABASE_STARTING)
				next = Min(next, database->start_at);
			else if (database->starting_at + STARTING_TIME > now)
			{
				starting++;
				next = Min(next, database->starting_at + STARTING_TIME);
			}
		}
		else if (state == CO_DATABASE_WANTED && start_at > now)
			next = Min(next, start_at);
		else if (state == CO_DATABASE_WANTED && starting < STARTING_MAX)
		{
			start_worker(i);
			if (database->state == CO_DATABASE_STARTING)
			{
				starting++;
				next = Min(next, database->starting_at + STARTING_TIME);
			}
			else if (database->state == CO_DATABASE_WANTED)
				next = Min(next, database->start_at);
		}

		reactor_due = co_reactor_tend(i, wall);
		if (reactor_due != DT_NOEND)
			next = Min(next, now + Max(reactor_due - wall, 0));

		/*
		 * Entries beyond STARTING_MAX are looked at again when one of those
		 * started reports, which sets our latch.
		 */
	}

	if (next == PG_INT64_MAX)
		return -1;
	return (long) Min(Max(next - co_clock(), 0) / 1000 + 1, INT_MAX);
}

void
co_launcher_main(Datum argument)
{
	MemoryContext turn;

	(void) argument;
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();

	if (co_shared == NULL)
		proc_exit(0);

	/* No database, so that only shared catalogs can be read. */
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	SetConfigOption("application_name", "clearout launcher", PGC_USERSET, PGC_S_SESSION);
	pgstat_report_activity(STATE_IDLE, NULL);

	handles = MemoryContextAllocZero(TopMemoryContext,
									 sizeof(BackgroundWorkerHandle *) * co_shared->database_count);
	turn = AllocSetContextCreate(TopMemoryContext, "clearout launcher turn",
								 ALLOCSET_DEFAULT_SIZES);

	before_shmem_exit(launcher_exit, (Datum) 0);
	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	co_shared->launcher = MyProc;
	co_shared->scan = true;
	LWLockRelease(co_shared->lock);

	for (;;)
	{
		bool		scan;
		long		timeout;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
			co_shared->scan = true; /* clearout.databases may have changed */
			LWLockRelease(co_shared->lock);
		}

		MemoryContextReset(turn);
		MemoryContextSwitchTo(turn);

		LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
		scan = co_shared->scan;
		co_shared->scan = false;
		LWLockRelease(co_shared->lock);
		if (scan)
			(void) look_at_databases(InvalidOid);

		/* Handles live longer than a turn. */
		MemoryContextSwitchTo(TopMemoryContext);
		timeout = tend_databases();

		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_EXIT_ON_PM_DEATH |
						 (timeout >= 0 ? WL_TIMEOUT : 0),
						 timeout,
						 co_wait_event(&launcher_wait_event, "ClearoutLauncherMain"));
	}
}
