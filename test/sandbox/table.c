/*-------------------------------------------------------------------------
 * table.c
 *		How often each thing was asked for: counters by a string.
 *
 * Counters and their strings lie one behind the other in blocks, which never
 * move.  Beside them lies an index with open addressing that holds places:
 * the number of the block and the offset in it, in units of four bytes.
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "table.h"
#include "text.h"

#define UNIT 4
#define BLOCK_UNITS 65536		/* what 16 bits can tell apart */
#define BLOCK_SIZE (BLOCK_UNITS * UNIT)
#define KEY_MAX 16384			/* what is longer is cut */

typedef struct Block
{
	uint32_t	used;			/* units */
	char		data[BLOCK_SIZE];
} Block;

struct Table
{
	Block	  **blocks;
	uint32_t	nblocks;
	uint32_t	blocks_size;
	size_t		len;
	uint32_t   *places;			/* place + 1, 0 = free; size a power of 2 */
	size_t		nplaces;
	unsigned	epoch;
};

static Table tables[2];

Table	   *const addresses_asked = &tables[0];
Table	   *const others_asked = &tables[1];

uint32_t
table_hash(const char *key)
{
	uint32_t	hash = 2166136261u;

	for (const char *p = key; *p; p++)
		hash = (hash ^ (unsigned char) *p) * 16777619u;
	/* FNV leaves the low bits of similar strings alike */
	hash ^= hash >> 16;
	hash *= 0x7feb352du;
	hash ^= hash >> 15;
	return hash;
}

Count *
table_at(Table *table, uint32_t place)
{
	return (Count *) (table->blocks[place / BLOCK_UNITS]->data +
					  (size_t) (place % BLOCK_UNITS) * UNIT);
}

static uint32_t
units(size_t key_len)
{
	return (uint32_t) ((sizeof(Count) + key_len + 1 + UNIT - 1) / UNIT);
}

/* The slot of the index that holds the key, or where it would go. */
static uint32_t *
seek(const Table *table, const char *key)
{
	size_t		i = table_hash(key) & (table->nplaces - 1);

	while (table->places[i] != 0 &&
		   strcmp(table_at((Table *) table, table->places[i] - 1)->key, key) != 0)
		i = (i + 1) & (table->nplaces - 1);
	return &table->places[i];
}

static void
grow(Table *table)
{
	size_t		mask;

	table->nplaces = table->nplaces ? table->nplaces * 2 : 1024;
	mask = table->nplaces - 1;
	free(table->places);
	table->places = need(table->nplaces * sizeof(*table->places));
	memset(table->places, 0, table->nplaces * sizeof(*table->places));
	for (uint32_t block = 0; block < table->nblocks; block++)
		for (uint32_t at = 0; at < table->blocks[block]->used;)
		{
			uint32_t	place = block * BLOCK_UNITS + at;
			const char *key = table_at(table, place)->key;
			size_t		i = table_hash(key) & mask;

			while (table->places[i] != 0)
				i = (i + 1) & mask;
			table->places[i] = place + 1;
			at += units(strlen(key));
		}
}

static uint32_t
append(Table *table, const char *key, size_t len)
{
	Block	   *block = table->nblocks ? table->blocks[table->nblocks - 1] : NULL;
	Count	   *count;
	uint32_t	place;

	if (block == NULL || BLOCK_UNITS - block->used < units(len))
	{
		if (table->nblocks == table->blocks_size)
		{
			table->blocks_size = table->blocks_size ? table->blocks_size * 2 : 64;
			table->blocks = need_more(table->blocks,
									  table->blocks_size * sizeof(*table->blocks));
		}
		block = need(sizeof(*block));
		block->used = 0;
		table->blocks[table->nblocks++] = block;
	}
	place = (table->nblocks - 1) * BLOCK_UNITS + block->used;
	count = table_at(table, place);
	memset(count, 0, sizeof(*count));
	memcpy(count->key, key, len + 1);
	block->used += units(len);
	table->len++;
	return place;
}

uint32_t
table_enter(Table *table, const char *key)
{
	char		cut[KEY_MAX + 1];
	size_t		len;
	uint32_t   *slot;

	len = strlen(key);
	if (len > KEY_MAX)
	{
		memcpy(cut, key, KEY_MAX);
		cut[KEY_MAX] = '\0';
		key = cut;
		len = KEY_MAX;
	}
	if ((table->len + 1) * 4 > table->nplaces * 3)
		grow(table);
	slot = seek(table, key);
	if (*slot == 0)
		*slot = append(table, key, len) + 1;
	return *slot - 1;
}

const Count *
table_find(const Table *table, const char *key)
{
	uint32_t   *slot;

	if (table->nplaces == 0)
		return NULL;
	slot = seek(table, key);
	return *slot ? table_at((Table *) table, *slot - 1) : NULL;
}

void
table_each(const Table *table, void (*see) (const Count *count, void *arg), void *arg)
{
	for (uint32_t block = 0; block < table->nblocks; block++)
		for (uint32_t at = 0; at < table->blocks[block]->used;)
		{
			const Count *count = table_at((Table *) table, block * BLOCK_UNITS + at);

			see(count, arg);
			at += units(strlen(count->key));
		}
}

size_t
table_len(const Table *table)
{
	return table->len;
}

void
table_clear(Table *table)
{
	unsigned	epoch = table->epoch;

	for (uint32_t block = 0; block < table->nblocks; block++)
		free(table->blocks[block]);
	free(table->blocks);
	free(table->places);
	memset(table, 0, sizeof(*table));
	table->epoch = epoch + 1;
}

unsigned
table_epoch(const Table *table)
{
	return table->epoch;
}
