/*-------------------------------------------------------------------------
 * fuzz_json_plain.c
 *		Of any bytes that co_json_plain() takes, and of what it then writes,
 *		jansson makes the same.
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "json_plain.h"

#define ROOM (1 << 20)

/* Like the codec's arena: nothing is freed one by one. */
static char room[16 * ROOM];
static size_t used;

static void *
take_room(size_t size)
{
	void	   *memory = room + used;

	size = (size + 15) / 16 * 16;
	if (size > sizeof(room) - used)
		abort();
	used += size;
	return memory;
}

static void
free_room(void *memory)
{
	(void) memory;
}

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char plain[ROOM];
	static char jansson[ROOM];
	json_error_t error;
	json_t	   *fast;
	json_t	   *slow;
	size_t		length;

	if (size > 10000)
		return 0;
	used = 0;
	json_set_alloc_funcs(take_room, free_room);
	fast = co_json_plain((const char *) data, size);
	slow = json_loadb((const char *) data, size, 0, &error);
	if (fast != NULL && (slow == NULL || !json_equal(fast, slow)))
		abort();
	if (slow == NULL)
		return 0;
	length = co_json_plain_dump(slow, plain, sizeof(plain));
	if (length > 0 &&
		(json_dumpb(slow, jansson, sizeof(jansson), JSON_COMPACT) != length ||
		 memcmp(plain, jansson, length) != 0))
		abort();
	if (fast != NULL && length == 0)
		abort();
	return 0;
}
