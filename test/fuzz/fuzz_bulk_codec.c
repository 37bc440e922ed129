/*-------------------------------------------------------------------------
 * fuzz_bulk_codec.c
 *		Any bytes about a list give a typed answer or a typed fault, and what
 *		is said about one is well formed whatever its id and name are.
 *
 * Input that begins like JSON is the body of a 200, so that the unit tests'
 * cases are seeds as they stand.  Otherwise the first two bytes choose the
 * status, and the rest is the body.  All calls read it.
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define json_object jansson_json_object_off_limits
#include <jansson.h>
#undef json_object

#include "bulk_codec.h"
#include "must.h"

static const char file_name[] = "clearout-00000000000000aa-17-1-00c0ffee.csv";

extern int	LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* It ends within its room, and is UTF-8. */
static void
check_text(const char *text, size_t size)
{
	json_t	   *string;

	MUST(memchr(text, '\0', size) != NULL);
	string = json_string(text);
	MUST(string != NULL);
	json_decref(string);
}

static void
check_answer(CoBulkCall call, int http_status, const char *body, size_t length)
{
	CoBulkAnswer *answer = malloc(sizeof(CoBulkAnswer));
	CoOutcome	outcome = {.sent = true};
	bool		listed;

	memset(answer, 0x55, sizeof(*answer));
	co_bulk_decode(call, http_status, body, length, file_name, answer, &outcome);
	MUST(outcome.sent && outcome.http_status == http_status);
	check_text(outcome.message, sizeof(outcome.message));
	check_text(answer->list_id, sizeof(answer->list_id));
	check_text(answer->url, sizeof(answer->url));
	check_text(answer->cursor, sizeof(answer->cursor));
	MUST(answer->percent >= -1 && answer->percent <= 100);
	MUST(answer->state <= CO_BULK_FAILED);
	MUST(answer->required_credits >= -1);

	listed = answer->list_id[0] != '\0';
	if (outcome.fault != CO_FAULT_NONE)
	{
		MUST(!listed && answer->url[0] == '\0' && !answer->more && answer->percent == -1);
		free(answer);
		return;
	}
	MUST(http_status >= 200 && http_status <= 299);
	MUST(answer->required_credits == -1);
	switch (call)
	{
		case CO_BULK_UPLOAD:
			MUST(listed);
			break;
		case CO_BULK_RESULT:
			MUST(answer->url[0] != '\0');
			break;
		case CO_BULK_LISTS:
			/* found, or there is more, or it is not there */
			MUST(!(listed && answer->more));
			MUST(answer->more == (answer->cursor[0] != '\0'));
			break;
		default:
			MUST(!listed && !answer->more);
	}
	free(answer);
}

static void
check_requests(const char *text)
{
	char	   *query = co_bulk_encode(CO_BULK_PROGRESS, text);
	char	   *body = co_bulk_encode(CO_BULK_REMOVE, text);
	const char *from = query + strlen("?list_id=");
	char	   *head;
	char	   *tail;

	/* nothing that is not unreserved, and the same bytes again */
	MUST(query != NULL && strncmp(query, "?list_id=", 9) == 0);
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
	free(query);

	/* sent as it is, or not at all */
	if (body != NULL)
	{
		json_t	   *json = json_loads(body, 0, NULL);

		MUST(strcmp(json_string_value(json_object_get(json, "list_id")), text) == 0);
		json_decref(json);
	}
	free(body);
	body = co_bulk_encode_lists(text);
	if (body != NULL)
	{
		json_t	   *json = json_loads(body, 0, NULL);

		MUST(strcmp(json_string_value(json_object_get(json, "start_after")), text) == 0);
		json_decref(json);
	}
	free(body);

	/* no length of any part cuts off the end */
	MUST(co_bulk_multipart("boundary", text, text, &head, &tail));
	MUST(strstr(head, text) != NULL);
	MUST(strcmp(head + strlen(head) - 26, "Content-Type: text/csv\r\n\r\n") == 0);
	MUST(strcmp(tail, "\r\n--boundary--\r\n") == 0);
	free(head);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	const char *body = (const char *) bytes;
	int			http_status = 200;
	char	   *text;

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
	for (int call = CO_BULK_UPLOAD; call < CO_BULK_DOWNLOAD; call++)
		check_answer((CoBulkCall) call, http_status, body, size);

	text = malloc(size + 1);
	memcpy(text, body, size);
	text[size] = '\0';
	check_requests(text);
	free(text);
	return 0;
}
