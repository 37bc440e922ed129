/*-------------------------------------------------------------------------
 * check.c
 *		POST /email/verify/...: one question about an address, yes or no.
 *
 * The verdicts are those of the whole verification.  What such a check costs
 * is not documented: see the setting check_price.
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "addresses.h"
#include "answer.h"
#include "arguments.h"
#include "clock.h"
#include "serve.h"
#include "settings.h"
#include "stats.h"
#include "table.h"

#define TIMEOUT_DEFAULT 90000
#define TIMEOUT_MAX 110000

/* Each names its flag in its own way. */
static void
check(Call *call, const char *key, bool (*says) (const Verdict *))
{
	static const char *const known[] = {"email", "timeout", NULL};
	char		verified_on[CLOCK_TEXT_SIZE];
	int64_t		taken = call->latency;
	int64_t		timeout;
	Verdict		verdict;

	arguments_begin(call);
	arguments_string(call, "email", true);
	timeout = arguments_timeout(call, settings.timeout_min, TIMEOUT_DEFAULT, TIMEOUT_MAX);
	if (!arguments_end(call, known) || !answer_affordable(call))
		return;
	if (call->latency > timeout)
	{
		call->latency = timeout;
		stats.timed_out++;
		answer_timeout(call, "email", call->email, NULL);
		return;
	}
	addresses_judge(call->email, &verdict);
	if (verdict.charged && settings.check_price > 0)
		call_charge(call, settings.check_price);
	if (taken == 0)
		taken = 20 + table_hash(call->email) % 200;
	clock_iso(call->arrived + call->latency, verified_on);
	answer_begin(call);
	text_string(&call->answer, "{\"email_address\":");
	text_json(&call->answer, call->email);
	text_printf(&call->answer, ",\"%s\":\"%s\",\"verified_on\":\"%s\",\"time_taken\":%lld}",
				key, says(&verdict) ? "yes" : "no", verified_on, (long long) taken);
	answer_end(call);
}

static bool
is_catchall(const Verdict *verdict)
{
	return strcmp(verdict->status, "catch_all") == 0;
}

static bool
is_disposable(const Verdict *verdict)
{
	return verdict->disposable;
}

static bool
is_business(const Verdict *verdict)
{
	return !verdict->free && !verdict->disposable && verdict->code != 400;
}

static bool
is_free(const Verdict *verdict)
{
	return verdict->free;
}

static bool
is_role(const Verdict *verdict)
{
	return verdict->role;
}

static bool
is_gibberish(const Verdict *verdict)
{
	return verdict->gibberish;
}

void
serve_catchall(Call *call)
{
	check(call, "catchall", is_catchall);
}

void
serve_disposable(Call *call)
{
	check(call, "disposable", is_disposable);
}

void
serve_business(Call *call)
{
	check(call, "business_account", is_business);
}

void
serve_free(Call *call)
{
	check(call, "free_account", is_free);
}

void
serve_role(Call *call)
{
	check(call, "role_account", is_role);
}

void
serve_gibberish(Call *call)
{
	check(call, "gibberish", is_gibberish);
}
