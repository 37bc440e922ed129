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

#include "utils/timestamp.h"

#include "bulk_active.h"
#include "bulk_backlog.h"
#include "bulk_kind.h"
#include "clock.h"

/* Parts worked on at once; the others wait in the table. */
#define ACTIVE_MAX		16

static CoActive *active[ACTIVE_MAX];
static int	active_count = 0;
static CoActive *removal = NULL;

static bool news = true;		/* look at the tables */
static int64 news_at = 0;
static int64 removals_at = 0;	/* INT64_MAX: nothing to remove */
static int64 retire_at = 0;		/* INT64_MAX: never */

static void
drop_active(const CoBulkHost *host, int number)
{
	co_active_end(host, active[number]);
	active[number] = active[--active_count];
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
clear_step(CoActive *a)
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
		co_active_retry_table(a, &trouble);
		return;
	}
	pfree(unused.data);
	if (due)
		co_bulk_rows_are_due(co_bulk_rules[a->part.kind].queue);
	a->due = co_clock();
	if (rows == 0)
		a->cleared = true;
}

static void
removed_landed(CoActive *a, const CoOutcome *outcome)
{
	CoTrouble	trouble;

	/* gone already, or not ours: there is nothing that we could do about it */
	if (outcome->fault == CO_FAULT_NONE || outcome->fault == CO_FAULT_MALFORMED ||
		(co_outcome_is_refusal(outcome) && outcome->http_status != 429 && outcome->http_status != 401))
	{
		if (a->removal)
		{
			if (!co_bulk_list_removed(&a->part, &trouble))
				co_active_retry_table(a, &trouble);
			removals_at = co_clock();
			a->part.list_removed = true;
		}
		else
		{
			CoPart		next = a->part;

			next.list_removed = true;
			(void) co_active_save(a, &next);
		}
	}
	else if (a->removal || ++a->part.attempts < CO_RESULT_ATTEMPTS)
		a->due = co_clock() + co_active_backoff(a->part.attempts);
	else
		a->keep_list = true;
}

/* ---------- one step of one part ---------- */

static void
advance(const CoBulkHost *host, CoActive *a)
{
	if (a->transfer != NULL && a->call == CO_BULK_UPLOAD)
		co_upload_feed(host, a);
	else if (a->import != NULL)
		co_download_import(host, a);
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
		(void) co_active_save(a, &next);
		return;
	}
	if (a->part.state == CO_PART_SPOOLED && a->part.cancelled)
	{
		(void) co_active_enter(a, CO_PART_STORED);
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
		/* what it has cost is written down with that */
		co_active_end_charge(a);
		(void) co_active_enter(a, final_state(&a->part));
		return;
	}
	if (a->part.state == CO_PART_SPOOLED && !a->measured)
	{
		if (co_backlog_grows(a->part.job))
			a->due = co_clock() + CO_SECOND;
		else if (host->may_begin)
			co_upload_measure(a);
		else
			a->due = INT64_MAX;	/* news when that ends */
		return;
	}
	if (!host->may_call)
	{
		a->due = co_clock() + CO_SECOND;
		return;
	}

	switch (a->part.state)
	{
		case CO_PART_SPOOLED:
			if (a->length == 0)
				(void) co_active_enter(a, CO_PART_STORED);	/* all was answered meanwhile */
			else
				co_upload_begin(host, a);
			break;
		case CO_PART_UPLOADING:
			co_upload_look_for_list(host, a);
			break;
		case CO_PART_RUNNING:
			if (a->part.cancelled && !a->part.cancel_sent)
				co_active_call(host, a, CO_BULK_CANCEL, co_bulk_encode(CO_BULK_CANCEL, a->part.list_id));
			else
				co_active_call(host, a, CO_BULK_PROGRESS, co_bulk_encode(CO_BULK_PROGRESS, a->part.list_id));
			break;
		case CO_PART_DOWNLOADING:
			if (a->url != NULL)
				co_download_begin(host, a);
			else
				co_active_call(host, a, CO_BULK_RESULT, co_bulk_encode(CO_BULK_RESULT, a->part.list_id));
			break;
		case CO_PART_STORED:
			co_active_call(host, a, CO_BULK_REMOVE, co_bulk_encode(CO_BULK_REMOVE, a->part.list_id));
			break;
		case CO_PART_DONE:
		case CO_PART_FAILED:
		case CO_PART_CANCELLED:
			a->due = INT64_MAX;
			break;
	}
}

static CoActive *
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
	CoActive   *a = owner_of(done);
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
		host->end_call(co_bulk_rules[a->part.kind].service, a->costs, &a->ticket, &done->outcome, &done->rate);
	}
	co_outcome_describe(&done->outcome, text, sizeof(text));

	/* the window is closed until its reset, which the governor knows */
	if (a->call != CO_BULK_DOWNLOAD && a->call != CO_BULK_UPLOAD &&
		(done->outcome.http_status == 429 || done->outcome.code == 1030))
	{
		a->due = co_clock() + CO_SECOND / 4;
		return true;
	}
	switch (a->call)
	{
		case CO_BULK_UPLOAD:
			co_upload_landed(a, answer, &done->outcome, text);
			break;
		case CO_BULK_LISTS:
			co_upload_lists_landed(a, answer, &done->outcome, text);
			break;
		case CO_BULK_PROGRESS:
			co_progress_landed(a, answer, &done->outcome, text);
			break;
		case CO_BULK_CANCEL:
			co_progress_cancel_landed(a, &done->outcome, text);
			break;
		case CO_BULK_RESULT:
			co_download_result_landed(a, answer, &done->outcome, text);
			break;
		case CO_BULK_DOWNLOAD:
			co_download_landed(a, done, text);
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
		news_at = co_clock() + CO_SECOND;
		return;
	}
	news = false;
	co_bulk_rows_may_wait(count > 0);
	removals_at = 0;
	retire_at = 0;
	for (int i = active_count - 1; i >= 0; i--)
	{
		bool		found = false;

		for (int j = 0; j < count && !found; j++)
			found = parts[j].job == active[i]->part.job && parts[j].part == active[i]->part.part;

		/* there may be more than were read: then what has begun goes on */
		if (!found && (count < ACTIVE_MAX ||
					   (active[i]->part.state == CO_PART_SPOOLED && active[i]->transfer == NULL)))
			drop_active(host, i);
	}
	for (int j = 0; j < count; j++)
	{
		CoActive   *a = NULL;

		for (int i = 0; i < active_count && a == NULL; i++)
		{
			if (parts[j].job == active[i]->part.job && parts[j].part == active[i]->part.part)
				a = active[i];
		}
		if (a == NULL)
		{
			if (active_count < ACTIVE_MAX)
				active[active_count++] = co_active_make(&parts[j]);
		}
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
			co_active_call(host, removal, CO_BULK_REMOVE, co_bulk_encode(CO_BULK_REMOVE, removal->part.list_id));
		return;
	}
	if (co_clock() < removals_at)
		return;
	if (!co_bulk_removals(&part, &list, &busy, &trouble))
		removals_at = co_clock() + CO_SECOND;
	else if (list)
	{
		removal = co_active_make(&part);
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
		retire_at = co_clock() + 60 * CO_SECOND;
	else
	{
		retire_at = next == DT_NOEND ? INT64_MAX : co_clock() + Max(next - GetCurrentTimestamp(), CO_SECOND);
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
		const CoActive *a = active[i];

		/* what is on the wire wakes us itself, unless we are behind */
		if (a->transfer == NULL || a->pending || a->unstored ||
			co_http_hungry(a->transfer) > 0 || co_http_chunk(a->transfer, &unused) > 0)
			due = Min(due, a->due);
	}
	if (removal == NULL)
		due = Min(due, removals_at);
	else if (removal->transfer == NULL)
		due = Min(due, removal->due);
	return Min(due, retire_at);
}

bool
co_bulk_waits(CoService service)
{
	for (int i = 0; i < active_count; i++)
	{
		if (co_bulk_rules[active[i]->part.kind].service == service &&
			active[i]->part.state == CO_PART_SPOOLED && active[i]->transfer == NULL &&
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
		CoActive   *a = active[i];

		if (a->transfer != NULL &&
			(a->call != CO_BULK_UPLOAD || co_http_hungry(a->transfer) > 0))
		{
			co_active_uncount(host, a);
			co_active_end_transfer(host->http, a);
		}
	}
}
