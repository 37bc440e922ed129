/*-------------------------------------------------------------------------
 * queuekey.h
 *		The index of clearout_queue by which its rows are taken and found.
 *-------------------------------------------------------------------------
 */
#ifndef CO_QUEUEKEY_H
#define CO_QUEUEKEY_H

#include "access/attnum.h"
#include "utils/relcache.h"

/*
 * The unique index on priority and id, with all rows and in ascending order,
 * open; its lock lasts to the end of the transaction.  NULL if the owner has
 * removed it, or if somebody has it locked: nobody is waited for, and then
 * *locked is set.
 */
extern Relation co_queue_key_index(Relation queue, AttrNumber priority, AttrNumber id,
								   bool *locked);

#endif							/* CO_QUEUEKEY_H */
