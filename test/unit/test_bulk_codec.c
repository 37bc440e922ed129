/*-------------------------------------------------------------------------
 * test_bulk_codec.c
 *		What is said about lists, and what becomes of the answers.
 *
 * A case is a directory of ../cases/bulk_codec with the files
 *
 *		call	upload, progress, result, cancel, remove or lists
 *		http	the HTTP status
 *		input	the body
 *		expect	the outcome, and what the answer has
 *
 * What LISTS looks for is always FILE_NAME below.  Given a directory,
 * test_bulk_codec reads the cases there instead; with --write it writes their
 * expect files (to be read before they are believed).
 *-------------------------------------------------------------------------
 */
#include <dirent.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define json_object jansson_json_object_off_limits
#include <jansson.h>
#undef json_object

#include "bulk_codec.h"
#include "check.h"

#define FILE_NAME "clearout-00000000000000aa-17-1-00c0ffee.csv"

/*
 * Allocation number fail_at fails, be it ours or jansson's, or, if fail_on,
 * every later one too.  0: none.
 */
static long allocations = 0;
static long fail_at = 0;
static bool fail_on = false;

extern void *__real_malloc(size_t size);
extern void *__wrap_malloc(size_t size);

void *
__wrap_malloc(size_t size)
{
	allocations++;
	if (fail_at > 0 && (allocations == fail_at || (fail_on && allocations > fail_at)))
		return NULL;
	return __real_malloc(size);
}

static const char *const call_names[] = {
	"upload", "progress", "result", "cancel", "remove", "lists", "download"
};

typedef struct Case
{
	char		name[100];
	int			call;
	int			http;
	char	   *input;
	size_t		length;
} Case;

/* The bytes of a file in a buffer of exactly that size; NULL if absent. */
static char *
read_file(const char *directory, const char *name, const char *file, size_t *length)
{
	char		path[500];
	char	   *bytes = NULL;
	FILE	   *stream;

	snprintf(path, sizeof(path), "%s/%s/%s", directory, name, file);
	stream = fopen(path, "rb");
	if (stream == NULL)
		return NULL;
	fseek(stream, 0, SEEK_END);
	*length = (size_t) ftell(stream);
	rewind(stream);
	bytes = __real_malloc(*length > 0 ? *length : 1);
	if (fread(bytes, 1, *length, stream) != *length)
		*length = 0;
	fclose(stream);
	return bytes;
}

static bool
read_case(const char *directory, const char *name, Case *c)
{
	size_t		length;
	char	   *bytes;

	memset(c, 0, sizeof(*c));
	snprintf(c->name, sizeof(c->name), "%s", name);
	bytes = read_file(directory, name, "http", &length);
	if (bytes == NULL)
		return false;
	for (size_t i = 0; i < length && bytes[i] >= '0' && bytes[i] <= '9'; i++)
		c->http = c->http * 10 + (bytes[i] - '0');
	free(bytes);

	c->call = -1;
	bytes = read_file(directory, name, "call", &length);
	if (bytes == NULL)
		return false;
	while (length > 0 && bytes[length - 1] == '\n')
		length--;
	for (size_t i = 0; i < sizeof(call_names) / sizeof(call_names[0]); i++)
	{
		if (strlen(call_names[i]) == length && memcmp(call_names[i], bytes, length) == 0)
			c->call = (int) i;
	}
	free(bytes);
	c->input = read_file(directory, name, "input", &c->length);
	return c->call >= 0 && c->input != NULL;
}

static const char *
fault_name(CoFault fault)
{
	static const char *const names[] = {
		"NONE", "LOCAL", "RESOLVE", "CONNECT", "TLS", "TIMEOUT", "LOST",
		"GARBLED", "TOO_LARGE", "REDIRECT", "SERVICE", "MALFORMED", "MISMATCH"
	};

	return names[fault];
}

static const char *
state_name(CoBulkState state)
{
	static const char *const names[] = {"running", "completed", "cancelled", "failed"};

	return names[state];
}

/* Decode, and show all that came of it; fault receives the kind. */
static char *
run_case(const Case *c, CoFault *fault)
{
	CoBulkAnswer *answer = __real_malloc(sizeof(CoBulkAnswer));
	CoOutcome	outcome;
	char	   *text = NULL;
	size_t		size;
	FILE	   *out;

	/* what was there before must not matter */
	memset(answer, 0x55, sizeof(*answer));
	memset(&outcome, 0x55, sizeof(outcome));
	outcome.sent = true;
	co_bulk_decode((CoBulkCall) c->call, c->http, c->input, c->length, FILE_NAME, answer, &outcome);
	*fault = outcome.fault;
	fail_at = 0;

	out = open_memstream(&text, &size);
	fprintf(out, "fault: %s\nhttp: %d\n", fault_name(outcome.fault), outcome.http_status);
	if (outcome.code != 0)
		fprintf(out, "code: %d\n", outcome.code);
	if (outcome.message[0] != '\0')
		fprintf(out, "message: %s\n", outcome.message);
	if (answer->list_id[0] != '\0')
		fprintf(out, "list_id: %s\n", answer->list_id);
	if (c->call == CO_BULK_PROGRESS && outcome.fault == CO_FAULT_NONE)
		fprintf(out, "state: %s\n", state_name(answer->state));
	if (answer->percent >= 0)
		fprintf(out, "percent: %d\n", answer->percent);
	if (answer->url[0] != '\0')
		fprintf(out, "url: %s\n", answer->url);
	if (answer->more)
		fprintf(out, "more: %s\n", answer->cursor);
	if (answer->required_credits >= 0)
		fprintf(out, "required_credits: %lld\n", (long long) answer->required_credits);
	fclose(out);
	CHECK(outcome.sent, "%s: sent was changed", c->name);
	/* who does not look at the fault must not find a list either */
	if (outcome.fault != CO_FAULT_NONE)
		CHECK(answer->list_id[0] == '\0' && answer->url[0] == '\0' && !answer->more &&
			  answer->state == CO_BULK_RUNNING, "%s: a fault with an answer", c->name);
	free(answer);
	return text;
}

/*
 * Fail one allocation after the other, alone and with all that follow, until
 * none is left to fail.  No memory must not become another answer: a list that
 * is not found is uploaded again, and paid for twice.
 */
static void
starve(const Case *c, const char *expected)
{
	for (int mode = 0; mode <= 1; mode++)
	{
		for (long n = 1; n < 10000; n++)
		{
			CoFault		fault;
			char	   *actual;
			bool		reached;

			allocations = 0;
			fail_on = mode == 1;
			fail_at = n;
			actual = run_case(c, &fault);
			reached = allocations >= n;
			fail_at = 0;
			if (fault != CO_FAULT_LOCAL && strcmp(actual, expected) != 0)
				CHECK(false, "%s: allocation %ld failed, result\n%s", c->name, n, actual);
			free(actual);
			if (!reached)
				break;
		}
	}
}

static void
check_case(const char *directory, const char *name, bool write)
{
	Case		c;
	CoFault		fault;
	char	   *actual;
	char	   *expected;
	size_t		length;

	if (!CHECK(read_case(directory, name, &c), "case %s is incomplete", name))
		return;
	actual = run_case(&c, &fault);
	if (write)
	{
		char		path[500];
		FILE	   *stream;

		snprintf(path, sizeof(path), "%s/%s/expect", directory, name);
		stream = fopen(path, "wb");
		if (CHECK(stream != NULL, "%s", path))
		{
			fputs(actual, stream);
			fclose(stream);
		}
	}
	expected = read_file(directory, name, "expect", &length);
	CHECK(expected != NULL && length == strlen(actual) && memcmp(expected, actual, length) == 0,
		  "%s: expected\n%.*sgot\n%s", name, expected == NULL ? 0 : (int) length,
		  expected == NULL ? "" : expected, actual);
	starve(&c, actual);
	free(expected);
	free(actual);
	free(c.input);
}

static int
by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int
is_case(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* ---------- what is said ---------- */

static void
expect_text(char *text, const char *expected)
{
	CHECK(text != NULL && strcmp(text, expected) == 0, "%s, not %s", text ? text : "nothing", expected);
	free(text);
}

static void
test_requests(void)
{
	char	   *body;
	json_t	   *json;

	CHECK(strcmp(co_bulk_path(CO_BULK_VERIFY, CO_BULK_UPLOAD), "/email_verify/bulk") == 0, "upload");
	CHECK(strcmp(co_bulk_path(CO_BULK_VERIFY, CO_BULK_RESULT), "/download/result") == 0, "result");
	CHECK(strcmp(co_bulk_path(CO_BULK_FIND, CO_BULK_LISTS), "/email_finder/list") == 0, "lists of the finder");

	expect_text(co_bulk_encode(CO_BULK_RESULT, "5d8f6b2a9c"), "{\"list_id\":\"5d8f6b2a9c\"}");
	expect_text(co_bulk_encode(CO_BULK_CANCEL, "a\"b"), "{\"list_id\":\"a\\\"b\"}");
	expect_text(co_bulk_encode(CO_BULK_REMOVE, "x"), "{\"list_id\":\"x\",\"ignore_result\":true}");
	expect_text(co_bulk_encode(CO_BULK_PROGRESS, "aZ09-_.~"), "?list_id=aZ09-_.~");
	expect_text(co_bulk_encode(CO_BULK_PROGRESS, "a b&c=\xC3\xBC#/?"), "?list_id=a%20b%26c%3D%C3%BC%23%2F%3F");
	expect_text(co_bulk_encode(CO_BULK_PROGRESS, ""), "?list_id=");
	/* what is no text is not sent */
	body = co_bulk_encode(CO_BULK_RESULT, "\xFF");
	CHECK(body == NULL, "%s", body);
	free(body);

	/* the first page is asked for with a null, not without the word */
	body = co_bulk_encode_lists(NULL);
	json = json_loads(body ? body : "", 0, NULL);
	CHECK(json_is_null(json_object_get(json, "start_after")), "%s", body);
	json_decref(json);
	free(body);
	body = co_bulk_encode_lists("5d8f");
	json = json_loads(body ? body : "", 0, NULL);
	CHECK(strcmp(json_string_value(json_object_get(json, "start_after")), "5d8f") == 0, "%s", body);
	json_decref(json);
	free(body);
}

static void
test_multipart(void)
{
	static const char optimize[] =
	"--XYZ\r\nContent-Disposition: form-data; name=\"optimize\"\r\n\r\nfastest_turnaround\r\n";
	char	   *head;
	char	   *tail;
	char		name[CO_BULK_NAME_MAX + 1];

	CHECK(co_bulk_multipart("XYZ", "a.csv", NULL, &head, &tail), "plain");
	CHECK(strcmp(head,
				 "--XYZ\r\nContent-Disposition: form-data; name=\"ignore_duplicate_file\"\r\n\r\nfalse\r\n"
				 "--XYZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.csv\"\r\n"
				 "Content-Type: text/csv\r\n\r\n") == 0, "head: %s", head);
	CHECK(strcmp(tail, "\r\n--XYZ--\r\n") == 0, "tail: %s", tail);
	free(head);

	CHECK(co_bulk_multipart("XYZ", "a.csv", "fastest_turnaround", &head, &tail), "with a field");
	CHECK(strncmp(head, optimize, strlen(optimize)) == 0, "head: %s", head);
	CHECK(strstr(head, "filename=") > strstr(head, "optimize"), "the file comes last");
	free(head);

	/* the longest that there is fits */
	memset(name, 'n', CO_BULK_NAME_MAX);
	name[CO_BULK_NAME_MAX] = '\0';
	CHECK(co_bulk_multipart("----boundary----------------", name, "highest_accuracy", &head, &tail), "long");
	CHECK(strstr(head, name) != NULL && strlen(tail) == 28 + 8, "long: %s%s", head, tail);
	free(head);
}

/* No memory: NULL or false, and nothing is left behind. */
static void
test_no_memory(void)
{
	for (long n = 1; n < 1000; n++)
	{
		char	   *text[3];
		char	   *head = NULL;
		char	   *tail = NULL;
		bool		reached;

		allocations = 0;
		fail_on = false;
		fail_at = n;
		text[0] = co_bulk_encode(CO_BULK_PROGRESS, "x y");
		text[1] = co_bulk_encode(CO_BULK_REMOVE, "x");
		text[2] = co_bulk_encode_lists("x");
		if (co_bulk_multipart("XYZ", "a.csv", "x", &head, &tail))
			free(head);
		reached = allocations >= n;
		fail_at = 0;
		CHECK(text[0] == NULL || strcmp(text[0], "?list_id=x%20y") == 0, "query: %s", text[0]);
		CHECK(text[1] == NULL || strcmp(text[1], "{\"list_id\":\"x\",\"ignore_result\":true}") == 0,
			  "body: %s", text[1]);
		for (int i = 0; i < 3; i++)
			free(text[i]);
		if (!reached)
			return;
	}
	CHECK(false, "no end of allocations");
}

int
main(int argc, char **argv)
{
	bool		write = argc > 1 && strcmp(argv[1], "--write") == 0;
	const char *directory = "../cases/bulk_codec";
	struct dirent **entries;
	int			count;

	if (argc > (write ? 2 : 1))
		directory = argv[write ? 2 : 1];
	count = scandir(directory, &entries, is_case, by_name);
	CHECK(count > 0, "there are no cases in %s", directory);
	for (int i = 0; i < count; i++)
	{
		check_case(directory, entries[i]->d_name, write);
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
	test_requests();
	test_multipart();
	test_no_memory();
	return check_done();
}
