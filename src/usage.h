/*-------------------------------------------------------------------------
 * usage.h
 *		What was asked and what it cost, per day of UTC, service and role.
 *
 * Counted in the worker's memory, and written into clearout_usage_parts in
 * the transaction that stores the answers, or soon after where there are none.
 *-------------------------------------------------------------------------
 */
#ifndef CO_USAGE_H
#define CO_USAGE_H

#include "endpoint.h"
#include "transaction.h"

/* Days since 2000, UTC. */
extern int32 co_usage_today(void);
extern TimestampTz co_usage_end_of_day(int32 day);

/*
 * A call has ended: with an answer of this status, or without one (NULL).
 * sent: the service may have seen it.
 */
extern void co_usage_count(int32 day, CoService service, const char *role,
						   const char *status, bool sent, int credits);

/* What was counted as the cost of a call of that day was not it. */
extern void co_usage_correct(int32 day, CoService service, const char *role, int credits);

/*
 * Write down what was counted: part of a transaction that co_run() has opened.
 * Once that has committed, co_usage_written() has to be called.
 */
extern void co_usage_write(CoCatalog *catalog);
extern void co_usage_written(void);

/* That transaction has failed, perhaps for this; write apart from it. */
extern void co_usage_write_apart(void);

/* When does co_usage_tend() have something to write?  0: it has not. */
extern int64 co_usage_flush_at(void);

/* Once a turn: write what is due, and tidy up now and then.  Never throws. */
extern void co_usage_tend(void);

/* Write what there is, now; before the end. */
extern void co_usage_flush(void);

/* What has been spent on this day, by role.  False if it cannot be read. */
extern bool co_usage_read(int32 day, void (*tell) (const char *role, int64 credits),
						  char *reason, size_t reason_size);

#endif							/* CO_USAGE_H */
