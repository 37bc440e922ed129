/*-------------------------------------------------------------------------
 * test_headers.c
 *		Rate limit headers are believed when they are plain and credible.
 *-------------------------------------------------------------------------
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "headers.h"

#define NOW 1700000000LL

/*
 * Feed lines separated by '|', each in a buffer of its exact size so that the
 * sanitizer sees every byte read beyond it.
 */
static void
expect_at(long long now, const char *lines, int limit, int remaining, int reset)
{
	CoRateHeaders headers;
	const char *line = lines;

	co_rate_headers_init(&headers);
	for (;;)
	{
		size_t		length = strcspn(line, "|");
		char	   *copy = malloc(length > 0 ? length : 1);

		memcpy(copy, line, length);
		co_rate_headers_line(&headers, copy, length, now);
		free(copy);
		if (line[length] == '\0')
			break;
		line += length + 1;
	}
	CHECK(headers.limit == limit && headers.remaining == remaining &&
		  headers.reset == reset,
		  "\"%s\" gives %d, %d, %d; expected %d, %d, %d", lines, headers.limit,
		  headers.remaining, headers.reset, limit, remaining, reset);
}

static void
expect(const char *lines, int limit, int remaining, int reset)
{
	expect_at(NOW, lines, limit, remaining, reset);
}

int
main(void)
{
	/* as documented */
	expect("x-ratelimit-limit: 100\r\n|x-ratelimit-remaining: 42\r\n|x-ratelimit-reset: 18\r\n",
		   100, 42, 18);

	/* names: any case, blanks round the colon, no other name */
	expect("X-RateLimit-Limit:100|X-RATELIMIT-REMAINING :\t42|x-Ratelimit-Reset:   18  ",
		   100, 42, 18);
	expect("ratelimit-limit: 100|x-ratelimit-limit-minute: 9|xx-ratelimit-limit: 9|x-ratelimit: 1",
		   -1, -1, -1);
	expect("x-ratelimit-limi: 100|: 5|x-ratelimit-limit|x-ratelimit-limit:|HTTP/1.1 200 OK\r\n|\r\n|",
		   -1, -1, -1);
	expect(" x-ratelimit-limit: 100", -1, -1, -1);	/* an obsolete folded line */

	/* digits only */
	expect("x-ratelimit-limit: +100|x-ratelimit-remaining: -1|x-ratelimit-reset: 1.5",
		   -1, -1, -1);
	expect("x-ratelimit-limit: 100, 100;w=60|x-ratelimit-remaining: 0x10|x-ratelimit-reset: 1 8",
		   -1, -1, -1);
	expect("x-ratelimit-limit: 1e2|x-ratelimit-remaining: \"5\"|x-ratelimit-reset: soon",
		   -1, -1, -1);
	expect("x-ratelimit-limit: 007|x-ratelimit-remaining: 000|x-ratelimit-reset: 00", 7, 0, 0);

	/* ranges */
	expect("x-ratelimit-limit: 0|x-ratelimit-remaining: 0|x-ratelimit-reset: 0", -1, 0, 0);
	expect("x-ratelimit-limit: 1000000|x-ratelimit-remaining: 1000000|x-ratelimit-reset: 3600",
		   1000000, 1000000, 3600);
	expect("x-ratelimit-limit: 1000001|x-ratelimit-remaining: 1000001", -1, -1, -1);
	expect("x-ratelimit-limit: 4294967396|x-ratelimit-remaining: 18446744073709551658|"
		   "x-ratelimit-reset: 99999999999999999999999999999999999999999999",
		   -1, -1, -1);

	/* what came first stays; a bad line does not spoil a later good one */
	expect("x-ratelimit-limit: 100|x-ratelimit-limit: 50", 100, -1, -1);
	expect("x-ratelimit-limit: many|x-ratelimit-limit: 50", 50, -1, -1);
	expect("x-ratelimit-limit: 100|x-ratelimit-remaining: 101", 100, -1, -1);
	expect("x-ratelimit-remaining: 101|x-ratelimit-limit: 100", -1, 101, -1);
	expect("x-ratelimit-reset: 18|x-ratelimit-reset: 60", -1, -1, 18);

	/* a reset that is a clock time */
	expect("x-ratelimit-reset: 1700000018", -1, -1, 18);
	expect("x-ratelimit-reset: 1700000000", -1, -1, 0);
	expect("x-ratelimit-reset: 1699999990", -1, -1, 0);
	expect("x-ratelimit-reset: 1699990000", -1, -1, -1);
	expect("x-ratelimit-reset: 1700086400", -1, -1, 86400);
	expect("x-ratelimit-reset: 1700086401", -1, -1, -1);
	expect("x-ratelimit-reset: 3601", -1, -1, -1);
	expect("x-ratelimit-reset: 1700000018000", -1, -1, -1); /* milliseconds */
	expect_at(LLONG_MIN, "x-ratelimit-reset: 1700000018", -1, -1, -1);
	expect_at(LLONG_MAX, "x-ratelimit-reset: 1700000018", -1, -1, -1);
	expect_at(0, "x-ratelimit-reset: 4000", -1, -1, 4000);

	/* bytes that are no text */
	{
		CoRateHeaders headers;

		co_rate_headers_init(&headers);
		co_rate_headers_line(&headers, "x-ratelimit-limit: 1\0" "00", 23, NOW);
		co_rate_headers_line(&headers, "x-ratelimit-reset: 1\xFF", 21, NOW);
		co_rate_headers_line(&headers, "", 0, NOW);
		CHECK(headers.limit == -1 && headers.remaining == -1 && headers.reset == -1,
			  "%d %d %d", headers.limit, headers.remaining, headers.reset);
	}
	return check_done();
}
