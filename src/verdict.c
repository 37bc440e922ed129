/*-------------------------------------------------------------------------
 * verdict.c
 *		What an answer says of an address, from its parts.
 *
 * Pure.  See codec.c for what is insisted on.
 *-------------------------------------------------------------------------
 */
#include "verdict.h"

#include <limits.h>
#include <string.h>

void
co_verdict_pick(const CoVerdictReader *reader, const void *data, CoVerdictParts *parts)
{
	const void *sub_status = reader->object(data, "sub_status");
	const void *details = reader->object(data, "detail_info");

	parts->email_address = reader->value(data, "email_address");
	parts->status = reader->value(data, "status");
	parts->safe_to_send = reader->value(data, "safe_to_send");
	parts->bounce_type = reader->value(data, "bounce_type");
	/* documented as an object; a bare number is taken as well */
	parts->sub_status = sub_status != NULL ? reader->value(sub_status, "code") :
		reader->value(data, "sub_status");
	parts->desc = reader->value(sub_status, "desc");
	parts->suggested_email_address = reader->value(data, "suggested_email_address");
	parts->account = reader->value(details, "account");
	parts->domain = reader->value(details, "domain");
	parts->mx_record = reader->value(details, "mx_record");
	parts->smtp_provider = reader->value(details, "smtp_provider");
	parts->ai_verdict = reader->value(data, "ai_verdict");
	parts->disposable = reader->value(data, "disposable");
	parts->free = reader->value(data, "free");
	parts->role = reader->value(data, "role");
	parts->gibberish = reader->value(data, "gibberish");
	parts->verified_on = reader->value(data, "verified_on");
	parts->time_taken = reader->value(data, "time_taken");
}

static void
add_text(CoVerdictTexts *texts, int *count, char **target, const char *text, size_t length)
{
	texts->text[*count].target = target;
	texts->text[*count].text = length > 0 ? text : NULL;
	texts->text[*count].length = length;
	if (length > 0)
		texts->room += length + 1;
	(*count)++;
}

static void
add_value(CoVerdictTexts *texts, int *count, char **target, const CoValue *value)
{
	add_text(texts, count, target, value->text,
			 value->kind == CO_VALUE_TEXT ? value->length : 0);
}

static bool
refuse(CoOutcome *outcome, CoFault fault, const char *message)
{
	outcome->fault = fault;
	co_message_set(outcome->message, sizeof(outcome->message), message, strlen(message));
	return false;
}

bool
co_verdict_read(const CoVerdictParts *parts, const char *email,
				CoVerifyAnswer *answer, CoVerdictTexts *texts, CoOutcome *outcome)
{
	static const char suffix[] = "_bounce";
	const size_t suffix_length = sizeof(suffix) - 1;
	size_t		status_length;
	size_t		bounce_type_length;
	int64_t		number;
	int			count = 0;

	if (parts->email_address.kind != CO_VALUE_ABSENT &&
		!co_value_is_address(&parts->email_address, email))
		return refuse(outcome, CO_FAULT_MISMATCH, "the answer is for another address");

	status_length = co_value_fold_word(&parts->status, texts->status);
	if (status_length == 0)
		return refuse(outcome, CO_FAULT_MALFORMED, "the answer has no usable status");
	if (strcmp(texts->status, "catchall") == 0)
	{
		strcpy(texts->status, "catch_all");
		status_length = strlen(texts->status);
	}

	/* in places the service's words are "Hard bounce" and "Soft bounce" */
	bounce_type_length = co_value_fold_word(&parts->bounce_type, texts->bounce_type);
	if (bounce_type_length > suffix_length &&
		strcmp(texts->bounce_type + bounce_type_length - suffix_length, suffix) == 0)
		bounce_type_length -= suffix_length;

	texts->room = 0;
	add_text(texts, &count, &answer->status, texts->status, status_length);
	add_text(texts, &count, &answer->safe_to_send, texts->safe_to_send,
			 co_value_fold_word(&parts->safe_to_send, texts->safe_to_send));
	add_text(texts, &count, &answer->bounce_type, texts->bounce_type, bounce_type_length);
	add_value(texts, &count, &answer->reason, &parts->desc);
	add_value(texts, &count, &answer->suggested_email, &parts->suggested_email_address);
	add_value(texts, &count, &answer->account, &parts->account);
	add_value(texts, &count, &answer->domain, &parts->domain);
	add_value(texts, &count, &answer->mx_record, &parts->mx_record);
	add_value(texts, &count, &answer->smtp_provider, &parts->smtp_provider);
	add_value(texts, &count, &answer->ai_verdict, &parts->ai_verdict);

	answer->sub_status = co_value_whole(&parts->sub_status, INT_MAX, &number) ? (int) number : -1;
	answer->disposable = co_value_ternary(&parts->disposable);
	answer->free = co_value_ternary(&parts->free);
	answer->role = co_value_ternary(&parts->role);
	answer->gibberish = co_value_ternary(&parts->gibberish);
	answer->verified_on = co_value_time(&parts->verified_on);
	/* an interval counts microseconds */
	answer->time_taken = parts->time_taken.kind == CO_VALUE_INTEGER &&
		parts->time_taken.number >= 0 && parts->time_taken.number <= INT64_MAX / 1000 ?
		parts->time_taken.number : -1;
	return true;
}

void
co_verdict_put(const CoVerdictTexts *texts, char *room)
{
	for (int i = 0; i < CO_VERDICT_TEXTS; i++)
	{
		size_t		length = texts->text[i].length;

		if (texts->text[i].text == NULL)
			continue;
		memcpy(room, texts->text[i].text, length);
		room[length] = '\0';
		*texts->text[i].target = room;
		room += length + 1;
	}
}
