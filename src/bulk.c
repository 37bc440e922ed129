/*-------------------------------------------------------------------------
 * bulk.c
 *		Bulk jobs, in the worker: carries the parts of all jobs along.
 *
 *	   SPOOLED --upload begins--> UPLOADING --answered: list_id--> RUNNING
 *		 ^  |                      |  |  ^                           |
 *		 |  |     refused for now  |  |  '-- answer lost: look for   |
 *		 '--+-----------------------  |      the file's name among   |
 *			|                         |      the lists, upload again |
 *			|                         |      only if it is not there |
 *			|             cannot look: held, for a user to decide    |
 *			| cancelled                                              | completed,
 *			v                                                        v cancelled
 *		CANCELLED <--+                                          DOWNLOADING
 *		FAILED    <--+-- STORED <---- read to its end, all answers --'
 *		DONE      <--'     |   	      stored on the way
 *						   '-- the spool is compared with the answers
 *
 * Each arrow is a commit, made before what follows is begun.  So UPLOADING
 * says that the service may have the list, whatever became of us: it is then
 * looked for before anything is sent again.  advance() is what moves a part
 * along, a step at a time; land() takes in what a step on the wire has brought.
 *
 * Nothing here waits.  A step is bounded, some 20 ms at most, so that the
 * worker's loop goes on serving whoever waits for a single answer; and no
 * transaction is open while something is on the wire.  Memory is flat: an
 * upload is read from the spool a few thousand rows at a time, as curl asks for
 * them; a result file is stored as it comes, and waits at the service while
 * we are busy.  How far it is stored is committed with the rows, so after a
 * crash it is fetched again and read on from there.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "bulk.h"
#include "bulk_table.h"
#include "clock.h"
#include "guc.h"
#include "retry.h"
#include "session.h"
#include "spending.h"

/* Parts worked on at once; the others wait in the table. */
#define ACTIVE_MAX		16

#define MOVE_ROWS		2000

#define CALL_TIMEOUT	60000	/* ms */
#define FILE_TIMEOUT	(4 * 3600 * 1000)	/* ms; who stalls is cut off before */
#define FILE_STALL		120000	/* ms */

#define SECOND			INT64CONST(1000000)
#define POLL_FIRST		(SECOND / 2)
#define POLL_LAST		(60 * SECOND)
#define RETRY_FIRST		SECOND
#define RETRY_LAST		(300 * SECOND)
#define LISTS_RETRY		(15 * SECOND)	/* the service has too many lists */
#define LOCKED_RETRY	(SECOND / 5)
#define LOCKED_LAST		(5 * SECOND)
#define BUDGET_LOOK		(60 * SECOND)	/* budgets may have been raised */
#define WAITING_RETRY	(600 * SECOND)

#define RESULT_ATTEMPTS	20		/* the result is not there, or not to be had */
#define SHORT_ATTEMPTS	2		/* it is shorter than what was sent */

/* Time that a batch may spend on waiting for others' row locks. */
#define ROW_LOCK_TIMEOUT	"20ms"
#define ROW_LOCK_BUDGET		400000	/* microseconds */

static const char csv_header[] = "Email\n";
static const char boundary[] = "----clearout7f4c1be02d9a5e36";

/* A part that is worked on. */
typedef struct Active
{
	CoPart		part;
	int64		due;			/* go on then; co_clock() */
	bool		removal;		/* its list is to be removed, and nothing else */

	/* on the wire */
	CoBulkCall	call;
	CoHttpTransfer *transfer;	/* NULL: nothing */
	bool		counted;		/* begin_call() has counted it ... */
	bool		costs;
	CoTicket	ticket;

	CoCharge	charge;			/* what the list may cost, once it is sent */

	/* the upload */
	bool		measured;		/* its length is known */
	int			position;		/* in the spool: measured, or sent, up to there */
	uint64		length;			/* of the CSV text */
	uint64		sent;			/* of head, text and tail */
	char	   *head;			/* malloc'd, with tail */
	char	   *tail;

	/* the search for a list */
	int64		look_at;		/* not before; 0: not yet set */
	bool		looked;			/* once without finding it */
	char		cursor[CO_BULK_ID_MAX + 1];

	/* STORED */
	bool		cleared;		/* all of the spool is compared */
	bool		keep_list;		/* it cannot be removed at the service */

	/* the result */
	char	   *url;			/* malloc'd; to be fetched at once */
	CoImport   *import;
	bool		complete;		/* the whole file has come */
	bool		pending;		/* there may be rows in what has come */
	bool		enough;			/* however few rows it has */
	bool		unstored;		/* a batch waits to be stored */
	bool		parsed;			/* ... and is parsed */
	int64		locked_since;
	bool		complained;		/* the log knows why it does not go on */
} Active;

static Active *active[ACTIVE_MAX];
static int	active_count = 0;
static Active *removal = NULL;

static bool news = true;		/* look at the tables */
static int64 news_at = 0;
static int64 removals_at = 0;	/* INT64_MAX: nothing to remove */
static int64 retire_at = 0;		/* INT64_MAX: never */
static bool any_open = true;	/* a part is not finished */

/* Rows of the queue are due then, by our doing. */
static TimestampTz rows_due = DT_NOEND;

static bool backlog_news = true;
static int64 backlog_at = 0;
static bool moving = false;
static int64 growing_job = 0;	/* being filled from the queue */
static int	growing_rows = 0;
static int	move_wanted = 0;

/* ---------- parts at work ---------- */

static Active *
make_active(const CoPart *part)
{
	Active	   *a = MemoryContextAllocZero(TopMemoryContext, sizeof(Active));

	a->part = *part;
	a->due = co_clock();
	/* what a predecessor has sent */
	if (part->state >= CO_PART_UPLOADING && part->state <= CO_PART_DOWNLOADING)
		co_spending_begin_list(&a->charge, part->role, part->rows);
	return a;
}

/* The list is over, and has cost so much, as far as we can tell. */
static void
end_charge(Active *a)
{
	co_spending_end(&a->charge, "", (int) a->part.credits);
}

static void
end_transfer(CoHttp *http, Active *a)
{
	if (a->transfer != NULL)
		co_http_abandon(http, a->transfer);
	a->transfer = NULL;
	free(a->head);
	a->head = a->tail = NULL;
	free(a->url);
	a->url = NULL;
}

static void
end_import(Active *a)
{
	if (a->import != NULL)
		co_import_end(a->import);
	a->import = NULL;
	a->complete = a->pending = a->unstored = a->parsed = false;
}

/* Whoever reads headers says when a call that is given up has ended: now. */
static void
uncount(const CoBulkHost *host, Active *a)
{
	CoOutcome	outcome = {0};
	CoRateHeaders nothing;

	if (!a->counted)
		return;
	outcome.fault = CO_FAULT_LOST;
	outcome.sent = true;
	co_rate_headers_init(&nothing);
	host->end_call(a->costs, &a->ticket, &outcome, &nothing);
	a->counted = false;
}

static void
drop_active(const CoBulkHost *host, int number)
{
	Active	   *a = active[number];

	uncount(host, a);
	end_transfer(host->http, a);
	end_import(a);
	end_charge(a);
	pfree(a);
	active[number] = active[--active_count];
}

static void
retry_table(Active *a, const CoTrouble *trouble)
{
	if (!a->complained)
		ereport(LOG, (errmsg("clearout: bulk job %lld, part %d: a step could not be committed: %s",
							 (long long) a->part.job, a->part.part, trouble->message)));
	a->complained = true;
	a->due = co_clock() + SECOND;
}

/* Commit a part as it is to be; false: later. */
static bool
save(Active *a, const CoPart *next)
{
	CoTrouble	trouble;

	if (co_bulk_save(next, &trouble))
	{
		a->part = *next;
		a->due = co_clock();
		a->complained = false;
		return true;
	}
	retry_table(a, &trouble);
	return false;
}

/* The order in which a step changes its state. */
static bool
enter(Active *a, CoPartState state)
{
	CoPart		next = a->part;

	next.state = state;
	next.attempts = 0;
	if (state != CO_PART_FAILED && state != CO_PART_STORED && !co_part_is_final(state))
		next.error[0] = '\0';
	return save(a, &next);
}

/*
 * It cannot go on.  What has been answered so far is stored, and what the
 * spool has left is still to be accounted for, which STORED does.
 */
static void
fail(Active *a, const char *reason)
{
	CoPart		next = a->part;

	next.state = CO_PART_STORED;
	next.held = false;
	strlcpy(next.error, reason, sizeof(next.error));
	if (save(a, &next))
		ereport(LOG, (errmsg("clearout: bulk job %lld, part %d has failed: %s",
							 (long long) next.job, next.part, reason)));
}

static int64
backoff(int attempts)
{
	int64		delay = RETRY_FIRST;

	for (int i = 1; i < attempts && delay < RETRY_LAST; i++)
		delay *= 2;
	delay = Min(delay, RETRY_LAST);
	return delay / 2 + (int64) (delay / 2 * pg_prng_double(&pg_global_prng_state));
}

/* Note why a step did not succeed, and try it again some time. */
static void
try_again(Active *a, const char *reason, bool counts, int64 delay)
{
	CoPart		next = a->part;

	if (counts)
		next.attempts++;
	strlcpy(next.error, reason, sizeof(next.error));
	if (memcmp(&next, &a->part, sizeof(CoPart)) != 0 && !save(a, &next))
		return;
	a->due = co_clock() + (delay > 0 ? delay : backoff(Max(next.attempts, 1)));
}

/* ---------- calls ---------- */

static char *
url_of(const Active *a, CoBulkCall call, const char *query)
{
	int			length = strlen(co_base_url);

	while (length > 0 && co_base_url[length - 1] == '/')
		length--;
	return psprintf("%.*s%s%s", length, co_base_url, co_bulk_path(a->part.kind, call), query);
}

/*
 * Begin a call with this body, or a GET with this query; takes the text, which
 * is malloc'd, NULL where there was no memory for it.
 */
static void
begin_call(const CoBulkHost *host, Active *a, CoBulkCall call, char *text)
{
	CoHttpRequest request = {0};
	CoOutcome	outcome = {0};
	int64		when;

	if (text == NULL)
		a->due = co_clock() + SECOND;
	else if (!host->begin_call(false, &a->ticket, &when))
		a->due = when;
	else
	{
		a->counted = true;
		a->costs = false;
		a->call = call;
		request.url = url_of(a, call, call == CO_BULK_PROGRESS ? text : "");
		request.authorization = host->authorization;
		request.body = call == CO_BULK_PROGRESS ? NULL : text;
		request.body_length = request.body ? strlen(text) : 0;
		request.timeout = CALL_TIMEOUT;
		request.owner = a;
		if (!co_http_start_stream(host->http, &request, &a->transfer, &outcome))
		{
			a->transfer = NULL;
			uncount(host, a);
			a->due = co_clock() + SECOND;
		}
	}
	free(text);
}

/* ---------- SPOOLED: measure, then begin the upload ---------- */

/*
 * What has been answered meanwhile need not be sent; and how long the file is
 * has to be known before the first byte of it.
 */
static void
measure(Active *a)
{
	int			to = a->position;
	int			rows;
	int			removed = 0;
	StringInfoData csv;
	CoTrouble	trouble;

	initStringInfo(&csv);
	if (!co_bulk_read(&a->part, &to, &csv, &rows, &trouble) ||
		(rows > 0 && !co_bulk_prune(&a->part, a->position, to, &removed, &trouble)))
	{
		retry_table(a, &trouble);
		return;
	}
	a->part.rows -= removed;
	if (rows == 0)
		a->measured = true;
	else if (removed == 0)
	{
		a->length += csv.len;
		a->position = to;
	}
	/* else the same stretch again, without those */
	pfree(csv.data);
}

static void
begin_upload(const CoBulkHost *host, Active *a)
{
	CoPart		next = a->part;
	CoHttpRequest request = {0};
	CoOutcome	outcome = {0};
	char	   *type;
	const char *refusal;
	int64		when;

	for (int i = 0; i < active_count; i++)
	{
		if (active[i]->transfer != NULL && active[i]->call == CO_BULK_UPLOAD)
		{
			a->due = co_clock() + SECOND / 4;
			return;
		}
	}
	if (!host->may_begin)
	{
		a->due = INT64_MAX;		/* there is news when that is over */
		return;
	}
	refusal = co_spending_hindrance(next.rows);
	if (refusal == NULL && !co_spending_allows(next.role, next.rows))
		refusal = co_spending_refusal(next.role);
	if (refusal != NULL)
	{
		strlcpy(next.error, refusal, sizeof(next.error));
		if (strcmp(next.error, a->part.error) == 0 || save(a, &next))
			a->due = Min(co_spending_wake_at(), co_clock() + BUDGET_LOOK);
		return;
	}
	if (!host->begin_call(true, &a->ticket, &when))
	{
		a->due = when;
		return;
	}
	a->counted = a->costs = true;
	a->call = CO_BULK_UPLOAD;

	/* From here on the service may have it, and must be asked if in doubt. */
	snprintf(next.file_name, sizeof(next.file_name), "clearout-%016llx-%lld-%d-%08x.csv",
			 (unsigned long long) co_queue_origin(), (long long) next.job, next.part,
			 pg_prng_uint32(&pg_global_prng_state));
	next.uploaded_at = GetCurrentTimestamp();
	next.state = CO_PART_UPLOADING;
	if (!save(a, &next))
	{
		outcome.fault = CO_FAULT_LOCAL;
	}
	else if (!co_bulk_multipart(boundary, next.file_name,
								next.kind == CO_BULK_VERIFY && next.optimize[0] ? next.optimize : NULL,
								&a->head, &a->tail))
		outcome.fault = CO_FAULT_LOCAL;
	else
	{
		type = psprintf("multipart/form-data; boundary=%s", boundary);
		request.url = url_of(a, CO_BULK_UPLOAD, "");
		request.authorization = host->authorization;
		request.content_type = type;
		request.upload_length = strlen(a->head) + strlen(csv_header) + a->length + strlen(a->tail);
		request.timeout = FILE_TIMEOUT;
		request.stall = FILE_STALL;
		request.owner = a;
		a->position = 0;
		a->sent = 0;
		if (co_http_start_stream(host->http, &request, &a->transfer, &outcome))
		{
			co_spending_begin_list(&a->charge, a->part.role, a->part.rows);
			return;
		}
		a->transfer = NULL;
	}

	/* Nothing was sent. */
	uncount(host, a);
	if (a->part.state == CO_PART_UPLOADING)
	{
		next = a->part;
		next.state = CO_PART_SPOOLED;
		next.file_name[0] = '\0';
		(void) save(a, &next);
	}
	a->due = co_clock() + SECOND;
}

/* How long the file will be is to be found out anew. */
static void
measure_anew(Active *a)
{
	a->measured = false;
	a->position = 0;
	a->length = 0;
}

/* curl wants more of the file. */
static void
feed_upload(const CoBulkHost *host, Active *a)
{
	uint64		wanted = co_http_hungry(a->transfer);
	StringInfoData piece;
	CoTrouble	trouble;
	int			rows;

	if (wanted == 0 || co_clock() < a->due)
		return;
	initStringInfo(&piece);
	if (a->sent == 0)
	{
		appendStringInfoString(&piece, a->head);
		appendStringInfoString(&piece, csv_header);
	}
	else if (!co_bulk_read(&a->part, &a->position, &piece, &rows, &trouble))
	{
		retry_table(a, &trouble);
		return;
	}
	if (piece.len == 0 && wanted == strlen(a->tail))
		appendStringInfoString(&piece, a->tail);

	/*
	 * The spool has changed under us: it would be another file than was
	 * announced.  The service has not got it whole, and so has no list.
	 */
	if (piece.len == 0 || piece.len > wanted)
	{
		uncount(host, a);
		end_transfer(host->http, a);
		measure_anew(a);
		a->due = co_clock();
		return;
	}
	if (co_http_supply(host->http, a->transfer, piece.data, piece.len))
		a->sent += piece.len;
	else
		a->due = co_clock() + SECOND;
	pfree(piece.data);
}

/* How the upload ended.  *answer has the list if there is one. */
static void
upload_landed(Active *a, const CoBulkAnswer *answer, const CoOutcome *outcome, const char *text)
{
	CoPart		next = a->part;
	CoRetryPolicy policy = {1000, RETRY_FIRST, RETRY_LAST};
	CoDecision	decision = co_retry_decide(outcome, 1, false, co_clock(), 0.5, &policy);

	measure_anew(a);
	if (outcome->fault == CO_FAULT_NONE)
	{
		strlcpy(next.list_id, answer->list_id, sizeof(next.list_id));
		next.state = CO_PART_RUNNING;
		next.attempts = 0;
		next.error[0] = '\0';
		(void) save(a, &next);
		return;
	}

	/* Whatever is no plain refusal: the service may have the list. */
	if (outcome->sent && (outcome->fault != CO_FAULT_SERVICE || outcome->http_status >= 500))
	{
		snprintf(next.error, sizeof(next.error),
				 "the answer to the upload was lost (%s): the list is looked for", text);
		next.attempts = 0;
		(void) save(a, &next);
		a->look_at = co_clock() + (int64) co_request_timeout * 1000;
		return;
	}

	end_charge(a);
	next.state = CO_PART_SPOOLED;
	next.file_name[0] = '\0';
	next.uploaded_at = 0;
	strlcpy(next.error, text, sizeof(next.error));
	if (outcome->code == 1001 || outcome->code == 1083)
	{
		strlcpy(next.error, "it waits for its turn: the service has as many lists as it takes at once",
				sizeof(next.error));
		if (save(a, &next))
			a->due = co_clock() + LISTS_RETRY;
	}
	else if (outcome->code == 1028)
	{
		if (answer->required_credits >= 0)
			snprintf(next.error, sizeof(next.error), "%lld more credits are needed for this list (%s)",
					 (long long) answer->required_credits, text);
		else
			snprintf(next.error, sizeof(next.error), "the credits do not cover this list of %d rows (%s)",
					 next.rows, text);
		next.attempts++;
		if (save(a, &next))
			a->due = co_clock() + Max(backoff(next.attempts), 10 * SECOND);
	}
	else if (decision.action == CO_ACTION_PAUSE)
	{
		if (decision.pause == CO_PAUSE_CREDITS)
			snprintf(next.error, sizeof(next.error), "the account is out of credits, and this list needs up to %d (%s)",
					 next.rows, text);
		else if (decision.pause == CO_PAUSE_DAILY_LIMIT)
			snprintf(next.error, sizeof(next.error), "the account's daily limit is reached (%s)", text);
		(void) save(a, &next);
	}
	else if (decision.action == CO_ACTION_WINDOW)
	{
		next.error[0] = '\0';
		(void) save(a, &next);
	}
	else if (decision.action == CO_ACTION_GIVE_UP && outcome->sent)
	{
		/* it will not take this file, however often it is sent */
		if (save(a, &next))
			fail(a, text);
	}
	else
	{
		next.attempts++;
		if (save(a, &next))
			a->due = co_clock() + backoff(Max(next.attempts, 1));
	}
}

/* ---------- UPLOADING without a transfer: is there a list of that name? ---------- */

static void
look_for_list(const CoBulkHost *host, Active *a)
{
	/*
	 * A crash may have left an upload that the service is still busy with.
	 * Only what it does not know after that time does it not have.
	 */
	if (a->look_at == 0)
		a->look_at = co_clock() + (int64) co_request_timeout * 1000;
	begin_call(host, a, CO_BULK_LISTS, co_bulk_encode_lists(a->cursor[0] ? a->cursor : NULL));
}

static void
lists_landed(Active *a, const CoBulkAnswer *answer, const CoOutcome *outcome, const char *text)
{
	CoPart		next = a->part;

	if (outcome->fault == CO_FAULT_NONE && answer->list_id[0] != '\0')
	{
		strlcpy(next.list_id, answer->list_id, sizeof(next.list_id));
		next.state = CO_PART_RUNNING;
		next.attempts = 0;
		next.error[0] = '\0';
		a->cursor[0] = '\0';
		(void) save(a, &next);
	}
	else if (outcome->fault == CO_FAULT_NONE && answer->more)
	{
		strlcpy(a->cursor, answer->cursor, sizeof(a->cursor));
		a->due = co_clock();
	}
	else if (outcome->fault == CO_FAULT_NONE && co_clock() < a->look_at)
	{
		a->cursor[0] = '\0';
		a->due = Min(a->look_at, co_clock() + 2 * SECOND);
	}
	else if (outcome->fault == CO_FAULT_NONE)
	{
		ereport(LOG, (errmsg("clearout: bulk job %lld, part %d: the service does not have the list, it is uploaded again",
							 (long long) next.job, next.part)));
		end_charge(a);
		next.state = CO_PART_SPOOLED;
		next.file_name[0] = '\0';
		next.uploaded_at = 0;
		next.attempts = 0;
		a->cursor[0] = '\0';
		a->look_at = 0;
		(void) save(a, &next);
	}
	else if (outcome->fault == CO_FAULT_SERVICE && outcome->http_status != 429 &&
			 outcome->code != 1030 && outcome->http_status < 500 &&
			 outcome->http_status != 401 && outcome->http_status != 402)
	{
		/* this account cannot be asked */
		next.held = true;
		snprintf(next.error, sizeof(next.error),
				 "the answer to its upload was lost, and the service does not tell whether it has the list"
				 " \"%s\" (%s): look there, then call clearout_bulk_resolve()", next.file_name, text);
		if (save(a, &next))
			ereport(WARNING, (errmsg("clearout: bulk job %lld, part %d is held: %s",
									 (long long) next.job, next.part, next.error)));
	}
	else
		try_again(a, text, true, 0);
}

/* ---------- RUNNING ---------- */

/* A twentieth of the time that it takes: so a long list costs few calls. */
static int64
poll_interval(const Active *a)
{
	int64		running = GetCurrentTimestamp() - a->part.uploaded_at;

	return Max(POLL_FIRST, Min(POLL_LAST, running / 20));
}

static void
progress_landed(Active *a, const CoBulkAnswer *answer, const CoOutcome *outcome, const char *text)
{
	CoPart		next = a->part;

	if (outcome->fault != CO_FAULT_NONE)
	{
		if (outcome->fault == CO_FAULT_SERVICE &&
			(outcome->code == 1008 || outcome->code == 1029 || outcome->code == 1007))
			fail(a, outcome->code == 1008 ? "the list belongs to another account (code 1008)" :
				 outcome->code == 1029 ? "the service does not have the list any more (code 1029)" :
				 "the list has expired (code 1007)");
		else
			try_again(a, text, true, 0);
		return;
	}

	next.attempts = 0;
	next.error[0] = '\0';
	if (answer->percent >= 0)
		next.percent = answer->percent;
	switch (answer->state)
	{
		case CO_BULK_COMPLETED:
			next.percent = 100;
			/* FALLTHROUGH */
		case CO_BULK_CANCELLED:
			next.state = CO_PART_DOWNLOADING;
			(void) save(a, &next);
			break;
		case CO_BULK_FAILED:
			fail(a, "the service reports that the list has failed");
			break;
		case CO_BULK_RUNNING:
			if (memcmp(&next, &a->part, sizeof(CoPart)) == 0 || save(a, &next))
				a->due = co_clock() + poll_interval(a);
			break;
	}
}

static void
cancel_landed(Active *a, const CoOutcome *outcome, const char *text)
{
	CoPart		next = a->part;

	/* 1116: it is over already, and so can be fetched as usual */
	if (outcome->fault == CO_FAULT_NONE || outcome->fault == CO_FAULT_MALFORMED ||
		outcome->code == 1116)
	{
		next.cancel_sent = true;
		next.attempts = 0;
		next.error[0] = '\0';
		(void) save(a, &next);
	}
	else if (outcome->code == 1029 || outcome->code == 1008)
		fail(a, "the service does not have the list any more");
	else
		try_again(a, text, true, 0);
}

/* ---------- DOWNLOADING ---------- */

static void
result_landed(Active *a, const CoBulkAnswer *answer, const CoOutcome *outcome, const char *text)
{
	const char *problem;

	if (outcome->fault == CO_FAULT_NONE)
	{
		problem = co_http_url_error(answer->url, co_allow_http);
		/* who answers from afar must not send us to this machine */
		if (problem == NULL && co_http_url_is_loopback(answer->url) &&
			!co_http_url_is_loopback(co_base_url))
			problem = "it points to this machine";
		if (problem != NULL)
			fail(a, psprintf("the result's URL cannot be used: %s", problem));
		else if ((a->url = strdup(answer->url)) == NULL)
			a->due = co_clock() + SECOND;
		else
			a->due = co_clock();
	}
	else if (outcome->code == 1007)
		fail(a, "the result has expired (code 1007)");
	else if (outcome->code == 1008)
		fail(a, "the list belongs to another account (code 1008)");
	else if (outcome->code == 1029 && a->part.attempts >= RESULT_ATTEMPTS)
		fail(a, "the service does not have the result (code 1029)");
	else
		try_again(a, text, true, 0);
}

static void
begin_download(const CoBulkHost *host, Active *a)
{
	CoHttpRequest request = {0};
	CoOutcome	outcome = {0};

	end_import(a);
	a->import = co_import_begin("bulk", a->part.uploaded_at, a->part.uploaded_at,
								a->part.bytes_stored);
	a->call = CO_BULK_DOWNLOAD;
	request.url = a->url;
	request.download_max = (uint64) co_bulk_max_bytes * 1024 * 1024;
	request.timeout = FILE_TIMEOUT;
	request.stall = FILE_STALL;
	request.owner = a;
	if (!co_http_start_stream(host->http, &request, &a->transfer, &outcome))
	{
		a->transfer = NULL;
		a->due = co_clock() + SECOND;
	}
	free(a->url);
	a->url = NULL;
}

/*
 * Another length than before: it is another file, and our place in it means
 * nothing.  What was stored of it is stored again, which does no harm.
 */
static void
note_length(Active *a, const CoHttpTransfer *transfer)
{
	int64		length = co_http_content_length(transfer);

	if (length <= 0 || length == a->part.file_bytes)
		return;
	if (a->part.file_bytes != 0 && a->part.bytes_stored > 0)
	{
		a->part.bytes_stored = a->part.rows_read = a->part.rows_answered = 0;
		a->part.rows_undone = a->part.rows_broken = a->part.credits = 0;
		a->import->skip = 0;
	}
	a->part.file_bytes = length;
}

static void
download_landed(Active *a, CoHttpDone *done, const char *text)
{
	const CoOutcome *outcome = &done->outcome;

	if (outcome->http_status == 200)
		note_length(a, done->transfer);
	if (outcome->fault == CO_FAULT_NONE && outcome->http_status == 200)
	{
		co_import_feed(a->import, done->body, done->length);
		a->pending = a->complete = true;
		a->due = co_clock();
		return;
	}
	if (outcome->fault == CO_FAULT_TOO_LARGE)
	{
		end_import(a);
		fail(a, psprintf("the result is longer than clearout.bulk_max_bytes, %d MB", co_bulk_max_bytes));
		return;
	}

	/* What has come whole is stored; then it is fetched anew, from there on. */
	if (a->part.attempts >= RESULT_ATTEMPTS)
	{
		end_import(a);
		fail(a, psprintf("the result could not be fetched: %s", text));
	}
	else
	{
		try_again(a, psprintf("the result was not fetched whole: %s", text), true, 0);
		a->pending = a->import != NULL;
	}
}

/* One bad row, or one that is locked, must not hold up the others. */
static bool
store_apart(Active *a, int from, int to, int64 budget_end, bool *spilled)
{
	CoTrouble	trouble;
	bool		locked;

	if (from == to)
		return true;
	if (co_clock() < budget_end || to - from == 1)
	{
		if (co_bulk_store(a->import, from, to, NULL, false, NULL, &trouble))
			return true;
		locked = co_is_lock_trouble(&trouble);
		if (!locked && !co_is_content_trouble(&trouble))
			return false;
		if (to - from > 1)
		{
			int			middle = from + (to - from) / 2;

			return store_apart(a, from, middle, budget_end, spilled) &&
				store_apart(a, middle, to, budget_end, spilled);
		}
	}
	else
		locked = true;
	*spilled = true;
	return co_bulk_store(a->import, from, to, NULL, true,
						 locked ? NULL : pstrdup(trouble.message), &trouble);
}

/* The part as it is once the batch is stored. */
static CoPart
after_batch(const Active *a)
{
	const CoImport *import = a->import;
	CoPart		next = a->part;

	/* what was read before is passed over */
	next.bytes_stored = Max(next.bytes_stored, co_import_place(import));
	next.rows_read += import->read;
	next.rows_answered += import->count;
	next.rows_undone += import->undone;
	next.rows_broken += import->broken;
	next.credits += import->verdicts;
	if (import->read > 0)
		next.attempts = 0;
	if (next.broken[0] == '\0' && import->why_broken != NULL)
		strlcpy(next.broken, import->why_broken, sizeof(next.broken));
	return next;
}

/* Store the batch; true when it is, somewhere. */
static bool
store_batch(const CoBulkHost *host, Active *a)
{
	CoPart		next = after_batch(a);
	CoTrouble	trouble;
	bool		spilled = false;
	bool		good;
	int			count = a->import->count;

	if (!a->parsed)
	{
		good = co_bulk_parse(a->import, &trouble);
		if (!good && ERRCODE_TO_CATEGORY(trouble.sqlstate) == ERRCODE_TO_CATEGORY(ERRCODE_DATA_EXCEPTION))
		{
			/* some record makes COPY throw: which? */
			a->import->one_by_one = true;
			for (int i = 0; i < a->import->records; i++)
				a->import->bad[i] = !co_bulk_check(a->import, i, &trouble);
			good = co_bulk_parse(a->import, &trouble);
		}
		if (!good)
		{
			retry_table(a, &trouble);
			return false;
		}
		a->parsed = true;
		next = after_batch(a);
		count = a->import->count;
	}

	good = co_bulk_store(a->import, 0, count, &next, false, NULL, &trouble);
	if (!good && trouble.sqlstate == ERRCODE_OBJECT_IN_USE &&
		(a->locked_since == 0 || co_clock() < a->locked_since + LOCKED_LAST))
	{
		/* the whole table is locked, for a moment as likely as not */
		if (a->locked_since == 0)
			a->locked_since = co_clock();
		a->due = co_clock() + LOCKED_RETRY;
		return false;
	}
	if (!good && (co_is_lock_trouble(&trouble) || co_is_content_trouble(&trouble)))
	{
		int64		budget_end = trouble.sqlstate == ERRCODE_OBJECT_IN_USE ? 0 :
			co_clock() + ROW_LOCK_BUDGET;

		co_session_set_lock_timeout(ROW_LOCK_TIMEOUT);
		good = store_apart(a, 0, count, budget_end, &spilled) && co_bulk_save(&next, &trouble);
		co_session_set_lock_timeout(CO_LOCK_TIMEOUT);
	}
	if (!good)
	{
		retry_table(a, &trouble);
		return false;
	}
	a->locked_since = 0;
	a->complained = false;
	a->part = next;
	host->stored(count, spilled);
	pgstat_report_stat(true);
	return true;
}

/* The file has come to its end, and all of it is read but perhaps a last line
 * without an end. */
static void
file_ends(Active *a)
{
	bool		tail = a->import->at < a->import->data.len;
	int64		rows = a->part.rows_read + (tail ? 1 : 0);
	CoPart		next = a->part;

	/* Fewer rows than were sent: perhaps it was cut, and that is all we got. */
	if (rows >= a->part.rows || a->part.cancelled || a->part.attempts >= SHORT_ATTEMPTS)
		a->enough = true;
	if (!a->enough)
	{
		end_import(a);
		try_again(a, psprintf("the result has %lld rows of %d: it is fetched again",
							  (long long) rows, next.rows), true, 0);
		return;
	}
	if (tail)
	{
		/* then it is a last line that nobody has ended */
		a->unstored = co_import_next(a->import, true);
		a->parsed = false;
		a->due = co_clock();
		if (a->unstored)
			return;
	}
	if (a->import->unfit != NULL || !a->import->header_read)
	{
		const char *unfit = a->import->unfit ? a->import->unfit : "it is empty";

		end_import(a);
		fail(a, psprintf("the result cannot be read: %s", unfit));
		return;
	}
	next.state = CO_PART_STORED;
	next.attempts = 0;
	next.error[0] = '\0';
	if (save(a, &next))
		end_import(a);
}

/* Take in what has come, a batch at a time. */
static void
import_step(const CoBulkHost *host, Active *a)
{
	const char *data;
	size_t		length;

	if (co_clock() < a->due)
		return;
	if (!a->unstored && a->pending)
	{
		a->unstored = co_import_next(a->import, false);
		a->parsed = false;
		if (!a->unstored)
			a->pending = false;
	}
	if (a->unstored)
	{
		if (store_batch(host, a))
		{
			a->unstored = false;
			a->pending = a->import->unfit == NULL;
			a->due = co_clock();
		}
		return;
	}
	if (a->import->unfit != NULL)
	{
		const char *unfit = a->import->unfit;

		end_transfer(host->http, a);
		end_import(a);
		fail(a, psprintf("the result cannot be read: %s", unfit));
		return;
	}
	if (a->transfer != NULL)
	{
		length = co_http_chunk(a->transfer, &data);
		if (length > 0)
		{
			note_length(a, a->transfer);
			co_import_feed(a->import, data, length);
			co_http_chunk_done(host->http, a->transfer);
			a->pending = true;
			a->due = co_clock();
		}
	}
	else if (a->complete)
		file_ends(a);
	else
		end_import(a);			/* it broke off: from the service again */
}

/* ---------- STORED ---------- */

static CoPartState
final_state(const CoPart *part)
{
	if (part->cancelled && part->list_id[0] == '\0')
		return CO_PART_CANCELLED;
	if (part->error[0] != '\0')
		return CO_PART_FAILED;
	return part->cancelled && part->cancel_sent ? CO_PART_CANCELLED : CO_PART_DONE;
}

/* Positions go up to where the spool ended, whatever has left it since. */
static void
clear_step(Active *a)
{
	CoTrouble	trouble;
	int			position = a->part.rows_cleared;
	int			rows;
	bool		due = false;
	StringInfoData unused;

	initStringInfo(&unused);
	if (!co_bulk_read(&a->part, &position, &unused, &rows, &trouble) ||
		(rows > 0 && !co_bulk_clear(&a->part, position, rows, &due, &trouble)))
	{
		retry_table(a, &trouble);
		return;
	}
	pfree(unused.data);
	if (due)
	{
		rows_due = GetCurrentTimestamp();
		co_queue_look_from(0);
	}
	a->due = co_clock();
	if (rows == 0)
		a->cleared = true;
}

static void
removed_landed(Active *a, const CoOutcome *outcome)
{
	CoTrouble	trouble;

	/* gone already, or not ours: there is nothing that we could do about it */
	if (outcome->fault == CO_FAULT_NONE || outcome->fault == CO_FAULT_MALFORMED ||
		(outcome->fault == CO_FAULT_SERVICE && outcome->http_status < 500 && outcome->http_status != 429 &&
		 outcome->http_status != 401))
	{
		if (a->removal)
		{
			if (!co_bulk_list_removed(&a->part, &trouble))
				retry_table(a, &trouble);
			removals_at = co_clock();
			a->part.list_removed = true;
		}
		else
		{
			CoPart		next = a->part;

			next.list_removed = true;
			(void) save(a, &next);
		}
	}
	else if (a->removal || ++a->part.attempts < RESULT_ATTEMPTS)
		a->due = co_clock() + backoff(a->part.attempts);
	else
		a->keep_list = true;
}

/* ---------- one step of one part ---------- */

static void
advance(const CoBulkHost *host, Active *a)
{
	if (a->transfer != NULL && a->call == CO_BULK_UPLOAD)
		feed_upload(host, a);
	else if (a->import != NULL)
		import_step(host, a);
	if (a->transfer != NULL || a->import != NULL || co_clock() < a->due)
		return;

	/* What needs no call. */
	if (a->part.held)
	{
		CoPart		next = a->part;

		a->due = INT64_MAX;
		if (!a->part.cancelled)
			return;				/* a user decides */
		next.held = false;
		next.state = CO_PART_STORED;
		(void) save(a, &next);
		return;
	}
	if (a->part.state == CO_PART_SPOOLED && a->part.cancelled)
	{
		(void) enter(a, CO_PART_STORED);
		return;
	}
	if (a->part.state == CO_PART_STORED && !a->cleared)
	{
		clear_step(a);
		return;
	}
	if (a->part.state == CO_PART_STORED &&
		(!a->part.remove_list || a->part.list_removed || a->part.list_id[0] == '\0' ||
		 a->keep_list || a->part.error[0] != '\0'))
	{
		(void) enter(a, final_state(&a->part));
		return;
	}
	if (a->part.state == CO_PART_SPOOLED && !a->measured)
	{
		if (a->part.job == growing_job)
			a->due = co_clock() + SECOND;
		else if (host->may_begin)
			measure(a);
		else
			a->due = INT64_MAX;	/* news when that ends */
		return;
	}
	if (!host->may_call)
	{
		a->due = co_clock() + SECOND;
		return;
	}

	switch (a->part.state)
	{
		case CO_PART_SPOOLED:
			if (a->length == 0)
				(void) enter(a, CO_PART_STORED);	/* all was answered meanwhile */
			else
				begin_upload(host, a);
			break;
		case CO_PART_UPLOADING:
			look_for_list(host, a);
			break;
		case CO_PART_RUNNING:
			if (a->part.cancelled && !a->part.cancel_sent)
				begin_call(host, a, CO_BULK_CANCEL, co_bulk_encode(CO_BULK_CANCEL, a->part.list_id));
			else
				begin_call(host, a, CO_BULK_PROGRESS, co_bulk_encode(CO_BULK_PROGRESS, a->part.list_id));
			break;
		case CO_PART_DOWNLOADING:
			if (a->url != NULL)
				begin_download(host, a);
			else
				begin_call(host, a, CO_BULK_RESULT, co_bulk_encode(CO_BULK_RESULT, a->part.list_id));
			break;
		case CO_PART_STORED:
			begin_call(host, a, CO_BULK_REMOVE, co_bulk_encode(CO_BULK_REMOVE, a->part.list_id));
			break;
		case CO_PART_DONE:
		case CO_PART_FAILED:
		case CO_PART_CANCELLED:
			a->due = INT64_MAX;
			break;
	}
}

static Active *
owner_of(const CoHttpDone *done)
{
	for (int i = 0; i < active_count; i++)
	{
		if (done->owner == active[i])
			return active[i];
	}
	return removal != NULL && done->owner == removal ? removal : NULL;
}

bool
co_bulk_land(const CoBulkHost *host, CoHttpDone *done)
{
	Active	   *a = owner_of(done);
	CoBulkAnswer *answer;
	char		text[CO_REASON_SIZE];

	if (a == NULL)
		return false;
	a->transfer = NULL;			/* the caller releases it */
	free(a->head);
	a->head = a->tail = NULL;

	answer = palloc0(sizeof(CoBulkAnswer));
	if (a->call != CO_BULK_DOWNLOAD && done->outcome.fault == CO_FAULT_NONE)
		co_bulk_decode(a->call, done->outcome.http_status, done->body, done->length,
					   a->part.file_name, answer, &done->outcome);
	if (a->counted)
	{
		a->counted = false;
		host->end_call(a->costs, &a->ticket, &done->outcome, &done->rate);
	}
	co_outcome_describe(&done->outcome, text, sizeof(text));

	/* the window is closed until its reset, which the governor knows */
	if (a->call != CO_BULK_DOWNLOAD && a->call != CO_BULK_UPLOAD &&
		(done->outcome.http_status == 429 || done->outcome.code == 1030))
	{
		a->due = co_clock() + SECOND / 4;
		return true;
	}
	switch (a->call)
	{
		case CO_BULK_UPLOAD:
			upload_landed(a, answer, &done->outcome, text);
			break;
		case CO_BULK_LISTS:
			lists_landed(a, answer, &done->outcome, text);
			break;
		case CO_BULK_PROGRESS:
			progress_landed(a, answer, &done->outcome, text);
			break;
		case CO_BULK_CANCEL:
			cancel_landed(a, &done->outcome, text);
			break;
		case CO_BULK_RESULT:
			result_landed(a, answer, &done->outcome, text);
			break;
		case CO_BULK_DOWNLOAD:
			download_landed(a, done, text);
			break;
		case CO_BULK_REMOVE:
			removed_landed(a, &done->outcome);
			break;
	}
	return true;
}

/* ---------- all of them ---------- */

void
co_bulk_news(void)
{
	news = true;
	news_at = 0;
}

/* Take up what the tables say. */
static void
look_at_tables(const CoBulkHost *host)
{
	CoPart	   *parts;
	int			count;
	CoTrouble	trouble;

	if (!co_bulk_load(ACTIVE_MAX, &parts, &count, &trouble))
	{
		ereport(LOG, (errmsg("clearout: the bulk jobs could not be read: %s", trouble.message)));
		news_at = co_clock() + SECOND;
		return;
	}
	news = false;
	any_open = count > 0;
	removals_at = 0;
	retire_at = 0;
	for (int i = active_count - 1; i >= 0; i--)
	{
		bool		found = false;

		for (int j = 0; j < count && !found; j++)
			found = parts[j].job == active[i]->part.job && parts[j].part == active[i]->part.part;
		if (!found)
			drop_active(host, i);
	}
	for (int j = 0; j < count; j++)
	{
		Active	   *a = NULL;

		for (int i = 0; i < active_count && a == NULL; i++)
		{
			if (parts[j].job == active[i]->part.job && parts[j].part == active[i]->part.part)
				a = active[i];
		}
		if (a == NULL)
			active[active_count++] = make_active(&parts[j]);
		else
		{
			if (a->part.cancelled != parts[j].cancelled || a->due == INT64_MAX)
				a->due = co_clock();
			a->part.cancelled = parts[j].cancelled;
			if (a->part.state == CO_PART_SPOOLED && a->transfer == NULL)
			{
				/* what has held it up may be over */
				a->part.rows = parts[j].rows;
				a->due = Min(a->due, co_clock());
			}
		}
	}
}

/* What clearout_bulk_remove() has left to do at the service and here. */
static void
remove_jobs(const CoBulkHost *host)
{
	CoPart		part;
	CoTrouble	trouble;
	bool		list;
	bool		busy;

	if (removal != NULL && removal->part.list_removed)
	{
		pfree(removal);
		removal = NULL;
	}
	if (removal != NULL)
	{
		if (removal->transfer == NULL && co_clock() >= removal->due && host->may_call)
			begin_call(host, removal, CO_BULK_REMOVE, co_bulk_encode(CO_BULK_REMOVE, removal->part.list_id));
		return;
	}
	if (co_clock() < removals_at)
		return;
	if (!co_bulk_removals(&part, &list, &busy, &trouble))
		removals_at = co_clock() + SECOND;
	else if (list)
	{
		removal = make_active(&part);
		removal->removal = true;
		removal->part.attempts = 0;
	}
	else
		removals_at = busy ? co_clock() : INT64_MAX;
}

static void
retire_jobs(void)
{
	TimestampTz next;
	CoTrouble	trouble;

	if (co_clock() < retire_at)
		return;
	if (!co_bulk_retire(&next, &trouble))
		retire_at = co_clock() + 60 * SECOND;
	else
	{
		retire_at = next == DT_NOEND ? INT64_MAX : co_clock() + Max(next - GetCurrentTimestamp(), SECOND);
		removals_at = Min(removals_at, co_clock());
	}
}

void
co_bulk_step(const CoBulkHost *host)
{
	bool		ended = false;

	if (news && co_clock() >= news_at)
		look_at_tables(host);
	for (int i = active_count - 1; i >= 0; i--)
	{
		advance(host, active[i]);
		if (co_part_is_final(active[i]->part.state) || (active[i]->part.held && active[i]->transfer == NULL))
		{
			drop_active(host, i);
			ended = true;
		}
	}
	if (ended)
	{
		co_bulk_news();			/* others may be waiting for the place */
		for (int i = 0; i < active_count; i++)
		{
			/* ... or for the service to have one list less */
			if (active[i]->part.state == CO_PART_SPOOLED && active[i]->due != INT64_MAX)
				active[i]->due = co_clock();
		}
	}
	remove_jobs(host);
	retire_jobs();
}

int64
co_bulk_due(void)
{
	int64		due = INT64_MAX;
	const char *unused;

	if (news)
		due = Max(news_at, co_clock());
	for (int i = 0; i < active_count; i++)
	{
		const Active *a = active[i];

		/* what is on the wire wakes us itself, unless we are behind */
		if (a->transfer == NULL || a->pending || a->unstored ||
			co_http_hungry(a->transfer) > 0 || co_http_chunk(a->transfer, &unused) > 0)
			due = Min(due, a->due);
	}
	if (removal == NULL)
		due = Min(due, removals_at);
	else if (removal->transfer == NULL)
		due = Min(due, removal->due);
	due = Min(due, retire_at);
	if (moving || (backlog_news && co_bulk_threshold > 0))
		due = Min(due, moving ? co_clock() : backlog_at);
	return due;
}

bool
co_bulk_waits(void)
{
	for (int i = 0; i < active_count; i++)
	{
		if (active[i]->part.state == CO_PART_SPOOLED && active[i]->transfer == NULL &&
			active[i]->due != INT64_MAX)
			return true;
	}
	return false;
}

bool
co_bulk_uploading(void)
{
	for (int i = 0; i < active_count; i++)
	{
		if (active[i]->transfer != NULL && active[i]->call == CO_BULK_UPLOAD)
			return true;
	}
	return false;
}

/*
 * An upload that is under way would take too long; the service has not got it
 * whole, so there will be no list.  One that is only to be answered may land.
 */
void
co_bulk_leave(const CoBulkHost *host)
{
	for (int i = 0; i < active_count; i++)
	{
		Active	   *a = active[i];

		if (a->transfer != NULL &&
			(a->call != CO_BULK_UPLOAD || co_http_hungry(a->transfer) > 0))
		{
			uncount(host, a);
			end_transfer(host->http, a);
		}
	}
}

/* ---------- rows of the queue ---------- */

/* Set back what waits in a list; its answer will do. */
static int
set_back_waiting(CoQueueRow *rows, int count)
{
	bool	   *waits = palloc(Max(count, 1) * sizeof(bool));
	CoTrouble	trouble;
	int			left = 0;

	if (!any_open || count == 0)
		return count;
	if (!co_bulk_set_back(rows, count, GetCurrentTimestamp() + WAITING_RETRY, waits, &trouble))
	{
		ereport(LOG, (errmsg("clearout: rows of the queue that wait for a bulk job could not be set back: %s",
							 trouble.message)));
		return count;
	}
	for (int i = 0; i < count; i++)
	{
		if (waits[i])
		{
			rows_due = Min(rows_due, GetCurrentTimestamp() + WAITING_RETRY);
			co_queue_forget(&rows[i]);
		}
		else
			rows[left++] = rows[i];
	}
	return left;
}

TimestampTz
co_bulk_rows_due(void)
{
	TimestampTz due = rows_due;

	rows_due = DT_NOEND;
	return due;
}

void
co_bulk_look_at_backlog(void)
{
	backlog_news = true;
}

/* From so many rows on they are a list. */
static void
judge_backlog(void)
{
	int			count;
	int64		began = co_clock();
	CoTrouble	trouble;

	if (moving || !backlog_news || co_bulk_threshold == 0 || co_clock() < backlog_at)
		return;
	backlog_news = false;
	if (!co_bulk_backlog(co_bulk_threshold < INT_MAX ? co_bulk_threshold + 1 : INT_MAX, &count, &trouble))
		ereport(LOG, (errmsg("clearout: the queue could not be counted: %s", trouble.message)));
	else if (count > co_bulk_threshold)
		moving = true;
	/* counting costs a twentieth of the time at most, however often rows come */
	backlog_at = co_clock() + 20 * (co_clock() - began);
}

static void
stop_moving(void)
{
	moving = false;
	growing_job = 0;
	growing_rows = 0;
	co_bulk_news();
}

int
co_bulk_rows_wanted(void)
{
	judge_backlog();
	move_wanted = Min(MOVE_ROWS, Max(co_bulk_rows - growing_rows, 1));
	return moving ? move_wanted : 0;
}

int
co_bulk_take_over(CoQueueRow *rows, int count)
{
	CoQueueRow *moved;
	int			to_move = 0;
	int			left = 0;
	int			added;
	bool		last = count < move_wanted;
	CoTrouble	trouble;

	count = set_back_waiting(rows, count);
	if (!moving)
		return count;

	moved = palloc(Max(count, 1) * sizeof(CoQueueRow));
	for (int i = 0; i < count; i++)
	{
		if (rows[i].key != NULL && rows[i].priority <= 0 && rows[i].attempts == 0)
			moved[to_move++] = rows[i];
		else
			rows[left++] = rows[i];
	}
	if (to_move > 0)
	{
		if (!co_bulk_move(moved, to_move, &growing_job, &added, &trouble))
		{
			ereport(LOG, (errmsg("clearout: rows of the queue could not be moved into a list: %s",
								 trouble.message)));
			memcpy(rows + left, moved, to_move * sizeof(CoQueueRow));
			left += to_move;
			last = true;
		}
		else
		{
			for (int i = 0; i < to_move; i++)
				co_queue_forget(&moved[i]);
			growing_rows += added;
			any_open = true;
		}
	}
	if (last)
		stop_moving();
	else if (growing_rows >= co_bulk_rows)
	{
		growing_job = 0;
		growing_rows = 0;
		co_bulk_news();
	}
	return left;
}
