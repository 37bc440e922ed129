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

int
main(void)
{
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
