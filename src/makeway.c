/*-------------------------------------------------------------------------
 * makeway.c
 *		Commands on a database that its worker must not stand in the way of.
 *
 *		DROP DATABASE, ALTER DATABASE ... RENAME or SET TABLESPACE,
 *		CREATE DATABASE ... TEMPLATE
 *
 * These want nobody connected to the database.  The server waits five seconds
 * for others to go, and of background processes it asks only autovacuum's to.
 * So we see the command first: put a hold on the database, which its worker
 * answers by leaving, run the command, and lift the hold when its transaction
 * ends, in whatever way.
 *
 * The caller's right is checked before, so that nobody can stop a worker by a
 * command that will be refused.  Whatever else the server checks, it checks
 * itself.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/ipc.h"
#include "storage/procarray.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "compat.h"
#include "handlers.h"
#include "hooks.h"
#include "makeway.h"
#include "queue.h"
#include "reactor.h"
#include "row_by_row.h"
#include "slots.h"

/* How long we wait for the worker; the server itself waits as long again. */
#define LEAVE_TIMEOUT_MS	5000
#define LEAVE_POLL_MS		5

static ProcessUtility_hook_type previous_process_utility = NULL;

/* Of this backend's transaction. */
static Oid	held = InvalidOid;	/* the database that it holds */
static bool database_created = false;

/* What a command asks for. */
typedef struct Command
{
	Oid			dbid;			/* whose worker must leave; InvalidOid: none */
	bool		drops;			/* there will be nothing to store answers in */
	bool		forces;			/* whoever is connected will be thrown out */
	bool		creates;		/* a database that may have the extension */
} Command;

static const char *
option_text(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst(cell);

		if (strcmp(option->defname, name) == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return NULL;
}

static bool
has_option(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		if (strcmp(((DefElem *) lfirst(cell))->defname, name) == 0)
			return true;
	}
	return false;
}

static bool
is_template(Oid dbid)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(dbid));
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	result = ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;
	ReleaseSysCache(tuple);
	return result;
}

static bool
may_create_databases(void)
{
	HeapTuple	tuple;
	bool		result = false;

	if (superuser())
		return true;
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	if (HeapTupleIsValid(tuple))
	{
		result = ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
		ReleaseSysCache(tuple);
	}
	return result;
}

/* Set the database by name, if it is there and the user has this right on it. */
static void
set_database(Command *command, const char *name, bool needs_createdb,
			 bool template_will_do)
{
	Oid			dbid = get_database_oid(name, true);

	if (!OidIsValid(dbid) || (needs_createdb && !may_create_databases()))
		return;
	if (co_owns_database(dbid, GetUserId()) || (template_will_do && is_template(dbid)))
		command->dbid = dbid;
}

static Command
read_command(Node *statement)
{
	Command		command = {InvalidOid, false, false, false};

	if (IsA(statement, DropdbStmt))
	{
		command.drops = true;
		command.forces = has_option(((DropdbStmt *) statement)->options, "force");
		set_database(&command, ((DropdbStmt *) statement)->dbname, false, false);
	}
	else if (IsA(statement, RenameStmt) &&
			 ((RenameStmt *) statement)->renameType == OBJECT_DATABASE)
		set_database(&command, ((RenameStmt *) statement)->subname, true, false);
	else if (IsA(statement, AlterDatabaseStmt))
	{
		AlterDatabaseStmt *alter = (AlterDatabaseStmt *) statement;

		if (option_text(alter->options, "tablespace") != NULL)
			set_database(&command, alter->dbname, false, false);
	}
	else if (IsA(statement, CreatedbStmt))
	{
		const char *source = option_text(((CreatedbStmt *) statement)->options, "template");

		command.creates = true;
		set_database(&command, source ? source : "template1", true, true);
	}
	return command;
}

static void
lift_hold(void)
{
	int			index;

	if (!OidIsValid(held))
		return;
	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	index = co_database_entry(held, false);
	if (index >= 0 && co_shared->database[index].holds > 0)
	{
		co_shared->database[index].holds--;
		co_shared->database[index].dropping = false;
		co_launcher_wake();
	}
	LWLockRelease(co_shared->lock);
	held = InvalidOid;
}

static void
lift_hold_at_exit(int code, Datum argument)
{
	(void) code;
	(void) argument;
	lift_hold();
}

static void transaction_callback(XactEvent event, void *argument);

/* Once per backend; an exit by FATAL ends no transaction. */
static void
register_callbacks(void)
{
	static bool registered = false;

	if (registered)
		return;
	RegisterXactCallback(transaction_callback, NULL);
	before_shmem_exit(lift_hold_at_exit, (Datum) 0);
	registered = true;
}

/*
 * With sessions in the database the command will fail, and the worker must not
 * have left for that: its calls are being waited for.  Like the server, give
 * sessions that are just ending a moment.  False: they stay.
 */
static bool
is_left_alone(Oid dbid)
{
	int			own = dbid == MyDatabaseId ? 1 : 0;	/* as a template it may be */
	int64		deadline = co_clock() + LEAVE_TIMEOUT_MS * INT64CONST(1000);

	while (CountDBConnections(dbid) > own)
	{
		if (co_clock() > deadline)
			return false;
		CHECK_FOR_INTERRUPTS();
		pg_usleep(LEAVE_POLL_MS * 1000L);
	}
	return true;
}

/*
 * Put a hold on the database and wait until its worker has left.  An entry is
 * made for one that has none, so that none is started meanwhile.
 */
static void
hold(Oid dbid, bool drops)
{
	int64		deadline = co_clock() + LEAVE_TIMEOUT_MS * INT64CONST(1000);
	CoDatabase *database;
	int			index;
	int			pid = 0;
	int			reactor_pid = 0;

	lift_hold();				/* one database at a time */
	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	index = co_database_entry(dbid, true);
	if (index >= 0)
	{
		database = &co_shared->database[index];
		database->holds++;
		if (drops)
			database->dropping = true;
		co_worker_wake(database);
		reactor_pid = co_reactor_evict(database);
		held = dbid;
	}
	LWLockRelease(co_shared->lock);
	if (index < 0)
		return;

	/* Gone means gone from the list of processes, which the server looks at. */
	for (;;)
	{
		bool		working;

		LWLockAcquire(co_shared->lock, LW_SHARED);
		working = database->state == CO_DATABASE_STARTING ||
			database->state == CO_DATABASE_RUNNING ||
			!co_reactor_is_gone(database);
		if (database->worker_pid != 0)
			pid = database->worker_pid;
		LWLockRelease(co_shared->lock);

		if (!working && (pid == 0 || BackendPidGetProc(pid) == NULL) &&
			(reactor_pid == 0 || BackendPidGetProc(reactor_pid) == NULL))
			break;
		if (co_clock() > deadline)
			break;				/* the server has the last word */
		CHECK_FOR_INTERRUPTS();
		pg_usleep(LEAVE_POLL_MS * 1000L);
	}
}

/* The command's effect is for others to see from the commit on. */
static void
transaction_callback(XactEvent event, void *argument)
{
	(void) argument;
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
		event != XACT_EVENT_PREPARE)
		return;

	/* A copy of a database runs no CREATE EXTENSION: have it looked at. */
	if (database_created && event == XACT_EVENT_COMMIT)
	{
		LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
		co_shared->scan = true;
		co_launcher_wake();
		LWLockRelease(co_shared->lock);
	}
	database_created = false;
	lift_hold();
}

static void
process_utility(PlannedStmt *planned, const char *query, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo parameters,
				QueryEnvironment *environment, DestReceiver *receiver,
				QueryCompletion *completion)
{
	bool		active = co_shared != NULL && IsUnderPostmaster;
	volatile bool commits_prepared;
	Node	   *statement = planned->utilityStmt;
	bool		barred = co_row_by_row_begin_command(statement);

	/* Not to be looked at afterwards: the command may have freed it. */
	commits_prepared = active && IsA(statement, TransactionStmt) &&
		((TransactionStmt *) statement)->kind == TRANS_STMT_COMMIT_PREPARED;

	/* An aborted transaction runs no command, and can look nothing up. */
	if (active && IsTransactionState() && !RecoveryInProgress())
	{
		Command		command = read_command(statement);

		if (command.creates || OidIsValid(command.dbid))
			register_callbacks();
		if (command.creates)
			database_created = true;
		if (OidIsValid(command.dbid) &&
			(command.forces || is_left_alone(command.dbid)))
			hold(command.dbid, command.drops);
	}

	PG_TRY();
	{
		if (previous_process_utility)
			previous_process_utility(planned, query, read_only_tree, context,
									 parameters, environment, receiver, completion);
		else
			standard_ProcessUtility(planned, query, read_only_tree, context,
									parameters, environment, receiver, completion);
	}
	PG_CATCH();
	{
		/* The transaction may go on, if this was in a subtransaction. */
		lift_hold();
		co_row_by_row_end_command(barred);
		PG_RE_THROW();
	}
	PG_END_TRY();
	co_row_by_row_end_command(barred);

	if (commits_prepared && IsTransactionState())
	{
		co_hooks_after_commit_prepared();
		co_queue_after_commit_prepared();
		co_handlers_after_commit_prepared();
	}
}

void
co_makeway_init(void)
{
	previous_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
