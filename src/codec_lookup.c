/*-------------------------------------------------------------------------
 * codec_lookup.c
 *		Answers of the single checks, of look-ups and of the account.
 *
 * Pure; one thread at a time.
 *
 * They are kept as they came; all that is read here is whether there is
 * something, the flag of a check, and whether it is about what was asked.
 *-------------------------------------------------------------------------
 */
#include "codec_find.h"

#include <stdlib.h>
#include <string.h>

#include "address.h"

#define NOTHING_FOUND 1027

/* The longest that is compared, in normal form. */
#define SPELLING_MAX 2048

void
co_lookup_nothing(CoLookupAnswer *answer, CoOutcome *outcome)
{
	answer->found = false;
	answer->flag = CO_NULL;
	answer->told_on = CO_NO_TIME;
	outcome->fault = CO_FAULT_NONE;
	outcome->code = 0;
	outcome->message[0] = '\0';
}

/* Does text begin so, whatever the case?  Returns what follows, or NULL. */
static const char *
skip(const char *text, const char *beginning)
{
	for (; *beginning != '\0'; text++, beginning++)
	{
		char		c = *text >= 'A' && *text <= 'Z' ? *text + ('a' - 'A') : *text;

		if (c != *beginning)
			return NULL;
	}
	return text;
}

static const char *
skip_if(const char *text, const char *beginning)
{
	const char *rest = skip(text, beginning);

	return rest != NULL ? rest : text;
}

/* Without scheme, "www." and what follows the host. */
static void
fold_domain(const char *text, char *out, size_t size)
{
	size_t		length;

	text = skip_if(text, "https://");
	text = skip_if(text, "http://");
	text = skip_if(text, "www.");
	length = strcspn(text, "/?#");
	if (co_domain_normalize(text, length, out, size) != CO_ADDRESS_OK)
	{
		length = length < size - 1 ? length : size - 1;
		memcpy(out, text, length);
		out[length] = '\0';
	}
}

static bool
same_domain(const char *theirs, const char *ours)
{
	char		a[SPELLING_MAX];
	char		b[SPELLING_MAX];

	fold_domain(theirs, a, sizeof(a));
	fold_domain(ours, b, sizeof(b));
	return co_json_equal_words(a, b);
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The last part of a profile's path, which names the person. */
static void
fold_profile(const char *text, char *out, size_t size)
{
	size_t		end = strcspn(text, "?#");
	size_t		begin;
	size_t		used = 0;

	while (end > 0 && text[end - 1] == '/')
		end--;
	for (begin = end; begin > 0 && text[begin - 1] != '/'; begin--)
		;
	while (begin < end && used + 1 < size)
	{
		int			high = begin + 2 < end && text[begin] == '%' ? hex_digit(text[begin + 1]) : -1;
		int			low = high >= 0 ? hex_digit(text[begin + 2]) : -1;

		if (low >= 0)
		{
			out[used++] = (char) (high * 16 + low);
			begin += 3;
		}
		else
			out[used++] = text[begin++];
	}
	out[used] = '\0';
}

static bool
same_profile(const char *theirs, const char *ours)
{
	char		a[SPELLING_MAX];
	char		b[SPELLING_MAX];

	fold_profile(theirs, a, sizeof(a));
	fold_profile(ours, b, sizeof(b));
	return co_json_equal_words(a, b);
}

/* Is the answer about what was asked, as far as it says what it is about? */
static bool
is_about(CoEndpointId endpoint, const json_t *data, const char *asked)
{
	const json_t *echo;

	switch (endpoint)
	{
		case CO_ENDPOINT_CATCHALL:
		case CO_ENDPOINT_DISPOSABLE:
		case CO_ENDPOINT_BUSINESS:
		case CO_ENDPOINT_FREE:
		case CO_ENDPOINT_ROLE:
		case CO_ENDPOINT_GIBBERISH:
		case CO_ENDPOINT_REVERSE_EMAIL:
			echo = json_object_get(data, "email_address");
			return echo == NULL || co_json_same_address(echo, asked);
		case CO_ENDPOINT_REVERSE_LINKEDIN:
			echo = json_object_get(data, "url");
			return !json_is_string(echo) || same_profile(json_string_value(echo), asked);
		case CO_ENDPOINT_REVERSE_DOMAIN:
			echo = json_object_get(data, "name");
			return !json_is_string(echo) || same_domain(json_string_value(echo), asked);
		case CO_ENDPOINT_MX:
		case CO_ENDPOINT_WHOIS:
			echo = json_object_get(data, "domain");
			return !json_is_string(echo) || same_domain(json_string_value(echo), asked);
		default:
			/* a name may come back tidied up, and the rest has no echo */
			return true;
	}
}

static bool
is_something(const json_t *json)
{
	return json_object_size(json) > 0 || json_array_size(json) > 0;
}

/* Does the service know something?  False with a fault: it is no answer. */
static bool
read_found(CoEndpointId endpoint, const json_t *data, CoLookupAnswer *answer,
		   CoOutcome *outcome)
{
	const json_t *records;

	answer->found = true;
	switch (endpoint)
	{
		case CO_ENDPOINT_REVERSE_EMAIL:
		case CO_ENDPOINT_REVERSE_LINKEDIN:
		case CO_ENDPOINT_REVERSE_DOMAIN:
			answer->found = is_something(json_object_get(data, "lead"));
			break;
		case CO_ENDPOINT_AUTOCOMPLETE:
			answer->found = is_something(data);
			break;
		case CO_ENDPOINT_MX:
			records = json_object_get(data, "mx_records");
			if (records != NULL && !json_is_null(records) && !json_is_array(records))
			{
				co_json_set_fault(outcome, CO_FAULT_MALFORMED, "the answer has no list of mail servers");
				return false;
			}
			answer->found = is_something(records);
			break;
		case CO_ENDPOINT_WHOIS:
			answer->found = is_something(json_object_get(data, "whoisRecord"));
			break;
		default:
			if (!is_something(data))
			{
				co_json_set_fault(outcome, CO_FAULT_MALFORMED, "the answer has no data");
				return false;
			}
	}
	return true;
}

static void
read_lookup(CoEndpointId endpoint, const json_t *data, size_t length,
			const char *asked, CoLookupAnswer *answer, CoOutcome *outcome)
{
	const char *flag = co_endpoints[endpoint].flag;

	if (!is_about(endpoint, data, asked))
	{
		co_json_set_fault(outcome, CO_FAULT_MISMATCH, "the answer is about something else");
		return;
	}
	if (!read_found(endpoint, data, answer, outcome))
	{
		memset(answer, 0, sizeof(*answer));
		return;
	}
	if (!co_json_store(data, length, &answer->raw))
	{
		memset(answer, 0, sizeof(*answer));
		co_json_set_fault(outcome, CO_FAULT_LOCAL, "out of memory");
		return;
	}
	answer->block = answer->raw;
	answer->flag = flag == NULL ? CO_NULL : co_json_ternary(json_object_get(data, flag));
	answer->told_on = co_json_time(json_object_get(data, "verified_on"));
}

static bool
is_reverse(CoEndpointId endpoint)
{
	return co_endpoints[endpoint].service == CO_SERVICE_REVERSE;
}

static CoDataShape
shape_of(CoEndpointId endpoint)
{
	if (endpoint == CO_ENDPOINT_AUTOCOMPLETE)
		return CO_DATA_LIST;
	return endpoint == CO_ENDPOINT_CREDITS ? CO_DATA_FIRST : CO_DATA_OBJECT;
}

void
co_decode_lookup(CoEndpointId endpoint, int http_status, const char *body,
				 size_t length, const char *asked, CoLookupAnswer *answer,
				 CoOutcome *outcome)
{
	const json_t *data;
	const json_t *error;

	memset(answer, 0, sizeof(*answer));
	if (co_endpoints[endpoint].kind == CO_KIND_PERSON)
	{
		co_decode_find(endpoint, http_status, body, length, asked, answer, outcome);
		return;
	}

	data = co_json_open(http_status, body, length, shape_of(endpoint), outcome, &error);
	if (data != NULL)
		read_lookup(endpoint, data, length, asked, answer, outcome);

	/*
	 * A 404 of the service itself, in its own envelope: a wrong base URL gives
	 * one too, and that is no answer.
	 */
	else if (is_reverse(endpoint) && outcome->fault == CO_FAULT_SERVICE &&
			 (outcome->code == NOTHING_FOUND ||
			  (http_status == 404 && json_is_object(error))))
		co_lookup_nothing(answer, outcome);
	co_json_end();
}

void
co_lookup_answer_free(CoLookupAnswer *answer)
{
	free(answer->block);
	memset(answer, 0, sizeof(*answer));
}
