/*-------------------------------------------------------------------------
 * timestamp.h
 *		The service's three spellings of a time, read leniently.
 *
 * Pure.
 *-------------------------------------------------------------------------
 */
#ifndef CO_TIMESTAMP_H
#define CO_TIMESTAMP_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Read "2019-05-02T18:12:53+05:30", "2025-09-01T04:31:20.042Z" or
 * "2022-05-16 10:41:30.427Z" (zone absent means UTC; "+0530" and "+05" are
 * taken too) into microseconds since 1970-01-01 00:00 UTC; digits beyond the
 * sixth of a fraction are cut off.  False when the text is NULL or not a time
 * of the years 1970 to 9999 in UTC; *result is then untouched.
 */
extern bool co_timestamp_parse(const char *text, int64_t *result);

#endif							/* CO_TIMESTAMP_H */
