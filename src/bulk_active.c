/*-------------------------------------------------------------------------
 * bulk_active.c
 *		Bulk jobs, in the worker: what all steps of a part have in common.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "utils/memutils.h"

#include "bulk_active.h"
#include "bulk_kind.h"
#include "clock.h"
#include "guc.h"

#define CALL_TIMEOUT	60000	/* ms */

/* ---------- parts at work ---------- */

CoActive *
co_active_make(const CoPart *part)
{
	CoActive   *a = MemoryContextAllocZero(TopMemoryContext, sizeof(CoActive));

	a->part = *part;
	a->due = co_clock();
	/* what a predecessor has sent */
	if (part->uploaded_at != 0 && part->state >= CO_PART_UPLOADING && part->state <= CO_PART_STORED)
		co_active_begin_charge(a);
	return a;
}

void
co_active_begin_charge(CoActive *a)
{
	const CoBulkRules *rules = &co_bulk_rules[a->part.kind];

	co_spending_begin_list(&a->charge, a->part.role, rules->service, rules->price * a->part.rows);
}

void
co_active_end_charge(CoActive *a)
{
	/* One that the service has counts as an answer, whatever it says of its rows. */
	if (a->part.list_id[0] != '\0')
		co_spending_end(&a->charge, "", (int) a->part.credits);
	else
		co_spending_end_failed(&a->charge, true, false);
}

void
co_active_end_transfer(CoHttp *http, CoActive *a)
{
	if (a->transfer != NULL)
		co_http_abandon(http, a->transfer);
	a->transfer = NULL;
	free(a->head);
	a->head = a->tail = NULL;
	free(a->url);
	a->url = NULL;
}

void
co_active_end_import(CoActive *a)
{
	if (a->import != NULL)
		co_import_end(a->import);
	a->import = NULL;
	a->complete = a->pending = a->unstored = a->parsed = false;
}

void
co_active_uncount(const CoBulkHost *host, CoActive *a)
{
	CoOutcome	outcome = {0};
	CoRateHeaders nothing;

	if (!a->counted)
		return;
	outcome.fault = CO_FAULT_LOST;
	outcome.sent = true;
	co_rate_headers_init(&nothing);
	host->end_call(co_bulk_rules[a->part.kind].service, a->costs, &a->ticket, &outcome, &nothing);
	a->counted = false;
}

void
co_active_end(const CoBulkHost *host, CoActive *a)
{
	co_active_uncount(host, a);
	co_active_end_transfer(host->http, a);
	co_active_end_import(a);
	co_active_end_charge(a);
	pfree(a);
}

void
co_active_retry_table(CoActive *a, const CoTrouble *trouble)
{
	if (!a->complained)
		ereport(LOG, (errmsg("clearout: bulk job %lld, part %d: a step could not be committed: %s",
							 (long long) a->part.job, a->part.part, trouble->message)));
	a->complained = true;
	a->due = co_clock() + CO_SECOND;
}

bool
co_active_save(CoActive *a, const CoPart *next)
{
	CoTrouble	trouble;

	if (co_bulk_save(next, &trouble))
	{
		a->part = *next;
		a->due = co_clock();
		a->complained = false;
		return true;
	}
	co_active_retry_table(a, &trouble);
	return false;
}

bool
co_active_enter(CoActive *a, CoPartState state)
{
	CoPart		next = a->part;

	next.state = state;
	next.attempts = 0;
	if (state != CO_PART_FAILED && state != CO_PART_STORED && !co_part_is_final(state))
		next.error[0] = '\0';
	return co_active_save(a, &next);
}

void
co_active_fail(CoActive *a, const char *reason)
{
	CoPart		next = a->part;

	next.state = CO_PART_STORED;
	next.held = false;
	strlcpy(next.error, reason, sizeof(next.error));
	if (co_active_save(a, &next))
		ereport(LOG, (errmsg("clearout: bulk job %lld, part %d has failed: %s",
							 (long long) next.job, next.part, reason)));
}

int64
co_active_backoff(int attempts)
{
	int64		delay = CO_RETRY_FIRST;

	for (int i = 1; i < attempts && delay < CO_RETRY_LAST; i++)
		delay *= 2;
	delay = Min(delay, CO_RETRY_LAST);
	return delay / 2 + (int64) (delay / 2 * pg_prng_double(&pg_global_prng_state));
}

void
co_active_try_again(CoActive *a, const char *reason, bool counts, int64 delay)
{
	CoPart		next = a->part;

	if (counts)
		next.attempts++;
	strlcpy(next.error, reason, sizeof(next.error));
	if (memcmp(&next, &a->part, sizeof(CoPart)) != 0 && !co_active_save(a, &next))
		return;
	a->due = co_clock() + (delay > 0 ? delay : co_active_backoff(Max(next.attempts, 1)));
}

/* ---------- calls ---------- */

char *
co_active_url(const CoActive *a, CoBulkCall call, const char *query)
{
	int			length = strlen(co_base_url);

	while (length > 0 && co_base_url[length - 1] == '/')
		length--;
	return psprintf("%.*s%s%s", length, co_base_url, co_bulk_path(a->part.kind, call), query);
}

void
co_active_call(const CoBulkHost *host, CoActive *a, CoBulkCall call, char *text)
{
	CoHttpRequest request = {0};
	CoOutcome	outcome = {0};
	int64		when;

	if (text == NULL)
		a->due = co_clock() + CO_SECOND;
	else if (!host->begin_call(co_bulk_rules[a->part.kind].service, false, &a->ticket, &when))
		a->due = when;
	else
	{
		a->counted = true;
		a->costs = false;
		a->call = call;
		request.url = co_active_url(a, call, call == CO_BULK_PROGRESS ? text : "");
		request.authorization = host->authorization;
		request.body = call == CO_BULK_PROGRESS ? NULL : text;
		request.body_length = request.body ? strlen(text) : 0;
		request.timeout = CALL_TIMEOUT;
		request.owner = a;
		if (!co_http_start_stream(host->http, &request, &a->transfer, &outcome))
		{
			a->transfer = NULL;
			co_active_uncount(host, a);
			a->due = co_clock() + CO_SECOND;
		}
	}
	free(text);
}
