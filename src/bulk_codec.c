/*-------------------------------------------------------------------------
 * bulk_codec.c
 *		What is said to the service about lists, and what it says.
 *
 * Pure.  The states of a list are documented in part: "running" and
 * "completed" are, and what sounds final is taken for final; any other word
 * means that it goes on.
 *-------------------------------------------------------------------------
 */
#include "bulk_codec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec_json.h"

#define LISTS_PER_PAGE 100

static const char *const paths[][7] = {
	{
		"/email_verify/bulk", "/email_verify/bulk/progress_status", "/download/result",
		"/email_verify/list/cancel", "/email_verify/list/remove", "/email_verify/list", NULL
	},
	{
		"/email_finder/bulk", "/email_finder/bulk/progress_status", "/email_finder/download/result",
		"/email_finder/list/cancel", "/email_finder/list/remove", "/email_finder/list", NULL
	}
};

const char *
co_bulk_path(CoBulkKind kind, CoBulkCall call)
{
	return paths[kind][call];
}

/* ---------- requests ---------- */

static char *
pack(json_t *request)
{
	char	   *body;
	size_t		used;

	if (request == NULL)
		return NULL;
	body = co_json_dump(request, 200, 0, &used);
	json_decref(request);
	return body;
}

/* Only what needs no escape is in an id; of anything else no call is made. */
static char *
progress_query(const char *list_id)
{
	static const char digits[] = "0123456789ABCDEF";
	static const char name[] = "?list_id=";
	char	   *query = malloc(sizeof(name) + 3 * strlen(list_id));
	char	   *to;

	if (query == NULL)
		return NULL;
	strcpy(query, name);
	to = query + sizeof(name) - 1;
	for (; *list_id != '\0'; list_id++)
	{
		unsigned char c = (unsigned char) *list_id;

		if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
			c == '-' || c == '_' || c == '.' || c == '~')
			*to++ = (char) c;
		else
		{
			*to++ = '%';
			*to++ = digits[c >> 4];
			*to++ = digits[c & 15];
		}
	}
	*to = '\0';
	return query;
}

char *
co_bulk_encode(CoBulkCall call, const char *list_id)
{
	if (call == CO_BULK_PROGRESS)
		return progress_query(list_id);
	/* what was stored here need not have been counted as a download there */
	if (call == CO_BULK_REMOVE)
		return pack(json_pack("{s:s,s:b}", "list_id", list_id, "ignore_result", 1));
	return pack(json_pack("{s:s}", "list_id", list_id));
}

char *
co_bulk_encode_lists(const char *cursor)
{
	return pack(json_pack("{s:i,s:s?,s:{s:s}}", "limit", LISTS_PER_PAGE, "start_after", cursor,
						  "filter", "date_range", "ps_last_30_days"));
}

bool
co_bulk_multipart(const char *boundary, const char *file_name, const char *optimize,
				  char **head, char **tail)
{
	static const char file[] = "--%s\r\n"
		"Content-Disposition: form-data; name=\"file\"; filename=\"%s\"\r\n"
		"Content-Type: text/csv\r\n\r\n";
	static const char field[] = "--%s\r\n"
		"Content-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n";
	static const char end[] = "\r\n--%s--\r\n";
	size_t		size = 3 * sizeof(field) + 5 * strlen(boundary) + strlen(file_name) +
		(optimize ? strlen(optimize) : 0) + sizeof(file) + sizeof(end) + 100;
	size_t		used = 0;
	char	   *block = malloc(size);

	if (block == NULL)
		return false;
	/* fields first: whoever reads a file as it comes knows all before it */
	if (optimize != NULL)
		used += (size_t) snprintf(block + used, size - used, field, boundary, "optimize", optimize);
	used += (size_t) snprintf(block + used, size - used, field, boundary,
							  "ignore_duplicate_file", "false");
	used += (size_t) snprintf(block + used, size - used, file, boundary, file_name) + 1;
	*head = block;
	*tail = block + used;
	snprintf(block + used, size - used, end, boundary);
	return true;
}

/* ---------- answers ---------- */

/* A text that fits; false if it is none, or does not. */
static bool
copy_text(const json_t *json, char *copy, size_t size)
{
	const char *text = json_string_value(json);

	if (text == NULL || text[0] == '\0' || strlen(text) >= size ||
		strlen(text) != json_string_length(json))
		return false;
	strcpy(copy, text);
	return true;
}

static CoBulkState
read_state(const json_t *json)
{
	char		word[CO_WORD_MAX + 1];

	if (co_json_fold_word(json, word) == 0)
		return CO_BULK_RUNNING;
	if (strcmp(word, "completed") == 0 || strcmp(word, "complete") == 0 ||
		strcmp(word, "finished") == 0 || strcmp(word, "done") == 0)
		return CO_BULK_COMPLETED;
	if (strncmp(word, "cancelled", 9) == 0 || strncmp(word, "canceled", 8) == 0)
		return CO_BULK_CANCELLED;
	if (strcmp(word, "failed") == 0 || strcmp(word, "failure") == 0 ||
		strcmp(word, "error") == 0 || strcmp(word, "rejected") == 0 || strcmp(word, "expired") == 0)
		return CO_BULK_FAILED;
	return CO_BULK_RUNNING;
}

/* The names differ between verifier and finder, and may change. */
static int
read_percent(const json_t *data)
{
	static const char *const names[] = {"percentile", "percentage", "percent"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		const json_t *value = json_object_get(data, names[i]);
		int64_t		whole;

		if (json_is_real(value) && json_real_value(value) >= 0 && json_real_value(value) <= 100)
			return (int) json_real_value(value);
		if (co_json_whole(value, 100, &whole))
			return (int) whole;
	}
	return -1;
}

/* A list has the name of its file, with or without what follows the dot. */
static bool
has_name(const json_t *list, const char *file_name)
{
	const char *name = json_string_value(json_object_get(list, "name"));
	const char *dot = strrchr(file_name, '.');
	size_t		length = dot != NULL ? (size_t) (dot - file_name) : strlen(file_name);

	if (name == NULL)
		return false;
	return strcmp(name, file_name) == 0 ||
		(strlen(name) == length && strncmp(name, file_name, length) == 0);
}

static void
read_lists(const json_t *data, const char *file_name, CoBulkAnswer *answer, CoOutcome *outcome)
{
	for (size_t i = 0; i < json_array_size(data); i++)
	{
		const json_t *list = json_array_get(data, i);

		if (has_name(list, file_name))
		{
			if (!copy_text(json_object_get(list, "list_id"), answer->list_id, sizeof(answer->list_id)))
				co_json_set_fault(outcome, CO_FAULT_MALFORMED, "a list has no usable id");
			return;
		}
	}
}

/* Is there another page, and how is it asked for? */
static void
read_page(const json_t *page, CoBulkAnswer *answer, CoOutcome *outcome)
{
	if (!json_is_true(json_object_get(page, "has_more")))
		return;
	/* without a way to go on, what was sought may be on a later page */
	answer->more = copy_text(json_object_get(page, "last_cursor"), answer->cursor,
							 sizeof(answer->cursor));
	if (!answer->more)
		co_json_set_fault(outcome, CO_FAULT_MALFORMED, "there are more lists, and no way to them");
}

void
co_bulk_decode(CoBulkCall call, int http_status, const char *body, size_t length,
			   const char *file_name, CoBulkAnswer *answer, CoOutcome *outcome)
{
	const json_t *error = NULL;
	const json_t *data;
	int64_t		number;

	memset(answer, 0, sizeof(*answer));
	answer->percent = -1;
	answer->required_credits = -1;
	data = co_json_open(http_status, body, length,
						call == CO_BULK_LISTS ? CO_DATA_LIST : CO_DATA_OBJECT, outcome, &error);
	if (data == NULL)
	{
		if (co_json_whole(json_object_get(json_object_get(error, "additional_info"), "required_credits"),
						  INT64_MAX, &number))
			answer->required_credits = number;
		co_json_end();
		return;
	}
	switch (call)
	{
		case CO_BULK_UPLOAD:
			if (!copy_text(json_object_get(data, "list_id"), answer->list_id, sizeof(answer->list_id)))
				co_json_set_fault(outcome, CO_FAULT_MALFORMED, "the answer has no usable list_id");
			break;
		case CO_BULK_PROGRESS:
			answer->state = read_state(json_object_get(data, "progress_status"));
			answer->percent = read_percent(data);
			break;
		case CO_BULK_RESULT:
			if (!copy_text(json_object_get(data, "url"), answer->url, sizeof(answer->url)))
				co_json_set_fault(outcome, CO_FAULT_MALFORMED, "the answer has no usable url");
			break;
		case CO_BULK_LISTS:
			read_lists(data, file_name, answer, outcome);
			if (answer->list_id[0] == '\0' && outcome->fault == CO_FAULT_NONE)
				read_page(co_json_beside("page_info"), answer, outcome);
			break;
		case CO_BULK_CANCEL:
		case CO_BULK_REMOVE:
		case CO_BULK_DOWNLOAD:
			break;
	}
	co_json_end();
}
