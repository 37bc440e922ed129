/*-------------------------------------------------------------------------
 * http.h
 *		Transfers over libcurl's multi interface, all its sockets behind one
 *		epoll descriptor.
 *
 * Pure: no server header, never throws, never sleeps.  The owner waits in one
 * place of its own, for co_http_fd() to become readable or co_http_timeout()
 * to pass, and then calls co_http_drive().  Signals are blocked inside that,
 * since resolver threads inherit the mask.
 *-------------------------------------------------------------------------
 */
#ifndef CO_HTTP_H
#define CO_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "headers.h"
#include "outcome.h"

typedef struct CoHttp CoHttp;

/*
 * Strings may be NULL.  They are copied.  Times are milliseconds.
 */
typedef struct CoHttpConfig
{
	const char *ca_file;		/* PEM bundle in place of the system's */
	const char *proxy;			/* URL; NULL: none, and never from the environment */
	const char *user_agent;
	bool		allow_http;		/* plain http to hosts beyond loopback */
	int			connect_timeout;
	size_t		body_max;		/* a longer answer is CO_FAULT_TOO_LARGE */
	int			max_transfers;	/* in flight at once; see co_http_room() */
} CoHttpConfig;

typedef struct CoHttpRequest
{
	const char *url;
	const char *authorization;	/* value of that header; NULL: none */
	const char *body;			/* JSON, copied; NULL: a GET */
	size_t		body_length;
	int			timeout;		/* whole transfer, ms, connect included */
	void	   *owner;			/* handed back */

	/* What passes through bit by bit, so that memory stays flat. */
	const char *content_type;	/* of the body; NULL: application/json */
	uint64_t	upload_length;	/* != 0: a POST without body, which comes by
								 * co_http_supply(), so many bytes in all */
	uint64_t	download_max;	/* != 0: the body of a 200 is handed out by
								 * co_http_chunk(); a longer one is
								 * CO_FAULT_TOO_LARGE */
	int			stall;			/* ms without a byte; 0: no such limit */
} CoHttpRequest;

/* One finished transfer; body is valid until co_http_release(). */
typedef struct CoHttpDone
{
	void	   *owner;
	CoOutcome	outcome;		/* fault NONE: there is an answer to decode;
								 * http_status, sent, message are set */
	const char *body;
	size_t		length;
	CoRateHeaders rate;
	void	   *transfer;		/* for co_http_release() */
} CoHttpDone;

/*
 * Is this URL one that we may send a token to?  https, or http where the host
 * is loopback (localhost, 127.0.0.0/8, [::1]) or allow_http is set; no user
 * info, no fragment.  Returns NULL if so, else a lower-case phrase why not.
 */
extern const char *co_http_url_error(const char *url, bool allow_http);

/* Is its host loopback?  False for what is no URL. */
extern bool co_http_url_is_loopback(const char *url);

/* The first call in a process runs curl_global_init().  NULL on failure. */
extern CoHttp *co_http_create(const CoHttpConfig *config, char *message,
							  size_t message_size);

/* Ends all transfers without waiting for anything. */
extern void co_http_destroy(CoHttp *http);

extern int	co_http_fd(const CoHttp *http);

/*
 * How many more transfers may start: bounded by max_transfers and by the
 * descriptors that the process may open.  Ask again before each start: while
 * a host's name is looked up there is room for few, since each of them looks
 * it up too.
 */
extern int	co_http_room(const CoHttp *http);

/* Begin a transfer.  False with outcome filled if that is not possible. */
extern bool co_http_start(CoHttp *http, const CoHttpRequest *request,
						  CoOutcome *outcome);

/*
 * The same for a transfer that passes through bit by bit.  *transfer names it
 * until co_http_release() or co_http_abandon().  After each co_http_drive()
 * look whether it wants something: what waits for the owner, waits for good.
 */
typedef struct CoTransfer CoHttpTransfer;
extern bool co_http_start_stream(CoHttp *http, const CoHttpRequest *request,
								 CoHttpTransfer **transfer, CoOutcome *outcome);

/*
 * How many bytes of the body are still to come, if the last ones supplied are
 * used up; 0: not now.  Bytes supplied are copied, and at most
 * CO_HTTP_CHUNK at a time; false if memory ran out.
 */
#define CO_HTTP_CHUNK (256 * 1024)
extern uint64_t co_http_hungry(const CoHttpTransfer *transfer);
extern bool co_http_supply(CoHttp *http, CoHttpTransfer *transfer,
						   const char *data, size_t length);

/*
 * A full chunk of the answer, CO_HTTP_CHUNK bytes or little less, 0 if there
 * is none; the transfer stands still until co_http_chunk_done().  The last
 * bytes come with co_http_finished().
 */
extern size_t co_http_chunk(const CoHttpTransfer *transfer, const char **data);
extern void co_http_chunk_done(CoHttp *http, CoHttpTransfer *transfer);

/* The length that its answer announces; -1: none. */
extern int64_t co_http_content_length(const CoHttpTransfer *transfer);

/* End it; nothing more is heard of it. */
extern void co_http_abandon(CoHttp *http, CoHttpTransfer *transfer);

/* Milliseconds until co_http_drive() must be called again; -1: no timer. */
extern long co_http_timeout(const CoHttp *http);

/*
 * Do whatever can be done without blocking, but leave it once so many
 * transfers have finished, or few more; what has come in besides keeps the
 * descriptor readable.
 */
extern void co_http_drive(CoHttp *http, int most);

/* The next finished transfer, if any; call until it returns false. */
extern bool co_http_finished(CoHttp *http, CoHttpDone *done);
extern void co_http_release(CoHttp *http, CoHttpDone *done);

#endif							/* CO_HTTP_H */
