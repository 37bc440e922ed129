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
#include "table.h"
#include "text.h"
#include "upload.h"

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
	BODY_JSON,
	BODY_FORM					/* with a file: read as it comes */
} BodyKind;

typedef enum Access
{
	ACCESS_TOKEN,				/* needs a token, counts in its window */
	ACCESS_PUBLIC				/* neither */
} Access;

/* One row of the routing table; the last has no name. */
typedef struct Route
{
	const char *name;			/* what faults and counters call it */
	const char *method;
	const char *path;			/* if it ends in a slash: all paths behind it */
	Access		access;
	Service		service;
	BodyKind	body;
	const char *subject;		/* the parameter that says what is asked about */
	bool		by_email;		/* that is an address */
	void		(*serve) (Call *call);
	int64_t		calls;			/* how often it was called */
} Route;

extern Route routes[];

/* NULL if there is none; the path must fit to the letter. */
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
	int64_t		arrived;		/* wall clock, ms; 0: it is not whole yet */
	CallState	state;
	Timer		timer;
	Watch		watch;			/* for a client that leaves while we wait */
	bool		watched;
	Call	   *next;			/* list of held calls, list of free ones */

	/* the request */
	const char *method;
	char	   *path;
	Text		body;
	int64_t		received;		/* bytes of it */
	bool		held_amid;		/* it was held before all of it had come */
	bool		too_large;
	json_t	   *json;			/* the body, if it is a JSON object */
	Upload	   *upload;			/* the body, if it is a form */
	const char *email;			/* from it */
	const char *subject;		/* the address, the name of the list, ... */
	Text		subject_text;	/* where it is put together */
	Route	   *route;
	Account    *account;
	bool		counted;		/* there is a count for the subject: */
	Table	   *table;			/* in this table, */
	uint32_t	count;			/* at this place, */
	unsigned	epoch;			/* as the table was then */
	Rate		rate;

	/* the answer */
	int			status;
	bool		silent;			/* there is no HTTP answer at all */
	bool		success;		/* it brings what was asked for */
	const char *content_type;
	Text		answer;
	bool		has_file;		/* the answer is a file, "answer" is empty */
	int			file_fd;		/* to be closed unless -1 */
	int64_t		file_len;
	int64_t		file_head;		/* length of what may not be repeated */
	int64_t		list;			/* number of the list that it belongs to, or 0 */
	int64_t		latency;		/* ms; may be cut short by the request */

	/* what goes wrong with it */
	Fault	   *fault;
	bool		raw_sent;
};

extern const char *call_header(const Call *call, const char *name);
/* Credits for what is answered. */
extern void call_charge(Call *call, int64_t credits);

extern const char *call_query(const Call *call, const char *name);

/* Back into the hands of libmicrohttpd: the call is ready or over. */
extern void call_wake(Call *call, CallState state);

/* Suspend until the timer, a release, or for ever. */
extern void call_wait(Call *call, CallState state, int64_t ms);

/* Let go what is held; only where address and endpoint fit, if given. */
extern int	call_release(const char *email, const char *endpoint);

#endif							/* SANDBOX_CALL_H */
