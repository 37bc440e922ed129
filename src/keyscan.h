/*-------------------------------------------------------------------------
 * keyscan.h
 *		Read the rows of one key, around the executor.
 *-------------------------------------------------------------------------
 */
#ifndef CO_KEYSCAN_H
#define CO_KEYSCAN_H

#include "postgres_ext.h"

#define CO_SCAN_COLUMNS_MAX 24

/* What a table looks like: its first columns, of which the first are the key. */
typedef struct CoShape
{
	int			columns;
	const Oid  *types;
	int			keys;			/* text, in the C collation */
} CoShape;

/*
 * Call visit for each row of this key that is committed now, whatever
 * snapshot the transaction has; the values are copies in the current memory
 * context.  No lock is left behind, and none is waited for: *locked is set if
 * somebody has the table or its index locked against readers.
 */
extern void co_key_scan(Oid table, const CoShape *shape, const char *const *key,
						void (*visit) (const Datum *values, const bool *nulls,
									   void *argument),
						void *argument, bool *locked);

#endif							/* CO_KEYSCAN_H */
