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
#include "clock.h"
#include "serve.h"
#include "settings.h"
#include "stats.h"
#include "table.h"

#define TIMEOUT_DEFAULT 130000
#define TIMEOUT_MAX 180000

/* Says what is wrong with the request, all of it, and returns false. */
static bool
check_request(Call *call, int64_t *timeout)
{
	const json_t *email = json_object_get(call->json, "email");
	const json_t *given = json_object_get(call->json, "timeout");

	*timeout = TIMEOUT_DEFAULT;
	call->status = 0;
	if (call->json == NULL)
		answer_reason(call, "value", "body", "must be an object", "object.base");
	else
	{
		if (email == NULL)
			answer_reason(call, "email", "body", "is required", "any.required");
		else if (!json_is_string(email))
			answer_reason(call, "email", "body", "must be a string", "string.base");
		else if (json_string_length(email) == 0)
			answer_reason(call, "email", "body", "is not allowed to be empty", "any.empty");

		if (given == NULL)
			;
		else if (!json_is_number(given))
			answer_reason(call, "timeout", "body", "must be a number", "number.base");
		else if (!json_is_integer(given))
			answer_reason(call, "timeout", "body", "must be an integer", "number.integer");
		else
		{
			char		too_small[64];

			*timeout = json_integer_value(given);
			snprintf(too_small, sizeof(too_small), "must be larger than or equal to %lld",
					 (long long) settings.timeout_min);
			if (*timeout < settings.timeout_min)
				answer_reason(call, "timeout", "body", too_small, "number.min");
			else if (*timeout > TIMEOUT_MAX)
				answer_reason(call, "timeout", "body",
							  "must be less than or equal to 180000", "number.max");
		}
	}
	if (call->status == 0)
		return true;
	answer_reasons_end(call);
	return false;
}

static void
add_flag(Text *out, const char *name, bool flag)
{
	text_printf(out, ",\"%s\":\"%s\"", name, flag ? "yes" : "no");
}

/* A sentence such as the service adds to newer answers. */
static const char *
opinion(const Verdict *verdict)
{
	switch (*verdict->status)
	{
		case 'v':
			return *verdict->safe_to_send == 'y' ?
				"The mailbox exists and its provider is expected to deliver." :
				"The mailbox exists, but mail to it may not reach a person.";
		case 'c':
			return "The domain takes mail for any address, so delivery is uncertain.";
		case 'u':
			return "The mail server gave no usable answer, delivery cannot be foretold.";
		default:
			return "Mail to this address is expected to bounce.";
	}
}

static void
write_verdict(Call *call, const Verdict *verdict)
{
	Text	   *out = &call->answer;
	const char *email = call->email;
	const char *at = strrchr(email, '@');
	const char *domain = at ? at + 1 : "";
	char		verified_on[CLOCK_TEXT_SIZE];
	char		account[512];
	size_t		len = at ? (size_t) (at - email) : strlen(email);
	int64_t		taken = call->latency;

	if (len >= sizeof(account))
		len = 0;
	memcpy(account, email, len);
	account[len] = '\0';
	if (taken == 0)
		taken = 80 + table_hash(email) % 800;
	clock_iso(call->arrived + call->latency, verified_on);

	answer_begin(call);
	text_string(out, "{\"email_address\":");
	text_json(out, email);
	text_printf(out, ",\"status\":\"%s\",\"sub_status\":{\"code\":%d,\"desc\":\"%s\"}"
				",\"safe_to_send\":\"%s\",\"ai_verdict\":\"%s\",\"suggested_email_address\":",
				verdict->status, verdict->code, addresses_reason(verdict->code),
				verdict->safe_to_send, opinion(verdict));
	if (verdict->suggest)
	{
		char		suggested[600];

		snprintf(suggested, sizeof(suggested), "%s@suggested.example", account);
		text_json(out, suggested);
	}
	else
		text_string(out, "\"\"");
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
	Verdict		verdict;
	int64_t		timeout;

	if (!check_request(call, &timeout))
		return;
	if (account_daily_left(call->account) == 0)
	{
		answer_failure(call, 200, (int) settings.daily_code, NULL);
		return;
	}
	if (call->account->credits <= 0)
	{
		answer_failure(call, 402, (int) settings.credits_code, NULL);
		return;
	}
	if (call->latency > timeout)
	{
		call->latency = timeout;
		stats.timed_out++;
		answer_timeout(call);
		return;
	}
	addresses_judge(call->email, &verdict);
	if (verdict.charged)
	{
		account_charge(call->account);
		stats.charged++;
		table_at(call->count)->charged++;
	}
	write_verdict(call, &verdict);
}
