/*-------------------------------------------------------------------------
 * ask.h
 *		Hand questions to the worker, and wait for the answers.
 *-------------------------------------------------------------------------
 */
#ifndef CO_ASK_H
#define CO_ASK_H

#include "error.h"
#include "slots.h"

typedef enum CoQuestionState
{
	CO_QUESTION_NEW,			/* next: ASKED, FAILED */
	CO_QUESTION_ASKED,			/* it holds a slot; next: ANSWERED, FAILED */
	CO_QUESTION_ANSWERED,		/* an answer is stored */
	CO_QUESTION_FAILED
} CoQuestionState;

typedef struct CoQuestion
{
	CoEndpointId endpoint;		/* 0: a verification */
	const char *key;
	CoQuestionState state;
	TimestampTz asked_at;		/* when ANSWERED: as in CoReply */
	CoFailure  *failure;		/* when FAILED */
	CoSlotRef	slot;			/* when ASKED */
} CoQuestion;

/*
 * Ask all of these that are NEW, as many at once as a quarter of the slots
 * allows, and wait until each is answered or has failed, or the deadline has
 * passed.  With stop_at_failure, the first failure ends it: it is returned,
 * and the questions still open stay as they are.  Slots are freed however
 * this ends, an error or a cancel included.
 */
extern CoFailure *co_ask(CoQuestion *questions, int count,
						 const CoFreshness *accepts, int64 deadline,
						 bool stop_at_failure);

/* Spending is for a primary, and for a transaction that may change things. */
extern void co_require_spending_allowed(void);

#endif							/* CO_ASK_H */
