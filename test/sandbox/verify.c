/*-------------------------------------------------------------------------
 * verify.c
 *		POST /email_verify/instant: one address, one verdict.
 *
 * In this order: the request must be well formed (400), the day must not be
 * used up (200 with a failure), there must be credits (402).  An account
 * without credits gets no test address either.
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>

#include "addresses.h"
#include "answer.h"
#include "arguments.h"
#include "clock.h"
#include "serve.h"
#include "settings.h"
#include "stats.h"

#define TIMEOUT_DEFAULT 130000
#define TIMEOUT_MAX 180000

static void
add_flag(Text *out, const char *name, bool flag)
{
	text_printf(out, ",\"%s\":\"%s\"", name, flag ? "yes" : "no");
}

static void
write_verdict(Call *call, const Verdict *verdict)
{
	Text	   *out = &call->answer;
	const char *email = call->email;
	char		verified_on[CLOCK_TEXT_SIZE];
	char		account[ADDRESS_ACCOUNT_SIZE];
	const char *domain = addresses_split(email, account);
	char		suggested[ADDRESS_SUGGESTED_SIZE];
	int64_t		taken = call->latency;

	addresses_suggest(verdict, account, suggested);
	if (taken == 0)
		taken = 80 + table_hash(email) % 800;
	clock_iso(call->arrived + call->latency, verified_on);

	answer_begin(call);
	text_string(out, "{\"email_address\":");
	text_json(out, email);
	text_printf(out, ",\"status\":\"%s\",\"sub_status\":{\"code\":%d,\"desc\":\"%s\"}"
				",\"safe_to_send\":\"%s\",\"ai_verdict\":\"%s\",\"suggested_email_address\":",
				verdict->status, verdict->code, addresses_reason(verdict->code),
				verdict->safe_to_send, addresses_opinion(verdict));
	text_json(out, suggested);
	text_printf(out, ",\"verified_on\":\"%s\",\"time_taken\":%lld",
				verified_on, (long long) taken);
	add_flag(out, "disposable", verdict->disposable);
	add_flag(out, "free", verdict->free);
	add_flag(out, "role", verdict->role);
	add_flag(out, "gibberish", verdict->gibberish);
	text_printf(out, ",\"bounce_type\":\"%s\",\"detail_info\":{\"account\":", verdict->bounce);
	text_json(out, account);
	text_string(out, ",\"domain\":");
	text_json(out, domain);
	if (verdict->mx_record == NULL)
	{
		char		mx[300];

		snprintf(mx, sizeof(mx), "mx1.%s", domain);
		text_string(out, ",\"mx_record\":");
		text_json(out, mx);
	}
	else
		text_printf(out, ",\"mx_record\":\"%s\"", verdict->mx_record);
	text_printf(out, ",\"smtp_provider\":\"%s\"},\"profile\":null}", verdict->smtp_provider);
	answer_end(call);
}

void
serve_verify(Call *call)
{
	static const char *const known[] = {"email", "timeout", NULL};
	Verdict		verdict;
	int64_t		timeout;

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
	if (verdict.charged)
		call_charge(call, 1);
	write_verdict(call, &verdict);
}
