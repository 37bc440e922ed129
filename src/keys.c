/*-------------------------------------------------------------------------
 * keys.c
 *		Many addresses in normal form, to be put into the queue together.
 *
 * A load brings them by the hundred thousand, and what they cost then is
 * memory that has to be fetched: they lie close together, each where it was
 * normalised, as the datum that goes into table and index.  Sorting compares
 * eight bytes that stand in the array itself, taken from behind what all of
 * them begin with; only where these are equal it looks at the addresses.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/memutils.h"

#include "arguments.h"
#include "compat.h"
#include "keys.h"
#include "slots.h"

/* Texts are allocated in pieces of this size. */
#define SPACE_SIZE (64 * 1024)

/* The most that one takes. */
#define TEXT_MAX INTALIGN(VARHDRSZ + CO_KEY_SIZE)

StaticAssertDecl(TEXT_MAX < SPACE_SIZE, "a key does not fit into a piece");

text *
co_key_text(const char *key)
{
	Size		length = strlen(key);
	text	   *result = palloc(VARHDRSZ + length + 1);

	SET_VARSIZE(result, VARHDRSZ + length);
	memcpy(VARDATA(result), key, length + 1);
	return result;
}

CoKeys *
co_keys_create(void)
{
	CoKeys	   *keys = palloc0(sizeof(CoKeys));

	keys->context = AllocSetContextCreate(CurrentMemoryContext, "clearout addresses",
										  ALLOCSET_DEFAULT_SIZES);
	return keys;
}

static void
make_room(CoKeys *keys)
{
	if (keys->count == keys->room)
	{
		int			room = Max(1000, keys->room * 2);

		if (keys->key == NULL)
			keys->key = MemoryContextAllocHuge(keys->context, room * sizeof(CoKey));
		else
			keys->key = repalloc_huge(keys->key, room * sizeof(CoKey));
		keys->room = room;
	}
	if (keys->left < TEXT_MAX)
	{
		keys->space = MemoryContextAlloc(keys->context, SPACE_SIZE);
		keys->left = SPACE_SIZE;
	}
}

bool
co_keys_add(CoKeys *keys, text *email, CoAddressError *error)
{
	text	   *key;
	int			length;
	Size		size;

	make_room(keys);
	key = (text *) keys->space;
	length = co_key_write(email, VARDATA(key), error);
	if (length < 0)
		return false;
	SET_VARSIZE(key, VARHDRSZ + length);
	size = INTALIGN(VARHDRSZ + length + 1);
	keys->space += size;
	keys->left -= size;
	keys->key[keys->count++].text = key;
	return true;
}

/* ---------- order ---------- */

/* None of them has a byte of zero in it, so that it can stand for the end. */
static inline int
compare_keys(const CoKey *a, const CoKey *b, const Size *common)
{
	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	if ((a->start & 0xFF) == 0)
		return 0;				/* both have ended */
	return strcmp(VARDATA(a->text) + *common + sizeof(uint64),
				  VARDATA(b->text) + *common + sizeof(uint64));
}

#define ST_SORT sort_keys
#define ST_ELEMENT_TYPE CoKey
#define ST_COMPARE(a, b, common) compare_keys(a, b, common)
#define ST_COMPARE_ARG_TYPE const Size
#define ST_CHECK_FOR_INTERRUPTS
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* With how many bytes do all of them begin alike? */
static Size
common_length(const CoKeys *keys)
{
	const char *first = VARDATA(keys->key[0].text);
	Size		common = strlen(first);

	for (int i = 1; i < keys->count && common > 0; i++)
	{
		const char *other = VARDATA(keys->key[i].text);
		Size		length = 0;

		while (length < common && other[length] == first[length])
			length++;
		common = length;
	}
	return common;
}

/* Eight bytes as a number, the first of them the highest. */
static uint64
start_of(const CoKey *key, Size common)
{
	Size		length = VARSIZE(key->text) - VARHDRSZ - common;
	uint64		start = 0;

	memcpy(&start, VARDATA(key->text) + common, Min(length, sizeof(start)));
	return pg_ntoh64(start);
}

void
co_keys_sort(CoKeys *keys)
{
	Size		common;
	int			distinct = 1;

	if (keys->count < 2)
		return;
	common = common_length(keys);
	for (int i = 0; i < keys->count; i++)
		keys->key[i].start = start_of(&keys->key[i], common);
	sort_keys(keys->key, keys->count, &common);
	for (int i = 1; i < keys->count; i++)
	{
		if (compare_keys(&keys->key[i], &keys->key[distinct - 1], &common) != 0)
			keys->key[distinct++] = keys->key[i];
	}
	keys->count = distinct;
}

Size
co_keys_size(const CoKeys *keys)
{
	return MemoryContextMemAllocated(keys->context, false);
}

void
co_keys_reset(CoKeys *keys)
{
	MemoryContext context = keys->context;

	MemoryContextReset(context);
	memset(keys, 0, sizeof(*keys));
	keys->context = context;
}
