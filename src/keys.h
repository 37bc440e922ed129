/*-------------------------------------------------------------------------
 * keys.h
 *		Many addresses in normal form, to be put into the queue together.
 *-------------------------------------------------------------------------
 */
#ifndef CO_KEYS_H
#define CO_KEYS_H

#include "address.h"

typedef struct CoKey
{
	uint64		start;			/* for sorting: a few of its bytes */
	text	   *text;			/* with a byte of zero behind it, so that its data
								 * are a C string too; its header has four bytes */
} CoKey;

typedef struct CoKeys
{
	MemoryContext context;		/* of all that follows */
	CoKey	   *key;
	int			count;
	int			room;
	char	   *space;			/* for further texts */
	Size		left;			/* so many bytes of it */
} CoKeys;

/* The text of a C string, as it stands in a CoKey. */
extern text *co_key_text(const char *key);

extern CoKeys *co_keys_create(void);

/*
 * Add what this address is asked under; false and *error: malformed, and not to
 * be asked.  What this takes beside may be left in the current context.
 */
extern bool co_keys_add(CoKeys *keys, text *email, CoAddressError *error);

/* Bring them into the order of the "C" collation, each of them once. */
extern void co_keys_sort(CoKeys *keys);

/* The memory that they take. */
extern Size co_keys_size(const CoKeys *keys);

/* Let go of all of them, to begin anew. */
extern void co_keys_reset(CoKeys *keys);

#endif							/* CO_KEYS_H */
