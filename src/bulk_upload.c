/*-------------------------------------------------------------------------
 * bulk_upload.c
 *		Bulk jobs, in the worker: how a list gets to the service.
 *
 * The answer to an upload says which list it has become.  Where that is lost, the
 * service may have the list all the same, and it is paid for: so it is looked
 * for by its file's name, which no other list has, before anything is sent again.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "utils/timestamp.h"

#include "bulk_active.h"
#include "bulk_kind.h"
#include "clock.h"
#include "guc.h"
#include "retry.h"

#define LISTS_RETRY		(15 * CO_SECOND)	/* the service has too many lists */
#define BUDGET_LOOK		(60 * CO_SECOND)	/* budgets may have been raised */

static const char boundary[] = "----clearout7f4c1be02d9a5e36";

/* ---------- SPOOLED: measure, then begin the upload ---------- */

/*
 * What has been answered meanwhile need not be sent; and how long the file is
 * has to be known before the first byte of it.
 */
void
co_upload_measure(CoActive *a)
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
		co_active_retry_table(a, &trouble);
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

void
co_upload_begin(const CoBulkHost *host, CoActive *a)
{
	const CoBulkRules *rules = &co_bulk_rules[a->part.kind];
	CoPart		next = a->part;
	CoHttpRequest request = {0};
	CoOutcome	outcome = {0};
	char	   *type;
	int			price = rules->price * next.rows;
	const char *refusal;
	int64		when;

	if (co_bulk_uploading())
	{
		a->due = co_clock() + CO_SECOND / 4;
		return;
	}
	if (!host->may_begin)
	{
		a->due = INT64_MAX;		/* there is news when that is over */
		return;
	}
	refusal = co_spending_hindrance(price);
	if (refusal == NULL && !co_spending_allows(next.role, price))
		refusal = co_spending_refusal(next.role);
	if (refusal != NULL)
	{
		strlcpy(next.error, refusal, sizeof(next.error));
		if (strcmp(next.error, a->part.error) == 0 || co_active_save(a, &next))
			a->due = Min(co_spending_wake_at(), co_clock() + BUDGET_LOOK);
		return;
	}
	if (!host->begin_call(rules->service, true, &a->ticket, &when))
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
	if (!co_active_save(a, &next))
	{
		outcome.fault = CO_FAULT_LOCAL;
	}
	else if (!co_bulk_multipart(boundary, next.file_name,
								rules->optimize && next.optimize[0] ? next.optimize : NULL,
								&a->head, &a->tail))
		outcome.fault = CO_FAULT_LOCAL;
	else
	{
		type = psprintf("multipart/form-data; boundary=%s", boundary);
		request.url = co_active_url(a, CO_BULK_UPLOAD, "");
		request.authorization = host->authorization;
		request.content_type = type;
		request.upload_length = strlen(a->head) + strlen(rules->header) + a->length + strlen(a->tail);
		request.timeout = CO_FILE_TIMEOUT;
		request.stall = CO_FILE_STALL;
		request.owner = a;
		a->position = 0;
		a->sent = 0;
		if (co_http_start_stream(host->http, &request, &a->transfer, &outcome))
		{
			co_active_begin_charge(a);
			return;
		}
		a->transfer = NULL;
	}

	/* Nothing was sent. */
	co_active_uncount(host, a);
	if (a->part.state == CO_PART_UPLOADING)
	{
		next = a->part;
		next.state = CO_PART_SPOOLED;
		next.file_name[0] = '\0';
		next.uploaded_at = 0;
		(void) co_active_save(a, &next);
	}
	a->due = co_clock() + CO_SECOND;
}

/* How long the file will be is to be found out anew. */
static void
measure_anew(CoActive *a)
{
	a->measured = false;
	a->position = 0;
	a->length = 0;
}

/* curl wants more of the file. */
void
co_upload_feed(const CoBulkHost *host, CoActive *a)
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
		appendStringInfoString(&piece, co_bulk_rules[a->part.kind].header);
	}
	else if (!co_bulk_read(&a->part, &a->position, &piece, &rows, &trouble))
	{
		co_active_retry_table(a, &trouble);
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
		co_active_uncount(host, a);
		co_active_end_transfer(host->http, a);
		measure_anew(a);
		a->due = co_clock();
		return;
	}
	if (co_http_supply(host->http, a->transfer, piece.data, piece.len))
		a->sent += piece.len;
	else
		a->due = co_clock() + CO_SECOND;
	pfree(piece.data);
}

/* How the upload ended.  *answer has the list if there is one. */
void
co_upload_landed(CoActive *a, const CoBulkAnswer *answer, const CoOutcome *outcome, const char *text)
{
	CoPart		next = a->part;
	CoRetryPolicy policy = {1000, CO_RETRY_FIRST, CO_RETRY_LAST};
	CoDecision	decision = co_retry_decide(outcome, 1, false, co_clock(), 0.5, &policy);

	measure_anew(a);
	if (outcome->fault == CO_FAULT_NONE)
	{
		strlcpy(next.list_id, answer->list_id, sizeof(next.list_id));
		next.state = CO_PART_RUNNING;
		next.attempts = 0;
		next.error[0] = '\0';
		(void) co_active_save(a, &next);
		return;
	}

	/* Whatever is no plain refusal: the service may have the list. */
	if (outcome->sent && !co_outcome_is_refusal(outcome))
	{
		snprintf(next.error, sizeof(next.error),
				 "the answer to the upload was lost (%s): the list is looked for", text);
		next.attempts = 0;
		(void) co_active_save(a, &next);
		a->look_at = co_clock() + (int64) co_request_timeout * 1000;
		return;
	}

	co_active_end_charge(a);
	next.state = CO_PART_SPOOLED;
	next.file_name[0] = '\0';
	next.uploaded_at = 0;
	strlcpy(next.error, text, sizeof(next.error));
	if (outcome->code == 1001 || outcome->code == 1083)
	{
		strlcpy(next.error, "it waits for its turn: the service has as many lists as it takes at once",
				sizeof(next.error));
		if (co_active_save(a, &next))
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
		if (co_active_save(a, &next))
			a->due = co_clock() + Max(co_active_backoff(next.attempts), 10 * CO_SECOND);
	}
	else if (decision.action == CO_ACTION_PAUSE)
	{
		if (decision.pause == CO_PAUSE_CREDITS)
			snprintf(next.error, sizeof(next.error), "the account is out of credits, and this list needs up to %d (%s)",
					 co_bulk_rules[next.kind].price * next.rows, text);
		else if (decision.pause == CO_PAUSE_DAILY_LIMIT)
			snprintf(next.error, sizeof(next.error), "the account's daily limit is reached (%s)", text);
		(void) co_active_save(a, &next);
	}
	else if (decision.action == CO_ACTION_WINDOW)
	{
		next.error[0] = '\0';
		(void) co_active_save(a, &next);
	}
	else if (decision.action == CO_ACTION_GIVE_UP && outcome->sent)
	{
		/* it will not take this file, however often it is sent */
		if (co_active_save(a, &next))
			co_active_fail(a, text);
	}
	else
	{
		next.attempts++;
		if (co_active_save(a, &next))
			a->due = co_clock() + co_active_backoff(Max(next.attempts, 1));
	}
}

/* ---------- UPLOADING without a transfer: is there a list of that name? ---------- */

void
co_upload_look_for_list(const CoBulkHost *host, CoActive *a)
{
	/*
	 * A crash may have left an upload that the service is still busy with.
	 * Only what it does not know after that time does it not have.
	 */
	if (a->look_at == 0)
		a->look_at = co_clock() + (int64) co_request_timeout * 1000;
	co_active_call(host, a, CO_BULK_LISTS, co_bulk_encode_lists(a->cursor[0] ? a->cursor : NULL));
}

void
co_upload_lists_landed(CoActive *a, const CoBulkAnswer *answer, const CoOutcome *outcome, const char *text)
{
	CoPart		next = a->part;

	if (outcome->fault == CO_FAULT_NONE && answer->list_id[0] != '\0')
	{
		strlcpy(next.list_id, answer->list_id, sizeof(next.list_id));
		next.state = CO_PART_RUNNING;
		next.attempts = 0;
		next.error[0] = '\0';
		a->cursor[0] = '\0';
		(void) co_active_save(a, &next);
	}
	else if (outcome->fault == CO_FAULT_NONE && answer->more)
	{
		strlcpy(a->cursor, answer->cursor, sizeof(a->cursor));
		a->due = co_clock();
	}
	else if (outcome->fault == CO_FAULT_NONE && co_clock() < a->look_at)
	{
		a->cursor[0] = '\0';
		a->due = Min(a->look_at, co_clock() + 2 * CO_SECOND);
	}
	else if (outcome->fault == CO_FAULT_NONE)
	{
		ereport(LOG, (errmsg("clearout: bulk job %lld, part %d: the service does not have the list, it is uploaded again",
							 (long long) next.job, next.part)));
		co_active_end_charge(a);
		next.state = CO_PART_SPOOLED;
		next.file_name[0] = '\0';
		next.uploaded_at = 0;
		next.attempts = 0;
		a->cursor[0] = '\0';
		a->look_at = 0;
		(void) co_active_save(a, &next);
	}
	else if (co_outcome_is_refusal(outcome) && outcome->http_status != 429 && outcome->code != 1030 &&
			 outcome->http_status != 401 && outcome->http_status != 402)
	{
		/* this account cannot be asked */
		next.held = true;
		snprintf(next.error, sizeof(next.error),
				 "the answer to its upload was lost, and the service does not tell whether it has the list"
				 " \"%s\" (%s): look there, then call clearout_bulk_resolve()", next.file_name, text);
		if (co_active_save(a, &next))
			ereport(WARNING, (errmsg("clearout: bulk job %lld, part %d is held: %s",
									 (long long) next.job, next.part, next.error)));
	}
	else
		co_active_try_again(a, text, true, 0);
}
