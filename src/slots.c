/*-------------------------------------------------------------------------
 * slots.c
 *		Shared memory: where callers and workers meet.
 *
 *		caller					worker
 *		claim -> FILLED  ---->  take -> TAKEN
 *		wait   <------------	answer -> ANSWERED, caller's latch set
 *		release -> FREE
 *
 * The answer does not travel through here: the worker commits it first, and
 * the caller then reads the stored row.  So a slot is small, and whatever
 * happens to the caller, what was paid for is safe.
 *
 * A caller who leaves early frees its slot whatever the state.  So whoever
 * works for it keeps a CoSlotRef and compares the generation under the lock
 * before touching the slot again: there may be a new tenant.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "guc.h"
#include "reactor.h"
#include "slots.h"

/* When to start a worker again, in microseconds. */
#define LASTING_RUN		INT64CONST(10000000)
#define FIRST_RESTART	INT64CONST(100000)
#define LAST_RESTART	INT64CONST(60000000)

/* The launcher comes back after five seconds, if it can. */
#define LAUNCHER_ABSENCE	INT64CONST(8000000)
#define LAUNCHER_START		INT64CONST(2000000)

CoShared   *co_shared = NULL;

static shmem_request_hook_type previous_shmem_request_hook = NULL;
static shmem_startup_hook_type previous_shmem_startup_hook = NULL;

/* Is free_slots_at_exit() registered in this backend? */
static bool exit_registered = false;

/*
 * Every worker is a background worker, so there is no use for many more
 * entries; some more keep the reason why a database has none.
 */
static int
database_count(void)
{
	return Max(1024, 2 * max_worker_processes);
}

static Size
databases_offset(void)
{
	return MAXALIGN(sizeof(CoShared));
}

static Size
slots_offset(void)
{
	return add_size(databases_offset(),
					MAXALIGN(mul_size(database_count(), sizeof(CoDatabase))));
}

static Size
shared_size(void)
{
	return add_size(slots_offset(),
					mul_size(co_request_slots, sizeof(CoSlot)));
}

static void
shmem_request(void)
{
	if (previous_shmem_request_hook)
		previous_shmem_request_hook();

	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche("clearout", 1);
}

static void
shmem_startup(void)
{
	bool		found;

	if (previous_shmem_startup_hook)
		previous_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	co_shared = ShmemInitStruct("clearout", shared_size(), &found);
	if (!found)
	{
		memset(co_shared, 0, shared_size());
		co_shared->lock = &GetNamedLWLockTranche("clearout")->lock;
		co_shared->slot_count = co_request_slots;
		co_shared->database_count = database_count();
		co_shared->database = (CoDatabase *) ((char *) co_shared + databases_offset());
		co_shared->slot = (CoSlot *) ((char *) co_shared + slots_offset());

		/* the first one comes sooner than one that is started again */
		co_shared->launcher_left_at = co_clock() -
			LAUNCHER_ABSENCE + LAUNCHER_START;
		dlist_init(&co_shared->free);
		for (int i = 0; i < co_shared->slot_count; i++)
			dlist_push_tail(&co_shared->free, &co_shared->slot[i].node);
		for (int i = 0; i < co_shared->database_count; i++)
		{
			dlist_init(&co_shared->database[i].filled);
			co_shared->database[i].token = -1;
		}
	}
	LWLockRelease(AddinShmemInitLock);
}

void
co_slots_init(void)
{
	previous_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = shmem_request;
	previous_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = shmem_startup;
}

/* ---------- entries of databases and tokens ---------- */

int
co_database_entry(Oid dbid, bool create)
{
	int			unused = -1;
	CoDatabase *database;

	Assert(LWLockHeldByMe(co_shared->lock));

	for (int i = 0; i < co_shared->databases_high; i++)
	{
		database = &co_shared->database[i];
		if (database->state == CO_DATABASE_UNUSED)
		{
			if (unused < 0)
				unused = i;
		}
		else if (database->dbid == dbid)
			return i;
	}
	if (unused < 0 && co_shared->databases_high < co_shared->database_count)
		unused = co_shared->databases_high;
	if (!create || unused < 0)
		return -1;
	co_shared->databases_high = Max(co_shared->databases_high, unused + 1);

	database = &co_shared->database[unused];
	memset(database, 0, sizeof(CoDatabase));
	dlist_init(&database->filled);
	database->dbid = dbid;
	database->token = -1;
	database->state = CO_DATABASE_WANTED;
	database->changed_at = GetCurrentTimestamp();
	return unused;
}

void
co_database_replace_worker(int index)
{
	CoDatabase *database = index < 0 ? NULL : &co_shared->database[index];

	/* One that is starting may have seen what held before. */
	if (database && (database->state == CO_DATABASE_RUNNING ||
					 database->state == CO_DATABASE_STARTING))
	{
		database->leave = true;
		co_worker_wake(database);
	}
	if (database != NULL)
		co_reactor_replace(database);
}

/*
 * Take a slot out of the hands of its worker and give the reply.  Returns who
 * is to be woken.
 */
static PGPROC *
slot_set_reply(CoSlot *slot, const CoReply *reply)
{
	if (slot->state == CO_SLOT_FILLED)
		dlist_delete(&slot->node);
	slot->reply = *reply;
	slot->state = CO_SLOT_ANSWERED;
	return slot->caller;
}

/*
 * Best with the lock released, which the one who is woken wants first of all:
 * on the same processor he would run at once, and find it taken.  If that
 * process has ended meanwhile, its successor is woken for nothing.
 */
static void
wake(PGPROC *process)
{
	if (process != NULL)
		SetLatch(&process->procLatch);
}

void
co_reply_refuse(CoReply *reply, CoRefusal refusal, const char *message)
{
	memset(reply, 0, sizeof(*reply));
	reply->refusal = refusal;
	co_message_set(reply->outcome.message, sizeof(reply->outcome.message),
				   message, strlen(message));
}

void
co_database_refuse(CoDatabase *database, const char *reason)
{
	CoReply		reply;
	int			index = database - co_shared->database;

	Assert(LWLockHeldByMeInMode(co_shared->lock, LW_EXCLUSIVE));

	co_reply_refuse(&reply, CO_REFUSED_NO_WORKER, reason);
	for (int i = 0; i < co_shared->slot_count; i++)
	{
		CoSlot	   *slot = &co_shared->slot[i];

		if (slot->database == index &&
			(slot->state == CO_SLOT_FILLED || slot->state == CO_SLOT_TAKEN))
			wake(slot_set_reply(slot, &reply));
	}
}

void
co_launcher_wake(void)
{
	wake(co_shared->launcher);
}

void
co_worker_wake(CoDatabase *database)
{
	wake(database->worker);
}

int
co_token_attach(uint64 hash, int verify_rpm, int find_rpm)
{
	int			victim = -1;
	CoToken    *token;

	Assert(LWLockHeldByMeInMode(co_shared->lock, LW_EXCLUSIVE));

	for (int i = 0; i < CO_TOKEN_MAX; i++)
	{
		token = &co_shared->token[i];
		if (token->hash == hash)
		{
			token->users++;
			co_governor_configure(&token->governor[CO_SERVICE_VERIFY], verify_rpm);
			co_governor_configure(&token->governor[CO_SERVICE_FIND], find_rpm);
			return i;
		}
		if (token->users == 0 &&
			(victim < 0 || token->used_at < co_shared->token[victim].used_at))
			victim = i;
	}
	if (victim < 0)
		return -1;

	token = &co_shared->token[victim];
	memset(token, 0, sizeof(CoToken));
	token->hash = hash;
	token->users = 1;
	for (int service = 0; service < CO_SERVICE_COUNT; service++)
		co_governor_init(&token->governor[service],
						 service == CO_SERVICE_VERIFY ? verify_rpm :
						 service == CO_SERVICE_FIND ? find_rpm : 0);
	return victim;
}

void
co_token_detach(int token)
{
	Assert(LWLockHeldByMeInMode(co_shared->lock, LW_EXCLUSIVE));
	if (token >= 0)
	{
		co_shared->token[token].users--;
		co_shared->token[token].used_at = GetCurrentTimestamp();
	}
}

/* ---------- for callers ---------- */

/* Lock held. */
static void
slot_free(CoSlot *slot)
{
	if (slot->state == CO_SLOT_FILLED)
		dlist_delete(&slot->node);
	slot->state = CO_SLOT_FREE;
	slot->caller = NULL;
	dlist_push_tail(&co_shared->free, &slot->node);
	co_shared->slots_used--;
}

/* A backend that ends by FATAL runs no PG_CATCH. */
static void
free_slots_at_exit(int code, Datum arg)
{
	(void) code;
	(void) arg;
	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < co_shared->slot_count; i++)
	{
		CoSlot	   *slot = &co_shared->slot[i];

		if (slot->state != CO_SLOT_FREE && slot->caller == MyProc)
			slot_free(slot);
	}
	LWLockRelease(co_shared->lock);
}

/*
 * The postmaster starts a launcher that has ended again, unless there is no
 * place for it.
 */
#define WITHOUT_LAUNCHER	"The launcher is not running: max_worker_processes is used up."

static bool
is_without_launcher(const CoDatabase *database)
{
	return co_shared->launcher == NULL && database->state != CO_DATABASE_RUNNING &&
		co_clock() - co_shared->launcher_left_at > LAUNCHER_ABSENCE;
}

bool
co_slot_is_hopeless(void)
{
	int			index;
	bool		hopeless;

	if (co_shared == NULL || co_shared->launcher != NULL)
		return false;
	LWLockAcquire(co_shared->lock, LW_SHARED);
	index = co_database_entry(MyDatabaseId, false);
	hopeless = index >= 0 && is_without_launcher(&co_shared->database[index]);
	LWLockRelease(co_shared->lock);
	return hopeless;
}

/* Why has nobody taken the request so far? */
bool
co_slot_is_without_worker(CoReply *reply)
{
	int			index;
	bool		without;

	LWLockAcquire(co_shared->lock, LW_SHARED);
	index = co_database_entry(MyDatabaseId, false);
	without = index < 0 || co_shared->database[index].state != CO_DATABASE_RUNNING;
	if (without)
		co_reply_refuse(reply, CO_REFUSED_NO_WORKER,
						co_shared->launcher == NULL ? WITHOUT_LAUNCHER :
						index >= 0 && co_shared->database[index].reason[0] != '\0' ?
						co_shared->database[index].reason :
						"It has not started yet.");
	LWLockRelease(co_shared->lock);
	return without;
}

bool
co_slot_claim(CoEndpointId endpoint, const char *key,
			  const CoFreshness *accepts, int64 deadline,
			  CoSlotRef *ref, CoReply *reply)
{
	int			index;
	CoDatabase *database;
	CoSlot	   *slot;
	PGPROC	   *server = NULL;
	char	   *role = GetUserNameFromId(GetUserId(), false);

	memset(reply, 0, sizeof(*reply));
	if (co_shared == NULL || !IsUnderPostmaster)
	{
		co_reply_refuse(reply,
						co_shared == NULL ? CO_REFUSED_NOT_CONFIGURED : CO_REFUSED_NO_WORKER,
						co_shared == NULL ? "The library is not in shared_preload_libraries." :
						"There are no background workers in single-user mode.");
		return false;
	}

	if (!exit_registered)
	{
		before_shmem_exit(free_slots_at_exit, (Datum) 0);
		exit_registered = true;
	}

	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);

	index = co_database_entry(MyDatabaseId, true);
	database = index < 0 ? NULL : &co_shared->database[index];
	if (database == NULL)
		co_reply_refuse(reply, CO_REFUSED_NO_WORKER,
						"Too many databases of this server have the extension.");
	else if (dlist_is_empty(&co_shared->free))
		co_reply_refuse(reply, CO_REFUSED_NO_SLOT,
						"All slots hold callers that wait for an answer.");
	else if (is_without_launcher(database))
		co_reply_refuse(reply, CO_REFUSED_NO_WORKER, WITHOUT_LAUNCHER);
	else if (database->holds > 0)
		co_reply_refuse(reply, CO_REFUSED_NO_WORKER,
						"A command that wants nobody connected to the database is under way.");
	else if (database->state == CO_DATABASE_WANTED && database->reason[0] != '\0')
		co_reply_refuse(reply, CO_REFUSED_NO_WORKER, database->reason);
	if (reply->refusal != CO_REFUSED_NOT)
	{
		LWLockRelease(co_shared->lock);
		return false;
	}

	/*
	 * Whoever calls here sees the extension, so the database wants a worker,
	 * whatever was found at the last look.
	 */
	if (database->state == CO_DATABASE_ABSENT)
	{
		database->state = CO_DATABASE_WANTED;
		database->start_at = 0;
		database->changed_at = GetCurrentTimestamp();
	}

	slot = dlist_container(CoSlot, node, dlist_pop_head_node(&co_shared->free));
	co_shared->slots_used++;
	slot->generation++;
	slot->caller = MyProc;
	slot->database = index;
	slot->endpoint = endpoint;
	slot->accepts = *accepts;
	slot->deadline = deadline;
	slot->progress = CO_PROGRESS_NONE;
	strlcpy(slot->role, role, sizeof(slot->role));
	strlcpy(slot->key, key, sizeof(slot->key));
	slot->state = CO_SLOT_FILLED;
	dlist_push_tail(&database->filled, &slot->node);

	ref->index = slot - co_shared->slot;
	ref->generation = slot->generation;

	if (database->state == CO_DATABASE_RUNNING)
		server = database->worker;
	else if (database->state == CO_DATABASE_WANTED)
		server = co_shared->launcher;

	LWLockRelease(co_shared->lock);
	wake(server);
	return true;
}

bool
co_slot_poll(CoSlotRef ref, CoReply *reply, CoProgress *progress)
{
	CoSlot	   *slot = &co_shared->slot[ref.index];
	bool		answered;

	LWLockAcquire(co_shared->lock, LW_SHARED);
	Assert(slot->generation == ref.generation && slot->caller == MyProc);
	answered = slot->state == CO_SLOT_ANSWERED;
	*progress = slot->progress;
	if (answered)
		*reply = slot->reply;
	LWLockRelease(co_shared->lock);
	return answered;
}

void
co_slot_release(CoSlotRef ref)
{
	CoSlot	   *slot = &co_shared->slot[ref.index];

	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	if (slot->generation == ref.generation && slot->state != CO_SLOT_FREE)
		slot_free(slot);
	LWLockRelease(co_shared->lock);
}

/* ---------- for a worker ---------- */

/*
 * Whatever a predecessor has left: what it had taken waits again, in the
 * order of the slots; what it had in flight will not end any more.  Lock held.
 */
static void
take_over(CoDatabase *database)
{
	int			index = database - co_shared->database;

	for (int i = 0; i < co_shared->slot_count; i++)
	{
		CoSlot	   *slot = &co_shared->slot[i];

		if (slot->database == index && slot->state == CO_SLOT_TAKEN)
		{
			slot->state = CO_SLOT_FILLED;
			slot->progress = CO_PROGRESS_NONE;
			dlist_push_tail(&database->filled, &slot->node);
		}
	}

	if (database->token >= 0)
	{
		for (int service = 0; service < CO_SERVICE_COUNT; service++)
		{
			if (database->in_flight[service] > 0)
				co_governor_abandon(&co_shared->token[database->token].governor[service],
									co_clock(), database->in_flight[service]);
			database->in_flight[service] = 0;
		}
		/* What these have cost will never be known here. */
		co_credits_end(&co_shared->token[database->token].credits,
					   database->reserved, database->reserved);
		co_token_detach(database->token);
		database->token = -1;
	}
	database->reserved = 0;
	database->worker = NULL;
	database->worker_pid = 0;
	database->unstored = 0;
}

bool
co_database_attach(Oid dbid, int *result)
{
	CoDatabase *database;
	int			index;

	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	index = co_database_entry(dbid, true);
	if (index < 0 || co_shared->database[index].worker != NULL ||
		co_shared->database[index].holds > 0)
	{
		if (index >= 0 && co_shared->database[index].state == CO_DATABASE_STARTING)
		{
			co_shared->database[index].state = CO_DATABASE_WANTED;
			co_launcher_wake();
		}
		LWLockRelease(co_shared->lock);
		return false;
	}
	database = &co_shared->database[index];
	take_over(database);
	database->state = CO_DATABASE_RUNNING;
	database->changed_at = GetCurrentTimestamp();
	database->worker = MyProc;
	database->worker_pid = MyProcPid;
	database->condition = CO_CONDITION_WORKING;
	database->reason[0] = '\0';
	database->recheck = false;
	database->dropping = false;
	database->queue_full = false;
	co_launcher_wake();			/* others may wait for their turn to start */
	LWLockRelease(co_shared->lock);

	*result = index;
	return true;
}

/*
 * A worker that lasted a while may be replaced at once.  Otherwise the time
 * doubles with every failure, and from the third on callers are told.
 */
static void
plan_restart(CoDatabase *database, TimestampTz now)
{
	if (now - database->changed_at > LASTING_RUN)
		database->failures = 0;
	database->start_at = co_clock() + Min(FIRST_RESTART << Min(database->failures, 20),
										  LAST_RESTART);
	database->failures++;
	database->restarts++;
	if (database->failures > 2)
		strlcpy(database->reason, "Its worker ends again and again; see the server log.",
				sizeof(database->reason));
}

void
co_database_detach(int index, CoLeave leave)
{
	CoDatabase *database = &co_shared->database[index];
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	Assert(database->worker == MyProc);
	take_over(database);
	database->leave = false;
	switch (leave)
	{
		case CO_LEAVE_ABSENT:
			if (database->recheck)
			{
				/* It was created since we have looked. */
				database->state = CO_DATABASE_WANTED;
				database->start_at = 0;
				break;
			}
			database->state = CO_DATABASE_ABSENT;
			co_database_refuse(database, "The extension is not installed in this database, or not yet committed.");
			break;
		case CO_LEAVE_REPLACE:
			database->reason[0] = '\0';
			database->state = CO_DATABASE_WANTED;
			database->start_at = 0;
			database->failures = 0;
			break;
		case CO_LEAVE_FAILED:
			database->state = CO_DATABASE_WANTED;
			plan_restart(database, now);
			if (database->reason[0] != '\0')
				co_database_refuse(database, database->reason);
			break;
	}
	database->changed_at = now;
	co_launcher_wake();
	LWLockRelease(co_shared->lock);
}

bool
co_slot_take(int index, CoSlotRef *ref, CoSlot *copy)
{
	CoDatabase *database = &co_shared->database[index];
	CoSlot	   *slot = NULL;

	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	if (!dlist_is_empty(&database->filled))
	{
		slot = dlist_container(CoSlot, node, dlist_pop_head_node(&database->filled));
		Assert(slot->state == CO_SLOT_FILLED);
		slot->state = CO_SLOT_TAKEN;
		ref->index = slot - co_shared->slot;
		ref->generation = slot->generation;
		*copy = *slot;
	}
	LWLockRelease(co_shared->lock);
	return slot != NULL;
}

bool
co_slot_waits(CoSlotRef ref)
{
	CoSlot	   *slot = &co_shared->slot[ref.index];
	bool		waits;

	LWLockAcquire(co_shared->lock, LW_SHARED);
	waits = slot->generation == ref.generation && slot->state == CO_SLOT_TAKEN;
	LWLockRelease(co_shared->lock);
	return waits;
}

void
co_slot_set_progress(CoSlotRef ref, CoProgress progress)
{
	CoSlot	   *slot = &co_shared->slot[ref.index];

	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	if (slot->generation == ref.generation && slot->state == CO_SLOT_TAKEN)
		slot->progress = progress;
	LWLockRelease(co_shared->lock);
}

void
co_slot_answer(CoSlotRef ref, const CoReply *reply)
{
	CoSlot	   *slot = &co_shared->slot[ref.index];
	PGPROC	   *caller = NULL;

	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	if (slot->generation == ref.generation && slot->state == CO_SLOT_TAKEN)
		caller = slot_set_reply(slot, reply);
	LWLockRelease(co_shared->lock);
	wake(caller);
}
