/*-------------------------------------------------------------------------
 * table.c
 *		How often each address was asked for: counters by e-mail address.
 *
 * The counters are an array in order of first appearance; beside it lies an
 * index with open addressing that holds positions.  Growing moves neither a
 * position nor a string.  The strings lie in blocks and are freed together.
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "settings.h"
#include "table.h"
#include "text.h"

#define BLOCK_SIZE (1 << 18)

typedef struct Block
{
	struct Block *next;
	size_t		used;
	size_t		size;
	char		data[];
} Block;

static AddressCount *counts;
static size_t ncounts;
static size_t counts_size;

static uint32_t *places;		/* position + 1, 0 = free; size a power of 2 */
static size_t nplaces;

static Block *blocks;
static unsigned epoch;

uint32_t
table_hash(const char *email)
{
	uint32_t	hash = 2166136261u;

	for (const char *p = email; *p; p++)
		hash = (hash ^ (unsigned char) *p) * 16777619u;
	/* FNV leaves the low bits of similar strings alike */
	hash ^= hash >> 16;
	hash *= 0x7feb352du;
	hash ^= hash >> 15;
	return hash;
}

static char *
keep_string(const char *string)
{
	size_t		size = strlen(string) + 1;
	char	   *kept;

	if (blocks == NULL || blocks->size - blocks->used < size)
	{
		size_t		room = size > BLOCK_SIZE ? size : BLOCK_SIZE;
		Block	   *block = need(sizeof(Block) + room);

		block->next = blocks;
		block->used = 0;
		block->size = room;
		blocks = block;
	}
	kept = blocks->data + blocks->used;
	blocks->used += size;
	return memcpy(kept, string, size);
}

/* The slot of the index that holds the address, or where it would go. */
static uint32_t *
seek(const char *email, uint32_t hash)
{
	size_t		i = hash & (nplaces - 1);

	while (places[i] != 0)
	{
		const AddressCount *count = &counts[places[i] - 1];

		if (count->hash == hash && strcmp(count->email, email) == 0)
			break;
		i = (i + 1) & (nplaces - 1);
	}
	return &places[i];
}

static void
grow(void)
{
	nplaces = nplaces ? nplaces * 2 : 1024;
	free(places);
	places = need(nplaces * sizeof(*places));
	memset(places, 0, nplaces * sizeof(*places));
	for (size_t n = 0; n < ncounts; n++)
	{
		size_t		i = counts[n].hash & (nplaces - 1);

		while (places[i] != 0)
			i = (i + 1) & (nplaces - 1);
		places[i] = (uint32_t) (n + 1);
	}
}

size_t
table_enter(const char *email)
{
	uint32_t	hash = table_hash(email);
	uint32_t   *slot;
	AddressCount *count;

	if ((ncounts + 1) * 2 > nplaces)
		grow();
	slot = seek(email, hash);
	if (*slot != 0)
		return *slot - 1;
	if (ncounts == counts_size)
	{
		counts_size = counts_size ? counts_size * 2 : 1024;
		counts = need_more(counts, counts_size * sizeof(*counts));
	}
	count = &counts[ncounts++];
	memset(count, 0, sizeof(*count));
	count->email = keep_string(email);
	count->hash = hash;
	*slot = (uint32_t) ncounts;
	return ncounts - 1;
}

void
table_row(const char *email, bool paid)
{
	AddressCount *count;
	size_t		position;

	if (!settings.remember)
		return;
	position = table_enter(email);
	count = &counts[position];
	count->rows++;
	count->charged += paid;
}

const AddressCount *
table_find(const char *email)
{
	uint32_t   *slot;

	if (nplaces == 0)
		return NULL;
	slot = seek(email, table_hash(email));
	return *slot ? &counts[*slot - 1] : NULL;
}

AddressCount *
table_at(size_t position)
{
	return position < ncounts ? &counts[position] : NULL;
}

size_t
table_len(void)
{
	return ncounts;
}

void
table_clear(void)
{
	while (blocks)
	{
		Block	   *next = blocks->next;

		free(blocks);
		blocks = next;
	}
	free(counts);
	free(places);
	counts = NULL;
	places = NULL;
	ncounts = counts_size = nplaces = 0;
	epoch++;
}

unsigned
table_epoch(void)
{
	return epoch;
}
