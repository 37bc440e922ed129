/*-------------------------------------------------------------------------
 * test_codec.c
 *		What becomes of the service's answers, and of those that are none.
 *
 * A case is a directory of ../cases/codec with the files
 *
 *		http	the HTTP status
 *		endpoint the call, by its name; absent: verify or credits
 *		email	what was asked for; absent, and no endpoint: getcredits
 *		input	the body
 *		expect	the outcome and every field that is not NULL
 *
 * Given a directory, test_codec reads the cases there instead; with --write
 * it writes their expect files (to be read before they are believed).
 *-------------------------------------------------------------------------
 */
#include <dirent.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define json_object jansson_json_object_off_limits
#include <jansson.h>
#undef json_object

#include "check.h"
#include "codec.h"

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

typedef struct Case
{
	char		name[100];
	int			http;
	bool		credits;
	int			lookup;			/* endpoint of co_decode_lookup(); -1: none */
	char		email[600];
	char	   *input;
	size_t		length;
} Case;

/* The bytes of a file in a buffer of exactly that size; NULL if absent. */
static char *
read_file(const char *directory, const char *name, const char *file,
		  size_t *length)
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

	bytes = read_file(directory, name, "email", &length);
	c->credits = bytes == NULL;
	if (bytes != NULL)
	{
		if (length > 0 && bytes[length - 1] == '\n')
			length--;
		snprintf(c->email, sizeof(c->email), "%.*s", (int) length, bytes);
		free(bytes);
	}

	c->lookup = -1;
	bytes = read_file(directory, name, "endpoint", &length);
	if (bytes != NULL)
	{
		if (length > 0 && bytes[length - 1] == '\n')
			length--;
		for (int i = 0; i < CO_ENDPOINT_COUNT; i++)
		{
			if (strlen(co_endpoints[i].name) == length &&
				memcmp(co_endpoints[i].name, bytes, length) == 0)
				c->lookup = i;
		}
		free(bytes);
		if (c->lookup < 0)
			return false;
	}

	c->input = read_file(directory, name, "input", &c->length);
	return c->input != NULL;
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

static void
print_text(FILE *out, const char *name, const char *value)
{
	if (value != NULL)
		fprintf(out, "%s: %s\n", name, value);
}

static void
print_number(FILE *out, const char *name, int64_t value, int64_t absent)
{
	if (value != absent)
		fprintf(out, "%s: %lld\n", name, (long long) value);
}

static void
print_ternary(FILE *out, const char *name, CoTernary value)
{
	if (value != CO_NULL)
		fprintf(out, "%s: %s\n", name, value == CO_TRUE ? "true" : "false");
}

static bool
is_zero(const void *memory, size_t size)
{
	const char *bytes = memory;

	for (size_t i = 0; i < size; i++)
	{
		if (bytes[i] != 0)
			return false;
	}
	return true;
}

static void
print_person(FILE *out, const char *raw)
{
	CoPerson   *person = co_person_read(raw);

	if (!CHECK(person != NULL, "nobody in %s", raw))
		return;
	CHECK(person->email_count > 0 && person->email == person->emails[0],
		  "no first address in %s", raw);
	for (int i = 0; i < person->email_count; i++)
		print_text(out, "email", person->emails[i]);
	print_ternary(out, "role", person->role);
	print_ternary(out, "business", person->business);
	print_text(out, "first_name", person->first_name);
	print_text(out, "last_name", person->last_name);
	print_text(out, "full_name", person->full_name);
	print_text(out, "domain", person->domain);
	print_text(out, "company", person->company);
	print_number(out, "confidence_score", person->confidence_score, -1);
	print_number(out, "credits_charged", person->credits_charged, -1);
	free(person);
}

static void
print_lookup(FILE *out, const Case *c, const CoLookupAnswer *answer)
{
	print_text(out, "queue_id", answer->queue_id);
	if (answer->queue_id != NULL)
		return;
	fprintf(out, "found: %s\n", answer->found ? "true" : "false");
	print_ternary(out, "flag", answer->flag);
	print_number(out, "told_on", answer->told_on, CO_NO_TIME);
	if (answer->found && co_endpoints[c->lookup].kind == CO_KIND_PERSON)
		print_person(out, answer->raw);
	print_text(out, "raw", answer->raw);
}

/* Decode, and show all that came of it; fault receives the kind. */
static char *
run_case(const Case *c, CoFault *fault)
{
	CoVerifyAnswer verify;
	CoCreditsAnswer credits;
	CoLookupAnswer lookup;
	CoOutcome	outcome;
	char	   *text = NULL;
	size_t		size;
	FILE	   *out;

	/* what was there before must not matter */
	memset(&verify, 0x55, sizeof(verify));
	memset(&credits, 0x55, sizeof(credits));
	memset(&lookup, 0x55, sizeof(lookup));
	memset(&outcome, 0x55, sizeof(outcome));
	outcome.sent = true;
	if (c->lookup >= 0)
		co_decode_lookup(c->lookup, c->http, c->input, c->length, c->email, &lookup,
						 &outcome);
	else if (c->credits)
		co_decode_credits(c->http, c->input, c->length, &credits, &outcome);
	else
		co_decode_verify(c->http, c->input, c->length, c->email, &verify,
						 &outcome);
	*fault = outcome.fault;
	fail_at = 0;

	out = open_memstream(&text, &size);
	fprintf(out, "fault: %s\nhttp: %d\n", fault_name(outcome.fault),
			outcome.http_status);
	print_number(out, "code", outcome.code, 0);
	if (outcome.message[0] != '\0')
		print_text(out, "message", outcome.message);
	if (c->lookup >= 0)
	{
		/* a fault may bring a queue id, and nothing else */
		if (outcome.fault == CO_FAULT_NONE || lookup.queue_id != NULL)
			print_lookup(out, c, &lookup);
		else
			CHECK(is_zero(&lookup, sizeof(lookup)), "%s: not zeroed", c->name);
		co_lookup_answer_free(&lookup);
		CHECK(is_zero(&lookup, sizeof(lookup)), "%s: freed, but not zeroed", c->name);
	}
	else if (outcome.fault != CO_FAULT_NONE)
		CHECK(c->credits ? is_zero(&credits, sizeof(credits)) :
			  is_zero(&verify, sizeof(verify)), "%s: not zeroed", c->name);
	else if (c->credits)
	{
		print_number(out, "available", credits.available, -1);
		print_number(out, "daily_limit_available",
					 credits.daily_limit_available, -1);
		print_number(out, "daily_limit_reset", credits.daily_limit_reset,
					 CO_NO_TIME);
		print_text(out, "raw", credits.raw);
	}
	else
	{
		print_text(out, "status", verify.status);
		print_text(out, "safe_to_send", verify.safe_to_send);
		print_number(out, "sub_status", verify.sub_status, -1);
		print_text(out, "reason", verify.reason);
		print_text(out, "bounce_type", verify.bounce_type);
		print_ternary(out, "disposable", verify.disposable);
		print_ternary(out, "free", verify.free);
		print_ternary(out, "role", verify.role);
		print_ternary(out, "gibberish", verify.gibberish);
		print_text(out, "suggested_email", verify.suggested_email);
		print_text(out, "account", verify.account);
		print_text(out, "domain", verify.domain);
		print_text(out, "mx_record", verify.mx_record);
		print_text(out, "smtp_provider", verify.smtp_provider);
		print_text(out, "ai_verdict", verify.ai_verdict);
		print_number(out, "verified_on", verify.verified_on, CO_NO_TIME);
		print_number(out, "time_taken", verify.time_taken, -1);
		print_text(out, "raw", verify.raw);
	}
	CHECK(outcome.sent, "%s: sent was changed", c->name);
	fclose(out);
	if (c->lookup >= 0)
		return text;
	if (c->credits)
		co_credits_answer_free(&credits);
	else
		co_verify_answer_free(&verify);
	CHECK(is_zero(c->credits ? (void *) &credits : (void *) &verify,
				  c->credits ? sizeof(credits) : sizeof(verify)),
		  "%s: freed, but not zeroed", c->name);
	return text;
}

/*
 * Fail one allocation after the other, alone and with all that follow, until
 * none is left to fail: no memory must not become another answer.
 */
static void
starve(const Case *c, const char *expected)
{
	for (int mode = 0; mode <= 1; mode++)
	{
		for (long n = 1;; n++)
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
				CHECK(false, "%s: allocation %ld failed, result\n%s", c->name, n,
					  actual);
			free(actual);
			if (!reached || n > 100000)
			{
				CHECK(n <= 100000, "%s: no end of allocations", c->name);
				break;
			}
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
	CHECK(expected != NULL && length == strlen(actual) &&
		  memcmp(expected, actual, length) == 0,
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

/* Bodies that are too large to keep in a file. */

static char *
repeat(const char *before, const char *unit, size_t count, const char *middle,
	   const char *unit_after, const char *after)
{
	size_t		size = strlen(before) + count * (strlen(unit) + strlen(unit_after)) +
		strlen(middle) + strlen(after) + 1;
	char	   *text = __real_malloc(size);
	char	   *to = stpcpy(text, before);

	for (size_t i = 0; i < count; i++)
		to = stpcpy(to, unit);
	to = stpcpy(to, middle);
	for (size_t i = 0; i < count; i++)
		to = stpcpy(to, unit_after);
	strcpy(to, after);
	return text;
}

static void
expect_fault(int http, char *body, CoFault fault, const char *what)
{
	CoVerifyAnswer answer;
	CoOutcome	outcome = {.sent = true};

	co_decode_verify(http, body, strlen(body), "a@b.example", &answer, &outcome);
	CHECK(outcome.fault == fault, "%s: fault %s: %s", what,
		  fault_name(outcome.fault), outcome.message);
	co_verify_answer_free(&answer);
	free(body);
}

static void
check_large(void)
{
	const char *before = "{\"status\":\"success\",\"data\":{\"status\":\"valid\",\"x\":";

	/* data is the second level */
	expect_fault(200, repeat(before, "[", 998, "1", "]", "}}"), CO_FAULT_NONE,
				 "1000 levels");
	expect_fault(200, repeat(before, "[", 999, "1", "]", "}}"),
				 CO_FAULT_MALFORMED, "1001 levels");
	expect_fault(200, repeat(before, "{\"a\":", 998, "1", "}", "}}"),
				 CO_FAULT_NONE, "1000 levels of objects");
	expect_fault(200, repeat("", "[", 200000, "", "", ""), CO_FAULT_MALFORMED,
				 "200,000 brackets");
	expect_fault(200, repeat("", "[", 200000, "", "]", ""), CO_FAULT_MALFORMED,
				 "200,000 pairs of brackets");
	expect_fault(200, repeat("", "{\"a\":", 200000, "1", "}", ""),
				 CO_FAULT_MALFORMED, "200,000 objects");
	expect_fault(503, repeat("", "[", 200000, "", "", ""), CO_FAULT_SERVICE,
				 "200,000 brackets under 503");
	expect_fault(200, repeat(before, "[],", 200000, "[1", "", "]]}}"),
				 CO_FAULT_MALFORMED, "many brackets, none deep, one too many");
	expect_fault(200, repeat("{\"status\":\"success\",\"data\":{\"status\":\"valid\",\"x\":[",
							 "[],", 100000, "\"", "[{\\\"", "\"]}}"),
				 CO_FAULT_NONE, "brackets beside each other and in strings");
	expect_fault(200, repeat(before, "9", 100000, "", "", "}}"), CO_FAULT_NONE,
				 "a number of 100,000 digits");
	expect_fault(200, repeat(before, "1e5,\"x\":", 2000, "1", "", "}}"),
				 CO_FAULT_NONE, "one key many times");
	expect_fault(200, repeat("{\"status\":\"success\",\"data\":{\"status\":\"valid\",\"x\":[1",
							 ",1e14", 5000, "", "", "]}}"),
				 CO_FAULT_NONE, "reals that grow");
	expect_fault(200, repeat("{\"status\":\"success\",\"data\":{\"status\":\"valid\",\"x\":\"",
							 "\xFF", 100000, "", "", "\"}}"),
				 CO_FAULT_NONE, "much that is no UTF-8");

	/* a long text is kept whole */
	{
		char	   *body = repeat("{\"status\":\"success\",\"data\":{\"status\":\"valid\",\"ai_verdict\":\"",
								  "\\u00e9", 100000, "", "", "\"}}");
		CoVerifyAnswer answer;
		CoOutcome	outcome = {.sent = true};

		co_decode_verify(200, body, strlen(body), "a@b.example", &answer, &outcome);
		CHECK(outcome.fault == CO_FAULT_NONE && strlen(answer.ai_verdict) == 200000,
			  "fault %s", fault_name(outcome.fault));
		co_verify_answer_free(&answer);
		free(body);
	}
}

/* Memory runs out in the midst of an answer that needs much of it. */
static void
check_large_starved(void)
{
	Case		c = {.name = "large", .http = 200, .email = "a@b.example", .lookup = -1};
	CoFault		fault;
	char	   *expected;

	for (int i = 0; i < 2; i++)
	{
		/* the second one needs mending */
		c.input = repeat("{\"status\":\"success\",\"data\":{\"status\":\"valid\",\"x\":[0",
						 ",{\"a\":[1.5,\"text\"]}", 4000, "",
						 "", i == 0 ? ",1]}}" : ",\"\\ud800\"]}}");
		c.length = strlen(c.input);
		expected = run_case(&c, &fault);
		CHECK(fault == CO_FAULT_NONE, "fault %s", fault_name(fault));
		/* the dump takes an allocation for each level of each element */
		for (long n = 1; n < 60; n++)
		{
			char	   *actual;

			allocations = 0;
			fail_on = n % 2 == 0;
			fail_at = n;
			actual = run_case(&c, &fault);
			CHECK(fault == CO_FAULT_LOCAL || (fault == CO_FAULT_NONE &&
											  strcmp(actual, expected) == 0),
				  "allocation %ld: %s", n, fault_name(fault));
			free(actual);
		}
		free(expected);
		free(c.input);
	}
}

/* Every beginning of an answer is a fault and no crash. */
static void
check_cut(void)
{
	static const char body[] =
		"{\"status\":\"success\",\"data\":{\"email_address\":\"a@b.example\","
		"\"status\":\"v\\u00e4\\ud83d\\ude00\",\"n\":[-1.5e10,true,null,{}]}}";

	for (size_t length = 0; length < sizeof(body) - 1; length++)
	{
		char	   *copy = __real_malloc(length > 0 ? length : 1);
		CoVerifyAnswer answer;
		CoOutcome	outcome = {.sent = true};

		memcpy(copy, body, length);
		co_decode_verify(200, copy, length, "a@b.example", &answer, &outcome);
		CHECK(outcome.fault == CO_FAULT_MALFORMED, "%zu bytes: %s", length,
			  fault_name(outcome.fault));
		free(copy);
	}
}

static void
expect_encoded(const char *email, int timeout, const char *expected)
{
	char	   *body = co_encode_body(CO_ENDPOINT_VERIFY, email, timeout);

	if (expected == NULL)
		CHECK(body == NULL, "\"%s\" became %s", email, body);
	else
		CHECK(body != NULL && strcmp(body, expected) == 0,
			  "\"%s\" became %s, expected %s", email, body == NULL ? "NULL" : body,
			  expected);
	free(body);
}

static void
expect_text(const char *what, char *text, const char *expected)
{
	if (expected == NULL)
		CHECK(text == NULL, "%s became %s", what, text);
	else
		CHECK(text != NULL && strcmp(text, expected) == 0, "%s became %s, expected %s",
			  what, text == NULL ? "NULL" : text, expected);
	free(text);
}

static void
expect_request(CoEndpointId endpoint, const char *asked, int timeout,
			   const char *body, const char *query)
{
	expect_text(asked, co_encode_body(endpoint, asked, timeout), body);
	expect_text(asked, co_encode_query(endpoint, asked), query);
}

/* Wherever memory runs out, there is no request. */
static void
check_memory(const char *email)
{
	for (long n = 1; n < 100; n++)
	{
		char	   *body;

		allocations = 0;
		fail_at = n;
		body = co_encode_body(CO_ENDPOINT_VERIFY, email, 1000);
		fail_at = 0;
		if (body != NULL)
		{
			CHECK(allocations < n, "allocation %ld failed unnoticed", n);
			free(body);
			break;
		}
	}
}

static void
check_encode(void)
{
	expect_encoded("a@b.example", 130000,
				   "{\"email\":\"a@b.example\",\"timeout\":130000}");
	expect_encoded("a@b.example", 0, "{\"email\":\"a@b.example\"}");
	expect_encoded(" !#$%&'*+-/=?^_`{|}~\x7F", 2147483647,
				   "{\"email\":\" !#$%&'*+-/=?^_`{|}~\x7F\",\"timeout\":2147483647}");
	expect_encoded(" !#$%&'*+-/=?^_`{|}~", -1, "{\"email\":\" !#$%&'*+-/=?^_`{|}~\"}");
	expect_encoded("\\", 0, "{\"email\":\"\\\\\"}");
	expect_encoded("\"a\\\"b\"@b.example", 1000,
				   "{\"email\":\"\\\"a\\\\\\\"b\\\"@b.example\",\"timeout\":1000}");
	expect_encoded("d\xC3\xB6rte@b.example", 1000,
				   "{\"email\":\"d\xC3\xB6rte@b.example\",\"timeout\":1000}");
	expect_encoded("a\n\x01@b", 1000,
				   "{\"email\":\"a\\n\\u0001@b\",\"timeout\":1000}");
	expect_encoded("", 1000, "{\"email\":\"\",\"timeout\":1000}");
	expect_encoded("a\xFF@b", 1000, NULL);
	expect_encoded("a\xC3", 1000, NULL);
	expect_encoded("\xED\xA0\x80@b", 1000, NULL);

	/* every character takes six in JSON */
	{
		char	   *email = repeat("", "\x01", 1000, "", "", "");
		char	   *body = co_encode_body(CO_ENDPOINT_VERIFY, email, 1000);

		CHECK(body != NULL && strlen(body) == 6000 + strlen("{\"email\":\"\",\"timeout\":1000}"),
			  "length %zu", body == NULL ? 0 : strlen(body));
		free(body);
		free(email);
	}

	expect_request(CO_ENDPOINT_FIND, "J\xC3\xB6rg \"X\" M\x1F" "corp.example", 30000,
				   "{\"name\":\"J\xC3\xB6rg \\\"X\\\" M\",\"domain\":\"corp.example\",\"timeout\":30000,\"queue\":true}", "");
	expect_request(CO_ENDPOINT_FIND, "Jane\x1F", 0,
				   "{\"name\":\"Jane\",\"domain\":\"\",\"queue\":true}", "");
	expect_request(CO_ENDPOINT_FIND, "J\xFF\x1F" "corp.example", 1, NULL, "");
	expect_request(CO_ENDPOINT_FIND, "Jane\x1F\xFF", 1, NULL, "");
	expect_request(CO_ENDPOINT_FIND_STATUS, "a b/c?d&e=f+g%h", 1000, "",
				   "?qid=a%20b%2Fc%3Fd%26e%3Df%2Bg%25h");
	expect_request(CO_ENDPOINT_CATCHALL, "a@b.example", 90000,
				   "{\"email\":\"a@b.example\",\"timeout\":90000}", "");
	expect_request(CO_ENDPOINT_REVERSE_EMAIL, "a+b@c.example", 1000, "",
				   "?email_address=a%2Bb%40c.example");
	expect_request(CO_ENDPOINT_REVERSE_LINKEDIN, "https://x.example/in/j%C3%BC\xC3\xBC~-._\n", 0, "",
				   "?url=https%3A%2F%2Fx.example%2Fin%2Fj%25C3%25BC%C3%BC~-._%0A");
	expect_request(CO_ENDPOINT_REVERSE_DOMAIN, "corp.example", 0, "", "?name=corp.example");
	expect_request(CO_ENDPOINT_AUTOCOMPLETE, "", 0, "", "?query=");
	expect_request(CO_ENDPOINT_AUTOCOMPLETE, "\xED\xA0\x80", 0, "", NULL);
	expect_request(CO_ENDPOINT_MX, "corp.example", 90000,
				   "{\"domain\":\"corp.example\",\"timeout\":90000}", "");
	expect_request(CO_ENDPOINT_NAME, "Jane", 8000, "{\"name\":\"Jane\",\"timeout\":8000}", "");
	expect_request(CO_ENDPOINT_CREDITS, "", 8000, "", "");
	expect_request(CO_ENDPOINT_ACCOUNT_LIMITS, "", 8000, "", "");

	check_memory("a@b.example");
	check_memory("\"a\"@b.example");
}

int
main(int argc, char **argv)
{
	const char *directory = "../cases/codec";
	bool		write = false;
	struct dirent **entries;
	int			count;

	for (int i = 1; i < argc; i++)
	{
		if (strcmp(argv[i], "--write") == 0)
			write = true;
		else
			directory = argv[i];
	}

	json_set_alloc_funcs(__wrap_malloc, free);
	count = scandir(directory, &entries, is_case, by_name);
	CHECK(count > 0, "no cases in %s", directory);
	for (int i = 0; i < count; i++)
	{
		check_case(directory, entries[i]->d_name, write);
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);

	check_large();
	check_large_starved();
	check_cut();
	check_encode();

	/* the allocator of before is in force again */
	{
		json_malloc_t malloc_function;
		json_free_t free_function;

		json_get_alloc_funcs(&malloc_function, &free_function);
		CHECK(malloc_function == __wrap_malloc && free_function == free,
			  "jansson has other functions");
	}
	return check_done();
}
