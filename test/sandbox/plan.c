/*-------------------------------------------------------------------------
 * plan.c
 *		GET /account/...: credits by kind, limits, plan.  They cost nothing.
 *
 * Not every account has them: see the setting optional_endpoints.
 *-------------------------------------------------------------------------
 */
#include "answer.h"
#include "arguments.h"
#include "clock.h"
#include "lists.h"
#include "serve.h"
#include "settings.h"

#define LOW_CREDIT_THRESHOLD 50

/* What is said of a limit that there is none of. */
#define PLENTY 1000000

static bool
available(Call *call)
{
	static const char *const known[] = {NULL};

	if (!settings.optional_endpoints)
	{
		answer_status(call, 404);
		return false;
	}
	arguments_begin(call);
	return arguments_end(call, known);
}

void
serve_account_credits(Call *call)
{
	long long	credits = call->account->credits;

	if (!available(call))
		return;
	answer_begin(call);
	text_printf(&call->answer, "{\"total_remaining_credits\":%lld,\"plan_remaining_credits\":"
				"{\"pay-as-you-go\":%lld,\"subscription\":0,\"bonus\":0},"
				"\"low_credit_balance_min_threshold\":%d}", credits, credits, LOW_CREDIT_THRESHOLD);
	answer_end(call);
}

/* All of them strings, the numbers too. */
void
serve_account_limits(Call *call)
{
	long long	lists = settings.bulk_lists < 0 ? PLENTY : settings.bulk_lists;
	long long	lists_left = lists - lists_running(call->account, LIST_VERIFY);
	Rate		rate;

	if (!available(call))
		return;
	account_rate(call->account, SERVICE_VERIFY, false, &rate);
	if (!rate.known)
		rate.limit = rate.remaining = PLENTY;
	answer_begin(call);
	text_printf(&call->answer, "{\"email_verify\":{\"api_rate_limit\":{\"total\":\"%lld\","
				"\"remaining\":\"%lld\",\"next_limit_reset\":\"%lld\"},"
				"\"bulk_verify_concurrency_limit\":{\"total\":\"%lld\",\"remaining\":\"%lld\"}}}",
				(long long) rate.limit, (long long) rate.remaining, (long long) rate.reset,
				lists, lists_left > 0 ? lists_left : 0);
	answer_end(call);
}

void
serve_account_plan(Call *call)
{
	char		next[CLOCK_TEXT_SIZE];

	if (!available(call))
		return;
	clock_iso(account_next_day(), next);
	answer_begin(call);
	text_printf(&call->answer, "{\"current_plan\":{\"name\":\"Sandbox\",\"charge\":\"0\","
				"\"status\":\"active\",\"type\":\"subscription\",\"next_credit_allocation\":\"%s\"},"
				"\"addons\":[]}", next);
	answer_end(call);
}
