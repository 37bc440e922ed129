/*-------------------------------------------------------------------------
 * slots.h
 *		Shared memory: where callers and workers meet.
 *
 * One lock (co_shared->lock) covers everything in here; it is never held over
 * anything that can wait.  Three kinds of things live here:
 *
 *	slots		a caller who waits, and the request it waits for
 *	databases	one entry per database that wants a worker
 *	tokens		the rate governors of one token, shared by the databases that
 *				use it
 *-------------------------------------------------------------------------
 */
#ifndef CO_SLOTS_H
#define CO_SLOTS_H

#include "datatype/timestamp.h"
#include "lib/ilist.h"
#include "storage/lwlock.h"
#include "storage/proc.h"

#include "credits.h"
#include "endpoint.h"
#include "governor.h"
#include "meter.h"
#include "outcome.h"
#include "retry.h"

#define CO_KEY_SIZE 2049		/* an address today, a profile URL tomorrow */
#define CO_REASON_SIZE 256
#define CO_TOKEN_MAX 32			/* different tokens in use at once */
#define CO_PRIORITIES 19		/* of rows of the queue: -9 to 9 */

typedef enum CoSlotState
{
	CO_SLOT_FREE,				/* next: FILLED, by a caller */
	CO_SLOT_FILLED,				/* next: TAKEN, by the worker; FREE, by the
								 * caller */
	CO_SLOT_TAKEN,				/* next: ANSWERED, by the worker; FILLED again
								 * if that worker dies; FREE, by the caller */
	CO_SLOT_ANSWERED			/* next: FREE, by the caller */
} CoSlotState;

/* How old may a stored answer be?  The oldest time accepted, by status. */
typedef struct CoFreshness
{
	TimestampTz verdict;
	TimestampTz unknown;
	TimestampTz catch_all;
} CoFreshness;

/* How far a request has come. */
typedef enum CoProgress
{
	CO_PROGRESS_NONE,			/* no call is under way for it */
	CO_PROGRESS_SENT,			/* a call is on the wire */
	CO_PROGRESS_SOUGHT			/* the service seeks on, and is asked now and
								 * then how far it has come */
} CoProgress;

/* Why a request was not even considered; the message says more. */
typedef enum CoRefusal
{
	CO_REFUSED_NOT,
	CO_REFUSED_NO_WORKER,
	CO_REFUSED_NOT_CONFIGURED,
	CO_REFUSED_OUTDATED,
	CO_REFUSED_NO_SLOT,
	CO_REFUSED_BUDGET
} CoRefusal;

/* What a caller is told.  The answer itself is in the table. */
typedef struct CoReply
{
	bool		stored;			/* an answer is committed */
	TimestampTz asked_at;		/* when stored: when its call began; 0 if it
								 * was there already and is fresh */
	CoErrorClass error_class;	/* when not stored */
	CoRefusal	refusal;
	bool		maybe_paid;		/* a call was charged perhaps */
	CoOutcome	outcome;		/* http_status, code, message (UTF-8) */
} CoReply;

typedef struct CoSlot
{
	dlist_node	node;			/* in co_shared->free or database->filled;
								 * in no list while TAKEN or ANSWERED */
	CoSlotState state;
	uint32		generation;		/* counts tenants */
	PGPROC	   *caller;			/* whose latch to set */
	int			database;		/* index of the database that serves it */
	char		role[NAMEDATALEN];	/* who asks, and so whose budget it is */
	CoEndpointId endpoint;
	CoFreshness accepts;		/* for the worker's own look into the table */
	int64		deadline;		/* when the caller leaves; co_clock() */
	CoProgress	progress;		/* when TAKEN */
	CoReply		reply;			/* when ANSWERED */
	char		key[CO_KEY_SIZE];	/* what is asked, in the database's encoding */
} CoSlot;

/* Names one tenancy of a slot: good until that caller leaves. */
typedef struct CoSlotRef
{
	int			index;
	uint32		generation;
} CoSlotRef;

/*
 * The life of a database's entry.  Written by the launcher (L) and the
 * worker (W).
 */
typedef enum CoDatabaseState
{
	CO_DATABASE_UNUSED,			/* next: WANTED, by whoever learns of it */
	CO_DATABASE_WANTED,			/* next: STARTING (L), at start_at */
	CO_DATABASE_STARTING,		/* next: RUNNING (W), or WANTED (L) */
	CO_DATABASE_RUNNING,		/* next: WANTED or ABSENT (W), as it exits */
	CO_DATABASE_ABSENT			/* no extension there, or no such database;
								 * next: UNUSED (L) */
} CoDatabaseState;

/* What a running worker can do; the reason tells more. */
typedef enum CoCondition
{
	CO_CONDITION_WORKING,
	CO_CONDITION_NOT_CONFIGURED,
	CO_CONDITION_OUTDATED,		/* the extension is older than the library */
	CO_CONDITION_PAUSED,		/* the service refuses everybody */
	CO_CONDITION_BUDGET,		/* nothing more may be spent */
	CO_CONDITION_UNSTORED		/* answers wait for the disk */
} CoCondition;

/*
 * The process that calls handlers (reactor.c): there while there is something
 * to deliver.
 */
typedef enum CoReactorState
{
	CO_REACTOR_NONE,			/* next: STARTING, by the launcher, at start_at */
	CO_REACTOR_STARTING,		/* next: RUNNING, by itself, or NONE */
	CO_REACTOR_RUNNING			/* next: NONE, as it exits */
} CoReactorState;

typedef struct CoReactor
{
	CoReactorState state;
	TimestampTz start_at;		/* when NONE: not before; 0: not needed */
	TimestampTz changed_at;		/* when it came into this state */
	PGPROC	   *process;		/* when RUNNING */
	int			pid;			/* when RUNNING */
	bool		news;			/* rows may have come to clearout_outbox */
	bool		prepared;		/* a prepared transaction brings some */
	bool		leave;			/* settings have changed: a new one is to come */
	int			failures;		/* ends in a row that were none of its own */
	char		reason[CO_REASON_SIZE]; /* why there is none; "" if all is well */
} CoReactor;

typedef struct CoDatabase
{
	Oid			dbid;
	CoDatabaseState state;
	int64		start_at;		/* when WANTED: not before; co_clock() */
	int64		starting_at;	/* when STARTING: since then; co_clock() */
	TimestampTz changed_at;		/* when it came into this state */
	int			failures;		/* starts in a row that did not last */
	CoCondition condition;		/* when RUNNING */
	char		reason[CO_REASON_SIZE]; /* why no work is done; "" if it is */

	PGPROC	   *worker;			/* when RUNNING */
	int			worker_pid;		/* when RUNNING */
	bool		recheck;		/* the extension may be gone or moved */
	bool		leave;			/* settings of the database have changed: a new
								 * worker is to take over */
	int			holds;			/* commands that want nobody connected: no
								 * worker may be there while there are any */
	bool		dropping;		/* one of them drops the database */
	dlist_head	filled;			/* slots for the worker, oldest first */

	bool		queue_news;		/* rows may have come to clearout_queue ... */
	int64		queue_from;		/* ... with ids from this one on */
	bool		queue_full;		/* the worker holds as many rows as it can use,
								 * and looks for news when it does not any more */
	bool		resume;			/* clearout_resume(): end all pauses */
	bool		queue_prepared; /* a prepared transaction brings some */
	bool		bulk_news;		/* something has changed in clearout_jobs */

	CoReactor	reactor;

	int			token;			/* index of its token; -1: none */
	int			in_flight[CO_SERVICE_COUNT];	/* calls counted in its governors */
	int64		reserved;		/* credits for these, counted in its credits */

	/* for the status view: today's budget, and where the queue's rows begin */
	int64		budget;			/* -1: none */
	int64		budget_spent;	/* by calls that have ended or are in flight */
	int32		budget_day;		/* on this day */
	CoMeter		meter;			/* answers */
	int64		queue_begin[CO_PRIORITIES]; /* lower ids are done, or wait for
											 * another attempt */

	/* likewise, since the server's start */
	int64		calls;
	int64		answers;		/* stored */
	int64		joined;			/* requests that shared another's call */
	int64		faults;
	int64		restarts;
	int			unstored;		/* answers that wait for the disk */
	bool		spilled;		/* clearout_spill is not empty */
	char		last_error[CO_REASON_SIZE]; /* no address, no token */
	TimestampTz last_error_at;
} CoDatabase;

typedef struct CoToken
{
	uint64		hash;			/* of token and base URL; 0: entry unused */
	int			users;			/* databases that use it now */
	TimestampTz used_at;		/* last time, for reuse of the entry */
	CoGovernor	governor[CO_SERVICE_COUNT];
	CoCredits	credits;		/* what the account has left */
	TimestampTz credits_told;	/* when it last said so; 0: never */
} CoToken;

typedef struct CoShared
{
	LWLock	   *lock;
	PGPROC	   *launcher;		/* NULL: none running ... */
	int64		launcher_left_at;	/* ... since then; co_clock() */
	bool		scan;			/* launcher: look at pg_database again */
	bool		settings_prepared;	/* a prepared transaction changes settings of
									 * a database or role */
	int			slot_count;
	int			slots_used;
	int			database_count;
	int			databases_high; /* entries from here on were never used */
	dlist_head	free;
	CoToken		token[CO_TOKEN_MAX];
	CoDatabase *database;
	CoSlot	   *slot;
} CoShared;

/* NULL unless the library was preloaded. */
extern CoShared *co_shared;

extern void co_slots_init(void);

/* --- for callers --- */

/*
 * Claim a slot of this database and hand the request to its worker.  False,
 * with *reply filled, if there is none to be had.  The slot is freed by
 * co_slot_release(), and when the backend exits.
 */
extern bool co_slot_claim(CoEndpointId endpoint, const char *key,
						  const CoFreshness *accepts, int64 deadline,
						  CoSlotRef *ref, CoReply *reply);

/* Is there no worker, and nobody who would start one? */
extern bool co_slot_is_hopeless(void);

/* Is there no worker in this database?  The reply says why. */
extern bool co_slot_is_without_worker(CoReply *reply);

/*
 * Is the reply there?  The slot is kept until it is released.  *progress says
 * how far it has come.  Our latch is set when there is news.
 */
extern bool co_slot_poll(CoSlotRef ref, CoReply *reply, CoProgress *progress);

extern void co_slot_release(CoSlotRef ref);

/* --- for a worker --- */

/*
 * Become the worker of this database: false if it has one.  Requests that a
 * predecessor had taken are put back, its calls in flight are forgotten.
 */
extern bool co_database_attach(Oid dbid, int *database);

typedef enum CoLeave
{
	CO_LEAVE_FAILED,			/* start another one, with backoff */
	CO_LEAVE_REPLACE,			/* start another one at once */
	CO_LEAVE_ABSENT				/* there is nothing to come back for */
} CoLeave;

extern void co_database_detach(int database, CoLeave leave);

/* Take the oldest request; false if there is none. */
extern bool co_slot_take(int database, CoSlotRef *ref, CoSlot *copy);

/* Does the caller still wait? */
extern bool co_slot_waits(CoSlotRef ref);

/* Tell him how far it has come. */
extern void co_slot_set_progress(CoSlotRef ref, CoProgress progress);

/* Answer, if the caller still waits, and wake him. */
extern void co_slot_answer(CoSlotRef ref, const CoReply *reply);

/* --- for the launcher, the hooks and everybody --- */

/* Entry of a database, made if need be; -1 when all are taken.  Lock held. */
extern int	co_database_entry(Oid dbid, bool create);

/*
 * Its worker is to leave once its calls have landed, so that the launcher
 * looks at the database again.  Index -1 is no database.  Lock held.
 */
extern void co_database_replace_worker(int index);

/* Tell everybody who waits in this entry.  Lock held. */
extern void co_database_refuse(CoDatabase *database, const char *reason);

/* Make a reply of a refusal. */
extern void co_reply_refuse(CoReply *reply, CoRefusal refusal, const char *message);

extern void co_launcher_wake(void); /* lock held */
extern void co_worker_wake(CoDatabase *database);	/* lock held */

/* Index of the entry for this token hash, with its governors; -1 when all
 * entries are in use.  Lock held. */
extern int	co_token_attach(uint64 hash, int verify_rpm, int find_rpm);
extern void co_token_detach(int token); /* lock held */

#endif							/* CO_SLOTS_H */
