/*-------------------------------------------------------------------------
 * error.h
 *		Errors that a program can tell apart.
 *
 * Class VC is of no standard and of no server: letters from I on are left to
 * implementations (SQL standard, "SQLSTATE").
 *-------------------------------------------------------------------------
 */
#ifndef CO_ERROR_H
#define CO_ERROR_H

#include "slots.h"

#define CO_ERRCODE_NOT_CONFIGURED	MAKE_SQLSTATE('V','C','0','0','1')
#define CO_ERRCODE_UNAUTHORIZED		MAKE_SQLSTATE('V','C','0','0','2')
#define CO_ERRCODE_CREDITS			MAKE_SQLSTATE('V','C','0','0','3')
#define CO_ERRCODE_DAILY_LIMIT		MAKE_SQLSTATE('V','C','0','0','4')
#define CO_ERRCODE_RATE_LIMIT		MAKE_SQLSTATE('V','C','0','0','5')
#define CO_ERRCODE_TIMEOUT			MAKE_SQLSTATE('V','C','0','0','6')
#define CO_ERRCODE_SERVICE			MAKE_SQLSTATE('V','C','0','0','7')
#define CO_ERRCODE_NO_WORKER		MAKE_SQLSTATE('V','C','0','0','8')
#define CO_ERRCODE_BAD_REQUEST		MAKE_SQLSTATE('V','C','0','0','9')
#define CO_ERRCODE_BUDGET			MAKE_SQLSTATE('V','C','0','1','0')

/* Why there is no answer, ready to be raised or to be told in a row. */
typedef struct CoFailure
{
	int			sqlstate;
	char	   *message;
	char	   *detail;			/* or NULL */
	char	   *hint;			/* or NULL */
	bool		quotes;			/* detail quotes the service, which may quote
								 * the address: not for the log */
} CoFailure;

/* In the current memory context. */
extern CoFailure *co_failure_copy(const CoFailure *failure);

/* What a reply without an answer means to the caller. */
extern CoFailure *co_failure_from_reply(const CoReply *reply);

/* A timeout of zero, and no fresh answer stored. */
extern CoFailure *co_failure_no_time(CoEndpointId endpoint);

/* The deadline passed: how far had it come? */
extern CoFailure *co_failure_timeout(CoProgress progress);

extern void co_failure_raise(const CoFailure *failure) __attribute__((noreturn));

#endif							/* CO_ERROR_H */
