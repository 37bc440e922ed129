/*-------------------------------------------------------------------------
 * codec_find.c
 *		The finder's answers.
 *
 * Pure; one thread at a time.
 *
 * What happens when nothing is found is not documented: a failure with code
 * 1027 and an empty list of addresses both mean it.  A search that takes
 * longer than the request's timeout goes on under a queue id, which a 524
 * brings; asked for it, the service answers as the finder does once it is
 * done, and with data that has no addresses before.
 *-------------------------------------------------------------------------
 */
#include "codec_find.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOTHING_FOUND 1027
#define QUEUE_ID_MAX 255

/* There is no answer yet. */
static void
keep_seeking(const char *queue_id, CoLookupAnswer *answer, CoOutcome *outcome)
{
	answer->block = answer->queue_id = strdup(queue_id);
	if (answer->block == NULL)
		co_json_set_fault(outcome, CO_FAULT_LOCAL, "out of memory");
}

/* It goes into a URL and into a table: printable ASCII without blanks. */
static bool
is_queue_id(const json_t *json)
{
	size_t		length = json_string_length(json);

	if (length == 0 || length > QUEUE_ID_MAX)
		return false;
	for (const char *c = json_string_value(json); length > 0; c++, length--)
	{
		if (*c <= 0x20 || *c >= 0x7F)
			return false;
	}
	return true;
}

/*
 * Is there a queue id in this object?  It becomes the answer; for want of
 * memory a fault.
 */
static bool
read_queue_id(const json_t *object, CoLookupAnswer *answer, CoOutcome *outcome)
{
	const json_t *id = json_object_get(object, "queue_id");
	char		text[QUEUE_ID_MAX + 1];

	if (json_is_integer(id))
		snprintf(text, sizeof(text), "%lld", (long long) json_integer_value(id));
	else if (is_queue_id(id))
		snprintf(text, sizeof(text), "%s", json_string_value(id));
	else
		return false;
	keep_seeking(text, answer, outcome);
	return true;
}

static bool
is_address(const json_t *candidate)
{
	return json_string_length(json_object_get(candidate, "email_address")) > 0;
}

static size_t
count_addresses(const json_t *emails)
{
	size_t		count = 0;

	for (size_t i = 0; i < json_array_size(emails); i++)
	{
		if (is_address(json_array_get(emails, i)))
			count++;
	}
	return count;
}

static void
read_success(CoEndpointId endpoint, const json_t *data, size_t length,
			 const char *asked, CoLookupAnswer *answer, CoOutcome *outcome)
{
	const json_t *emails = json_object_get(data, "emails");
	int64_t		total;

	if (emails == NULL || json_is_null(emails))
	{
		if (endpoint == CO_ENDPOINT_FIND_STATUS && emails == NULL)
		{
			/* it runs, whatever the word in query_status is */
			keep_seeking(asked, answer, outcome);
			return;
		}
		if (read_queue_id(data, answer, outcome))
			return;
		if (emails == NULL &&
			!(co_json_whole(json_object_get(data, "total"), INT_MAX, &total) && total == 0))
		{
			co_json_set_fault(outcome, CO_FAULT_MALFORMED, "the answer has no list of addresses");
			return;
		}
	}
	else if (!json_is_array(emails) ||
			 (json_array_size(emails) > 0 && count_addresses(emails) == 0))
	{
		co_json_set_fault(outcome, CO_FAULT_MALFORMED, "the answer has no usable address");
		return;
	}

	if (!co_json_store(data, length, &answer->raw))
	{
		co_json_set_fault(outcome, CO_FAULT_LOCAL, "out of memory");
		return;
	}
	answer->block = answer->raw;
	answer->found = json_array_size(emails) > 0;
	answer->flag = CO_NULL;
	answer->told_on = co_json_time(json_object_get(data, "found_on"));
}

void
co_decode_find(CoEndpointId endpoint, int http_status, const char *body, size_t length,
			   const char *asked, CoLookupAnswer *answer, CoOutcome *outcome)
{
	const json_t *error;
	const json_t *data = co_json_open(http_status, body, length, CO_DATA_OBJECT,
									  outcome, &error);

	if (data != NULL)
		read_success(endpoint, data, length, asked, answer, outcome);
	else if (outcome->fault == CO_FAULT_SERVICE && outcome->code == NOTHING_FOUND)
		co_lookup_nothing(answer, outcome);
	else if (outcome->fault == CO_FAULT_SERVICE && http_status == 524 &&
			 endpoint == CO_ENDPOINT_FIND)
		(void) read_queue_id(json_object_get(error, "additional_info"), answer, outcome);
	co_json_end();
}

/* ---------- who it is ---------- */

/* Room for a text, and the text there. */
static size_t
text_size(const json_t *json)
{
	return json_string_length(json) > 0 ? json_string_length(json) + 1 : 0;
}

static char *
put_text(char **room, const json_t *json)
{
	size_t		size = text_size(json);
	char	   *text = *room;

	if (size == 0)
		return NULL;
	memcpy(text, json_string_value(json), size);
	*room += size;
	return text;
}

static int
read_number(const json_t *json)
{
	int64_t		number;

	return co_json_whole(json, INT_MAX, &number) ? (int) number : -1;
}

CoPerson *
co_person_read(const char *raw)
{
	const json_t *data = co_json_open_raw(raw);
	const json_t *emails = json_object_get(data, "emails");
	const json_t *texts[] = {
		json_object_get(data, "first_name"),
		json_object_get(data, "last_name"),
		json_object_get(data, "full_name"),
		json_object_get(data, "domain"),
		json_object_get(json_object_get(data, "company"), "name")
	};
	size_t		count = count_addresses(emails);
	size_t		size = sizeof(CoPerson) + count * sizeof(char *);
	CoPerson   *person = NULL;
	char	   *room;

	if (json_is_string(json_object_get(data, "company")))
		texts[4] = json_object_get(data, "company");
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		size += text_size(texts[i]);
	for (size_t i = 0; i < json_array_size(emails); i++)
		size += text_size(json_object_get(json_array_get(emails, i), "email_address"));
	if (count > 0)
		person = calloc(1, size);
	if (person == NULL)
	{
		co_json_end();
		return NULL;
	}

	person->emails = (char **) (person + 1);
	room = (char *) (person->emails + count);
	for (size_t i = 0; i < json_array_size(emails); i++)
	{
		const json_t *candidate = json_array_get(emails, i);

		if (!is_address(candidate))
			continue;
		if (person->email_count == 0)
		{
			person->role = co_json_ternary(json_object_get(candidate, "role"));
			person->business = co_json_ternary(json_object_get(candidate, "business"));
		}
		person->emails[person->email_count++] =
			put_text(&room, json_object_get(candidate, "email_address"));
	}
	person->email = person->emails[0];
	person->first_name = put_text(&room, texts[0]);
	person->last_name = put_text(&room, texts[1]);
	person->full_name = put_text(&room, texts[2]);
	person->domain = put_text(&room, texts[3]);
	person->company = put_text(&room, texts[4]);
	person->confidence_score = read_number(json_object_get(data, "confidence_score"));
	person->credits_charged = read_number(json_object_get(data, "credits_charged"));
	co_json_end();
	return person;
}
