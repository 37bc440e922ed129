/*-------------------------------------------------------------------------
 * table.h
 *		How often each address was asked for: counters by e-mail address.
 *
 * The only part of the sandbox that grows with its use: about 60 bytes for
 * each distinct address, so that a run over millions can be counted.
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_TABLE_H
#define SANDBOX_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct AddressCount
{
	char	   *email;			/* exactly as it was sent; NULL = free place */
	uint32_t	hash;
	uint32_t	asked;			/* requests that named it, faults included */
	uint32_t	answered;		/* success answers sent to the end */
	uint32_t	rows;			/* times that it was processed in a list */
	uint32_t	charged;		/* credits taken */
} AddressCount;

/* The position stays the same until table_clear(). */
extern size_t table_enter(const char *email);
extern const AddressCount *table_find(const char *email);

/* It was processed in a list, if such things are remembered. */
extern void table_row(const char *email, bool paid);

extern AddressCount *table_at(size_t position);
extern size_t table_len(void);
extern void table_clear(void);

/* Changes with table_clear(): positions from before mean nothing any more. */
extern unsigned table_epoch(void);

extern uint32_t table_hash(const char *email);

#endif							/* SANDBOX_TABLE_H */
