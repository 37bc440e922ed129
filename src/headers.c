/*-------------------------------------------------------------------------
 * headers.c
 *		The response headers that matter: the rate limit.
 *
 * Pure.  A wrong limit makes us either stand still or run into refusals, so a
 * value is believed only if it is plain digits, in range, and in keeping with
 * what the same answer said before.  Otherwise it counts as absent.
 *-------------------------------------------------------------------------
 */
#include "headers.h"

#include <stdbool.h>
#include <string.h>

#define LIMIT_MAX			1000000
#define RESET_MAX			86400	/* seconds */
#define RESET_SECONDS_MAX	3600	/* beyond it is a clock time */
#define CLOCK_SKEW_MAX		3600	/* a clock time so far in the past is "now" */

void
co_rate_headers_init(CoRateHeaders *headers)
{
	headers->limit = -1;
	headers->remaining = -1;
	headers->reset = -1;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Is it that name, ASCII case aside?  expected is in lower case. */
static bool
name_is(const char *name, size_t length, const char *expected, size_t expected_length)
{
	if (length != expected_length)
		return false;
	for (size_t i = 0; i < length; i++)
	{
		char		c = name[i];

		if (c != expected[i] &&
			(c < 'A' || c > 'Z' || c + ('a' - 'A') != expected[i]))
			return false;
	}
	return true;
}

#define NAME_IS(name, length, expected) \
	name_is(name, length, expected, sizeof(expected) - 1)

/* Digits and nothing else; -1 if not, or if the value is beyond use. */
static long long
read_number(const char *text, size_t length)
{
	long long	value = 0;

	if (length == 0)
		return -1;
	for (size_t i = 0; i < length; i++)
	{
		if (text[i] < '0' || text[i] > '9')
			return -1;
		if (value > (1LL << 53))
			return -1;
		value = value * 10 + (text[i] - '0');
	}
	return value;
}

/* Seconds until the window ends, -1 if the value makes no sense. */
static int
read_reset(long long value, long long unix_now)
{
	if (value <= RESET_SECONDS_MAX)
		return (int) value;

	/* neither difference can overflow: read_number() bounds value */
	if (unix_now < 0)
		return -1;
	if (value < unix_now)
		return unix_now - value <= CLOCK_SKEW_MAX ? 0 : -1;
	return value - unix_now <= RESET_MAX ? (int) (value - unix_now) : -1;
}

/* The first credible value stays: a later one can only contradict it. */
static void
keep(int *field, int value)
{
	if (*field < 0)
		*field = value;
}

void
co_rate_headers_line(CoRateHeaders *headers, const char *line,
					 size_t length, long long unix_now)
{
	const char *colon = memchr(line, ':', length);
	size_t		name_length;
	size_t		start;
	long long	value;

	if (colon == NULL)
		return;
	name_length = colon - line;
	start = name_length + 1;

	while (name_length > 0 && is_blank(line[name_length - 1]))
		name_length--;
	while (start < length && is_blank(line[start]))
		start++;
	while (length > start && is_blank(line[length - 1]))
		length--;

	if (NAME_IS(line, name_length, "x-ratelimit-limit"))
	{
		value = read_number(line + start, length - start);
		if (value >= 1 && value <= LIMIT_MAX && value >= headers->remaining)
			keep(&headers->limit, (int) value);
	}
	else if (NAME_IS(line, name_length, "x-ratelimit-remaining"))
	{
		value = read_number(line + start, length - start);
		if (value >= 0 && value <= LIMIT_MAX &&
			(headers->limit < 0 || value <= headers->limit))
			keep(&headers->remaining, (int) value);
	}
	else if (NAME_IS(line, name_length, "x-ratelimit-reset"))
	{
		value = read_number(line + start, length - start);
		if (value >= 0)
			keep(&headers->reset, read_reset(value, unix_now));
	}
}
