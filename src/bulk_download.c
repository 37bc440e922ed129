/*-------------------------------------------------------------------------
 * bulk_download.c
 *		Bulk jobs, in the worker: a result on its way into the tables.
 *
 * It is stored as it comes, and waits at the service while we are busy.  How far
 * it is stored is committed with the rows, so after a crash it is fetched again
 * and read on from there.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "bulk_active.h"
#include "bulk_kind.h"
#include "clock.h"
#include "guc.h"
#include "session.h"

#define LOCKED_RETRY	(CO_SECOND / 5)
#define LOCKED_LAST		(5 * CO_SECOND)

#define SHORT_ATTEMPTS	2		/* it is shorter than what was sent */

/* Time that a batch may spend on waiting for others' row locks. */
#define ROW_LOCK_TIMEOUT	"20ms"
#define ROW_LOCK_BUDGET		400000	/* microseconds */

void
co_download_result_landed(CoActive *a, const CoBulkAnswer *answer, const CoOutcome *outcome, const char *text)
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
			co_active_fail(a, psprintf("the result's URL cannot be used: %s", problem));
		else if ((a->url = strdup(answer->url)) == NULL)
			a->due = co_clock() + CO_SECOND;
		else
			a->due = co_clock();
	}
	else if (outcome->code == 1007)
		co_active_fail(a, "the result has expired (code 1007)");
	else if (outcome->code == 1008)
		co_active_fail(a, "the list belongs to another account (code 1008)");
	else if (outcome->code == 1029 && a->part.attempts >= CO_RESULT_ATTEMPTS)
		co_active_fail(a, "the service does not have the result (code 1029)");
	else
		co_active_try_again(a, text, true, 0);
}

void
co_download_begin(const CoBulkHost *host, CoActive *a)
{
	CoHttpRequest request = {0};
	CoOutcome	outcome = {0};

	co_active_end_import(a);
	a->import = co_import_begin(co_bulk_rules[a->part.kind].import, "bulk", a->part.uploaded_at, a->part.uploaded_at,
								a->part.bytes_stored);
	a->import->job = a->part.job;
	a->import->part = a->part.part;
	a->call = CO_BULK_DOWNLOAD;
	request.url = a->url;
	request.download_max = (uint64) co_bulk_max_bytes * 1024 * 1024;
	request.timeout = CO_FILE_TIMEOUT;
	request.stall = CO_FILE_STALL;
	request.owner = a;
	if (!co_http_start_stream(host->http, &request, &a->transfer, &outcome))
	{
		a->transfer = NULL;
		a->due = co_clock() + CO_SECOND;
	}
	free(a->url);
	a->url = NULL;
}

/*
 * Another length than before: it is another file, and our place in it means
 * nothing.  What was stored of it is stored again, which does no harm.
 */
static void
note_length(CoActive *a, const CoHttpTransfer *transfer)
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

void
co_download_landed(CoActive *a, CoHttpDone *done, const char *text)
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
		co_active_end_import(a);
		co_active_fail(a, psprintf("the result is longer than clearout.bulk_max_bytes, %d MB", co_bulk_max_bytes));
		return;
	}

	/* What has come whole is stored; then it is fetched anew, from there on. */
	if (a->part.attempts >= CO_RESULT_ATTEMPTS)
	{
		co_active_end_import(a);
		co_active_fail(a, psprintf("the result could not be fetched: %s", text));
	}
	else
	{
		co_active_try_again(a, psprintf("the result was not fetched whole: %s", text), true, 0);
		a->pending = a->import != NULL;
	}
}

/* One bad row, or one that is locked, must not hold up the others. */
static bool
store_apart(CoActive *a, int from, int to, int64 budget_end, bool *spilled)
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
after_batch(const CoActive *a)
{
	const CoImport *import = a->import;
	CoPart		next = a->part;

	/* what was read before is passed over */
	next.bytes_stored = Max(next.bytes_stored, co_import_place(import));
	next.rows_read += import->read;
	next.rows_answered += import->count;
	next.rows_undone += import->undone;
	next.rows_broken += import->broken;
	next.credits += import->credits;
	if (import->read > 0)
		next.attempts = 0;
	if (next.broken[0] == '\0' && import->why_broken != NULL)
		strlcpy(next.broken, import->why_broken, sizeof(next.broken));
	return next;
}

/* Store the batch; true when it is, somewhere. */
static bool
store_batch(const CoBulkHost *host, CoActive *a)
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
			co_active_retry_table(a, &trouble);
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
		co_active_retry_table(a, &trouble);
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
file_ends(CoActive *a)
{
	bool		tail = a->import->at < a->import->data.len;
	int64		rows = a->part.rows_read + (tail ? 1 : 0);
	CoPart		next = a->part;

	/* Fewer rows than were sent: perhaps it was cut, and that is all we got. */
	if (rows >= a->part.rows || a->part.cancelled || a->part.attempts >= SHORT_ATTEMPTS)
		a->enough = true;
	if (!a->enough)
	{
		co_active_end_import(a);
		co_active_try_again(a, psprintf("the result has %lld rows of %d: it is fetched again",
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

		co_active_end_import(a);
		co_active_fail(a, psprintf("the result cannot be read: %s", unfit));
		return;
	}
	next.state = CO_PART_STORED;
	next.attempts = 0;
	next.error[0] = '\0';
	if (co_active_save(a, &next))
		co_active_end_import(a);
}

void
co_download_import(const CoBulkHost *host, CoActive *a)
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

		co_active_end_transfer(host->http, a);
		co_active_end_import(a);
		co_active_fail(a, psprintf("the result cannot be read: %s", unfit));
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
		co_active_end_import(a);			/* it broke off: from the service again */
}
