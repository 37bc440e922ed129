/*-------------------------------------------------------------------------
 * test_value.c
 *		What values of an answer mean, whoever has parsed them: texts end where
 *		their length says, with or without a NUL behind them.
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "codec.h"
#include "value.h"
#include "verdict.h"

/* In memory of exactly that size: AddressSanitizer sees who reads on. */
static CoValue
text(const char *bytes)
{
	CoValue		value = {CO_VALUE_TEXT, NULL, strlen(bytes), 0};
	char	   *copy = malloc(value.length > 0 ? value.length : 1);

	memcpy(copy, bytes, value.length);
	value.text = copy;
	return value;
}

static void
let_go(CoValue value)
{
	free((char *) value.text);
}

static CoValue
other(CoValueKind kind, int64_t number)
{
	CoValue		value = {kind, NULL, 0, number};

	return value;
}

static void
test_words(void)
{
	static const struct
	{
		const char *bytes;
		const char *folded;
	}			cases[] = {
		{"valid", "valid"}, {"Catch-All", "catch_all"}, {" a  b_-c ", "a_b_c"},
		{"", ""}, {"-_ ", ""}, {"\t\r\nX", "x"}
	};
	char		word[CO_WORD_MAX + 1];
	char		longest[CO_WORD_MAX + 2];
	CoValue		value;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		value = text(cases[i].bytes);
		CHECK(co_value_fold_word(&value, word) == strlen(cases[i].folded), "\"%s\"", cases[i].bytes);
		CHECK(strcmp(word, cases[i].folded) == 0, "\"%s\"", cases[i].bytes);
		let_go(value);
	}
	memset(longest, 'w', sizeof(longest));
	longest[CO_WORD_MAX] = '\0';
	value = text(longest);
	CHECK(co_value_fold_word(&value, word) == CO_WORD_MAX, "a word");
	let_go(value);
	longest[CO_WORD_MAX] = 'w';
	longest[CO_WORD_MAX + 1] = '\0';
	value = text("wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww");
	CHECK(co_value_fold_word(&value, word) == 0, "a word");
	let_go(value);
	value = other(CO_VALUE_OTHER, 0);
	CHECK(co_value_fold_word(&value, word) == 0, "a word");

	value = text("SuCCess");
	CHECK(co_value_is_word(&value, "success"), "a word");
	CHECK(!co_value_is_word(&value, "succes"), "a word");
	CHECK(!co_value_is_word(&value, "success "), "a word");
	let_go(value);
	value = text("");
	CHECK(co_value_is_word(&value, ""), "a word");
	CHECK(!co_value_is_word(&value, "x"), "a word");
	let_go(value);
}

static void
check_whole(CoValue value, int64_t max, bool good, int64_t expected)
{
	int64_t		number = -7;

	CHECK(co_value_whole(&value, max, &number) == good, "a whole number up to %lld", (long long) max);
	CHECK(number == (good ? expected : -7), "a whole number up to %lld", (long long) max);
	if (value.kind == CO_VALUE_TEXT)
		let_go(value);
}

static void
test_numbers(void)
{
	check_whole(other(CO_VALUE_INTEGER, 0), 10, true, 0);
	check_whole(other(CO_VALUE_INTEGER, 10), 10, true, 10);
	check_whole(other(CO_VALUE_INTEGER, 11), 10, false, 0);
	check_whole(other(CO_VALUE_INTEGER, -1), 10, false, 0);
	check_whole(text("200"), 1000, true, 200);
	check_whole(text("1000"), 1000, true, 1000);
	check_whole(text("1001"), 1000, false, 0);
	check_whole(text("9223372036854775807"), INT64_MAX, true, INT64_MAX);
	check_whole(text("9223372036854775808"), INT64_MAX, false, 0);
	check_whole(text(""), 1000, false, 0);
	check_whole(text("-1"), 1000, false, 0);
	check_whole(text("1 "), 1000, false, 0);
	check_whole(text("1.0"), 1000, false, 0);
	check_whole(other(CO_VALUE_ABSENT, 5), 1000, false, 0);
	check_whole(other(CO_VALUE_TRUE, 5), 1000, false, 0);
}

static void
check_ternary(CoValue value, CoTernary expected)
{
	CHECK(co_value_ternary(&value) == expected, "yes or no, %d", expected);
	if (value.kind == CO_VALUE_TEXT)
		let_go(value);
}

static void
check_time(CoValue value, int64_t expected)
{
	CHECK(co_value_time(&value) == expected, "time %lld", (long long) expected);
	if (value.kind == CO_VALUE_TEXT)
		let_go(value);
}

static void
test_others(void)
{
	CoValue		value;
	char		digits[200];

	check_ternary(text("yes"), CO_TRUE);
	check_ternary(text("NO"), CO_FALSE);
	check_ternary(text("yess"), CO_NULL);
	check_ternary(text("ye"), CO_NULL);
	check_ternary(other(CO_VALUE_TRUE, 0), CO_TRUE);
	check_ternary(other(CO_VALUE_FALSE, 0), CO_FALSE);
	check_ternary(other(CO_VALUE_INTEGER, 1), CO_NULL);
	check_ternary(other(CO_VALUE_ABSENT, 0), CO_NULL);

	check_time(text("1970-01-01T00:00:01Z"), 1000000);
	check_time(text("1970-01-01T00:00:01.5Z"), 1500000);
	check_time(text("1970-01-01"), CO_NO_TIME);
	check_time(text(""), CO_NO_TIME);
	memset(digits, '0', sizeof(digits));
	memcpy(digits, "1970-01-01T00:00:01.", 20);
	digits[sizeof(digits) - 1] = '\0';
	check_time(text(digits), CO_NO_TIME);
	check_time(other(CO_VALUE_INTEGER, 5), CO_NO_TIME);

	value = text("Jane@Corp.Example");
	CHECK(co_value_is_address(&value, "jane@corp.example"), "address");
	CHECK(!co_value_is_address(&value, "jane@corp.exampl"), "address");
	CHECK(!co_value_is_address(&value, "jane@corp.example2"), "address");
	let_go(value);
	value = text("j@b\xC3\xBC" "cher.example");
	CHECK(co_value_is_address(&value, "j@xn--bcher-kva.example"), "address");
	let_go(value);
	value = other(CO_VALUE_OTHER, 0);
	CHECK(!co_value_is_address(&value, "jane@corp.example"), "address");
}

/* A verdict of such texts, put into a block of exactly the room they take. */
static void
test_verdict(void)
{
	CoVerdictParts parts;
	CoVerdictTexts texts;
	CoVerifyAnswer answer;
	CoOutcome	outcome;
	char	   *room;

	memset(&parts, 0, sizeof(parts));
	memset(&answer, 0, sizeof(answer));
	memset(&outcome, 0, sizeof(outcome));
	parts.email_address = text("a@x.test");
	parts.status = text("Catchall");
	parts.bounce_type = text("Hard bounce");
	parts.sub_status = other(CO_VALUE_INTEGER, 407);
	parts.desc = text("No");
	parts.account = text("");
	parts.free = text("yes");
	parts.time_taken = other(CO_VALUE_INTEGER, 12);

	CHECK(!co_verdict_read(&parts, "b@x.test", &answer, &texts, &outcome), "verdict");
	CHECK(outcome.fault == CO_FAULT_MISMATCH, "verdict");
	CHECK(co_verdict_read(&parts, "a@x.test", &answer, &texts, &outcome), "verdict");
	CHECK(texts.room == sizeof("catch_all") + sizeof("hard") + sizeof("No"), "verdict");
	room = malloc(texts.room);
	co_verdict_put(&texts, room);
	CHECK(strcmp(answer.status, "catch_all") == 0, "verdict");
	CHECK(strcmp(answer.bounce_type, "hard") == 0, "verdict");
	CHECK(strcmp(answer.reason, "No") == 0, "verdict");
	CHECK(answer.safe_to_send == NULL && answer.account == NULL && answer.domain == NULL, "verdict");
	CHECK(answer.sub_status == 407 && answer.time_taken == 12, "verdict");
	CHECK(answer.free == CO_TRUE && answer.role == CO_NULL, "verdict");
	CHECK(answer.verified_on == CO_NO_TIME, "verdict");
	free(room);

	/* as microseconds it has to fit as well */
	parts.time_taken = other(CO_VALUE_INTEGER, INT64_MAX / 1000);
	CHECK(co_verdict_read(&parts, "a@x.test", &answer, &texts, &outcome), "verdict");
	CHECK(answer.time_taken == INT64_MAX / 1000, "verdict");
	parts.time_taken = other(CO_VALUE_INTEGER, INT64_MAX / 1000 + 1);
	CHECK(co_verdict_read(&parts, "a@x.test", &answer, &texts, &outcome), "verdict");
	CHECK(answer.time_taken == -1, "verdict");

	let_go(parts.status);
	parts.status = other(CO_VALUE_INTEGER, 1);
	CHECK(!co_verdict_read(&parts, "a@x.test", &answer, &texts, &outcome), "verdict");
	CHECK(outcome.fault == CO_FAULT_MALFORMED, "verdict");
	let_go(parts.email_address);
	let_go(parts.bounce_type);
	let_go(parts.desc);
	let_go(parts.account);
	let_go(parts.free);
}

int
main(void)
{
	test_words();
	test_numbers();
	test_others();
	test_verdict();
	return check_done();
}
