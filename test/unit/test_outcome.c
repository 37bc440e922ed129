/*-------------------------------------------------------------------------
 * test_outcome.c
 *		Messages from outside are shown without harm.
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "check.h"
#include "outcome.h"

static void
expect(const char *input, size_t length, size_t size, const char *expected)
{
	char		message[64];

	memset(message, 'x', sizeof(message));
	co_message_set(message, size, input, length);
	CHECK(strcmp(message, expected) == 0, "got \"%s\", expected \"%s\"",
		  message, expected);
}

static void
expect_refusal(CoFault fault, int http_status, int code, bool expected)
{
	CoOutcome	outcome = {.fault = fault,.sent = true,.http_status = http_status,.code = code};

	CHECK(co_outcome_is_refusal(&outcome) == expected, "fault %d, HTTP %d, code %d", fault, http_status, code);
}

int
main(void)
{
	expect_refusal(CO_FAULT_SERVICE, 200, 1001, true);
	expect_refusal(CO_FAULT_SERVICE, 400, 0, true);
	expect_refusal(CO_FAULT_SERVICE, 402, 1028, true);
	expect_refusal(CO_FAULT_SERVICE, 429, 0, true);
	expect_refusal(CO_FAULT_SERVICE, 408, 0, false);
	expect_refusal(CO_FAULT_SERVICE, 408, 1004, true);
	expect_refusal(CO_FAULT_SERVICE, 500, 0, false);
	expect_refusal(CO_FAULT_SERVICE, 524, 0, false);
	expect_refusal(CO_FAULT_LOST, 0, 0, false);
	expect_refusal(CO_FAULT_MALFORMED, 200, 0, false);
	expect_refusal(CO_FAULT_REDIRECT, 302, 0, false);
	expect_refusal(CO_FAULT_NONE, 200, 0, false);

	expect("plain", 5, 64, "plain");
	expect("", 0, 64, "");
	expect("a\nb\x1b[0m\0c", 9, 64, "a b [0m c");
	expect("a\xC2\x85" "b", 4, 64, "a b");
	expect("\xFF\xC0\xAF" "a", 4, 64, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD" "a");
	expect("\xED\xA0\x80", 3, 64, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
	expect("\xE2\x82", 2, 64, "\xEF\xBF\xBD\xEF\xBF\xBD");
	expect("\xF0\x9F\x98\x80!", 5, 64, "\xF0\x9F\x98\x80!");
	/* never cut inside a character */
	expect("ab\xE2\x82\xAC", 5, 5, "ab");
	expect("ab\xE2\x82\xAC", 5, 6, "ab\xE2\x82\xAC");
	expect("abc", 3, 1, "");
	return check_done();
}
