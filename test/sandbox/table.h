/*-------------------------------------------------------------------------
 * table.h
 *		How often each thing was asked for: counters by a string.
 *
 * The only part of the sandbox that grows with its use: about 25 bytes for
 * each distinct string beside the string itself, so that a run over millions
 * can be counted; none with the setting remember=off.
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_TABLE_H
#define SANDBOX_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Count
{
	uint32_t	asked;			/* requests that named it, faults included */
	uint32_t	answered;		/* success answers sent to the end */
	uint32_t	rows;			/* times that it was processed in a list */
	uint32_t	charged;		/* credits taken */
	char		key[];			/* exactly as it was sent */
} Count;

typedef struct Table Table;

extern Table *const addresses_asked;	/* of email_verify/instant and lists */
extern Table *const others_asked;	/* "ENDPOINT SUBJECT" of everything else */

/* The place of a string, added if need be; the same until table_clear(). */
extern uint32_t table_enter(Table *table, const char *key);
extern const Count *table_find(const Table *table, const char *key);
extern Count *table_at(Table *table, uint32_t place);

/* All of them, in the order of their first appearance. */
extern void table_each(const Table *table, void (*see) (const Count *count, void *arg), void *arg);

extern size_t table_len(const Table *table);
extern void table_clear(Table *table);

/* Changes with table_clear(): places from before mean nothing any more. */
extern unsigned table_epoch(const Table *table);

extern uint32_t table_hash(const char *key);

#endif							/* SANDBOX_TABLE_H */
