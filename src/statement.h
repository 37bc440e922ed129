/*-------------------------------------------------------------------------
 * statement.h
 *		What one statement has heard and caused.
 *-------------------------------------------------------------------------
 */
#ifndef CO_STATEMENT_H
#define CO_STATEMENT_H

#include "datatype/timestamp.h"

#include "error.h"

/*
 * Has this statement asked about the key?  *failure is why there was no
 * answer, or NULL and *asked_at says since when an answer is new enough.
 * The failure is a copy.
 */
extern bool co_statement_recall(const char *key, TimestampTz *asked_at,
								CoFailure **failure);

extern void co_statement_remember(const char *key, TimestampTz asked_at,
								  const CoFailure *failure);

/* A call is about to be caused; errors out beyond clearout.statement_limit. */
extern void co_statement_count_call(void);

#endif							/* CO_STATEMENT_H */
