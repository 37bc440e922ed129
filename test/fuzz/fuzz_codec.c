/*-------------------------------------------------------------------------
 * fuzz_codec.c
 *		Any bytes under any HTTP status give a typed answer or a typed fault.
 *
 * Input that begins like JSON is the body of a 200, so that the unit tests'
 * cases are seeds as they stand.  Otherwise the first two bytes choose the
 * status, and the rest is the body.  All decoders read it.  What they say is
 * checked for the promises of codec.h: texts are UTF-8 without NUL, raw is JSON
 * that decodes to the same answer again.
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define json_object jansson_json_object_off_limits
#include <jansson.h>
#undef json_object

#include "codec.h"
#include "must.h"

static const char email[] = "jane@corp.example";

static void
check_text(const char *text)
{
	json_t	   *string;

	if (text == NULL)
		return;
	string = json_string(text); /* NULL unless valid UTF-8 */
	MUST(string != NULL);
	json_decref(string);
}

static void
check_word(const char *word)
{
	check_text(word);
	if (word == NULL)
		return;
	MUST(word[0] != '\0' && strlen(word) <= 64);
	MUST(strpbrk(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ -\t\r\n") == NULL);
}

static void
check_raw(const char *raw)
{
	json_t	   *data;

	MUST(raw != NULL);
	check_text(raw);
	data = json_loads(raw, 0, NULL);
	MUST(json_is_object(data));
	json_decref(data);
}

static void
check_outcome(const CoOutcome *outcome, int http_status)
{
	MUST(outcome->sent);
	MUST(outcome->http_status == http_status);
	MUST(memchr(outcome->message, '\0', CO_MESSAGE_SIZE) != NULL);
	check_text(outcome->message);
	for (const char *p = outcome->message; *p != '\0'; p++)
		MUST((unsigned char) *p >= 0x20);

	switch (outcome->fault)
	{
		case CO_FAULT_NONE:
			MUST(http_status >= 200 && http_status <= 299);
			break;
		case CO_FAULT_MALFORMED:
		case CO_FAULT_MISMATCH:
			MUST(http_status >= 200 && http_status <= 299);
			MUST(outcome->message[0] != '\0');
			break;
		case CO_FAULT_REDIRECT:
			MUST(http_status >= 300 && http_status <= 399);
			break;
		default:
			MUST(outcome->fault == CO_FAULT_SERVICE);
	}
}

/* A word of two answers: folding it twice changes nothing. */
static void
check_same(const char *a, const char *b)
{
	MUST((a == NULL) == (b == NULL));
	MUST(a == NULL || strcmp(a, b) == 0);
}

static void
check_again(const CoVerifyAnswer *first)
{
	const char *frame = "{\"status\":\"success\",\"data\":%s}";
	size_t		size = strlen(frame) + strlen(first->raw) + 1;
	char	   *body = malloc(size);
	CoVerifyAnswer second;
	CoOutcome	outcome = {.sent = true};

	snprintf(body, size, frame, first->raw);
	co_decode_verify(200, body, strlen(body), email, &second, &outcome);
	MUST(outcome.fault == CO_FAULT_NONE);
	check_same(first->status, second.status);
	check_same(first->safe_to_send, second.safe_to_send);
	check_same(first->reason, second.reason);
	check_same(first->bounce_type, second.bounce_type);
	check_same(first->suggested_email, second.suggested_email);
	check_same(first->account, second.account);
	check_same(first->domain, second.domain);
	check_same(first->mx_record, second.mx_record);
	check_same(first->smtp_provider, second.smtp_provider);
	check_same(first->ai_verdict, second.ai_verdict);
	MUST(first->sub_status == second.sub_status);
	MUST(first->disposable == second.disposable);
	MUST(first->free == second.free);
	MUST(first->role == second.role);
	MUST(first->gibberish == second.gibberish);
	MUST(first->verified_on == second.verified_on);
	MUST(first->time_taken == second.time_taken);
	co_verify_answer_free(&second);
	free(body);
}

static void
check_verify(int http_status, const char *body, size_t length)
{
	CoVerifyAnswer answer;
	CoOutcome	outcome = {.sent = true};

	co_decode_verify(http_status, body, length, email, &answer, &outcome);
	check_outcome(&outcome, http_status);
	if (outcome.fault == CO_FAULT_NONE)
	{
		MUST(answer.status != NULL);
		check_word(answer.status);
		check_word(answer.safe_to_send);
		check_word(answer.bounce_type);
		check_text(answer.reason);
		check_text(answer.suggested_email);
		check_text(answer.account);
		check_text(answer.domain);
		check_text(answer.mx_record);
		check_text(answer.smtp_provider);
		check_text(answer.ai_verdict);
		MUST(answer.sub_status >= -1 && answer.time_taken >= -1);
		check_raw(answer.raw);
		check_again(&answer);
	}
	else
		MUST(answer.raw == NULL && answer.status == NULL);
	co_verify_answer_free(&answer);
}

static void
check_credits(int http_status, const char *body, size_t length)
{
	CoCreditsAnswer answer;
	CoOutcome	outcome = {.sent = true};

	co_decode_credits(http_status, body, length, &answer, &outcome);
	check_outcome(&outcome, http_status);
	if (outcome.fault == CO_FAULT_NONE)
	{
		MUST(answer.available >= -1 && answer.daily_limit_available >= -1);
		check_raw(answer.raw);
	}
	else
		MUST(answer.raw == NULL && answer.available == 0);
	co_credits_answer_free(&answer);
}

/* What is asked of each endpoint; it never fails for that. */
static const char *
asked_of(CoEndpointId endpoint)
{
	switch (endpoint)
	{
		case CO_ENDPOINT_FIND:
			return "Jane Doe\x1F" "corp.example";
		case CO_ENDPOINT_REVERSE_DOMAIN:
		case CO_ENDPOINT_MX:
		case CO_ENDPOINT_WHOIS:
			return "corp.example";
		case CO_ENDPOINT_REVERSE_LINKEDIN:
			return "https://www.linkedin.com/in/jane";
		default:
			return email;
	}
}

static void
check_person(const char *raw)
{
	CoPerson   *person = co_person_read(raw);

	MUST(person != NULL && person->email_count > 0 && person->email == person->emails[0]);
	for (int i = 0; i < person->email_count; i++)
	{
		MUST(person->emails[i] != NULL);
		check_text(person->emails[i]);
	}
	check_text(person->first_name);
	check_text(person->last_name);
	check_text(person->full_name);
	check_text(person->domain);
	check_text(person->company);
	MUST(person->confidence_score >= -1 && person->credits_charged >= -1);
	free(person);
}

/* What raw has is the same answer again. */
static void
check_lookup_again(CoEndpointId endpoint, const CoLookupAnswer *first)
{
	const char *frame = "{\"status\":\"success\",\"data\":%s}";
	size_t		size = strlen(frame) + strlen(first->raw) + 1;
	char	   *body = malloc(size);
	CoLookupAnswer second;
	CoOutcome	outcome = {.sent = true};

	snprintf(body, size, frame, first->raw);
	co_decode_lookup(endpoint, 200, body, strlen(body), asked_of(endpoint), &second, &outcome);
	MUST(outcome.fault == CO_FAULT_NONE && second.queue_id == NULL);
	MUST(first->found == second.found && first->flag == second.flag &&
		 first->told_on == second.told_on);
	co_lookup_answer_free(&second);
	free(body);
}

static void
check_lookup(CoEndpointId endpoint, int http_status, const char *body, size_t length)
{
	CoLookupAnswer answer;
	CoOutcome	outcome = {.sent = true};
	json_t	   *data;

	co_decode_lookup(endpoint, http_status, body, length, asked_of(endpoint), &answer, &outcome);

	/* "nothing" comes under any status */
	if (outcome.fault != CO_FAULT_NONE || answer.raw != NULL)
		check_outcome(&outcome, http_status);
	if (answer.queue_id != NULL)
	{
		MUST(co_endpoints[endpoint].kind == CO_KIND_PERSON);
		MUST(answer.queue_id[0] != '\0' && strlen(answer.queue_id) <= 255);
		MUST(!answer.found && answer.raw == NULL);
		check_text(answer.queue_id);
	}
	else if (outcome.fault != CO_FAULT_NONE)
		MUST(answer.raw == NULL && answer.block == NULL && !answer.found);
	else if (answer.raw == NULL)
		MUST(!answer.found);
	else
	{
		check_text(answer.raw);
		data = json_loads(answer.raw, 0, NULL);
		MUST(data != NULL);
		json_decref(data);
		check_lookup_again(endpoint, &answer);
		if (answer.found && co_endpoints[endpoint].kind == CO_KIND_PERSON)
			check_person(answer.raw);
	}
	co_lookup_answer_free(&answer);
}

extern int	LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	const char *body = (const char *) bytes;
	int			http_status = 200;
	char	   *text;
	char	   *request;

	if (size > 0 && bytes[0] != '{' && bytes[0] != '[')
	{
		if (size < 2)
			return 0;
		if (bytes[0] >= 192)
			http_status = 4 * bytes[1];
		else if (bytes[0] >= 128)
			http_status = 200 + bytes[1];
		body += 2;
		size -= 2;
	}
	check_verify(http_status, body, size);
	check_credits(http_status, body, size);
	for (int i = 0; i < CO_ENDPOINT_COUNT; i++)
	{
		if (co_endpoints[i].kind != CO_KIND_VERIFY)
			check_lookup(i, http_status, body, size);
	}

	/* the same bytes as an address: sent as they are, or not at all */
	text = malloc(size + 1);
	memcpy(text, body, size);
	text[size] = '\0';
	request = co_encode_body(CO_ENDPOINT_VERIFY, text, http_status);
	if (request != NULL)
	{
		json_t	   *parsed = json_loads(request, 0, NULL);

		MUST(strcmp(json_string_value(json_object_get(parsed, "email")), text) == 0);
		json_decref(parsed);
	}
	free(request);

	/* as a query: nothing that is not unreserved, and the same bytes again */
	request = co_encode_query(CO_ENDPOINT_AUTOCOMPLETE, text);
	if (request != NULL)
	{
		const char *from = request + strlen("?query=");

		MUST(strncmp(request, "?query=", 7) == 0);
		for (const char *c = text; *c != '\0'; c++)
		{
			unsigned int byte = (unsigned char) *from++;

			if (byte == '%')
			{
				MUST(sscanf(from, "%2X", &byte) == 1);
				from += 2;
			}
			else
				MUST(strchr(" &=+#?/", (int) byte) == NULL && byte > 0x20 && byte < 0x7F);
			MUST(byte == (unsigned char) *c);
		}
		MUST(*from == '\0');
	}
	free(request);
	request = co_encode_body(CO_ENDPOINT_FIND, text, http_status);
	free(request);
	free(text);
	return 0;
}
