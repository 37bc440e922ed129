/*-------------------------------------------------------------------------
 * seen.c
 *		A set of strings that only tells whether a string was there before.
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "seen.h"
#include "text.h"

static uint64_t
hash64(const char *string)
{
	uint64_t	hash = 0xcbf29ce484222325u;

	for (const char *p = string; *p; p++)
	{
		unsigned char c = (unsigned char) *p;

		if (c >= 'A' && c <= 'Z')
			c |= 0x20;
		hash = (hash ^ c) * 0x100000001b3u;
	}
	hash ^= hash >> 32;
	hash *= 0xd6e8feb86659fd93u;
	hash ^= hash >> 32;
	return hash ? hash : 1;
}

static uint64_t *
seek(const Seen *seen, uint64_t hash)
{
	size_t		i = hash & (seen->nplaces - 1);

	while (seen->places[i] != 0 && seen->places[i] != hash)
		i = (i + 1) & (seen->nplaces - 1);
	return &seen->places[i];
}

static void
grow(Seen *seen, size_t nplaces)
{
	Seen		old = *seen;

	seen->nplaces = nplaces;
	seen->places = need(seen->nplaces * sizeof(*seen->places));
	memset(seen->places, 0, seen->nplaces * sizeof(*seen->places));
	for (size_t i = 0; i < old.nplaces; i++)
		if (old.places[i] != 0)
			*seek(seen, old.places[i]) = old.places[i];
	free(old.places);
}

/* Three of four places may be used. */
static bool
is_full(const Seen *seen, size_t count)
{
	return count * 4 > seen->nplaces * 3;
}

void
seen_expect(Seen *seen, size_t count)
{
	size_t		nplaces = 256;

	while (is_full(&(Seen) {.nplaces = nplaces}, count))
		nplaces *= 2;
	if (nplaces > seen->nplaces)
		grow(seen, nplaces);
}

bool
seen_add(Seen *seen, const char *string)
{
	uint64_t	hash = hash64(string);
	uint64_t   *place;

	if (is_full(seen, seen->used + 1))
		grow(seen, seen->nplaces ? seen->nplaces * 2 : 256);
	place = seek(seen, hash);
	if (*place != 0)
		return false;
	*place = hash;
	seen->used++;
	return true;
}

void
seen_free(Seen *seen)
{
	free(seen->places);
	memset(seen, 0, sizeof(*seen));
}
