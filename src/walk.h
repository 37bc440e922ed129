/*-------------------------------------------------------------------------
 * walk.h
 *		Find the rows of addresses by an index on them.
 *-------------------------------------------------------------------------
 */
#ifndef CO_WALK_H
#define CO_WALK_H

#include "access/genam.h"
#include "executor/tuptable.h"
#include "utils/snapshot.h"

typedef struct CoWalk
{
	Relation	table;
	IndexScanDesc scan;
	TupleTableSlot *slot;		/* the row that was found; NULL: none was yet */
	MemoryContext context;		/* of these; a scan allocates later too */
	bool		many;			/* keys are asked about in their order */
	bool		begun;			/* when many: the scan stands somewhere ... */
	bool		ended;			/* ... behind the last entry, or on one */
	bool		fetched;		/* it holds pages of the table */
} CoWalk;

/*
 * The index must be one that co_is_email_index() approves of.  Where many keys
 * are looked for they come in ascending order.
 */
extern void co_walk_begin(CoWalk *walk, Relation table, Relation index,
						  Snapshot snapshot, bool many);

/* To the first row with this key, then to the next one; false: there is none. */
extern bool co_walk_to(CoWalk *walk, text *key);
extern bool co_walk_on(CoWalk *walk, text *key);

/* Let go of all pages, to go to another key some time later. */
extern void co_walk_rest(CoWalk *walk);

extern void co_walk_end(CoWalk *walk);

/* Is this a plain index on this column alone, in its own order? */
extern bool co_is_email_index(Relation index, AttrNumber email);

#endif							/* CO_WALK_H */
