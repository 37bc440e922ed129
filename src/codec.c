/*-------------------------------------------------------------------------
 * codec.c
 *		HTTP answer -> typed reply: verification and balance.
 *
 * Pure; one thread at a time.
 *
 * An answer has been paid for, so it is read as generously as can be done
 * without guessing: only the verdict (status) and the address are insisted
 * on, every other field that is not what the API documents is NULL, and raw
 * keeps what came.  Words are open sets and are data.
 *-------------------------------------------------------------------------
 */
#include "codec.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "codec_json.h"

static void
read_verify(const json_t *data, size_t guess, const char *email,
			CoVerifyAnswer *answer, CoOutcome *outcome)
{
	const json_t *address = json_object_get(data, "email_address");
	const json_t *sub_status = json_object_get(data, "sub_status");
	const json_t *details = json_object_get(data, "detail_info");
	char		status[WORD_MAX + 1];
	char		safe_to_send[WORD_MAX + 1];
	char		bounce_type[WORD_MAX + 1];
	size_t		status_length;
	size_t		safe_to_send_length;
	size_t		bounce_type_length;
	const size_t suffix = sizeof("_bounce") - 1;
	int64_t		number;

	if (address != NULL && !co_json_same_address(address, email))
	{
		co_json_set_fault(outcome, CO_FAULT_MISMATCH, "the answer is for another address");
		return;
	}

	status_length = co_json_fold_word(json_object_get(data, "status"), status);
	if (status_length == 0)
	{
		co_json_set_fault(outcome, CO_FAULT_MALFORMED, "the answer has no usable status");
		return;
	}
	if (strcmp(status, "catchall") == 0)
	{
		strcpy(status, "catch_all");
		status_length = strlen(status);
	}

	safe_to_send_length =
		co_json_fold_word(json_object_get(data, "safe_to_send"), safe_to_send);

	/* in places the service's words are "Hard bounce" and "Soft bounce" */
	bounce_type_length =
		co_json_fold_word(json_object_get(data, "bounce_type"), bounce_type);
	if (bounce_type_length > suffix &&
		strcmp(bounce_type + bounce_type_length - suffix, "_bounce") == 0)
		bounce_type_length -= suffix;

	{
		const CoField fields[] = {
			co_json_word_field(&answer->status, status, status_length),
			co_json_word_field(&answer->safe_to_send, safe_to_send, safe_to_send_length),
			co_json_word_field(&answer->bounce_type, bounce_type, bounce_type_length),
			co_json_text_field(&answer->reason, json_object_get(sub_status, "desc")),
			co_json_text_field(&answer->suggested_email,
							   json_object_get(data, "suggested_email_address")),
			co_json_text_field(&answer->account, json_object_get(details, "account")),
			co_json_text_field(&answer->domain, json_object_get(details, "domain")),
			co_json_text_field(&answer->mx_record, json_object_get(details, "mx_record")),
			co_json_text_field(&answer->smtp_provider,
							   json_object_get(details, "smtp_provider")),
			co_json_text_field(&answer->ai_verdict, json_object_get(data, "ai_verdict"))
		};

		if (!co_json_store(data, guess, &answer->raw, fields,
						   sizeof(fields) / sizeof(fields[0])))
		{
			co_json_set_fault(outcome, CO_FAULT_LOCAL, "out of memory");
			return;
		}
	}

	/* documented as an object; a bare number is taken as well */
	if (co_json_whole(json_is_object(sub_status) ?
					  json_object_get(sub_status, "code") : sub_status,
					  INT_MAX, &number))
		answer->sub_status = (int) number;
	else
		answer->sub_status = -1;

	answer->disposable = co_json_ternary(json_object_get(data, "disposable"));
	answer->free = co_json_ternary(json_object_get(data, "free"));
	answer->role = co_json_ternary(json_object_get(data, "role"));
	answer->gibberish = co_json_ternary(json_object_get(data, "gibberish"));
	answer->verified_on = co_json_time(json_object_get(data, "verified_on"));

	if (json_is_integer(json_object_get(data, "time_taken")) &&
		co_json_whole(json_object_get(data, "time_taken"), INT64_MAX, &number))
		answer->time_taken = number;
	else
		answer->time_taken = -1;
}

void
co_decode_verify(int http_status, const char *body, size_t length,
				 const char *email, CoVerifyAnswer *answer, CoOutcome *outcome)
{
	const json_t *data;

	memset(answer, 0, sizeof(*answer));
	data = co_json_open(http_status, body, length, CO_DATA_OBJECT, outcome, NULL);
	if (data != NULL)
		read_verify(data, length, email, answer, outcome);
	co_json_end();
}

/* A count; below zero (an overdrawn account) is none. */
static int64_t
read_count(const json_t *json)
{
	int64_t		number;

	if (json_is_integer(json) && json_integer_value(json) < 0)
		return 0;
	return co_json_whole(json, INT64_MAX, &number) ? number : -1;
}

void
co_decode_credits(int http_status, const char *body, size_t length,
				  CoCreditsAnswer *answer, CoOutcome *outcome)
{
	const json_t *data;

	memset(answer, 0, sizeof(*answer));
	data = co_json_open(http_status, body, length, CO_DATA_FIRST, outcome, NULL);
	if (data != NULL && !co_json_store(data, length, &answer->raw, NULL, 0))
		co_json_set_fault(outcome, CO_FAULT_LOCAL, "out of memory");
	else if (data != NULL)
	{
		const json_t *credits = json_object_get(data, "credits");

		answer->available =
			read_count(json_object_get(data, "available_credits"));
		if (answer->available < 0)
			answer->available =
				read_count(json_object_get(credits, "available"));
		answer->daily_limit_available =
			read_count(json_object_get(credits, "available_daily_verify_limit"));
		answer->daily_limit_reset =
			co_json_time(json_object_get(credits, "reset_daily_verify_limit_date"));
	}
	co_json_end();
}

void
co_verify_answer_free(CoVerifyAnswer *answer)
{
	free(answer->raw);
	memset(answer, 0, sizeof(*answer));
}

void
co_credits_answer_free(CoCreditsAnswer *answer)
{
	free(answer->raw);
	memset(answer, 0, sizeof(*answer));
}
