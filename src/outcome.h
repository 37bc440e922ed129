/*-------------------------------------------------------------------------
 * outcome.h
 *		How one call to the service ended: the word that the HTTP engine, the
 *		codec and the retry policy share.
 *
 *		transfer -> http.c  sets the transport faults
 *		         -> codec.c sets what the service said, or that it said nonsense
 *		         -> retry.c turns it into an action
 *
 * Pure: no server header, nothing allocated.
 *-------------------------------------------------------------------------
 */
#ifndef CO_OUTCOME_H
#define CO_OUTCOME_H

#include <stdbool.h>
#include <stddef.h>

/* What went wrong, if anything.  The order is of no meaning. */
typedef enum CoFault
{
	CO_FAULT_NONE = 0,			/* a typed answer was decoded */

	/* set by http.c: there is no HTTP answer to look at */
	CO_FAULT_LOCAL,				/* out of memory, descriptors, bad URL */
	CO_FAULT_RESOLVE,			/* host or proxy name not resolved */
	CO_FAULT_CONNECT,			/* refused, unreachable, or not in time */
	CO_FAULT_TLS,				/* handshake or certificate refused */
	CO_FAULT_TIMEOUT,			/* sent, but no full answer in time */
	CO_FAULT_LOST,				/* sent, then the connection ended */
	CO_FAULT_GARBLED,			/* bytes that are not HTTP, bad framing */
	CO_FAULT_TOO_LARGE,			/* body over the limit */
	CO_FAULT_REDIRECT,			/* 3xx; redirects are never followed */

	/* set by codec.c: there is one */
	CO_FAULT_SERVICE,			/* the service reports a failure: http, code */
	CO_FAULT_MALFORMED,			/* not the JSON that the API documents */
	CO_FAULT_MISMATCH			/* an answer, but for another address */
} CoFault;

#define CO_MESSAGE_SIZE 200

typedef struct CoOutcome
{
	CoFault		fault;
	bool		sent;			/* may the service have seen the request? */
	int			http_status;	/* 0 when there was no status line */
	int			code;			/* error.code of the envelope; 0 when absent */

	/*
	 * What the service or libcurl said, for the caller's DETAIL: valid UTF-8
	 * without control characters, cut at a character, zero-terminated.  It
	 * may quote the address, so it goes to that caller alone.
	 */
	char		message[CO_MESSAGE_SIZE];
} CoOutcome;

/*
 * Has the service had the whole request, and said no?  Not if it, or a server on
 * the way, has failed, or was tired of waiting for the rest (408): then it may
 * have got the request all the same.
 */
extern bool co_outcome_is_refusal(const CoOutcome *outcome);

/*
 * Copy text into such a buffer: invalid UTF-8 becomes U+FFFD, control
 * characters become blanks, cut at a whole character, zero-terminated.
 */
extern void co_message_set(char *message, size_t size, const char *text,
						   size_t length);

#endif							/* CO_OUTCOME_H */
