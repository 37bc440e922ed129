/*-------------------------------------------------------------------------
 * headers.h
 *		The response headers that matter: the rate limit.
 *
 * Pure.  Facts: x-ratelimit-limit is requests per 60-second window,
 * x-ratelimit-remaining what is left of it, x-ratelimit-reset the seconds
 * until it ends (Clearout API overview, "Rate limits").
 *-------------------------------------------------------------------------
 */
#ifndef CO_HEADERS_H
#define CO_HEADERS_H

#include <stddef.h>

/* -1 stands for "absent or absurd" in every field. */
typedef struct CoRateHeaders
{
	int			limit;			/* 1 .. 1,000,000 */
	int			remaining;		/* 0 .. 1,000,000 */
	int			reset;			/* seconds, 0 .. 86,400 */
} CoRateHeaders;

extern void co_rate_headers_init(CoRateHeaders *headers);

/*
 * Take one raw header line as libcurl hands it over (not terminated, line end
 * included or not).  Lines of no interest, malformed, out of range or in
 * contradiction to an earlier one are passed over; a reset over 3600 is taken
 * for a clock time in seconds since 1970 (some gateways send that) and turned
 * into seconds from unix_now.
 */
extern void co_rate_headers_line(CoRateHeaders *headers, const char *line,
								 size_t length, long long unix_now);

#endif							/* CO_HEADERS_H */
