/*-------------------------------------------------------------------------
 * store.h
 *		Write answers down.
 *-------------------------------------------------------------------------
 */
#ifndef CO_STORE_H
#define CO_STORE_H

#include "codec.h"
#include "datatype/timestamp.h"
#include "queue.h"

typedef enum CoAnswerState
{
	CO_ANSWER_NEW,				/* next: any of the following */
	CO_ANSWER_STORED,			/* committed where it belongs */
	CO_ANSWER_SPILLED,			/* committed in clearout_spill, or in
								 * clearout_lookup_spill */
	CO_ANSWER_UNSTORED			/* nowhere yet; next: as for NEW */
} CoAnswerState;

/* An answer on its way into the table. */
typedef struct CoAnswer
{
	char	   *key;			/* in the database's encoding */
	CoEndpointId endpoint;
	CoVerifyAnswer verify;		/* when it is a verdict */
	CoLookupAnswer lookup;		/* when it is anything else */
	bool		absent;			/* none was stored for this key, before the call */
	TimestampTz asked_at;		/* when its call began */
	TimestampTz received_at;
	const CoQueueRow *row;		/* rows of the queue that it answers */
	int			row_count;
	CoAnswerState state;
	void	   *owner;			/* of no concern here */
} CoAnswer;

/*
 * Write answers down, each in its own right: sets the state of each.  Waits
 * for other transactions no longer than some 400 ms in all.  Commits.  Never
 * throws.  *spilled is set when one of the spills was used.  False: some are
 * UNSTORED; reason says why.
 */
extern bool co_store_answers(CoAnswer **answers, int count, bool *spilled,
							 char *reason, size_t reason_size);

/*
 * Move what lies in the spills to where it belongs, as far as nobody
 * stands in the way; what is refused for itself keeps the reason.  Never
 * throws.  Sets the number moved, whether anything is left, and whether all
 * that is left is refused.
 */
extern void co_store_merge_spill(int *moved, bool *left, bool *refused);

#endif							/* CO_STORE_H */
