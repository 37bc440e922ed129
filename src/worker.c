/*-------------------------------------------------------------------------
 * worker.c
 *		One process per database: turns waiting requests into stored answers.
 *
 *		slots, queue --take--> NEW --nothing fresh stored--> WAITING, QUEUED
 *		WAITING, then QUEUED --governor, a free place--> IN FLIGHT --> LANDED
 *		   ^                                    |
 *		   +-- 429; or backoff is over ---------+-- no use: callers are told,
 *													rows of the queue keep the
 *													reason
 *		LANDED --committed--> callers are woken, who read the stored row; rows
 *			of the queue are gone with the same commit
 *
 * No transaction is open while a call is on the wire: it would hold back
 * vacuum for as long as the slowest mail server takes to answer.  The loop
 * waits in one place, for its latch, libcurl's sockets, the next timer and
 * the postmaster's death; with nothing to do it does not wake up at all.
 *
 * SIGTERM only sets a flag, which is looked at where nothing that was paid
 * for is in our hands alone: what has been received is committed first.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "access/xact.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "address.h"
#include "bulk.h"
#include "bulk_backlog.h"
#include "clock.h"
#include "compat.h"
#include "convert.h"
#include "decide.h"
#include "flight.h"
#include "forget.h"
#include "gate.h"
#include "guc.h"
#include "http.h"
#include "landed.h"
#include "lookup.h"
#include "outbox.h"
#include "outdated.h"
#include "price.h"
#include "session.h"
#include "queue.h"
#include "seek.h"
#include "slots.h"
#include "spending.h"
#include "stored.h"
#include "token.h"
#include "usage.h"
#include "verdict_jsonb.h"
#include "worker.h"

/* Longer than the time that the service was told, so that it speaks first. */
#define HTTP_GRACE			2000	/* ms */
#define CONNECT_TIMEOUT		10000	/* ms */
#define BODY_MAX			(256 * 1024)

/* How long a balance enquiry may take; it is fast, or of no use. */
#define BALANCE_TIMEOUT		10000	/* ms */
/* Backoff of calls that failed, in microseconds. */
#define RETRY_BASE			INT64CONST(200000)
#define RETRY_CAP			INT64CONST(3600000000)

#define QUEUE_BUFFER		64
#define BACKLOG_HELD		4000
#define ROWS_HELD			20000
#define QUEUE_RETRY			INT64CONST(2000000)
/* Rows that wait for a time are looked at so often, since the clock may be set. */
#define WALL_LOOK			INT64CONST(60000000)
#define TOKEN_RETRY			INT64CONST(1000000)
#define TOKEN_POLL			INT64CONST(30000000)
#define GOVERNOR_POLL		INT64CONST(1000000)
#define LANDING_TIME		INT64CONST(500000)
#define BULK_PAUSE_LOOK	INT64CONST(10000000)
#define FORGET_RETRY			INT64CONST(2000000)
#define LOOK_AGAIN_LATE		INT64CONST(10000000)
#define SHOW_QUEUE			INT64CONST(1000000)

bool		co_am_worker = false;

static int	me = -1;			/* index of our entry */
static CoDatabase *mine = NULL;
static CoLeave leave = CO_LEAVE_FAILED;

static CoHttp *http = NULL;
static WaitEventSet *wait_set = NULL;
static uint32 worker_wait_event = 0;
static MemoryContext turn_context = NULL;

/* What the engine and the token were made from: a change replaces us. */
static char *made_from = NULL;
static char *url[CO_ENDPOINT_COUNT];
static const char *public_refused = NULL;	/* why the public URL is no use */
static char token[CO_TOKEN_SIZE];
static char authorization[CO_TOKEN_SIZE + 16];
static uint64 token_hash = 0;
static char not_configured[CO_REASON_SIZE]; /* "" if we can call */
static int64 token_read_at = 0;

static bool draining = false;	/* start nothing; leave when all is landed */
static int64 leave_at = INT64_MAX;	/* when draining: leave then in any case */

/* The balance enquiry that is under way; owner of its transfer. */
static CoTicket balance_ticket;

/* The queue. */
static bool queue_paused = false;	/* by clearout_pause() */
/* Of the rows that wait for a retry, or for a search. */
static TimestampTz next_due[CO_QUEUE_KINDS] = {DT_NOEND, DT_NOEND};
static int64 queue_look_at = 0; /* look at all of it again then; 0 = no need */
static int64 queue_retry_at = 0;	/* it could not be read: not before then */
static bool rows_behind = false;	/* some ask for a search, and do not know */

static int64 budget_look_at = 0;	/* rows were passed over: look again; 0 = no */

static int64 start_at = 0;		/* governor: ask again then; 0 = no need */
static int64 forget_at = 1;		/* look at clearout_forgotten then; 0 = no need */
static int64 look_again_at = 0; /* a table was locked against readers; 0 = no */

/* ---------- what the status view shows ---------- */

/* Before anybody is told of it, since he may look. */
static void
show_condition(void)
{
	static CoCondition shown = CO_CONDITION_WORKING;
	CoCondition condition = CO_CONDITION_WORKING;
	const char *reason = "";

	if (co_landed_trouble() != NULL)
	{
		condition = CO_CONDITION_UNSTORED;
		reason = co_landed_trouble();
	}
	else if (not_configured[0] != '\0')
	{
		condition = CO_CONDITION_NOT_CONFIGURED;
		reason = not_configured;
	}
	else if (co_gate_reason()[0] != '\0')
	{
		condition = CO_CONDITION_PAUSED;
		reason = co_gate_reason();
	}
	else if (co_spending_shown_hindrance() != NULL)
	{
		condition = CO_CONDITION_BUDGET;
		reason = co_spending_shown_hindrance();
	}
	if (condition == shown && condition == CO_CONDITION_WORKING)
		return;
	shown = condition;
	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	mine->condition = condition;
	strlcpy(mine->reason, reason, sizeof(mine->reason));
	LWLockRelease(co_shared->lock);
}

/* Where do the rows of the queue begin?  Once a second, while there is work. */
static void
show_queue(void)
{
	static int64 shown_at = 0;
	int64		lowest[CO_PRIORITIES];

	if (co_clock() < shown_at + SHOW_QUEUE)
		return;
	shown_at = co_clock();
	for (int i = 0; i < CO_PRIORITIES; i++)
		lowest[i] = co_queue_from(i + CO_PRIORITY_MIN);
	co_flights_lowest(lowest);
	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	memcpy(mine->queue_begin, lowest, sizeof(mine->queue_begin));
	LWLockRelease(co_shared->lock);
}

/* ---------- settings ---------- */

static char *
settings_text(void)
{
	return psprintf("%s\n%s\n%s\n%s\n%d\n%d", co_base_url, co_public_url, co_proxy,
					co_ca_file, co_allow_http, co_auth_scheme);
}

/* Read the token and adopt it, unless calls with another are in flight. */
static void
read_token(void)
{
	char		fresh[CO_TOKEN_SIZE];
	char		reason[CO_REASON_SIZE];
	uint64		hash;

	token_read_at = co_clock();
	if (!co_token_read(co_api_token_file, fresh, sizeof(fresh), reason, sizeof(reason)))
	{
		/* A token that works is not thrown away for a file that is away. */
		if (token_hash != 0)
		{
			ereport(LOG, (errmsg("clearout: the token file was not read again: %s", reason)));
			return;
		}
		if (strcmp(not_configured, reason) != 0)
			ereport(LOG, (errmsg("clearout: no calls can be made: %s", reason)));
		strlcpy(not_configured, reason, sizeof(not_configured));
		return;
	}

	hash = co_token_hash(fresh, co_base_url);
	if (hash == token_hash)
		explicit_bzero(fresh, sizeof(fresh));
	else if (co_flight_count(CO_FLIGHT_IN_FLIGHT) > 0 || co_gate_balance_asked())
	{
		/* Calls in flight are counted under the old one; let them land. */
		explicit_bzero(fresh, sizeof(fresh));
		draining = true;
	}
	else
	{
		strlcpy(token, fresh, sizeof(token));
		explicit_bzero(fresh, sizeof(fresh));
		co_token_authorization(token, co_auth_scheme, authorization,
							   sizeof(authorization));
		LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
		co_token_detach(mine->token);
		mine->token = co_token_attach(hash, co_verify_rpm, co_find_rpm);
		LWLockRelease(co_shared->lock);
		/* The first one is not known to be another than before. */
		if (token_hash != 0)
			co_gate_lift();
		token_hash = hash;
		not_configured[0] = '\0';
		if (mine->token < 0)
		{
			token_hash = 0;
			strlcpy(not_configured, "Too many different tokens are in use on this server.",
					sizeof(not_configured));
		}
	}
}

/* A base URL, palloc'd, without a slash at its end. */
static char *
base_of(const char *setting)
{
	char	   *base = pstrdup(setting);
	int			length = strlen(base);

	while (length > 0 && base[length - 1] == '/')
		base[--length] = '\0';
	return base;
}

/* The base URL of what needs no token: the other one without its version. */
static char *
public_base(const char *base)
{
	char	   *result = base_of(co_public_url[0] ? co_public_url : base);
	char	   *version = strrchr(result, '/');

	if (co_public_url[0] == '\0' && version != NULL && version[1] == 'v' &&
		version[2] != '\0' && strspn(version + 2, "0123456789") == strlen(version + 2))
		*version = '\0';
	return result;
}

static void
make_engine(void)
{
	CoHttpConfig config = {0};
	char		message[CO_MESSAGE_SIZE];
	const char *refused;
	char	   *base = base_of(co_base_url);
	char	   *public = public_base(base);

	for (int i = 0; i < CO_ENDPOINT_COUNT; i++)
		url[i] = MemoryContextStrdup(TopMemoryContext,
									 psprintf("%s%s", co_endpoint_is_public(i) ? public : base,
											  co_endpoints[i].path));
	public_refused = co_http_url_error(public, co_allow_http);

	config.ca_file = co_ca_file[0] ? co_ca_file : NULL;
	config.proxy = co_proxy[0] ? co_proxy : NULL;
	config.user_agent = "clearout-postgresql/1.0";
	config.allow_http = co_allow_http;
	config.connect_timeout = CONNECT_TIMEOUT;
	config.body_max = BODY_MAX;
	config.max_transfers = 10000;	/* we keep to max_parallel ourselves */
	http = co_http_create(&config, message, sizeof(message));
	if (http == NULL)
		ereport(ERROR, (errmsg("clearout: could not set up libcurl: %s", message)));

	refused = co_http_url_error(co_base_url, co_allow_http);
	if (refused != NULL)
		snprintf(not_configured, sizeof(not_configured),
				 "The setting clearout.base_url cannot be used: %s.", refused);
	else
		read_token();
	made_from = MemoryContextStrdup(TopMemoryContext, settings_text());
}

static void
reload(void)
{
	ProcessConfigFile(PGC_SIGHUP);

	/*
	 * A new engine means a new process: the wait set cannot let go of the
	 * descriptor of the old one, and what that has in flight shall land.
	 */
	if (strcmp(settings_text(), made_from) != 0)
	{
		draining = true;
		return;
	}
	read_token();
	co_gate_lift();
	co_spending_reread();
	co_bulk_news();				/* what held a list up may be over */
	if (mine->token >= 0)
	{
		LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
		co_governor_configure(&co_shared->token[mine->token].governor[CO_SERVICE_VERIFY],
							  co_verify_rpm);
		co_governor_configure(&co_shared->token[mine->token].governor[CO_SERVICE_FIND],
							  co_find_rpm);
		LWLockRelease(co_shared->lock);
	}
}

/* ---------- taking requests ---------- */

/* Rows have been left in the table, behind where we are. */
static void
look_again_later(void)
{
	if (queue_look_at == 0)
		queue_look_at = co_clock() + QUEUE_RETRY;
}

/* Rows that we let go of are looked at again, a little later. */
static void
let_go_of_rows(CoFlight *flight)
{
	for (int i = 0; i < flight->row_count; i++)
		co_queue_forget(&flight->row[i]);
	if (flight->row_count > 0)
		look_again_later();
}

/* Its callers have been told; what the queue asks of it goes on. */
static void
end_waiting(CoFlight *flight)
{
	co_flight_drop_waiters(flight);
	if ((flight->row_count > 0 || flight->search != NULL) && flight->state != CO_FLIGHT_NEW)
		co_flight_set_state(flight, CO_FLIGHT_QUEUED);
	else
	{
		let_go_of_rows(flight);
		co_flight_end(flight);
	}
}

static void
refuse(CoFlight *flight, CoRefusal refusal, const char *message)
{
	CoReply		reply;

	show_condition();
	co_reply_refuse(&reply, refusal, message);
	co_flight_answer(flight, &reply);
	end_waiting(flight);
}

/* What a row of this kind asks for. */
static CoEndpointId
endpoint_of(CoQueueKind kind)
{
	return kind == CO_QUEUE_FIND ? CO_ENDPOINT_FIND : CO_ENDPOINT_VERIFY;
}

static CoQueueKind
kind_of(const CoFlight *flight)
{
	return flight->endpoint == CO_ENDPOINT_FIND ? CO_QUEUE_FIND : CO_QUEUE_VERIFY;
}

/*
 * How many rows may be taken now: so many that the free places are never short
 * of work, and so few that they do not matter in memory; 0: enough are held.
 */
static int
rows_wanted(CoQueueKind kind)
{
	CoService	service = co_endpoints[endpoint_of(kind)].service;
	int			wanted = Min(Max(2 * co_max_parallel, QUEUE_BUFFER), 1000);
	int			held = co_flight_count_of(CO_FLIGHT_QUEUED, service) +
		co_flight_count_of(CO_FLIGHT_NEW, service);

	/* rows that ask the same share what is held, so there may be many of them */
	return draining || queue_paused || held > wanted / 2 || co_queue_held() > ROWS_HELD ?
		0 : wanted - held;
}

/*
 * May rows be taken to make lists of them?  Those of them that are for no list
 * stay with us, so not while they are many.
 */
static bool
backlog_may_move(void)
{
	return !draining && !queue_paused &&
		co_flight_count_of(CO_FLIGHT_QUEUED, CO_SERVICE_VERIFY) +
		co_flight_count_of(CO_FLIGHT_NEW, CO_SERVICE_VERIFY) < BACKLOG_HELD &&
		co_queue_held() <= ROWS_HELD;
}

/* Take rows of the queue. */
static void
take_rows(CoQueueKind kind)
{
	int			bulk_wanted = kind == CO_QUEUE_VERIFY && backlog_may_move() ? co_backlog_wanted() : 0;
	int			wanted = Max(rows_wanted(kind), bulk_wanted);
	bool		due = next_due[kind] != DT_NOEND && GetCurrentTimestamp() >= next_due[kind];
	CoQueueRow *rows;
	CoTrouble	trouble;
	int			count;
	int			left;

	if (wanted == 0 || (!due && !co_queue_may_have_more(kind)))
	{
		if (bulk_wanted > 0)
			(void) co_bulk_take_over(kind, NULL, 0, true);	/* that was all */
		return;
	}

	rows = co_queue_take(kind, wanted, &count, &next_due[kind], &trouble);
	queue_retry_at = 0;
	if (trouble.sqlstate != 0)
	{
		ereport(LOG, (errmsg("clearout: the queue could not be read: %s", trouble.message)));
		queue_retry_at = co_clock() + QUEUE_RETRY;
		return;
	}
	left = co_bulk_take_over(kind, rows, count, count < bulk_wanted);
	if (left < 0)
	{
		for (int i = 0; i < count; i++)
			co_queue_forget(&rows[i]);
		look_again_later();
	}
	count = Max(left, 0);
	next_due[kind] = Min(next_due[kind], co_bulk_rows_due(kind));
	for (int i = 0; i < count; i++)
	{
		/* The functions let nothing malformed in; a plain INSERT may. */
		if (rows[i].key == NULL)
		{
			if (!co_queue_fail(&rows[i], rows[i].attempts, false, rows[i].fault))
				look_again_later();
			co_queue_forget(&rows[i]);
			continue;
		}
		(void) co_flight_join_row(&rows[i], endpoint_of(kind));
	}
}

static void
take_queued(void)
{
	if (queue_look_at != 0 && co_clock() >= queue_look_at)
	{
		queue_look_at = 0;
		co_queue_look_from(0);
	}
	for (int kind = 0; kind < CO_QUEUE_KINDS; kind++)
	{
		if (queue_retry_at == 0 || co_clock() >= queue_retry_at)
			take_rows(kind);
	}
	if (co_queue_is_another())
		draining = true;
}

static void
take_requests(void)
{
	CoSlotRef	ref;
	CoSlot	   *slot = palloc(sizeof(CoSlot));

	while (co_slot_take(me, &ref, slot))
	{
		bool		joined;
		CoFlight   *flight = co_flight_join(ref, slot, &joined);

		if (joined)
		{
			mine->joined++;
			if (flight->search != NULL)
				co_slot_set_progress(ref, CO_PROGRESS_SOUGHT);
			else if (flight->state == CO_FLIGHT_IN_FLIGHT || flight->state == CO_FLIGHT_LANDED)
				co_slot_set_progress(ref, CO_PROGRESS_SENT);
		}
	}
	pfree(slot);
}

/*
 * A table that is locked against readers may hold the answer, and what is
 * there must not be paid for again; but its lock may last, and the caller
 * himself may hold it.  So it is waited for, and not for long.
 */
#define LOCKED_PATIENCE		INT64CONST(500000)
#define LOCKED_RETRY		INT64CONST(50000)

/* What does a row of the queue accept?  Its own time, and for statuses with a
 * shorter age, no older than that. */
static CoFreshness
accepted_by_row(const CoQueueRow *row)
{
	CoFreshness accepts;

	accepts.verdict = row->accepts_since;
	accepts.unknown = Max(row->accepts_since,
						  row->enqueued_at - (int64) co_max_age_unknown * USECS_PER_SEC);
	accepts.catch_all = co_max_age_catch_all < 0 ? row->accepts_since
		: Max(row->accepts_since,
			  row->enqueued_at - (int64) co_max_age_catch_all * USECS_PER_SEC);
	return accepts;
}

/* Rows of the queue that need no call. */
typedef struct Answered
{
	CoQueueRow *row;
	int			count;
	int			size;
} Answered;

/* Is an answer stored that will do? */
static bool
is_answered(const CoCatalog *catalog, CoLooker *looker, CoFlight *flight,
			const CoFreshness *accepts, bool *locked)
{
	CoStored	stored;
	text	   *key;
	bool		found;

	if (co_endpoints[flight->endpoint].kind != CO_KIND_VERIFY)
		return co_stored_find(catalog, flight->endpoint, co_flight_key(flight),
							  accepts->verdict, &stored, locked);
	key = co_key_text(co_flight_key(flight));
	found = co_looker_finds(looker, key, accepts);
	pfree(key);
	*locked = co_looker_is_blind(looker);
	flight->absent = !*locked && !co_looker_met(looker);
	return found;
}

/* searches_locked: it is not known whether the service seeks on for it. */
static void
look_up_flight(const CoCatalog *catalog, CoLooker *looker, CoFlight *flight,
			   Answered *answered, bool searches_locked)
{
	char	   *key = co_flight_key(flight);
	bool		open = false;
	bool		locked = searches_locked && flight->endpoint == CO_ENDPOINT_FIND;
	bool		one_locked;
	int			left = 0;

	for (int i = 0; i < flight->waiter_count; i++)
	{
		CoWaiter   *waiter = &flight->waiter[i];
		CoReply		reply = {0};

		reply.stored = true;
		if (is_answered(catalog, looker, flight, &waiter->accepts, &one_locked))
			co_slot_answer(waiter->slot, &reply);
		else
			open = true;
		locked |= one_locked;
	}
	if (!open)
		co_flight_drop_waiters(flight);

	for (int i = 0; i < flight->row_count; i++)
	{
		CoFreshness accepts = accepted_by_row(&flight->row[i]);

		if (!is_answered(catalog, looker, flight, &accepts, &one_locked))
		{
			flight->row[left++] = flight->row[i];
			locked |= one_locked;
		}
		else if (answered->count < answered->size)
		{
			answered->row[answered->count] = flight->row[i];
			answered->row[answered->count++].key = MemoryContextStrdup(turn_context, key);
		}
	}
	flight->row_count = left;

	if (!open && left == 0)
		co_flight_end(flight);
	else if (locked && co_clock() < flight->taken_at + LOCKED_PATIENCE)
		look_again_at = co_clock() + LOCKED_RETRY;
	else
	{
		co_flight_set_utf8(flight, co_text_to_utf8(key, strlen(key)));
		co_flight_line_up(flight);
	}
}

/* Rows whose answer was there already. */
static void
remove_answered(Answered *answered)
{
	if (answered->count > 0)
		co_queue_remove(answered->row, answered->count);
	for (int i = 0; i < answered->count; i++)
		co_queue_forget(&answered->row[i]);
	if (co_queue_rows_left())
		look_again_later();
}

/*
 * Since the caller looked, another call may have brought the answer: look
 * again before paying.  One transaction for all that is new.
 */
static void
look_up_new(void)
{
	dlist_mutable_iter iter;
	dlist_iter	count_iter;
	MemoryContext context = CurrentMemoryContext;
	char	   *volatile error = NULL;
	Answered	answered = {NULL, 0, 0};
	bool		searches_locked;

	if (co_flight_count(CO_FLIGHT_NEW) == 0)
		return;
	look_again_at = 0;
	co_seek_attach(&searches_locked);
	dlist_foreach(count_iter, co_flights(CO_FLIGHT_NEW))
		answered.size += dlist_container(CoFlight, node, count_iter.cur)->row_count;
	answered.row = palloc(Max(answered.size, 1) * sizeof(CoQueueRow));

	PG_TRY();
	{
		CoCatalog	catalog;
		CoLooker   *looker;

		StartTransactionCommand();
		PushActiveSnapshot(GetTransactionSnapshot());
		if (!co_catalog_of_extension(&catalog))
			ereport(ERROR, (errmsg("the extension is not installed in this database")));

		looker = co_looker_begin(&catalog, false);
		dlist_foreach_modify(iter, co_flights(CO_FLIGHT_NEW))
			look_up_flight(&catalog, looker, dlist_container(CoFlight, node, iter.cur), &answered,
						   searches_locked);
		co_looker_end(looker);
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		ErrorData  *data;

		MemoryContextSwitchTo(context);
		data = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		MemoryContextSwitchTo(context);
		error = data->message ? data->message : "unknown error";
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	remove_answered(&answered);

	/* Without a look there is no call: it might be paid for twice. */
	if (error != NULL)
	{
		ereport(LOG, (errmsg("clearout: stored answers could not be read: %s", error)));
		co_outdated_suspect(mine);
		while (co_flight_count(CO_FLIGHT_NEW) > 0)
			refuse(dlist_head_element(CoFlight, node, co_flights(CO_FLIGHT_NEW)),
				   CO_REFUSED_NO_WORKER, error);
	}
}

/* ---------- calls ---------- */

static CoService
service_of(const CoFlight *flight)
{
	return co_endpoints[flight->endpoint].service;
}

static void
set_last_error(const char *text)
{
	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	strlcpy(mine->last_error, text, sizeof(mine->last_error));
	mine->last_error_at = GetCurrentTimestamp();
	mine->faults++;
	LWLockRelease(co_shared->lock);
}

static CoReply
failure_reply(const CoOutcome *outcome, const CoDecision *decision)
{
	CoReply		reply = {0};

	reply.error_class = decision->error_class;
	reply.maybe_paid = decision->maybe_paid;
	reply.outcome = *outcome;
	return reply;
}

static void
fail_rows(CoFlight *flight, int attempts, bool maybe_paid, const char *text)
{
	for (int i = 0; i < flight->row_count; i++)
	{
		if (!co_queue_fail(&flight->row[i], attempts, maybe_paid, text))
			look_again_later();
		co_queue_forget(&flight->row[i]);
	}
}

/* What becomes of the rows of the queue whose call has failed. */
static void
decide_rows(CoFlight *flight, const CoOutcome *outcome, const char *text)
{
	CoRetryPolicy policy = {co_max_attempts, RETRY_BASE, RETRY_CAP};
	int64		now = co_clock();
	CoDecision	decision;
	int			attempts = flight->attempts;

	for (int i = 0; i < flight->row_count; i++)
		attempts = Max(attempts, flight->attempts + flight->row[i].attempts);
	decision = co_decide(flight->call, outcome, attempts, false, now,
						 pg_prng_double(&pg_global_prng_state), &policy);

	switch (decision.action)
	{
		case CO_ACTION_WINDOW:
		case CO_ACTION_PAUSE:
			flight->attempts--;
			co_flight_return(flight);
			return;
		case CO_ACTION_RETRY:
			for (int i = 0; i < flight->row_count; i++)
			{
				TimestampTz retry_at = GetCurrentTimestamp() + (decision.retry_at - now);

				if (!co_queue_postpone(&flight->row[i], attempts, retry_at,
									   decision.maybe_paid, text))
					look_again_later();
				next_due[kind_of(flight)] = Min(next_due[kind_of(flight)], retry_at);
				co_queue_forget(&flight->row[i]);
			}
			break;
		case CO_ACTION_GIVE_UP:
		case CO_ACTION_DONE:
			fail_rows(flight, attempts, decision.maybe_paid, text);
			break;
	}
	co_flight_end(flight);
}

/*
 * The service goes on seeking: that is written down at once, and asked about
 * later, until there is an answer or it has taken too long.
 */
static void
seek_on(CoFlight *flight, const char *queue_id)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next_look;
	int64		until;
	bool		remembered;
	bool		left;

	if (flight->search == NULL || strcmp(flight->search, queue_id) != 0)
		co_flight_set_search(flight, queue_id,
							 flight->search == NULL ? flight->asked_at : flight->sought_since);
	flight->attempts = 0;
	next_look = co_decide_next_look(flight->sought_since, now);
	if (next_look == 0)
	{
		CoReply		reply = {0};

		reply.error_class = CO_ERROR_TIMEOUT;
		reply.maybe_paid = true;
		strlcpy(reply.outcome.message, "the service has not ended the search within a day",
				sizeof(reply.outcome.message));
		co_flight_answer(flight, &reply);
		fail_rows(flight, 0, true, reply.outcome.message);
		co_flight_end(flight);
		return;
	}

	remembered = co_seek_remember(flight, next_look, &left);
	rows_behind |= left;
	if (remembered && !co_flight_is_awaited(flight, &until))
	{
		for (int i = 0; i < flight->row_count; i++)
			co_queue_forget(&flight->row[i]);
		next_due[CO_QUEUE_FIND] = Min(next_due[CO_QUEUE_FIND], next_look);
		co_flight_end(flight);
		return;
	}
	co_flight_set_progress(flight, CO_PROGRESS_SOUGHT);
	flight->retry_at = co_clock() + (next_look - now);
	co_flight_set_state(flight, CO_FLIGHT_BACKOFF);
}

/* A call has failed: what now? */
static void
decide(CoFlight *flight, const CoOutcome *outcome)
{
	CoRetryPolicy policy = {co_max_attempts, RETRY_BASE, RETRY_CAP};
	CoDecision	decision;
	CoReply		reply;
	int64		until;
	int64		now = co_clock();
	bool		awaited = co_flight_is_awaited(flight, &until);
	char		text[CO_REASON_SIZE];

	decision = co_decide(flight->call, outcome, flight->attempts, true, now,
						 pg_prng_double(&pg_global_prng_state), &policy);
	reply = failure_reply(outcome, &decision);
	co_outcome_describe(outcome, text, sizeof(text));
	if (decision.action != CO_ACTION_WINDOW)
		set_last_error(text);
	ereport(DEBUG1, (errmsg_internal("clearout: call failed: %s", text)));
	co_gate_failure(service_of(flight), flight->ticket.started, outcome, &decision);
	show_condition();

	co_spending_end_failed(&flight->charge, outcome->sent, decision.maybe_paid);

	/* That we could not hear of it does not end the search. */
	if (flight->call == CO_ENDPOINT_FIND_STATUS && decision.action == CO_ACTION_RETRY)
	{
		seek_on(flight, flight->search);
		return;
	}

	co_flight_set_progress(flight, flight->search ? CO_PROGRESS_SOUGHT : CO_PROGRESS_NONE);
	if (awaited && decision.action == CO_ACTION_WINDOW)
	{
		flight->attempts--;
		co_flight_return(flight);
		return;
	}
	/* Only if somebody will still be there. */
	if (awaited && decision.action == CO_ACTION_RETRY &&
		decision.retry_at < until)
	{
		flight->retry_at = decision.retry_at;
		co_flight_set_state(flight, CO_FLIGHT_BACKOFF);
		return;
	}

	co_flight_answer(flight, &reply);
	co_flight_drop_waiters(flight);
	if (flight->row_count > 0 || flight->search != NULL)
		decide_rows(flight, outcome, text);
	else
		co_flight_end(flight);
}

/* Everybody who waits for what needs a token, or for the rest, is told. */
static void
refuse_awaited(bool public, CoRefusal refusal, const char *message)
{
	for (int service = 0; service < CO_SERVICE_COUNT; service++)
	{
		while ((service == CO_SERVICE_PUBLIC) == public &&
			   co_flight_count_of(CO_FLIGHT_WAITING, service) > 0)
			refuse(dlist_head_element(CoFlight, node, co_flights_of(CO_FLIGHT_WAITING, service)),
				   refusal, message);
	}
}

/* Can calls be made that need a token?  Otherwise whoever waits is told. */
static bool
is_configured(void)
{
	int64		now = co_clock();

	/* The file may have been put right meanwhile. */
	if ((token_hash == 0 || co_gate_is_unauthorized()) &&
		now >= token_read_at + (co_flight_count(CO_FLIGHT_WAITING) > 0 ? TOKEN_RETRY : TOKEN_POLL))
	{
		token_read_at = now;
		if (co_http_url_error(co_base_url, co_allow_http) == NULL)
			read_token();
	}
	if (not_configured[0] != '\0')
	{
		if (!draining)
			refuse_awaited(false, CO_REFUSED_NOT_CONFIGURED, not_configured);
		return false;
	}
	return true;
}

/* Come back to start calls then. */
static void
start_again_at(int64 when)
{
	start_at = start_at == 0 ? when : Min(start_at, when);
}

/* Ask the governor; if it agrees, the call is counted. */
static bool
governor_agrees(CoService service, bool interactive, CoTicket *ticket)
{
	int64		now = co_clock();
	int64		when = now;

	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	/* What needs no token has no window that is told. */
	ticket->started = now;
	if (service != CO_SERVICE_PUBLIC)
	{
		CoGovernor *governor = &co_shared->token[mine->token].governor[service];

		when = co_governor_when(governor, now, interactive);
		if (when <= now)
			*ticket = co_governor_start(governor, now);
	}
	if (when <= now)
	{
		mine->in_flight[service]++;
		mine->calls++;
	}
	LWLockRelease(co_shared->lock);

	if (when > now)
	{
		/* The call that we wait for may be another database's. */
		start_again_at(Min(when, now + GOVERNOR_POLL));
		return false;
	}
	return true;
}

static void
governor_end(CoService service, const CoTicket *ticket, const CoOutcome *outcome,
			 const CoRateHeaders *rate)
{
	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	mine->in_flight[service]--;
	if (service != CO_SERVICE_PUBLIC)
		co_governor_end(&co_shared->token[mine->token].governor[service],
						ticket, co_clock(), rate,
						outcome->http_status == 429 || outcome->code == 1030,
						outcome->sent);
	LWLockRelease(co_shared->lock);
}

/* What the call says, malloc'd; false: it cannot be said. */
static bool
encode(const CoFlight *flight, int timeout, char **query, char **body)
{
	const char *asked = flight->call == CO_ENDPOINT_FIND_STATUS ? flight->search : flight->utf8;

	*query = co_encode_query(flight->call, asked);
	*body = co_encode_body(flight->call, asked, timeout);
	return *query != NULL && *body != NULL;
}

static void
start_call(CoFlight *flight, bool interactive, const char *payer)
{
	const CoEndpoint *endpoint;
	CoHttpRequest request = {0};
	CoOutcome	outcome = {0};
	CoRateHeaders nothing;
	int			timeout;
	char	   *query;
	char	   *body;
	bool		good;

	flight->call = flight->search != NULL ? CO_ENDPOINT_FIND_STATUS : flight->endpoint;
	endpoint = &co_endpoints[flight->call];
	timeout = flight->call == CO_ENDPOINT_FIND ? co_find_timeout : co_request_timeout;
	if (endpoint->timeout_max > 0)
		timeout = Min(timeout, endpoint->timeout_max);
	good = encode(flight, timeout, &query, &body);

	co_gate_started(service_of(flight), interactive, flight->ticket.started,
					(int64) timeout * 1000);
	if (payer != flight->payer)
		strlcpy(flight->payer, payer, sizeof(flight->payer));
	co_spending_begin(&flight->charge, flight->payer, flight->call);
	flight->attempts++;
	flight->forgotten = false;
	flight->asked_at = GetCurrentTimestamp();
	co_flight_set_state(flight, CO_FLIGHT_IN_FLIGHT);

	request.url = url[flight->call];
	if (good && query[0] != '\0')
		request.url = psprintf("%s%s", request.url, query);
	if (!co_endpoint_is_public(flight->call))
		request.authorization = authorization;
	if (endpoint->post)
	{
		request.body = body;
		request.body_length = body ? strlen(body) : 0;
	}
	request.timeout = timeout + HTTP_GRACE;
	request.owner = flight;
	if (!good)
	{
		/* no valid UTF-8 (a SQL_ASCII database), which JSON cannot carry */
		outcome.fault = CO_FAULT_SERVICE;
		outcome.http_status = 400;
		strlcpy(outcome.message, "what is asked is not valid UTF-8", sizeof(outcome.message));
	}
	if (!good || !co_http_start(http, &request, &outcome))
	{
		co_rate_headers_init(&nothing);
		governor_end(service_of(flight), &flight->ticket, &outcome, &nothing);
		decide(flight, &outcome);
	}
	else
		co_flight_set_progress(flight, flight->search ? CO_PROGRESS_SOUGHT : CO_PROGRESS_SENT);
	free(query);
	free(body);
}

/* Is there a place for another call?  What a kill can cost is in flight or not
 * committed yet. */
static bool
is_room(void)
{
	return co_flight_count(CO_FLIGHT_IN_FLIGHT) + co_flight_count(CO_FLIGHT_LANDED) < co_max_parallel &&
		co_http_room(http) > 0;
}

/* What the next call for it may cost. */
static int
price_of(const CoFlight *flight)
{
	return co_price_most(flight->search != NULL ? CO_ENDPOINT_FIND_STATUS : flight->endpoint);
}

/* Whose budget pays for what is awaited?  NULL: nobody's. */
static const char *
paying_waiter(const CoFlight *flight)
{
	/* Whoever has begun a search goes on with it. */
	if (flight->search != NULL && flight->payer[0] != '\0')
		return flight->payer;
	for (int i = 0; i < flight->waiter_count; i++)
	{
		if (co_slot_waits(flight->waiter[i].slot) &&
			co_spending_allows(flight->waiter[i].role, price_of(flight)))
			return flight->waiter[i].role;
	}
	return NULL;
}

static const char *
paying_row(const CoFlight *flight)
{
	if (flight->search != NULL && flight->payer[0] != '\0')
		return flight->payer;
	for (int i = 0; i < flight->row_count; i++)
	{
		if (co_spending_allows(flight->row[i].role, price_of(flight)))
			return flight->row[i].role;
	}
	return NULL;
}

/* Each who waits is told about his own budget. */
static void
refuse_each(CoFlight *flight)
{
	for (int i = 0; i < flight->waiter_count; i++)
	{
		CoReply		reply;

		co_reply_refuse(&reply, CO_REFUSED_BUDGET, co_spending_refusal(flight->waiter[i].role));
		co_slot_answer(flight->waiter[i].slot, &reply);
	}
	end_waiting(flight);
}

/* Rows that nobody pays for today. */
static void
park(CoFlight *flight)
{
	for (int i = 0; i < flight->row_count; i++)
		co_queue_park(&flight->row[i]);
	co_flight_end(flight);
}

/* Calls that somebody waits for. */
static void
start_awaited(CoService service)
{
	while (co_flight_count_of(CO_FLIGHT_WAITING, service) > 0)
	{
		CoFlight   *flight = dlist_head_element(CoFlight, node,
												co_flights_of(CO_FLIGHT_WAITING, service));
		int64		until;
		int64		now = co_clock();
		int64		when;
		const char *hindrance;
		const char *payer;

		if (!co_flight_is_awaited(flight, &until))
		{
			end_waiting(flight);
			continue;
		}
		if (!co_gate_allows(service, true, now, &when))
		{
			/* The balance may be about to say that the pause is over. */
			if (co_gate_balance_is_near(now))
			{
				start_again_at(co_gate_balance_near_until());
				return;
			}
			show_condition();
			co_flight_answer(flight, co_gate_reply(service));
			end_waiting(flight);
			continue;
		}
		hindrance = co_spending_hindrance(price_of(flight));
		if (hindrance != NULL)
		{
			if (co_gate_balance_is_near(now))
			{
				start_again_at(co_gate_balance_near_until());
				return;
			}
			refuse(flight, CO_REFUSED_BUDGET, hindrance);
			continue;
		}
		payer = paying_waiter(flight);
		if (payer == NULL)
		{
			refuse_each(flight);
			continue;
		}
		if (!is_room() || !governor_agrees(service, true, &flight->ticket))
			return;
		start_call(flight, true, payer);
	}
}

/* Calls of the queue. */
static void
start_queued(CoService service)
{
	while (co_flight_count_of(CO_FLIGHT_QUEUED, service) > 0 && !queue_paused)
	{
		CoFlight   *flight = dlist_head_element(CoFlight, node,
												co_flights_of(CO_FLIGHT_QUEUED, service));
		int64		when;
		const char *payer;

		if (!co_gate_allows(service, false, co_clock(), &when))
		{
			if (when != CO_HINDRANCE_NEVER)
				start_again_at(when);
			return;
		}
		if (co_spending_hindrance(price_of(flight)) != NULL)
		{
			start_again_at(co_spending_wake_at());
			return;
		}
		payer = paying_row(flight);
		if (payer == NULL)
		{
			park(flight);
			continue;
		}
		if (!is_room() || !governor_agrees(service, false, &flight->ticket))
			return;
		start_call(flight, false, payer);
	}
}

/* Is there work for a service, which waits only for that? */
static void
look_for_work(bool *waiting)
{
	for (int service = 0; service < CO_SERVICE_COUNT; service++)
		waiting[service] = co_flight_count_of(CO_FLIGHT_WAITING, service) > 0 ||
			((co_flight_count_of(CO_FLIGHT_QUEUED, service) > 0 || co_bulk_waits(service)) &&
			 !queue_paused);
}

/* When is the balance to be asked for? */
static int64
balance_at(int64 now)
{
	bool		waiting[CO_SERVICE_COUNT];

	look_for_work(waiting);
	return co_gate_balance_at(waiting, co_spending_balance_at(waiting, now));
}

/* Ask for the balance if that tells whether a pause is over, or for the floor. */
static void
balance_landed(const CoCreditsAnswer *answer, const CoOutcome *outcome)
{
	char		text[CO_REASON_SIZE];

	co_outcome_describe(outcome, text, sizeof(text));
	co_gate_balance_landed(answer, outcome);
	co_spending_balance_landed(outcome->fault == CO_FAULT_NONE ? answer : NULL, text);
	co_bulk_news();				/* a list may wait for that */
}

static void
ask_balance(void)
{
	CoHttpRequest request = {0};
	CoOutcome	outcome = {0};
	CoRateHeaders nothing;
	int64		now = co_clock();

	if (balance_at(now) > now)
		return;

	/* The token may have been put right meanwhile. */
	if (co_gate_is_unauthorized())
	{
		read_token();
		if (draining || !co_gate_is_unauthorized())
			return;
	}
	if (!governor_agrees(CO_SERVICE_OTHER, true, &balance_ticket))
	{
		co_gate_balance_later(start_at);
		return;
	}
	co_gate_balance_started(balance_ticket.started);
	co_spending_balance_started(balance_ticket.started);
	request.url = url[CO_ENDPOINT_CREDITS];
	request.authorization = authorization;
	request.timeout = BALANCE_TIMEOUT;
	request.owner = &balance_ticket;
	if (!co_http_start(http, &request, &outcome))
	{
		co_rate_headers_init(&nothing);
		governor_end(CO_SERVICE_OTHER, &balance_ticket, &outcome, &nothing);
		balance_landed(NULL, &outcome);
	}
}

static void
land_balance(CoHttpDone *done)
{
	CoCreditsAnswer answer = {0};

	if (done->outcome.fault == CO_FAULT_NONE)
		co_decode_credits(done->outcome.http_status, done->body, done->length,
						  &answer, &done->outcome);
	governor_end(CO_SERVICE_OTHER, &balance_ticket, &done->outcome, &done->rate);
	balance_landed(&answer, &done->outcome);
	co_credits_answer_free(&answer);
}

/*
 * Those who wait come first; none of the services always comes first of the
 * three when places are few.
 */
static void
start_calls(void)
{
	static int	turn = 0;

	bool		configured;

	start_at = 0;
	configured = is_configured();
	if (public_refused != NULL)
		refuse_awaited(true, CO_REFUSED_NOT_CONFIGURED,
					   psprintf("The base URL of what needs no token cannot be used: %s.", public_refused));
	if (draining || co_landed_trouble() != NULL)
		return;
	if (!configured)
	{
		start_awaited(CO_SERVICE_PUBLIC);
		return;
	}
	ask_balance();
	turn = (turn + 1) % CO_SERVICE_COUNT;
	for (int i = 0; i < CO_SERVICE_COUNT; i++)
		start_awaited((turn + i) % CO_SERVICE_COUNT);
	for (int i = 0; i < CO_SERVICE_COUNT; i++)
	{
		CoService	service = (turn + i) % CO_SERVICE_COUNT;

		if (co_flight_count_of(CO_FLIGHT_WAITING, service) == 0)
			start_queued(service);
	}
}

/* ---------- lists ---------- */

/*
 * What a list costs is refused for the same causes as single calls of its
 * service; which ration these calls are counted in is not documented.
 */
static bool
begin_bulk_call(CoService service, bool costs, CoTicket *ticket, int64 *when)
{
	int64		now = co_clock();

	*when = now + BULK_PAUSE_LOOK;
	if (costs && !co_gate_allows(service, false, now, when))
	{
		*when = Min(*when, now + BULK_PAUSE_LOOK);
		return false;
	}
	if (!is_room() || !governor_agrees(CO_SERVICE_OTHER, false, ticket))
	{
		*when = start_at > now ? Min(start_at, now + GOVERNOR_POLL) : now + GOVERNOR_POLL;
		return false;
	}
	if (costs)
		co_gate_started(service, false, ticket->started, (int64) co_request_timeout * 1000);
	return true;
}

static void
end_bulk_call(CoService service, bool costs, const CoTicket *ticket,
			  const CoOutcome *outcome, const CoRateHeaders *rate)
{
	CoRetryPolicy policy = {co_max_attempts, RETRY_BASE, RETRY_CAP};
	CoDecision	decision;

	governor_end(CO_SERVICE_OTHER, ticket, outcome, rate);
	if (outcome->fault == CO_FAULT_NONE)
	{
		if (costs)
			co_gate_success(service, ticket->started);
		return;
	}
	decision = co_retry_decide(outcome, 1, false, co_clock(), 0.0, &policy);
	if (decision.action == CO_ACTION_WINDOW)
		return;
	/*
	 * That a list costs more than there is, or that there are too many of
	 * them, says nothing about single calls.
	 */
	if ((costs && outcome->code != 1028 && outcome->code != 1001 && outcome->code != 1083) ||
		decision.pause == CO_PAUSE_UNAUTHORIZED)
		co_gate_failure(service, ticket->started, outcome, &decision);
}

static void
bulk_stored(int answers, bool spilled)
{
	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	mine->answers += answers;
	LWLockRelease(co_shared->lock);
	if (spilled)
		co_landed_note_spilled();
}

static CoBulkHost
bulk_host(void)
{
	CoBulkHost	host = {http, authorization};

	host.may_call = !draining && not_configured[0] == '\0' && co_landed_trouble() == NULL &&
		token_hash != 0;
	host.may_begin = !queue_paused;
	host.begin_call = begin_bulk_call;
	host.end_call = end_bulk_call;
	host.stored = bulk_stored;
	return host;
}

/* The backoff of some may be over. */
static void
end_backoffs(void)
{
	int64		now = co_clock();
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, co_flights(CO_FLIGHT_BACKOFF))
	{
		CoFlight   *flight = dlist_container(CoFlight, node, iter.cur);

		if (flight->retry_at <= now)
			co_flight_line_up(flight);
	}
}

/* A call was answered: what has it cost? */
static void
end_charge(CoFlight *flight, const CoVerifyAnswer *verify, const CoLookupAnswer *lookup)
{
	CoPerson   *person = NULL;
	int			credits;

	if (co_endpoints[flight->call].kind == CO_KIND_VERIFY)
	{
		co_spending_end(&flight->charge, verify->status, co_price_of_status(verify->status));
		return;
	}
	if (co_endpoints[flight->call].kind == CO_KIND_PERSON && lookup->found && lookup->raw != NULL)
		person = co_person_read(lookup->raw);
	credits = co_price_of_answer(flight->call, lookup->found,
								 person != NULL && person->role == CO_TRUE,
								 person != NULL ? person->credits_charged : -1);
	free(person);
	if (flight->call == CO_ENDPOINT_FIND_STATUS)
		co_spending_end_search(&flight->charge, flight->sought_since, credits);
	else
		co_spending_end(&flight->charge, "", credits);
}

/* What is it that came? */
static void
decode(const CoFlight *flight, CoHttpDone *done, CoVerifyAnswer *verify, CoLookupAnswer *lookup)
{
	int			status = done->outcome.http_status;

	if (co_endpoints[flight->call].kind != CO_KIND_VERIFY)
		co_decode_lookup(flight->call, status, done->body, done->length,
						 flight->call == CO_ENDPOINT_FIND_STATUS ? flight->search : flight->utf8,
						 lookup, &done->outcome);
	else if (!co_verdict_from_jsonb(status, done->body, done->length, flight->utf8,
									verify, &done->outcome))
		co_decode_verify(status, done->body, done->length, flight->utf8,
						 verify, &done->outcome);
}

/* One call has ended. */
static void
land(CoHttpDone *done)
{
	CoFlight   *flight = done->owner;
	CoVerifyAnswer verify = {0};
	CoLookupAnswer lookup = {0};

	if (done->outcome.fault == CO_FAULT_NONE)
		decode(flight, done, &verify, &lookup);
	governor_end(service_of(flight), &flight->ticket, &done->outcome, &done->rate);

	if (lookup.queue_id != NULL)
	{
		/* no answer yet, but the service is there and at work */
		co_gate_success(service_of(flight), flight->ticket.started);
		co_spending_end_open(&flight->charge);
		seek_on(flight, lookup.queue_id);
		co_lookup_answer_free(&lookup);
		return;
	}
	if (done->outcome.fault != CO_FAULT_NONE)
	{
		decide(flight, &done->outcome);
		return;
	}
	co_gate_success(service_of(flight), flight->ticket.started);
	end_charge(flight, &verify, &lookup);
	flight->answer.key = co_flight_key(flight);
	flight->answer.endpoint = flight->endpoint;
	flight->answer.verify = verify;
	flight->answer.lookup = lookup;
	flight->answer.absent = flight->absent;
	flight->answer.asked_at = flight->asked_at;
	flight->answer.received_at = GetCurrentTimestamp();
	flight->answer.state = CO_ANSWER_NEW;
	co_flight_set_state(flight, CO_FLIGHT_LANDED);
}

static void
drive(int most)
{
	CoHttpDone	done;

	co_http_drive(http, most);
	while (co_http_finished(http, &done))
	{
		CoBulkHost	host = bulk_host();

		if (co_bulk_land(&host, &done))
		{
			co_http_release(http, &done);
			continue;
		}
		if (done.owner == &balance_ticket)
			land_balance(&done);
		else
			land(&done);
		co_http_release(http, &done);
	}
}

static void
store_landed(bool at_once)
{
	CoLandedNews news;

	if (co_flight_count(CO_FLIGHT_LANDED) > 0)
		show_condition();		/* these may have ended a pause */
	news = co_landed_store(at_once);
	if (news.search_ended && rows_behind)
	{
		rows_behind = false;
		news.rows_left = true;
	}
	if (news.rows_left)
		look_again_later();
}

/* ---------- the loop ---------- */

/* Nothing is to be done in a database without the extension. */
static void
leave_if_not_installed(void)
{
	MemoryContext context = CurrentMemoryContext;
	bool		installed;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	installed = OidIsValid(co_catalog_schema());
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	if (!installed)
	{
		leave = CO_LEAVE_ABSENT;
		proc_exit(0);
	}
}

/* Behind everything that somebody waits for. */
static void
step_bulk(void)
{
	CoBulkHost	host = bulk_host();

	if (draining)
		co_bulk_leave(&host);
	else
		co_bulk_step(&host);
	for (int kind = 0; kind < CO_QUEUE_KINDS; kind++)
		next_due[kind] = Min(next_due[kind], co_bulk_rows_due(kind));
}

/* Has somebody told us something? */
static void
check_notes(void)
{
	bool		recheck;
	bool		held;
	bool		dropping;
	bool		queue_news;
	bool		resume;
	int64		queue_from;

	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	recheck = mine->recheck;
	mine->recheck = false;
	if (mine->leave)
		draining = true;
	held = mine->holds > 0;
	dropping = mine->dropping;
	queue_news = mine->queue_news;
	queue_from = mine->queue_from;
	resume = mine->resume;
	mine->queue_news = mine->resume = false;
	if (mine->bulk_news)
		co_bulk_news();
	mine->bulk_news = false;
	LWLockRelease(co_shared->lock);

	if (queue_news)
	{
		co_queue_look_from(queue_from);
		co_backlog_look();
		if (queue_from == 0)
		{
			queue_paused = co_queue_is_paused();
			co_spending_reread();
			co_bulk_news();
			co_forget_anew();
			forget_at = co_clock();
		}
	}
	if (resume)
	{
		token_read_at = 0;
		co_gate_lift();
		co_spending_adopted();
	}

	/*
	 * Somebody waits for us to go.  Calls on the wire get a moment to land,
	 * unless what they bring would be dropped with the database.
	 */
	if (held && leave_at == INT64_MAX)
	{
		draining = true;
		leave_at = dropping ? 0 : co_clock() + LANDING_TIME;
	}

	if (recheck)
	{
		leave_if_not_installed();
		/* It is for a new worker to wait until all is there again. */
		if (co_outdated_table() != NULL)
			draining = true;
		co_queue_look_from(0);	/* if that is another one, we see it */
	}
}

/* Addresses have been forgotten, or may have been. */
static void
forget_addresses(void)
{
	bool		rows_left;

	switch (co_forget_sweep(&rows_left))
	{
		case CO_FORGETTING_DONE:
			forget_at = 0;
			break;
		case CO_FORGETTING_MORE:
			forget_at = co_clock();
			break;
		case CO_FORGETTING_LATER:
			forget_at = co_clock() + FORGET_RETRY;
			break;
	}
	if (rows_left)
		look_again_later();
}

/* May rows be taken that were passed over for want of a budget? */
static void
look_at_budgets(void)
{
	int64		now = co_clock();

	if (co_spending_turn())
	{
		/* A new day, or other budgets: all of them. */
		budget_look_at = 0;
		co_queue_look_from(0);
		for (int kind = 0; kind < CO_QUEUE_KINDS; kind++)
			next_due[kind] = Min(next_due[kind], GetCurrentTimestamp());
	}
	if (co_spending_is_relieved() && !co_queue_unpark() && budget_look_at == 0)
		budget_look_at = now + LOOK_AGAIN_LATE;
	if (budget_look_at != 0 && now >= budget_look_at)
	{
		budget_look_at = 0;
		co_queue_look_from(0);
	}
}

/* Milliseconds until there is something to do by the clock; -1: nothing. */
static long
time_to_wait(void)
{
	int64		now = co_clock();
	int64		next = INT64_MAX;
	long		curl = co_http_timeout(http);
	dlist_iter	iter;

	if (start_at != 0)
		next = Min(next, start_at);
	next = Min(next, co_landed_due(now));
	if (draining)
		next = Min(next, leave_at);
	if (look_again_at != 0)
		next = Min(next, look_again_at);
	if (forget_at != 0)
		next = Min(next, forget_at);
	if (queue_look_at != 0)
		next = Min(next, queue_look_at);
	/* What was taken last may all have been answered already. */
	for (int kind = 0; kind < CO_QUEUE_KINDS; kind++)
	{
		if (rows_wanted(kind) == 0)
			continue;
		if (co_queue_may_have_more(kind))
			next = Min(next, Max(now, queue_retry_at));
		if (next_due[kind] != DT_NOEND)
			next = Min(next, Max(queue_retry_at,
								 now + Min(Max(next_due[kind] - GetCurrentTimestamp(), 0), WALL_LOOK)));
	}
	if (!draining && (token_hash == 0 || co_gate_is_unauthorized()) &&
		co_flight_count(CO_FLIGHT_QUEUED) > 0)
		next = Min(next, token_read_at + TOKEN_POLL);
	if (!draining && co_landed_trouble() == NULL && not_configured[0] == '\0')
		next = Min(next, balance_at(now));
	if (co_gate_write_at() != 0)
		next = Min(next, co_gate_write_at());
	if (co_usage_flush_at() != 0)
		next = Min(next, co_usage_flush_at());
	if (budget_look_at != 0)
		next = Min(next, budget_look_at);
	if (co_spending_wants_turn())
		next = now;
	if (co_spending_anybody_waits() && !queue_paused && !draining)
		next = Min(next, co_spending_wake_at());
	if (!draining)
		next = Min(next, co_bulk_due());
	if (backlog_may_move())
		next = Min(next, Max(co_backlog_due(), queue_retry_at));
	dlist_foreach(iter, co_flights(CO_FLIGHT_BACKOFF))
		next = Min(next, dlist_container(CoFlight, node, iter.cur)->retry_at);
	if (curl >= 0)
		next = Min(next, now + curl * 1000);

	if (next == INT64_MAX)
		return -1;
	/* Rounded up: a millisecond early would be a turn for nothing. */
	return next <= now ? 0 : (long) Min((next - now + 999) / 1000, 3600 * 1000);
}

/*
 * Whoever commits rows of the queue need not wake us while we hold as many as
 * we can use.  False: some have come meanwhile, and we can use them now.
 */
static bool
tell_appetite(void)
{
	static bool shown = false;

	/*
	 * Of addresses, which come in numbers; somebody to be found is seen at the
	 * next turn, and there is one a second while these wait for their window.
	 */
	bool		full = rows_wanted(CO_QUEUE_VERIFY) == 0 &&
		!co_gate_is_paused(CO_SERVICE_VERIFY);
	bool		news;

	if (full == shown)
		return true;
	shown = full;
	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	mine->queue_full = full;
	news = mine->queue_news;
	LWLockRelease(co_shared->lock);
	return full || !news;
}

static void
wait_for_something(void)
{
	WaitEvent	events[3];
	int			count;
	long		timeout = tell_appetite() ? time_to_wait() : 0;
	bool		idle = co_flight_count(CO_FLIGHT_IN_FLIGHT) == 0;
	static bool shown_idle = false;

	if (idle != shown_idle)
	{
		pgstat_report_activity(idle ? STATE_IDLE : STATE_RUNNING,
							   idle ? NULL : "calling the Clearout service");
		shown_idle = idle;
	}

	count = WaitEventSetWait(wait_set, timeout, events, lengthof(events),
							 co_wait_event(&worker_wait_event, "ClearoutWorkerMain"));
	for (int i = 0; i < count; i++)
	{
		if (events[i].events & WL_LATCH_SET)
			ResetLatch(MyLatch);
		if (events[i].events & WL_POSTMASTER_DEATH)
			proc_exit(1);
	}
}

static void
worker_exit(int code, Datum argument)
{
	(void) code;
	(void) argument;

	/* Whatever ends us: what has been answered is paid for. */
	if (co_flight_count(CO_FLIGHT_LANDED) > 0)
	{
		AbortOutOfAnyTransaction();
		store_landed(true);
	}

	if (turn_context != NULL)
		co_seek_leave();

	/*
	 * The engine goes with the process.  To take it apart could mean to wait
	 * for a thread of libcurl's that asks a dead name server: newer releases
	 * do that in spite of CURLOPT_QUICK_EXIT.
	 */
	explicit_bzero(token, sizeof(token));
	explicit_bzero(authorization, sizeof(authorization));
	co_database_detach(me, leave);
}

static void
run_loop(void)
{
	for (;;)
	{
		MemoryContextReset(turn_context);
		MemoryContextSwitchTo(turn_context);

		/* Nobody can cancel anything here but what a lock timeout cancels. */
		QueryCancelPending = false;
		CHECK_FOR_INTERRUPTS();
		if (ShutdownRequestPending)
		{
			/* What the service has answered by now is paid for. */
			drive(INT_MAX);
			store_landed(true);
			co_usage_flush();
			proc_exit(0);
		}
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			reload();
		}
		check_notes();
		if (forget_at != 0 && co_clock() >= forget_at)
			forget_addresses();

		if (!draining)
			take_requests();
		look_at_budgets();
		take_queued();
		look_up_new();
		end_backoffs();
		start_calls();
		drive(co_landed_wanted());
		start_calls();			/* a place that came free is used at once */
		drive(co_landed_wanted());
		store_landed(false);
		start_calls();			/* what is stored made room for others */
		co_landed_merge();
		step_bulk();
		co_gate_write();
		co_outbox_tell();
		co_usage_tend();
		co_flights_sweep();

		if (draining &&
			((co_flight_count(CO_FLIGHT_IN_FLIGHT) == 0 &&
			  co_flight_count(CO_FLIGHT_LANDED) == 0 &&
			  !co_bulk_uploading()) || co_clock() >= leave_at))
		{
			leave = CO_LEAVE_REPLACE;
			co_usage_flush();
			proc_exit(0);
		}
		show_condition();
		show_queue();
		wait_for_something();
	}
}

void
co_worker_main(Datum argument)
{
	Oid			dbid = DatumGetObjectId(argument);

	/*
	 * To connect can mean to wait for a lock, such as that of a prepared
	 * ALTER DATABASE ... RENAME: there SIGTERM ends us at once.
	 */
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	co_am_worker = true;

	BackgroundWorkerInitializeConnectionByOid(dbid, InvalidOid, 0);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	if (!co_database_attach(dbid, &me))
		proc_exit(0);			/* it has a worker */
	mine = &co_shared->database[me];
	before_shmem_exit(worker_exit, (Datum) 0);

	co_session_init();
	SetConfigOption("application_name", "clearout worker", PGC_USERSET, PGC_S_SESSION);
	leave_if_not_installed();
	if (!co_outdated_wait(me))
	{
		leave = CO_LEAVE_REPLACE;
		proc_exit(0);
	}

	turn_context = AllocSetContextCreate(TopMemoryContext, "clearout turn",
										 ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(turn_context);
	co_flights_init();
	co_gate_init();
	co_spending_init(mine);
	co_landed_init(mine);
	make_engine();
	wait_set = co_create_wait_event_set(3);
	AddWaitEventToSet(wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(wait_set, WL_POSTMASTER_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(wait_set, WL_SOCKET_READABLE, co_http_fd(http), NULL, NULL);
	pgstat_report_activity(STATE_IDLE, NULL);

	co_outbox_begin();
	co_landed_merge();			/* what a predecessor has left */
	queue_paused = co_queue_is_paused();
	run_loop();
}
