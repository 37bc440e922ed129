/*-------------------------------------------------------------------------
 * bulk_progress.c
 *		Bulk jobs, in the worker: a list that the service works on.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "bulk_active.h"
#include "clock.h"

#define POLL_FIRST		(CO_SECOND / 2)
#define POLL_LAST		(60 * CO_SECOND)

/* A twentieth of the time that it takes: so a long list costs few calls. */
static int64
poll_interval(const CoActive *a)
{
	int64		running = GetCurrentTimestamp() - a->part.uploaded_at;

	return Max(POLL_FIRST, Min(POLL_LAST, running / 20));
}

void
co_progress_landed(CoActive *a, const CoBulkAnswer *answer, const CoOutcome *outcome, const char *text)
{
	CoPart		next = a->part;

	if (outcome->fault != CO_FAULT_NONE)
	{
		if (outcome->fault == CO_FAULT_SERVICE &&
			(outcome->code == 1008 || outcome->code == 1029 || outcome->code == 1007))
			co_active_fail(a, outcome->code == 1008 ? "the list belongs to another account (code 1008)" :
				 outcome->code == 1029 ? "the service does not have the list any more (code 1029)" :
				 "the list has expired (code 1007)");
		else
			co_active_try_again(a, text, true, 0);
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
			(void) co_active_save(a, &next);
			break;
		case CO_BULK_FAILED:
			co_active_fail(a, "the service reports that the list has failed");
			break;
		case CO_BULK_RUNNING:
			if (memcmp(&next, &a->part, sizeof(CoPart)) == 0 || co_active_save(a, &next))
				a->due = co_clock() + poll_interval(a);
			break;
	}
}

void
co_progress_cancel_landed(CoActive *a, const CoOutcome *outcome, const char *text)
{
	CoPart		next = a->part;

	/* 1116: it is over already, and so can be fetched as usual */
	if (outcome->fault == CO_FAULT_NONE || outcome->fault == CO_FAULT_MALFORMED ||
		outcome->code == 1116)
	{
		next.cancel_sent = true;
		next.attempts = 0;
		next.error[0] = '\0';
		(void) co_active_save(a, &next);
	}
	else if (outcome->code == 1029 || outcome->code == 1008)
		co_active_fail(a, "the service does not have the list any more");
	else
		co_active_try_again(a, text, true, 0);
}
