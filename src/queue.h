/*-------------------------------------------------------------------------
 * queue.h
 *		The durable queue: rows of clearout_queue, as the worker sees them.
 *-------------------------------------------------------------------------
 */
#ifndef CO_QUEUE_H
#define CO_QUEUE_H

#include "address.h"
#include "catalog.h"
#include "datatype/timestamp.h"
#include "storage/itemptr.h"
#include "transaction.h"

/* clearout_queue.priority: -9 to 9, the higher first. */
#define CO_PRIORITY_MIN (-9)
#define CO_PRIORITY_MAX 9

/* What a row wants.  Each kind is taken on its own, so that none waits behind
 * the other: they have rates of their own. */
typedef enum CoQueueKind
{
	CO_QUEUE_VERIFY,
	CO_QUEUE_FIND
} CoQueueKind;
#define CO_QUEUE_KINDS 2

/* A row that the worker has taken; it stays in the table until it is done. */
typedef struct CoQueueRow
{
	CoQueueKind kind;
	int			priority;
	int64		id;
	char	   *key;			/* what is asked, in normal form; NULL: it cannot be */
	const char *fault;			/* why not */
	char	   *queue_id;		/* the service seeks on under this name; NULL: it
								 * does not */
	TimestampTz sought_since;	/* if it does */
	TimestampTz accepts_since;	/* the oldest answer that will do */
	TimestampTz enqueued_at;
	ItemPointerData place;		/* where it was in the table */
	int			attempts;		/* made before */
	char		role[NAMEDATALEN];	/* who put it there, and so whose budget it is */
} CoQueueRow;

/* What tells this database from its copies: stands in every row's origin. */
extern int64 co_queue_origin(void);

/* ---------- for the worker ---------- */

/*
 * Rows may have come whose id is no lower than this one; 0: any.  The next
 * co_queue_take() looks from there.
 */
extern void co_queue_look_from(int64 id);

/*
 * Take up to count rows of this kind that are due and not taken yet, in the order of their
 * priority; palloc'd in the caller's context.  Never throws: *trouble says
 * why there are none.  *next_due is when the next waiting retry is due,
 * DT_NOEND if none is.
 */
extern CoQueueRow *co_queue_take(CoQueueKind kind, int count, int *taken, TimestampTz *next_due,
								 CoTrouble *trouble);

/* Is there perhaps something to take, without waiting for news? */
extern bool co_queue_may_have_more(CoQueueKind kind);

/*
 * Take the rows for which the service seeks on, of this name and domain, that
 * are not taken yet, due or not.  As above.
 */
extern CoQueueRow *co_queue_take_searches(const char *name, const char *domain,
										  int *taken, CoTrouble *trouble);

/*
 * Remove rows; part of a transaction that co_run() has opened.  What somebody
 * has locked, row or table, is left, and found answered the next time that it
 * is taken.
 */
extern void co_queue_delete(CoCatalog *catalog, const CoQueueRow *rows, int count);

/* Have rows been left since this was asked last? */
extern bool co_queue_rows_left(void);

/* The same in a transaction of its own; never throws. */
extern void co_queue_remove(const CoQueueRow *rows, int count);

/* Wait until retry_at, for this reason.  False: not done, the row is locked or
 * gone, or the table is; it is to be looked at again. */
extern bool co_queue_postpone(const CoQueueRow *row, int attempts,
							  TimestampTz retry_at, bool maybe_paid,
							  const char *reason);

/* It failed for good.  False as above. */
extern bool co_queue_fail(const CoQueueRow *row, int attempts, bool maybe_paid,
						  const char *reason);

/* Is there another table than the one that rows were taken from?  Then none is
 * taken or changed, and it is for another worker to do so. */
extern bool co_queue_is_another(void);

/* How many rows does the worker hold? */
extern int	co_queue_held(void);

/* The worker holds this row, which it has written itself. */
extern void co_queue_hold(const CoQueueRow *row);

/* The worker holds this row no longer. */
extern void co_queue_forget(const CoQueueRow *row);

/*
 * Likewise, since its role's budget is used up.  co_queue_unpark() has those
 * taken again that were left so; false: there are more than were noted.
 */
extern void co_queue_park(const CoQueueRow *row);
extern bool co_queue_unpark(void);

/* No row of this priority with a lower id has still to be taken for the first
 * time; but some with lower ids may be held. */
extern int64 co_queue_from(int priority);

/* Is the queue to stand still, by clearout_pause()? */
extern bool co_queue_is_paused(void);

/* ---------- for backends ---------- */

/* Tell the worker at commit that rows from this id on may have come; 0: any. */
extern void co_queue_note(int64 id);

/* Likewise that clearout_resume() was called. */
extern void co_queue_note_resume(void);

/* COMMIT PREPARED has run: what it brought is not known here. */
extern void co_queue_after_commit_prepared(void);

#endif							/* CO_QUEUE_H */
