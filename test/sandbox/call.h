/*-------------------------------------------------------------------------
 * call.h
 *		A request, from its first header to the last byte of its answer.
 *
 *		reading -> waiting (latency, delay) -> held -> ready -> sending
 *		              \------------------------/  \--> hung (never sent)
 *
 * A call that waits is suspended in libmicrohttpd, so that it takes neither
 * a thread nor a turn of the loop.
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_CALL_H
#define SANDBOX_CALL_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>
#include <microhttpd.h>

#include "account.h"
#include "loop.h"
#include "text.h"

typedef struct Call Call;
typedef struct Fault Fault;

/* One connection of a client. */
typedef struct Peer
{
	int64_t		number;			/* from 1 */
	int64_t		requests;
} Peer;

typedef enum BodyKind
{
	BODY_NONE,
	BODY_JSON
} BodyKind;

/* One row of the routing table; the last has no name. */
typedef struct Route
{
	const char *name;			/* what faults and counters call it */
	const char *method;
	const char *path;
	Service		service;
	BodyKind	body;
	bool		by_email;		/* "email" of the body is counted */
	void		(*serve) (Call *call);
	int64_t		calls;			/* how often it was called */
} Route;

extern Route routes[];

/* NULL if there is none; the path must match to the letter. */
extern Route *route_find(const char *method, const char *path);

typedef enum CallState
{
	CALL_READING,
	CALL_WAITING,				/* for its timer */
	CALL_HELD,					/* for a release */
	CALL_HUNG,					/* for the client to leave */
	CALL_READY,					/* to be sent */
	CALL_OVER					/* the client left meanwhile */
} CallState;

struct Call
{
	struct MHD_Connection *connection;
	Peer	   *peer;
	int64_t		number;			/* on its connection, from 1 */
	int64_t		arrived;		/* wall clock, ms */
	CallState	state;
	Timer		timer;
	Watch		watch;			/* for a client that leaves while we wait */
	bool		watched;
	Call	   *next;			/* list of held calls, list of free ones */

	/* the request */
	const char *method;
	char	   *path;
	Text		body;
	bool		too_large;
	json_t	   *json;			/* the body, if it is a JSON object */
	const char *email;			/* from it */
	Route	   *route;
	Account    *account;
	bool		counted;		/* there is a count for the address: */
	size_t		count;			/* its place in the table */
	unsigned	epoch;			/* of the table then */
	Rate		rate;

	/* the answer */
	int			status;
	bool		silent;			/* there is no HTTP answer at all */
	bool		success;		/* it brings what was asked for */
	const char *content_type;
	Text		answer;
	int64_t		latency;		/* ms; may be cut short by the request */

	/* what goes wrong with it */
	Fault	   *fault;
	bool		raw_sent;
};

extern const char *call_header(const Call *call, const char *name);

/* Back into the hands of libmicrohttpd: the call is ready or over. */
extern void call_wake(Call *call, CallState state);

/* Suspend until the timer, a release, or for ever. */
extern void call_wait(Call *call, CallState state, int64_t ms);

/* Let go what is held; only where the address fits, if one is given. */
extern int	call_release(const char *email);

#endif							/* SANDBOX_CALL_H */
