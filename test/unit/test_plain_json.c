/*-------------------------------------------------------------------------
 * test_plain_json.c
 *		What is plain is read as it lies; all else is refused.
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "plain_json.h"

static CoPlainNode node[CO_PLAIN_NODES];

/* From memory of exactly that size: AddressSanitizer sees who reads on. */
static char *held = NULL;

static bool
reads_bytes(const char *bytes, size_t length)
{
	free(held);
	held = malloc(length > 0 ? length : 1);
	memcpy(held, bytes, length);
	return co_plain_read(held, length, node);
}

static bool
reads(const char *text)
{
	return reads_bytes(text, strlen(text));
}

static bool
is(const CoPlainNode *value, CoPlainKind kind, const char *text)
{
	return value->kind == kind && value->length == (int) strlen(text) &&
		memcmp(value->text, text, value->length) == 0;
}

static void
test_values(void)
{
	CHECK(reads("\"a b\"") && is(node, CO_PLAIN_TEXT, "a b") && node->next == 1, "text");
	CHECK(reads("\"\"") && is(node, CO_PLAIN_TEXT, ""), "empty text");
	CHECK(reads("\"\xC3\xA9{[,\"") && is(node, CO_PLAIN_TEXT, "\xC3\xA9{[,"), "any other byte");
	CHECK(reads("0") && is(node, CO_PLAIN_INTEGER, "0"), "zero");
	CHECK(reads("-0") && is(node, CO_PLAIN_INTEGER, "-0"), "minus zero");
	CHECK(reads("-12") && is(node, CO_PLAIN_INTEGER, "-12"), "integer");
	CHECK(reads("0.50") && is(node, CO_PLAIN_REAL, "0.50"), "real");
	CHECK(reads("123456789012345678901") && is(node, CO_PLAIN_INTEGER, "123456789012345678901"), "long");
	CHECK(reads(" \t\r\n true\n") && node->kind == CO_PLAIN_TRUE, "blanks around");
	CHECK(reads("false") && node->kind == CO_PLAIN_FALSE, "false");
	CHECK(reads("null") && node->kind == CO_PLAIN_NULL, "null");
	CHECK(reads("{}") && node->kind == CO_PLAIN_OBJECT && node->count == 0 && node->next == 1, "no member");
	CHECK(reads("[ ]") && node->kind == CO_PLAIN_ARRAY && node->count == 0 && node->next == 1, "no element");
}

static void
test_parts(void)
{
	const CoPlainNode *part;

	CHECK(reads("{\"a\": [1, {\"x\": null}, []], \"b\" :{\"c\":\"d\"}, \"last\":true}"), "nested");
	CHECK(node->count == 3 && node->next == 14, "%d %d", node->count, node->next);
	part = co_plain_member(node, "a");
	CHECK(part->kind == CO_PLAIN_ARRAY && part->count == 3 && part->next == 6, "%d", part->next);
	CHECK(is(part + 1, CO_PLAIN_INTEGER, "1"), "its first");
	CHECK(part[2].kind == CO_PLAIN_OBJECT && part[2].next == 3, "its second");
	CHECK(part[2 + part[2].next].kind == CO_PLAIN_ARRAY, "its third");
	CHECK(is(co_plain_member(co_plain_member(node, "b"), "c"), CO_PLAIN_TEXT, "d"), "within");
	CHECK(co_plain_member(node, "last")->kind == CO_PLAIN_TRUE, "behind them");
	CHECK(co_plain_member(node, "x") == NULL, "not one of a part's");
	CHECK(co_plain_member(node, "las") == NULL && co_plain_member(node, "lasting") == NULL, "another length");
	CHECK(co_plain_member(part, "a") == NULL, "no object");

	CHECK(reads("{\"a\":1,\"b\":2,\"a\":3}") && node->count == 3, "both are there");
	CHECK(is(co_plain_member(node, "a"), CO_PLAIN_INTEGER, "3"), "and the last one counts");
}

static void
test_refused(void)
{
	static const char *const cases[] = {
		"", " ", "\"", "\"a", "\"a\\n\"", "\"\\u0041\"", "\"a\tb\"", "\"\n\"", "\"\x1f\"", "\f1", "1\v", "1\f",
		"{\"a\\n\":1}", "{\"a\tb\":1}",
		"01", "-", "-a", "+1", ".5", "1.", "1.e", "1e5", "1E5", "1.5e3", "-01", "00",
		"--1", "1-", "0x1",
		"tru", "truely", "True", "nul", "falsee", "nan", "'a'",
		"{", "}", "[", "]", "{]", "[}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{,}", "{a:1}",
		"{\"a\" 1}", "{\"a\":1 \"b\":2}", "{1:2}", "{null:1}", "[1,]", "[,1]", "[1 2]", "[1,,2]",
		"1 2", "{}{}", "{} x", "\xEF\xBB\xBF{}", "/* */ 1", "[1] ,"
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		CHECK(!reads(cases[i]), "\"%s\" is not plain", cases[i]);
	CHECK(!reads_bytes("\"a\0b\"", 5), "a NUL in a text");
	CHECK(!reads_bytes("1\0", 2), "a NUL behind it");

	/* Whatever is cut off is refused. */
	{
		static const char whole[] = "{\"a\":[true,-1.5,\"x\"],\"b\":null}";

		for (size_t length = 0; length < sizeof(whole) - 1; length++)
			CHECK(!reads_bytes(whole, length), "%zu bytes of it", length);
		CHECK(reads(whole), "all of it");
	}
}

/* So many of that text, between these two. */
static char *
repeat(const char *before, int count, const char *text, const char *after)
{
	char	   *result = malloc(strlen(before) + count * strlen(text) + strlen(after) + 1);

	strcpy(result, before);
	for (int i = 0; i < count; i++)
		memcpy(result + strlen(before) + i * strlen(text), text, strlen(text) + 1);
	return strcat(result, after);
}

static bool
reads_repeated(const char *before, int count, const char *text, const char *after)
{
	char	   *all = repeat(before, count, text, after);
	bool		result = reads(all);

	free(all);
	return result;
}

static void
test_limits(void)
{
	char	   *nested;

	CHECK(reads_repeated("[1", CO_PLAIN_NODES - 2, ",1", "]"), "as many as there is room for");
	CHECK(node->next == CO_PLAIN_NODES, "all of them");
	CHECK(!reads_repeated("[1", CO_PLAIN_NODES - 1, ",1", "]"), "one more");
	CHECK(!reads_repeated("[1", 100000, ",1", "]"), "many more");

	nested = repeat("", CO_PLAIN_DEPTH, "]", "");
	CHECK(reads_repeated("", CO_PLAIN_DEPTH, "[", nested), "as deep as it may be");
	free(nested);
	nested = repeat("", CO_PLAIN_DEPTH + 1, "]", "");
	CHECK(!reads_repeated("", CO_PLAIN_DEPTH + 1, "[", nested), "deeper");
	free(nested);
	CHECK(!reads_repeated("", 60000, "[", ""), "very deep");
	CHECK(reads_repeated("[1", 100, ",[]", "]"), "not deep but wide");

	CHECK(reads_repeated("", CO_PLAIN_NUMBER, "1", ""), "as long as a number may be");
	CHECK(!reads_repeated("", CO_PLAIN_NUMBER + 1, "1", ""), "longer");
	CHECK(!reads_repeated("-", CO_PLAIN_NUMBER, "1", ""), "with a sign");
	CHECK(!reads_repeated("0.", CO_PLAIN_NUMBER, "1", ""), "with a point");

	CHECK(reads_repeated("\"", CO_PLAIN_SIZE - 2, "x", "\""), "as large as it may be");
	CHECK(!reads_repeated("\"", CO_PLAIN_SIZE - 1, "x", "\""), "larger");
}

int
main(void)
{
	test_values();
	test_parts();
	test_refused();
	test_limits();
	free(held);
	return check_done();
}
