/*-------------------------------------------------------------------------
 * seen.h
 *		A set of strings that only tells whether a string was there before.
 *
 * Kept as 64-bit hashes: 11 to 22 bytes for each, whatever its length.
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_SEEN_H
#define SANDBOX_SEEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Seen
{
	uint64_t   *places;			/* 0 = free; size a power of 2 */
	size_t		nplaces;
	size_t		used;
} Seen;

/* Makes room for so many at once. */
extern void seen_expect(Seen *seen, size_t count);

/* Adds it; false if it was there.  Capitals are as small letters. */
extern bool seen_add(Seen *seen, const char *string);
extern void seen_free(Seen *seen);

#endif							/* SANDBOX_SEEN_H */
