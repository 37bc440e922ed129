/*-------------------------------------------------------------------------
 * fuzz_headers.c
 *		Any header lines leave rate limit fields that are absent or credible.
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "headers.h"

extern int	LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static const char *const names[] = {
		"x-ratelimit-limit:", "X-RateLimit-Remaining: ", "x-ratelimit-reset:\t"
	};
	long long	unix_now = 1700000000;
	CoRateHeaders headers;
	size_t		start = 0;

	/* with an odd first byte the clock is the fuzzer's too */
	if (size >= 9 && bytes[0] % 2 == 1)
	{
		memcpy(&unix_now, bytes + 1, sizeof(unix_now));
		start = 9;
	}

	co_rate_headers_init(&headers);
	while (start < size)
	{
		const uint8_t *newline = memchr(bytes + start, '\n', size - start);
		size_t		length = newline == NULL ? size - start :
			(size_t) (newline - (bytes + start)) + 1;

		/* in a block of its own size, as it is and behind each name */
		for (int i = -1; i < 3; i++)
		{
			size_t		name_length = i < 0 ? 0 : strlen(names[i]);
			char	   *line = malloc(name_length + length);
			CoRateHeaders before = headers;

			if (i >= 0)
				memcpy(line, names[i], name_length);
			memcpy(line + name_length, bytes + start, length);
			co_rate_headers_line(&headers, line, name_length + length, unix_now);
			free(line);

			if (headers.limit != -1 && (headers.limit < 1 || headers.limit > 1000000))
				abort();
			if (headers.remaining < -1 || headers.remaining > 1000000)
				abort();
			if (headers.reset < -1 || headers.reset > 86400)
				abort();
			if (headers.limit != -1 && headers.remaining > headers.limit)
				abort();
			/* what is known stays */
			if ((before.limit != -1 && before.limit != headers.limit) ||
				(before.remaining != -1 && before.remaining != headers.remaining) ||
				(before.reset != -1 && before.reset != headers.reset))
				abort();
		}
		start += length;
	}
	return 0;
}
