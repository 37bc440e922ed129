/*-------------------------------------------------------------------------
 * faults.h
 *		What goes wrong on demand, and what is held back on demand.
 *
 * A rule says when (which requests, how often) and what.  Faults and holds
 * are two lists of such rules; of each, the first rule that fits a request
 * is applied to it.
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_FAULTS_H
#define SANDBOX_FAULTS_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "call.h"
#include "text.h"

typedef enum FaultKind
{
	FAULT_ANSWER,				/* an HTTP answer, with what was changed */
	FAULT_RESET,				/* RST before the first byte */
	FAULT_CLOSE,				/* FIN instead of an answer */
	FAULT_DEAD,					/* the same from the 2nd request of a
								 * connection on */
	FAULT_HANG,					/* no answer, ever */
	FAULT_CUT,					/* the body ends early, whatever its length says */
	FAULT_HALF,					/* half of the body, with the length of the half */
	FAULT_LONG,					/* Content-Length larger than the body */
	FAULT_SHORT,				/* Content-Length smaller than the body; the
								 * rest lies in wait on the connection */
	FAULT_HUGE,					/* a body of many megabytes */
	FAULT_DRIP,					/* the body a few bytes at a time */
	FAULT_RAW					/* these bytes instead of HTTP */
} FaultKind;

typedef enum FaultEnd
{
	END_CLOSE,
	END_RESET,
	END_HANG
} FaultEnd;

typedef enum Replace
{
	REPLACE_NOT,
	REPLACE_OMIT,
	REPLACE_VALUE
} Replace;

enum
{
	RATE_LIMIT, RATE_REMAINING, RATE_RESET, RATE_HEADERS
};

struct Fault
{
	Fault	   *next;
	int			id;
	int			users;			/* calls that it was applied to, and the list */

	/* when: everything that is given must fit */
	char	   *email;			/* equal */
	char	   *pattern;		/* of the address, with * and ? */
	char	   *endpoint;		/* its name, with * and ? */
	char	   *subject;		/* what it is about, with * and ? */
	char	   *token;
	int64_t		request;		/* the n-th on its connection */
	int64_t		from_request;	/* the n-th and later ones */
	int64_t		after;			/* leave out so many that fit */
	int64_t		times;			/* how often, -1 = until cleared */
	double		probability;

	/* what */
	FaultKind	kind;
	int			status;			/* 0 = not given, as below */
	int			code;
	char	   *message;
	bool		has_body;
	Text		body;
	char	   *content_type;
	char	   *location;
	json_t	   *headers;		/* name: value, sent as they are */
	Replace		replace[RATE_HEADERS];
	char	   *values[RATE_HEADERS];
	int64_t		delay_ms;
	int64_t		bytes;			/* -1 = not given */
	int64_t		interval_ms;
	int64_t		megabytes;
	bool		chunked;
	FaultEnd	end;
	bool		processed;		/* the request is served, and charged, first */

	/* how often it fitted, and was applied */
	int64_t		matched;
	int64_t		hits;
};

/* Makes a rule of it; returns its id, or 0 and what is wrong. */
extern int	fault_add(const json_t *rule, bool hold, const char **problem);

/* The rule for this call, if any; the caller must let go of it. */
extern Fault *fault_find(const Call *call);
extern bool fault_holds(const Call *call);

/* Is this one held amid its body, of which so many bytes have come? */
extern bool fault_holds_body(const Call *call, int64_t received);
extern void fault_let_go(Fault *fault);

/* Writes the answer that the fault wants instead of, or from, the true one. */
extern void fault_apply(Call *call);

/* All of them, or one id, or those of one address or endpoint. */
extern void fault_clear(bool holds, int id, const char *email, const char *endpoint);

extern json_t *fault_list(bool holds);

#endif							/* SANDBOX_FAULTS_H */
