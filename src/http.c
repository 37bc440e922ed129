/*-------------------------------------------------------------------------
 * http.c
 *		Transfers over libcurl's multi interface, all its sockets behind one
 *		epoll descriptor.
 *
 *		free --start--> in flight --curl is done--> finished --collected-->
 *		  ^                                                             |
 *		  +------------------------------ released ---------------------+
 *
 * curl is driven by sockets and one timer: it tells us through two callbacks
 * what it waits for, which the callbacks note and nothing more, and we tell
 * it through curl_multi_socket_action() what happened.  So the owner's one
 * wait, on one descriptor that never changes, covers any number of transfers.
 *
 * Sockets stay in the epoll set when a transfer is over, since most
 * connections are used again at once: a call then costs no epoll_ctl().  See
 * CoSocket for what follows from that.
 *
 * A POST costs money and must not be sent twice.  curl repeats a request by
 * itself, and says nothing, when a connection that was used before ends
 * without an answer.  That is welcome while no byte of the request has left,
 * and must not be from then on: transfer_repeated() tells.  It is asked at
 * three places: before curl gets a new socket, which ends the matter without
 * a needless connection; before it begins a request on whatever connection,
 * which releases before 7.80 do not tell; and before it may read the body once
 * more.  With those releases all depends on the last, so there curl reads every
 * body by our callback; with newer ones it is given the body as a whole.
 *-------------------------------------------------------------------------
 */
#include "http.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#if LIBCURL_VERSION_NUM < 0x074100
#error "libcurl 7.65 or newer is needed"
#endif

/* from this release on there is ... */
#define HAVE_PREREQ		(LIBCURL_VERSION_NUM >= 0x075000)
#define HAVE_PROTOCOLS_STR	(LIBCURL_VERSION_NUM >= 0x075500)
#define HAVE_QUICK_EXIT	(LIBCURL_VERSION_NUM >= 0x075700)

/* An answer has about 600 bytes; what a transfer keeps for the next one. */
#define BUFFER_KEPT		4096

/* Beyond this a buffer is mapped, so that all of it goes back to the system. */
#define BUFFER_MAPPED	(64 * 1024)

/*
 * All header lines of an answer: more is no answer of the service.  curl's own
 * bound is ten times that, and it keeps every line in memory of its own until
 * the easy handle is used again: so one that has seen many is not kept.
 */
#define HEADERS_MAX		(32 * 1024)
#define HEADERS_KEPT	(4 * 1024)

/* Transfers kept for reuse. */
#define FREE_KEPT		64

/* curl's own buffers, per transfer in flight; 16 kB is the least it takes. */
#define CURL_BUFFER		(16 * 1024L)

/*
 * Descriptors left to the rest of the process, and to name lookups: each takes
 * a thread and some four descriptors, so no more than RESOLVING_MAX are begun
 * at once.  The first that ends feeds curl's cache for all the others.
 */
#define DESCRIPTORS_SPARE	64
#define RESOLVING_MAX	16

/* What we would like the process to be able to open besides. */
#define DESCRIPTORS_WANTED	1024

/* A longer body would wait for a 100, unless curl is told to send no "Expect". */
#define EXPECT_NEVER	1024

/* Seconds after which an idle connection is not used again: the server closes
 * it about then, and its closing must not cross our next request. */
#define IDLE_MAX		20L

#define EVENTS_AT_ONCE	128

/* Turns per co_http_drive(); what is left keeps the descriptor readable. */
#define TURNS_MAX		16

typedef struct CoBuffer
{
	char	   *data;
	size_t		length;
	size_t		size;			/* above BUFFER_MAPPED: mapped, else malloc'd */
} CoBuffer;

/*
 * What is known of a descriptor; the table is indexed by it.
 *
 * curl lets go of a socket whose connection becomes idle and asks for it again
 * when the next transfer takes the connection over.  We leave it in the epoll
 * set in between.  If it becomes readable while idle, the server has closed
 * it, or says something nobody asked for, which would be taken for the answer
 * to the next request.  Either way it is shut down and leaves the set: the
 * owner wakes once, and curl finds the connection dead when it looks.
 *
 * Sockets that curl opens by other means (a pair for each name lookup) leave
 * the set whenever curl lets go of them, because nobody tells us when they
 * are closed.
 */
typedef struct CoSocket
{
	bool		ours;			/* from open_socket() until close_socket() */
	bool		present;		/* in the epoll set ... */
	uint32_t	events;			/* ... for these events */
	uint32_t	wanted;			/* what curl waits for; 0: idle, or ... */
	struct CoTransfer *download;	/* ... the download on it waits for its owner */
} CoSocket;

typedef struct CoTransfer
{
	CoHttp	   *http;
	CURL	   *easy;
	struct CoTransfer *next;	/* in the list of all in use, or the free list */
	struct CoTransfer *previous;	/* in the list of all in use */
	struct CoTransfer *next_finished;
	bool		in_flight;		/* known to the multi handle */
	bool		reusable;		/* ended well: its easy handle may be kept */

	void	   *owner;

	/* the request */
	char	   *url;			/* what the easy handle is set to ... */
	CURLU	   *url_parsed;		/* ... and the same in curl's parts */
	bool		post;
	char	   *request;		/* body, or the piece of it that was supplied */
	size_t		request_size;	/* allocated */
	size_t		request_held;	/* bytes in it ... */
	size_t		request_at;		/* ... and how many of these curl has */
	uint64_t	request_length; /* of the whole body */
	uint64_t	request_read;	/* given to curl */
	bool		supplied;		/* the body comes in pieces ... */
	bool		hungry;			/* ... and curl waits for the next */
	char	   *authorization;	/* header line */
	struct curl_slist authorization_node;
	struct curl_slist user_agent_node;
	char	   *content_type;	/* header line, if it is not JSON */
	struct curl_slist content_type_node;
	bool		proxied;		/* what the easy handle is set to */
	bool		fields;			/* likewise: to a body of one piece */
	bool		fresh;			/* likewise: to a new connection */

	/* how it goes */
	bool		lookup;			/* a new connection has to look up a name */
	bool		resolving;		/* counted in http->resolving */
	int			attempts;		/* times that curl began to send it; not
								 * known without CURLOPT_PREREQFUNCTION */
	long		size_before;	/* CURLINFO_REQUEST_SIZE at the last of them */
	bool		repeated;		/* curl wanted to send a POST again */
	bool		too_large;
	bool		garbled;
	bool		out_of_memory;
	int			socket_errno;	/* why a socket could not be had */
	CURLcode	result;

	/* the answer */
	size_t		headers_size;
	bool		headers_ended;
	CoOutcome	outcome;
	CoBuffer	body;
	uint64_t	download_max;	/* != 0: the body is handed out in chunks */
	uint64_t	handed_out;		/* bytes of it that the owner has taken */
	bool		paused;			/* a chunk is full; curl waits for the owner */
	CoRateHeaders rate;
	char		error[CURL_ERROR_SIZE];
} CoTransfer;

struct CoHttp
{
	CURLM	   *multi;
	int			epoll;
	int64_t		deadline;		/* curl's timer, us of the monotonic clock;
								 * -1: none */

	CoSocket   *sockets;		/* by descriptor */
	int			nsockets;

	CoTransfer *all;			/* in flight, finished or collected */
	CoTransfer *finished;		/* not yet collected, oldest first */
	CoTransfer **finished_tail;
	int			nfinished;
	CoTransfer *free;
	int			nfree;

	int			active;			/* in flight */
	int			resolving;		/* ... and perhaps looking up a name */
	int			capacity;		/* bound of active */

	/* an answer came, and CURLINFO_REQUEST_SIZE had counted its request */
	bool		size_counts;

	/* the last URL that was found good, to be compared instead of parsed */
	char	   *url;
	bool		url_loopback;
	bool		url_lookup;		/* its host is a name, and not "localhost" */

	/* likewise the last value of the header Authorization */
	char	   *authorization;

	/* configuration */
	char	   *ca_file;
	char	   *proxy;
	char	   *user_agent;
	char	   *user_agent_line;	/* the same as a header line; or NULL */
	bool		allow_http;
	int			connect_timeout;
	size_t		body_max;
};

/*
 * The header lines of every GET, and of every POST.  curl compares each line
 * with each of a dozen names that it would write by itself: so there is none
 * that has nothing to say.
 */
static struct curl_slist get_headers = {
	(char *) "Accept: application/json", NULL
};
static struct curl_slist post_headers = {
	(char *) "Content-Type: application/json", &get_headers
};
static struct curl_slist long_post_headers = {
	(char *) "Expect:", &post_headers	/* removes it: no wait for a 100 */
};

/* Of a POST whose body is something else, which names that itself; and of a
 * GET whose answer is a file. */
static struct curl_slist other_post_headers = {
	(char *) "Expect:", &get_headers
};
static struct curl_slist file_headers = {
	(char *) "Accept: */*", NULL
};

static int64_t
clock_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/*
 * Around every stretch in curl that may begin a thread or write to a
 * connection: its threads inherit the mask, and would otherwise run the
 * server's signal handlers.  Signals that a fault of our own raises stay open,
 * or the process would end without a word.
 */
static void
signals_block(sigset_t *saved)
{
	sigset_t	all;

	sigfillset(&all);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGILL);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGABRT);
	sigdelset(&all, SIGTRAP);
	pthread_sigmask(SIG_SETMASK, &all, saved);
}

static void
signals_restore(const sigset_t *saved)
{
	pthread_sigmask(SIG_SETMASK, saved, NULL);
}

/* With CURLOPT_NOSIGNAL, a TLS library that writes may have raised this one. */
static void
signals_drop_pipe(void)
{
	static const struct timespec at_once = {0, 0};
	sigset_t	pipe;

	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	while (sigtimedwait(&pipe, NULL, &at_once) == SIGPIPE)
		;
}

/* ---- buffers ---- */

static void
buffer_free(CoBuffer *buffer)
{
	if (buffer->size > BUFFER_MAPPED)
		munmap(buffer->data, buffer->size);
	else
		free(buffer->data);
	memset(buffer, 0, sizeof(*buffer));
}

static bool
buffer_reserve(CoBuffer *buffer, size_t needed)
{
	size_t		size = buffer->size > 0 ? buffer->size : BUFFER_KEPT;
	char	   *data;

	if (needed <= buffer->size)
		return true;
	while (size < needed)
	{
		if (size > SIZE_MAX / 2)
			return false;
		size *= 2;
	}

	if (size <= BUFFER_MAPPED)
	{
		data = realloc(buffer->data, size);
		if (data == NULL)
			return false;
	}
	else if (buffer->size > BUFFER_MAPPED)
	{
		data = mremap(buffer->data, buffer->size, size, MREMAP_MAYMOVE);
		if (data == MAP_FAILED)
			return false;
	}
	else
	{
		data = mmap(NULL, size, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (data == MAP_FAILED)
			return false;
		if (buffer->length > 0)
			memcpy(data, buffer->data, buffer->length);
		free(buffer->data);
	}
	buffer->data = data;
	buffer->size = size;
	return true;
}

/* ---- sockets and the timer: what curl tells us ---- */

static CoSocket *
socket_entry(CoHttp *http, int fd)
{
	if (fd >= http->nsockets)
	{
		int			count = fd + fd / 2 + 64;
		CoSocket   *sockets;

		sockets = realloc(http->sockets, count * sizeof(CoSocket));
		if (sockets == NULL)
			return NULL;
		memset(sockets + http->nsockets, 0,
			   (count - http->nsockets) * sizeof(CoSocket));
		http->sockets = sockets;
		http->nsockets = count;
	}
	return &http->sockets[fd];
}

/*
 * Make the epoll set wait for these events of a socket.  For sockets that are
 * not ours the kernel knows better than our table: they may have been closed.
 */
static bool
socket_register(CoHttp *http, int fd, CoSocket *entry, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.fd = fd};
	int			operation = entry->present ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	if (entry->ours && entry->present && entry->events == events)
		return true;
	if (epoll_ctl(http->epoll, operation, fd, &event) != 0)
	{
		if (errno == ENOENT)
			operation = EPOLL_CTL_ADD;
		else if (errno == EEXIST)
			operation = EPOLL_CTL_MOD;
		else
			return false;
		if (epoll_ctl(http->epoll, operation, fd, &event) != 0)
			return false;
	}
	entry->present = true;
	entry->events = events;
	return true;
}

static void
socket_deregister(CoHttp *http, int fd, CoSocket *entry)
{
	if (entry->present)
		(void) epoll_ctl(http->epoll, EPOLL_CTL_DEL, fd, NULL);
	entry->present = false;
	entry->events = 0;
}

/*
 * A download may wait for its owner: its connection is not idle then, and what
 * comes in on it is wanted.  So it is marked, by before_request(); curl need
 * not tell us of its socket before it stands still.  When that is over is not
 * told apart either: transfer_finish() says when the connection is idle.
 */
static bool
transfer_stands_still(const CoTransfer *transfer)
{
	return transfer != NULL && transfer->in_flight && transfer->download_max != 0;
}

/* The download on this socket is over. */
static void
socket_release(CoHttp *http, const CoTransfer *transfer)
{
	for (int fd = 0; fd < http->nsockets && transfer->download_max != 0; fd++)
	{
		CoSocket   *entry = &http->sockets[fd];

		if (entry->download != transfer)
			continue;
		entry->download = NULL;
		if (entry->ours && entry->wanted == 0)
			(void) socket_register(http, fd, entry, EPOLLIN);
	}
}

/* CURLMOPT_SOCKETFUNCTION */
static int
socket_wanted(CURL *easy, curl_socket_t fd, int what, void *userdata,
			  void *socketdata)
{
	CoHttp	   *http = userdata;
	CoSocket   *entry = socket_entry(http, fd);
	char	   *private = NULL;

	(void) socketdata;

	/*
	 * A failure here would put curl's whole multi handle out of action.  Let
	 * instead this one transfer run into its timeout: sockets of ours are in
	 * table and set already, so it takes a name lookup without memory.
	 */
	if (entry == NULL)
		return 0;

	entry->wanted = 0;
	(void) curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private);
	if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
		entry->wanted |= EPOLLIN;
	if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
		entry->wanted |= EPOLLOUT;

	if (entry->wanted != 0)
		(void) socket_register(http, fd, entry, entry->wanted);
	else if (!entry->ours || entry->download != NULL ||
			 transfer_stands_still((CoTransfer *) private))
		socket_deregister(http, fd, entry);
	else if (entry->present)
		(void) socket_register(http, fd, entry, EPOLLIN);
	return 0;
}

/* CURLMOPT_TIMERFUNCTION */
static int
timer_wanted(CURLM *multi, long timeout, void *userdata)
{
	CoHttp	   *http = userdata;

	(void) multi;
	http->deadline = timeout < 0 ? -1 : clock_now() + (int64_t) timeout * 1000;
	return 0;
}

/* The transfer has got past looking up its host's name, or is over. */
static void
transfer_resolved(CoTransfer *transfer)
{
	if (transfer->resolving)
		transfer->http->resolving--;
	transfer->resolving = false;
}

/*
 * Has any byte of the request left us?  curl counts those that the socket (or
 * the TLS library, which takes a record whole or not at all) accepted; those
 * of a proxy's CONNECT came before the request began.
 *
 * Money hangs on that count.  So it is believed only once it was seen to work,
 * and till then a request that has begun counts as sent.
 */
static bool
transfer_left(const CoTransfer *transfer)
{
	long		size = 0;

	if (HAVE_PREREQ && transfer->attempts == 0)
		return false;
	(void) curl_easy_getinfo(transfer->easy, CURLINFO_REQUEST_SIZE, &size);
	if (size > transfer->size_before)
		return true;
	return !transfer->http->size_counts &&
		(transfer->attempts > 0 || transfer->request_read > 0);
}

/*
 * Has a POST perhaps reached the service, on a connection that curl is about
 * to replace?  Then this is its end.
 */
static bool
transfer_repeated(CoTransfer *transfer)
{
	if (transfer->post && transfer_left(transfer))
		transfer->repeated = true;
	return transfer->repeated;
}

/*
 * CURLOPT_OPENSOCKETFUNCTION.  The socket enters table and set here, where a
 * failure can still be told.
 */
static curl_socket_t
open_socket(void *userdata, curlsocktype purpose, struct curl_sockaddr *address)
{
	CoTransfer *transfer = userdata;
	CoHttp	   *http = transfer->http;
	CoSocket   *entry;
	int			fd;

	(void) purpose;
	transfer_resolved(transfer);
	if (transfer_repeated(transfer))
		return CURL_SOCKET_BAD;
	fd = socket(address->family, address->socktype | SOCK_CLOEXEC,
				address->protocol);
	if (fd < 0)
	{
		transfer->socket_errno = errno;
		return CURL_SOCKET_BAD;
	}

	entry = socket_entry(http, fd);
	if (entry == NULL)
	{
		transfer->socket_errno = ENOMEM;
		close(fd);
		return CURL_SOCKET_BAD;
	}
	memset(entry, 0, sizeof(*entry));
	entry->ours = true;
	if (!socket_register(http, fd, entry, EPOLLOUT))
	{
		transfer->socket_errno = errno;
		memset(entry, 0, sizeof(*entry));
		close(fd);
		return CURL_SOCKET_BAD;
	}
	return fd;
}

/* CURLOPT_CLOSESOCKETFUNCTION; its transfer may be long gone. */
static int
close_socket(void *userdata, curl_socket_t fd)
{
	CoHttp	   *http = userdata;

	if (fd < http->nsockets)
	{
		/* not left to close(): a child of ours may have inherited it */
		socket_deregister(http, fd, &http->sockets[fd]);
		memset(&http->sockets[fd], 0, sizeof(CoSocket));
	}
	return close(fd);
}

/* ---- request and answer: what curl asks of a transfer ---- */

#if HAVE_PREREQ

/* Mark the socket of a download, known by its local port. */
static void
socket_mark(CoTransfer *transfer, int port)
{
	CoHttp	   *http = transfer->http;

	for (int fd = 0; fd < http->nsockets; fd++)
	{
		CoSocket   *entry = &http->sockets[fd];
		struct sockaddr_storage address;
		socklen_t	length = sizeof(address);

		if (!entry->ours || getsockname(fd, (struct sockaddr *) &address, &length) != 0)
			continue;
		if ((address.ss_family == AF_INET &&
			 ntohs(((struct sockaddr_in *) &address)->sin_port) == port) ||
			(address.ss_family == AF_INET6 &&
			 ntohs(((struct sockaddr_in6 *) &address)->sin6_port) == port))
		{
			entry->download = transfer;
			if (entry->wanted == 0)
				socket_deregister(http, fd, entry);
		}
	}
}

/*
 * CURLOPT_PREREQFUNCTION: there is a connection, and the request is about to
 * be sent on it; perhaps for the second time.
 */
static int
before_request(void *userdata, char *remote, char *local, int remote_port,
			   int local_port)
{
	CoTransfer *transfer = userdata;
	long		size = 0;

	(void) remote;
	(void) local;
	(void) remote_port;

	transfer_resolved(transfer);
	if (transfer_repeated(transfer))
		return CURL_PREREQFUNC_ABORT;
	if (transfer->download_max != 0)
		socket_mark(transfer, local_port);
	(void) curl_easy_getinfo(transfer->easy, CURLINFO_REQUEST_SIZE, &size);
	transfer->attempts++;
	transfer->size_before = size;
	return CURL_PREREQFUNC_OK;
}

#endif

/* CURLOPT_READFUNCTION */
static size_t
read_request(char *buffer, size_t size, size_t count, void *userdata)
{
	CoTransfer *transfer = userdata;
	size_t		length = size * count;

	if (length > transfer->request_held - transfer->request_at)
		length = transfer->request_held - transfer->request_at;
	if (length == 0 && transfer->request_read < transfer->request_length)
	{
		transfer->hungry = true;
		return CURL_READFUNC_PAUSE;
	}
	if (length > 0)
		memcpy(buffer, transfer->request + transfer->request_at, length);
	transfer->request_at += length;
	transfer->request_read += length;
	return length;
}

/* CURLOPT_SEEKFUNCTION: curl wants to read the body from its beginning */
static int
rewind_request(void *userdata, curl_off_t offset, int origin)
{
	CoTransfer *transfer = userdata;

	if (offset != 0 || origin != SEEK_SET || transfer_repeated(transfer))
		return CURL_SEEKFUNC_FAIL;
	/* earlier pieces are gone */
	if (transfer->request_read != transfer->request_at)
		return CURL_SEEKFUNC_FAIL;
	transfer->request_read = transfer->request_at = 0;
	return CURL_SEEKFUNC_OK;
}

/* CURLOPT_HEADERFUNCTION */
static size_t
take_header(char *line, size_t size, size_t count, void *userdata)
{
	CoTransfer *transfer = userdata;
	size_t		length = size * count;

	if (length == 0)
		return 0;
	transfer->headers_size += length;
	if (transfer->headers_size > HEADERS_MAX)
	{
		transfer->garbled = true;
		return 0;
	}
	if (length >= 5 && memcmp(line, "HTTP/", 5) == 0)
	{
		/* what came before belonged to a 1xx answer */
		co_rate_headers_init(&transfer->rate);
		transfer->headers_ended = false;
	}
	else if (line[0] == '\r' || line[0] == '\n')
		transfer->headers_ended = true;
	else if (line[0] == 'x' || line[0] == 'X')	/* of rates there are no others */
		co_rate_headers_line(&transfer->rate, line, length,
							 (long long) time(NULL));
	return length;
}

/* Is this answer the file that was asked for, and not a word on why not? */
static bool
transfer_hands_out(const CoTransfer *transfer)
{
	long		status = 0;

	if (transfer->download_max == 0)
		return false;
	(void) curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	return status == 200;
}

/* CURLOPT_WRITEFUNCTION; anything but the length ends the transfer */
static size_t
take_body(char *data, size_t size, size_t count, void *userdata)
{
	CoTransfer *transfer = userdata;
	CoBuffer   *body = &transfer->body;
	size_t		length = size * count;

	if (length == 0)
		return 0;
	if (transfer_hands_out(transfer))
	{
		if (length > transfer->download_max - transfer->handed_out - body->length)
		{
			transfer->too_large = true;
			return 0;
		}
		if (body->length + length > CO_HTTP_CHUNK && body->length > 0)
		{
			transfer->paused = true;
			return CURL_WRITEFUNC_PAUSE;	/* it comes again */
		}
	}
	else if (length > transfer->http->body_max - body->length)
	{
		transfer->too_large = true;
		return 0;
	}
	if (!buffer_reserve(body, body->length + length))
	{
		transfer->out_of_memory = true;
		return 0;
	}
	memcpy(body->data + body->length, data, length);
	body->length += length;
	return length;
}

/* ---- transfers ---- */

/* Leave no copy of a token in memory that is given back. */
static void
secret_free(char *secret)
{
	if (secret != NULL)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

static void
transfer_free(CoTransfer *transfer)
{
	if (transfer->easy != NULL)
		curl_easy_cleanup(transfer->easy);
	secret_free(transfer->authorization);
	free(transfer->request);
	free(transfer->content_type);
	free(transfer->url);
	curl_url_cleanup(transfer->url_parsed);
	buffer_free(&transfer->body);
	free(transfer);
}

#define SET(option, value) \
	do { \
		if (code == CURLE_OK) \
			code = curl_easy_setopt(easy, option, value); \
	} while (0)

/*
 * A transfer with all the options that do not depend on the request.  Those
 * whose result is not looked at are for comfort; without any other we rather
 * do not work.
 */
static CoTransfer *
transfer_create(CoHttp *http, CURLcode *result)
{
	CoTransfer *transfer = calloc(1, sizeof(CoTransfer));
	CURL	   *easy;
	CURLcode	code = CURLE_OK;

	*result = CURLE_OUT_OF_MEMORY;
	if (transfer == NULL)
		return NULL;
	transfer->http = http;
	transfer->easy = easy = curl_easy_init();
	if (easy == NULL)
	{
		transfer_free(transfer);
		return NULL;
	}

	SET(CURLOPT_PRIVATE, transfer);
	SET(CURLOPT_ERRORBUFFER, transfer->error);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_NOPROGRESS, 1L);
	SET(CURLOPT_VERBOSE, 0L);	/* it would print the token */
#if HAVE_QUICK_EXIT
	SET(CURLOPT_QUICK_EXIT, 1L);
#endif

	/* sockets */
	SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
	SET(CURLOPT_OPENSOCKETDATA, transfer);
	SET(CURLOPT_CLOSESOCKETFUNCTION, close_socket);
	SET(CURLOPT_CLOSESOCKETDATA, http);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long) http->connect_timeout);
	SET(CURLOPT_MAXAGE_CONN, IDLE_MAX);
	(void) curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
	(void) curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	(void) curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 30L);
	(void) curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 15L);
	(void) curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, CURL_BUFFER);
	(void) curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, CURL_BUFFER);

	/* where we may go, and through whom: never what the environment says */
#if HAVE_PROTOCOLS_STR
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
#else
	SET(CURLOPT_PROTOCOLS, (long) (CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NOPROXY, "*");
	SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	SET(CURLOPT_HEADEROPT, (long) CURLHEADER_SEPARATE);

	/* whom we trust */
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	if (http->ca_file != NULL)
		SET(CURLOPT_CAINFO, http->ca_file);

	/* what we say; no Accept-Encoding, so that an answer is as long as it is */
	SET(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_HTTP09_ALLOWED, 0L);
	(void) curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 0L);
#if HAVE_PREREQ
	SET(CURLOPT_PREREQFUNCTION, before_request);
	SET(CURLOPT_PREREQDATA, transfer);
#endif
	SET(CURLOPT_READFUNCTION, read_request);
	SET(CURLOPT_READDATA, transfer);
	SET(CURLOPT_SEEKFUNCTION, rewind_request);
	SET(CURLOPT_SEEKDATA, transfer);

	/* what we hear */
	SET(CURLOPT_HEADERFUNCTION, take_header);
	SET(CURLOPT_HEADERDATA, transfer);
	SET(CURLOPT_WRITEFUNCTION, take_body);
	SET(CURLOPT_WRITEDATA, transfer);

	*result = code;
	if (code != CURLE_OK)
	{
		transfer_free(transfer);
		return NULL;
	}
	return transfer;
}

/* Take one into use. */
static CoTransfer *
transfer_get(CoHttp *http, CURLcode *result)
{
	CoTransfer *transfer = http->free;
	sigset_t	saved;

	if (transfer != NULL)
	{
		http->free = transfer->next;
		http->nfree--;
		*result = CURLE_OK;
	}
	else
	{
		signals_block(&saved);
		transfer = transfer_create(http, result);
		signals_restore(&saved);
		if (transfer == NULL)
			return NULL;
	}

	transfer->previous = NULL;
	transfer->next = http->all;
	if (http->all != NULL)
		http->all->previous = transfer;
	http->all = transfer;
	return transfer;
}

/*
 * And give it back.  What a bad day has left behind (long headers in the easy
 * handle, large buffers) is given to the system, so that memory stays flat.
 */
static void
transfer_put(CoTransfer *transfer)
{
	CoHttp	   *http = transfer->http;

	if (transfer->previous != NULL)
		transfer->previous->next = transfer->next;
	else
		http->all = transfer->next;
	if (transfer->next != NULL)
		transfer->next->previous = transfer->previous;

	if (!transfer->reusable || http->nfree >= FREE_KEPT)
	{
		transfer_free(transfer);
		return;
	}

	if (transfer->body.size > BUFFER_KEPT)
		buffer_free(&transfer->body);
	if (transfer->request_size > BUFFER_KEPT)
	{
		free(transfer->request);
		transfer->request = NULL;
		transfer->request_size = 0;
	}
	free(transfer->content_type);
	transfer->content_type = NULL;
	transfer->previous = NULL;
	transfer->next = http->free;
	http->free = transfer;
	http->nfree++;
}

/* Give it back as one that is not to be used again. */
static void
transfer_discard(CoTransfer *transfer)
{
	sigset_t	saved;

	signals_block(&saved);
	transfer->reusable = false;
	transfer_put(transfer);
	signals_drop_pipe();
	signals_restore(&saved);
}

/* Has this process no descriptor left? */
static bool
out_of_descriptors(const CoHttp *http)
{
	int			fd = dup(http->epoll);

	if (fd >= 0)
	{
		close(fd);
		return false;
	}
	return errno == EMFILE || errno == ENFILE;
}

/* May the service have seen any of the request? */
static bool
transfer_sent(const CoTransfer *transfer)
{
	return transfer->result == CURLE_OK || transfer->repeated ||
		transfer->outcome.http_status > 0 || transfer_left(transfer);
}

/*
 * What curl's code means, given whether anything had been sent.  Many codes
 * stand for different things before and after that point.
 */
static CoFault
transfer_fault(const CoTransfer *transfer, bool sent)
{
	/* Our own reasons to end it come before the code that they led to. */
	if (transfer->too_large)
		return CO_FAULT_TOO_LARGE;
	if (transfer->garbled)
		return CO_FAULT_GARBLED;
	if (transfer->out_of_memory)
		return CO_FAULT_LOCAL;
	if (transfer->repeated)
		return CO_FAULT_LOST;

	switch (transfer->result)
	{
		case CURLE_OK:
			/* curl takes headers that were cut short for an answer */
			return transfer->headers_ended ? CO_FAULT_NONE : CO_FAULT_LOST;

		case CURLE_COULDNT_RESOLVE_HOST:
		case CURLE_COULDNT_RESOLVE_PROXY:
			if (sent)
				return CO_FAULT_LOST;
			return out_of_descriptors(transfer->http) ?
				CO_FAULT_LOCAL : CO_FAULT_RESOLVE;

		case CURLE_COULDNT_CONNECT:
			if (sent)
				return CO_FAULT_LOST;
			switch (transfer->socket_errno)
			{
				case EMFILE:
				case ENFILE:
				case ENOBUFS:
				case ENOMEM:
				case ENOSPC:
					return CO_FAULT_LOCAL;
				default:
					return CO_FAULT_CONNECT;
			}

		case CURLE_OPERATION_TIMEDOUT:
			if (sent)
				return CO_FAULT_TIMEOUT;
			return transfer->resolving ? CO_FAULT_RESOLVE : CO_FAULT_CONNECT;

			/* the connection broke */
		case CURLE_SEND_ERROR:
		case CURLE_RECV_ERROR:
		case CURLE_GOT_NOTHING:
		case CURLE_PARTIAL_FILE:
		case CURLE_SEND_FAIL_REWIND:
		case CURLE_ABORTED_BY_CALLBACK:
#if LIBCURL_VERSION_NUM >= 0x074900
		case CURLE_PROXY:
#endif
			return sent ? CO_FAULT_LOST : CO_FAULT_CONNECT;

			/* it could not be made safe */
		case CURLE_SSL_CONNECT_ERROR:
		case CURLE_PEER_FAILED_VERIFICATION:
		case CURLE_SSL_CERTPROBLEM:
		case CURLE_SSL_CIPHER:
		case CURLE_SSL_CACERT_BADFILE:
		case CURLE_SSL_CRL_BADFILE:
		case CURLE_SSL_ISSUER_ERROR:
		case CURLE_SSL_INVALIDCERTSTATUS:
		case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
		case CURLE_SSL_SHUTDOWN_FAILED:
		case CURLE_SSL_ENGINE_NOTFOUND:
		case CURLE_SSL_ENGINE_SETFAILED:
		case CURLE_SSL_ENGINE_INITFAILED:
		case CURLE_USE_SSL_FAILED:
			return sent ? CO_FAULT_LOST : CO_FAULT_TLS;

		case CURLE_FILESIZE_EXCEEDED:
			return CO_FAULT_TOO_LARGE;

			/*
			 * It was not HTTP.  curl also says "out of memory" of a header
			 * line that outgrows its limit, and "write error" of an encoding
			 * that it cannot undo.
			 */
		case CURLE_UNSUPPORTED_PROTOCOL:
		case CURLE_WEIRD_SERVER_REPLY:
		case CURLE_BAD_CONTENT_ENCODING:
		case CURLE_HTTP2:
		case CURLE_HTTP2_STREAM:
		case CURLE_CHUNK_FAILED:
		case CURLE_RANGE_ERROR:
		case CURLE_WRITE_ERROR:
		case CURLE_OUT_OF_MEMORY:
#if LIBCURL_VERSION_NUM >= 0x080600
		case CURLE_TOO_LARGE:
#endif
			return sent ? CO_FAULT_GARBLED : CO_FAULT_LOCAL;

		default:
			return sent ? CO_FAULT_LOST : CO_FAULT_LOCAL;
	}
}

/* What to tell of a fault, without a word of the request. */
static const char *
transfer_message(const CoTransfer *transfer)
{
	if (transfer->repeated || transfer->result == CURLE_SEND_FAIL_REWIND)
		return "the connection was closed without an answer";
	if (transfer->too_large)
		return "the answer is too large";
	if (transfer->garbled)
		return "the answer's headers are too large";
	if (transfer->result == CURLE_OK)
		return "the connection was closed before the end of the headers";
	if (transfer->out_of_memory)
		return "out of memory";
	if (transfer->socket_errno != 0 &&
		transfer->outcome.fault == CO_FAULT_LOCAL)
		return strerror(transfer->socket_errno);
	if (transfer->error[0] != '\0')
		return transfer->error;
	return curl_easy_strerror(transfer->result);
}

/* Nothing has happened to it yet. */
static void
transfer_rewind(CoTransfer *transfer)
{
	transfer->request_at = 0;
	transfer->request_read = 0;
	transfer->attempts = 0;
	transfer->size_before = 0;
	transfer->repeated = false;
	transfer->too_large = false;
	transfer->garbled = false;
	transfer->out_of_memory = false;
	transfer->socket_errno = 0;
	transfer->headers_size = 0;
	transfer->headers_ended = false;
	transfer->body.length = 0;
	transfer->error[0] = '\0';
	co_rate_headers_init(&transfer->rate);
}

/*
 * Did it fail, before any of it was sent, only because the connection that was
 * kept for it has ended?  curl begins anew by itself if that cannot be written
 * to; but 8.23, with TLS, was seen to end with "broken pipe".
 */
static bool
transfer_met_dead_connection(const CoTransfer *transfer, CURLcode result)
{
	long		connects = 1;

	if ((result != CURLE_SEND_ERROR && result != CURLE_RECV_ERROR &&
		 result != CURLE_GOT_NOTHING) ||
		transfer->fresh || transfer->supplied || transfer->repeated || transfer_left(transfer))
		return false;
	(void) curl_easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS, &connects);
	return connects == 0;
}

/* Once more, over a new connection.  False: that cannot be. */
static bool
transfer_begin_anew(CoTransfer *transfer)
{
	CoHttp	   *http = transfer->http;

	if (curl_easy_setopt(transfer->easy, CURLOPT_FRESH_CONNECT, 1L) != CURLE_OK)
		return false;
	transfer->fresh = true;
	(void) curl_multi_remove_handle(http->multi, transfer->easy);
	transfer_rewind(transfer);
	if (curl_multi_add_handle(http->multi, transfer->easy) != CURLM_OK)
		return false;
	if (transfer->lookup && !transfer->resolving)
	{
		transfer->resolving = true;
		http->resolving++;
	}
	return true;
}

/* curl is done with a transfer: take down what it knows, and queue it. */
static void
transfer_finish(CoTransfer *transfer, CURLcode result)
{
	CoHttp	   *http = transfer->http;
	CoOutcome  *outcome = &transfer->outcome;
	long		status = 0;

	if (transfer_met_dead_connection(transfer, result) && transfer_begin_anew(transfer))
		return;
	(void) curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	if (result == CURLE_OK && !http->size_counts)
	{
		long		size = 0;

		(void) curl_easy_getinfo(transfer->easy, CURLINFO_REQUEST_SIZE, &size);
		http->size_counts = size > transfer->size_before;
	}

	transfer->result = result;
	transfer->reusable = result == CURLE_OK &&
		transfer->headers_size <= HEADERS_KEPT;

	memset(outcome, 0, sizeof(*outcome));
	outcome->http_status = (int) status;
	outcome->sent = transfer_sent(transfer);
	outcome->fault = transfer_fault(transfer, outcome->sent);
	if (outcome->fault != CO_FAULT_NONE)
	{
		const char *text = transfer_message(transfer);

		co_message_set(outcome->message, sizeof(outcome->message), text,
					   strlen(text));
	}

	(void) curl_multi_remove_handle(http->multi, transfer->easy);
	socket_release(http, transfer);
	transfer->in_flight = false;
	transfer->hungry = false;
	transfer->paused = false;
	transfer_resolved(transfer);
	http->active--;

	transfer->next_finished = NULL;
	*http->finished_tail = transfer;
	http->finished_tail = &transfer->next_finished;
	http->nfinished++;
}

static void
collect_finished(CoHttp *http)
{
	CURLMsg    *message;
	int			left;

	while ((message = curl_multi_info_read(http->multi, &left)) != NULL)
	{
		char	   *private = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		(void) curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE,
								 &private);
		transfer_finish((CoTransfer *) private, message->data.result);
	}
}

/* ---- the interface ---- */

/*
 * Is this a URL that we may send a token to, and is its host loopback?  Parsed
 * by curl itself, so that what is judged is what is called.
 */
static const char *
url_judge(const char *url, bool allow_http, bool *loopback, bool *lookup)
{
	CURLU	   *handle;
	CURLUcode	code;
	char	   *host = NULL;
	size_t		length;
	size_t		scheme;
	size_t		authority;
	const char *problem = NULL;
	struct in_addr address4;
	struct in6_addr address6;
	char		copy[INET6_ADDRSTRLEN];

	*loopback = false;
	*lookup = true;

	if (strncasecmp(url, "https://", 8) == 0)
		scheme = 8;
	else if (strncasecmp(url, "http://", 7) == 0)
		scheme = 7;
	else
		return "it begins with neither https:// nor http://";
	authority = strcspn(url + scheme, "/?#\\");
	if (authority == 0)
		return "it names no host";	/* curl would take the next segment */
	if (memchr(url + scheme, '@', authority) != NULL)
		return "it names a user";
	if (strchr(url, '#') != NULL)
		return "it has a fragment";
	if (strchr(url, ' ') != NULL)
		return "it contains a blank";	/* older releases would take it */

	handle = curl_url();
	if (handle == NULL)
		return "out of memory";
	code = curl_url_set(handle, CURLUPART_URL, url, CURLU_DISALLOW_USER);
	if (code == CURLUE_OK)
		code = curl_url_get(handle, CURLUPART_HOST, &host, 0);
	if (code == CURLUE_OUT_OF_MEMORY)
		problem = "out of memory";
	else if (code != CURLUE_OK || host[0] == '\0')
		problem = "it is not a valid URL";
	else
	{
		length = strlen(host);
		if (inet_pton(AF_INET, host, &address4) == 1)
		{
			*lookup = false;
			*loopback = (ntohl(address4.s_addr) >> 24) == 127;
		}
		else if (host[0] == '[')
		{
			*lookup = false;
			if (length > 2 && length - 2 < sizeof(copy))
			{
				memcpy(copy, host + 1, length - 2);
				copy[length - 2] = '\0';
				*loopback = inet_pton(AF_INET6, copy, &address6) == 1 &&
					IN6_IS_ADDR_LOOPBACK(&address6);
			}
		}
		else if (strcasecmp(host, "localhost") == 0)
		{
			/* curl takes this name for loopback without asking (7.77) */
			*lookup = false;
			*loopback = true;
		}
		if (scheme == 7 && !*loopback && !allow_http)
			problem = "it uses http to a host that is not loopback";
	}
	curl_free(host);
	curl_url_cleanup(handle);
	return problem;
}

const char *
co_http_url_error(const char *url, bool allow_http)
{
	bool		loopback;
	bool		lookup;

	return url_judge(url, allow_http, &loopback, &lookup);
}

bool
co_http_url_is_loopback(const char *url)
{
	bool		loopback;
	bool		lookup;

	return url_judge(url, true, &loopback, &lookup) == NULL && loopback;
}

/* Would this text, as a header's value, end the header? */
static bool
has_controls(const char *text)
{
	for (; *text != '\0'; text++)
	{
		if ((unsigned char) *text < 0x20 || *text == 0x7F)
			return true;
	}
	return false;
}

/*
 * How many descriptors the process has open.  A soft limit of many millions
 * rules out to try them one by one.
 */
static int
descriptors_open(void)
{
	DIR		   *directory = opendir("/proc/self/fd");
	int			count = 0;

	if (directory == NULL)
		return 64;
	while (readdir(directory) != NULL)
		count++;
	closedir(directory);
	return count;
}

/*
 * Raise the soft limit of descriptors towards what max_transfers takes, and
 * return how many transfers fit under it.
 */
static int
descriptors_capacity(int max_transfers)
{
	struct rlimit limit;
	rlim_t		reserved = (rlim_t) descriptors_open() + DESCRIPTORS_SPARE;
	rlim_t		wanted = reserved + DESCRIPTORS_WANTED + max_transfers;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return max_transfers;
	if (limit.rlim_cur < wanted && limit.rlim_cur < limit.rlim_max)
	{
		struct rlimit raised = limit;

		raised.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
			limit = raised;
	}
	if (limit.rlim_cur <= reserved)
		return 1;
	if (limit.rlim_cur - reserved < (rlim_t) max_transfers)
		return (int) (limit.rlim_cur - reserved);
	return max_transfers;
}

static bool
copy_string(char **copy, const char *text)
{
	*copy = text != NULL ? strdup(text) : NULL;
	return text == NULL || *copy != NULL;
}

CoHttp *
co_http_create(const CoHttpConfig *config, char *message, size_t message_size)
{
	static bool initialized = false;
	CoHttp	   *http;
	CoTransfer *first;
	CURLcode	code = CURLE_OK;
	const char *problem = "out of memory";
	sigset_t	saved;

	signals_block(&saved);
	if (!initialized)
	{
		code = curl_global_init(CURL_GLOBAL_DEFAULT);
		if (code != CURLE_OK)
		{
			signals_restore(&saved);
			snprintf(message, message_size, "%s", curl_easy_strerror(code));
			return NULL;
		}
		initialized = true;
	}

	http = calloc(1, sizeof(CoHttp));
	if (http == NULL)
		goto failed;
	http->epoll = -1;
	http->deadline = -1;
	http->finished_tail = &http->finished;
	http->allow_http = config->allow_http;
	http->connect_timeout = config->connect_timeout > 0 ?
		config->connect_timeout : 1;
	/* curl takes zero for "no limit" */
	http->body_max = config->body_max > 0 ? config->body_max : 1;
	if (!copy_string(&http->ca_file, config->ca_file) ||
		!copy_string(&http->proxy, config->proxy) ||
		!copy_string(&http->user_agent, config->user_agent))
		goto failed;
	if (http->user_agent != NULL && has_controls(http->user_agent))
	{
		problem = "user agent contains control characters";
		goto failed;
	}
	if (http->proxy != NULL && http->proxy[0] == '\0')
	{
		free(http->proxy);
		http->proxy = NULL;
	}

	if (http->user_agent != NULL)
	{
		static const char name[] = "User-Agent: ";

		http->user_agent_line = malloc(sizeof(name) + strlen(http->user_agent));
		if (http->user_agent_line == NULL)
			goto failed;
		strcpy(http->user_agent_line, name);
		strcat(http->user_agent_line, http->user_agent);
	}

	http->capacity = descriptors_capacity(config->max_transfers > 0 ?
										  config->max_transfers : 1);
	http->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (http->epoll < 0)
	{
		problem = strerror(errno);
		goto failed;
	}

	http->multi = curl_multi_init();
	if (http->multi == NULL)
		goto failed;

	/*
	 * With a bound on all connections, and not only on those that are kept,
	 * curl closes the oldest idle one when a new one would exceed it.
	 */
	if (curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION,
						  socket_wanted) != CURLM_OK ||
		curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http) != CURLM_OK ||
		curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION,
						  timer_wanted) != CURLM_OK ||
		curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http) != CURLM_OK ||
		curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS,
						  (long) http->capacity) != CURLM_OK ||
		curl_multi_setopt(http->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS,
						  (long) http->capacity) != CURLM_OK)
	{
		problem = "libcurl lacks the multi socket interface";
		goto failed;
	}

	/* a first transfer, to hear now what curl says to our options */
	first = transfer_create(http, &code);
	if (first == NULL)
	{
		problem = curl_easy_strerror(code);
		goto failed;
	}
	http->free = first;
	http->nfree = 1;
	signals_restore(&saved);
	return http;

failed:
	snprintf(message, message_size, "%s", problem);
	if (http != NULL)
		co_http_destroy(http);
	signals_restore(&saved);
	return NULL;
}

void
co_http_destroy(CoHttp *http)
{
	sigset_t	saved;
	CoTransfer *next;

	if (http == NULL)
		return;
	signals_block(&saved);

	/*
	 * With CURLOPT_QUICK_EXIT curl leaves the thread of an unfinished lookup
	 * to itself.  Without, it would wait for a name server that may be dead:
	 * then we rather lose some memory, and the process is about to end.
	 */
	if (!HAVE_QUICK_EXIT && http->resolving > 0)
	{
		signals_restore(&saved);
		return;
	}

	for (CoTransfer *transfer = http->all; transfer != NULL; transfer = next)
	{
		next = transfer->next;
		if (transfer->in_flight)
			(void) curl_multi_remove_handle(http->multi, transfer->easy);
		transfer_free(transfer);
	}
	for (CoTransfer *transfer = http->free; transfer != NULL; transfer = next)
	{
		next = transfer->next;
		transfer_free(transfer);
	}
	if (http->multi != NULL)
		(void) curl_multi_cleanup(http->multi);
	if (http->epoll >= 0)
		close(http->epoll);
	free(http->sockets);
	free(http->url);
	secret_free(http->authorization);
	free(http->ca_file);
	free(http->proxy);
	free(http->user_agent);
	free(http->user_agent_line);
	free(http);
	signals_drop_pipe();
	signals_restore(&saved);
}

int
co_http_fd(const CoHttp *http)
{
	return http->epoll;
}

int
co_http_room(const CoHttp *http)
{
	int			room = http->capacity - http->active;

	if (http->resolving > 0 && room > RESOLVING_MAX - http->resolving)
		room = RESOLVING_MAX - http->resolving;
	return room > 0 ? room : 0;
}

/* Fill an outcome with a fault of our own. */
static void
outcome_local(CoOutcome *outcome, const char *text)
{
	memset(outcome, 0, sizeof(*outcome));
	outcome->fault = CO_FAULT_LOCAL;
	co_message_set(outcome->message, sizeof(outcome->message), text,
				   strlen(text));
}

/* The header lines that depend on the kind of request.  NULL: no memory. */
static struct curl_slist *
kind_headers(CoTransfer *transfer, const char *content_type)
{
	static const char name[] = "Content-Type: ";

	free(transfer->content_type);
	transfer->content_type = NULL;
	if (!transfer->post)
		return transfer->download_max != 0 ? &file_headers : &get_headers;
	if (content_type == NULL)
		return transfer->request_length > EXPECT_NEVER ? &long_post_headers : &post_headers;
	transfer->content_type = malloc(sizeof(name) + strlen(content_type));
	if (transfer->content_type == NULL)
		return NULL;
	strcpy(transfer->content_type, name);
	strcat(transfer->content_type, content_type);
	transfer->content_type_node.data = transfer->content_type;
	transfer->content_type_node.next = &other_post_headers;
	return &transfer->content_type_node;
}

/*
 * The header lines but for the token's.  NULL: no memory.
 *
 * Our name is one of them, since curl would write CURLOPT_USERAGENT anew for
 * each request, character by character, before it writes the request.
 */
static struct curl_slist *
common_headers(CoTransfer *transfer, const char *content_type)
{
	struct curl_slist *headers = kind_headers(transfer, content_type);

	if (headers == NULL || transfer->http->user_agent_line == NULL)
		return headers;
	transfer->user_agent_node.data = transfer->http->user_agent_line;
	transfer->user_agent_node.next = headers;
	return &transfer->user_agent_node;
}

/* Set the transfer's header lines; the token's line is kept while it lasts. */
static struct curl_slist *
request_headers(CoTransfer *transfer, const char *authorization,
				const char *content_type)
{
	static const char name[] = "Authorization: ";
	struct curl_slist *common = common_headers(transfer, content_type);
	size_t		length;
	char	   *line;

	if (authorization == NULL || common == NULL)
		return common;
	if (transfer->authorization == NULL ||
		strcmp(transfer->authorization + sizeof(name) - 1, authorization) != 0)
	{
		length = strlen(authorization);
		line = malloc(sizeof(name) + length);
		if (line == NULL)
			return NULL;
		memcpy(line, name, sizeof(name) - 1);
		memcpy(line + sizeof(name) - 1, authorization, length + 1);
		secret_free(transfer->authorization);
		transfer->authorization = line;
	}
	transfer->authorization_node.data = transfer->authorization;
	transfer->authorization_node.next = common;
	return &transfer->authorization_node;
}

/* Room for so much of the body. */
static bool
request_reserve(CoTransfer *transfer, size_t length)
{
	size_t		size = length < 512 ? 512 : length;

	if (length <= transfer->request_size)
		return true;
	free(transfer->request);
	transfer->request_size = 0;
	transfer->request = malloc(size);
	if (transfer->request == NULL)
		return false;
	transfer->request_size = size;
	return true;
}

/*
 * Set where the request goes.  Nearly all of them go where the last one went,
 * and curl parses a text anew for each: so it is given the parts, and a handle
 * that has them already is left alone.
 */
static CURLcode
request_set_url(CoTransfer *transfer, const char *url)
{
	CURL	   *easy = transfer->easy;
	CURLcode	code = CURLE_OK;
	CURLU	   *parsed;
	char	   *copy;
	CURLUcode	url_code;

	if (transfer->url != NULL && strcmp(transfer->url, url) == 0)
		return CURLE_OK;
	parsed = curl_url();
	copy = strdup(url);
	url_code = parsed == NULL || copy == NULL ? CURLUE_OUT_OF_MEMORY :
		curl_url_set(parsed, CURLUPART_URL, url, CURLU_DISALLOW_USER);
	if (url_code != CURLUE_OK)
		code = url_code == CURLUE_OUT_OF_MEMORY ? CURLE_OUT_OF_MEMORY : CURLE_URL_MALFORMAT;

	/* the text too, which messages are made from */
	SET(CURLOPT_URL, url);
	SET(CURLOPT_CURLU, parsed);
	free(transfer->url);
	transfer->url = NULL;
	if (code != CURLE_OK)
	{
		/* curl may hold on to the old parts: they stay until it has others */
		curl_url_cleanup(parsed);
		free(copy);
		return code;
	}
	curl_url_cleanup(transfer->url_parsed);
	transfer->url = copy;
	transfer->url_parsed = parsed;
	return code;
}

/* Set what depends on the request. */
static CURLcode
request_set(CoTransfer *transfer, const CoHttpRequest *request)
{
	CoHttp	   *http = transfer->http;
	CURL	   *easy = transfer->easy;
	CURLcode	code = CURLE_OK;
	struct curl_slist *headers;
	bool		proxied = http->proxy != NULL && !http->url_loopback;
	uint64_t	answer_max = request->download_max > http->body_max ?
		request->download_max : http->body_max;

	transfer->owner = request->owner;
	transfer->supplied = request->upload_length != 0;
	transfer->post = request->body != NULL || transfer->supplied;
	transfer->request_held = !transfer->supplied && transfer->post ?
		request->body_length : 0;
	transfer->request_length = transfer->supplied ? request->upload_length :
		transfer->request_held;
	transfer->hungry = false;
	transfer->download_max = request->download_max;
	transfer->handed_out = 0;
	transfer->paused = false;
	transfer->reusable = true;
	transfer_rewind(transfer);

	if (!request_reserve(transfer, transfer->request_held))
		return CURLE_OUT_OF_MEMORY;
	if (transfer->request_held > 0)
		memcpy(transfer->request, request->body, transfer->request_held);

	headers = request_headers(transfer, request->authorization,
							  request->content_type);
	if (headers == NULL)
		return CURLE_OUT_OF_MEMORY;

	if (transfer->fresh)
		SET(CURLOPT_FRESH_CONNECT, 0L);
	transfer->fresh = false;
	if (code == CURLE_OK)
		code = request_set_url(transfer, request->url);
	SET(CURLOPT_HTTPHEADER, headers);
	SET(CURLOPT_TIMEOUT_MS, (long) (request->timeout > 0 ? request->timeout : 1));
	if (transfer->post)
	{
		bool		fields = HAVE_PREREQ && !transfer->supplied;

		/*
		 * A body that curl has as a whole leaves together with the head: one
		 * packet, for which the service wakes up once.
		 */
		if (fields || transfer->fields)
			SET(CURLOPT_POSTFIELDS, fields ? transfer->request : NULL);
		transfer->fields = fields;
		SET(CURLOPT_POST, 1L);
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) transfer->request_length);
	}
	else
		SET(CURLOPT_HTTPGET, 1L);
	SET(CURLOPT_MAXFILESIZE_LARGE,
		(curl_off_t) (answer_max > INT64_MAX ? INT64_MAX : answer_max));
	/* so slow is nobody; while it waits for us, curl does not count */
	SET(CURLOPT_LOW_SPEED_LIMIT, request->stall > 0 ? 1L : 0L);
	SET(CURLOPT_LOW_SPEED_TIME, (long) (request->stall + 999) / 1000);
	if (proxied != transfer->proxied)
	{
		SET(CURLOPT_PROXY, proxied ? http->proxy : "");
		SET(CURLOPT_NOPROXY, proxied ? "" : "*");
		/* a proxy's CONNECT has no other source of it */
		SET(CURLOPT_USERAGENT, proxied ? http->user_agent : NULL);
		transfer->proxied = proxied;
	}
	return code;
}

/*
 * Why the values of a request's header lines cannot be sent; NULL: they can.
 * The token is nearly always the one of the last request.
 */
static const char *
header_problem(CoHttp *http, const CoHttpRequest *request)
{
	static const char controls[] = "a header contains control characters";

	if (request->content_type != NULL && has_controls(request->content_type))
		return controls;
	if (request->authorization == NULL ||
		(http->authorization != NULL &&
		 strcmp(http->authorization, request->authorization) == 0))
		return NULL;
	if (has_controls(request->authorization))
		return controls;
	secret_free(http->authorization);
	return copy_string(&http->authorization, request->authorization) ?
		NULL : "out of memory";
}

bool
co_http_start_stream(CoHttp *http, const CoHttpRequest *request,
					 CoHttpTransfer **started, CoOutcome *outcome)
{
	CoTransfer *transfer;
	CURLcode	code = CURLE_OK;
	CURLMcode	multi_code;
	const char *problem;

	if (http->active >= http->capacity)
	{
		outcome_local(outcome, "too many transfers in flight");
		return false;
	}
	if ((problem = header_problem(http, request)) != NULL)
	{
		outcome_local(outcome, problem);
		return false;
	}

	/* Nothing is sent to a place that the settings would not have taken. */
	if (http->url == NULL || strcmp(http->url, request->url) != 0)
	{
		free(http->url);
		http->url = NULL;
		problem = url_judge(request->url, http->allow_http,
							&http->url_loopback, &http->url_lookup);
		if (problem == NULL && (http->url = strdup(request->url)) == NULL)
			problem = "out of memory";
		if (problem != NULL)
		{
			outcome_local(outcome, problem);
			return false;
		}
	}

	transfer = transfer_get(http, &code);
	if (transfer != NULL)
		code = request_set(transfer, request);
	if (code != CURLE_OK)
	{
		if (transfer != NULL)
			transfer_discard(transfer);
		outcome_local(outcome, curl_easy_strerror(code));
		return false;
	}

	/*
	 * Signals need not be blocked for this, which saves two system calls for
	 * each call: curl notes the transfer, perhaps calls our own callbacks, and
	 * begins it when it is driven.
	 */
	multi_code = curl_multi_add_handle(http->multi, transfer->easy);
	if (multi_code != CURLM_OK)
	{
		transfer_discard(transfer);
		outcome_local(outcome, curl_multi_strerror(multi_code));
		return false;
	}
	transfer->in_flight = true;
	transfer->lookup = transfer->resolving = http->url_lookup || transfer->proxied;
	if (transfer->resolving)
		http->resolving++;
	http->active++;
	*started = transfer;
	return true;
}

bool
co_http_start(CoHttp *http, const CoHttpRequest *request, CoOutcome *outcome)
{
	CoHttpTransfer *transfer;

	return co_http_start_stream(http, request, &transfer, outcome);
}

/* Let curl go on with a transfer that has waited for its owner. */
static void
transfer_go_on(CoTransfer *transfer)
{
	sigset_t	saved;

	signals_block(&saved);
	/* what goes wrong is told by the transfer's end */
	(void) curl_easy_pause(transfer->easy, CURLPAUSE_CONT);
	signals_drop_pipe();
	signals_restore(&saved);
}

uint64_t
co_http_hungry(const CoHttpTransfer *transfer)
{
	return transfer->in_flight && transfer->hungry ?
		transfer->request_length - transfer->request_read : 0;
}

bool
co_http_supply(CoHttp *http, CoHttpTransfer *transfer, const char *data,
			   size_t length)
{
	(void) http;
	if (!transfer->in_flight || !transfer->hungry)
		return true;
	if (length > transfer->request_length - transfer->request_read)
		length = transfer->request_length - transfer->request_read;
	if (!request_reserve(transfer, length))
		return false;
	memcpy(transfer->request, data, length);
	transfer->request_held = length;
	transfer->request_at = 0;
	transfer->hungry = false;
	transfer_go_on(transfer);
	return true;
}

size_t
co_http_chunk(const CoHttpTransfer *transfer, const char **data)
{
	if (!transfer->in_flight || !transfer->paused)
		return 0;
	*data = transfer->body.data;
	return transfer->body.length;
}

void
co_http_chunk_done(CoHttp *http, CoHttpTransfer *transfer)
{
	(void) http;
	if (!transfer->in_flight || !transfer->paused)
		return;
	transfer->handed_out += transfer->body.length;
	transfer->body.length = 0;
	transfer->paused = false;
	transfer_go_on(transfer);
}

int64_t
co_http_content_length(const CoHttpTransfer *transfer)
{
	curl_off_t	length = -1;

	if (curl_easy_getinfo(transfer->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length) != CURLE_OK)
		return -1;
	return (int64_t) length;
}

void
co_http_abandon(CoHttp *http, CoHttpTransfer *transfer)
{
	sigset_t	saved;
	CoTransfer **link = &http->finished;

	signals_block(&saved);
	if (transfer->in_flight)
	{
		(void) curl_multi_remove_handle(http->multi, transfer->easy);
		socket_release(http, transfer);
		transfer->in_flight = false;
		transfer_resolved(transfer);
		http->active--;
	}
	else
	{
		while (*link != NULL && *link != transfer)
			link = &(*link)->next_finished;
		if (*link != NULL)
		{
			*link = transfer->next_finished;
			if (http->finished_tail == &transfer->next_finished)
				http->finished_tail = link;
			http->nfinished--;
		}
	}
	transfer->reusable = false;
	transfer_put(transfer);
	signals_drop_pipe();
	signals_restore(&saved);
}

long
co_http_timeout(const CoHttp *http)
{
	int64_t		left;

	if (http->deadline < 0)
		return -1;
	left = http->deadline - clock_now();
	return left > 0 ? (long) ((left + 999) / 1000) : 0;
}

/* One socket has something to say. */
static void
socket_ready(CoHttp *http, int fd, uint32_t events)
{
	CoSocket   *entry = fd < http->nsockets ? &http->sockets[fd] : NULL;
	int			action = 0;
	int			running;

	/* closed by what an earlier socket of the same turn had to say */
	if (entry == NULL || !entry->present)
		return;

	if (entry->wanted == 0)
	{
		/* a download that waits for its owner, not an idle connection */
		if (entry->download == NULL)
			(void) shutdown(fd, SHUT_RDWR);
		socket_deregister(http, fd, entry);
		return;
	}

	/* Not CURL_CSELECT_ERR: reading or writing tells why. */
	if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		action |= CURL_CSELECT_IN;
	if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
		action |= CURL_CSELECT_OUT;
	(void) curl_multi_socket_action(http->multi, fd, action, &running);
}

void
co_http_drive(CoHttp *http, int most)
{
	struct epoll_event events[EVENTS_AT_ONCE];
	sigset_t	saved;
	int			running;

	signals_block(&saved);
	for (int turn = 0; turn < TURNS_MAX && http->nfinished < most; turn++)
	{
		bool		due;
		int			count;

		/*
		 * Sockets first: a transfer that begins with the timer should not be
		 * given a connection whose end we could know of.
		 */
		count = most - http->nfinished;
		count = epoll_wait(http->epoll, events,
						   count < EVENTS_AT_ONCE ? count : EVENTS_AT_ONCE, 0);
		for (int i = 0; i < count; i++)
			socket_ready(http, events[i].data.fd, events[i].events);

		due = http->deadline >= 0 && http->deadline <= clock_now();
		if (due)
		{
			/* curl sets it again if there is more to wait for */
			http->deadline = -1;
			(void) curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0,
											&running);
		}
		collect_finished(http);
		if (!due && count <= 0)
			break;
	}
	signals_drop_pipe();
	signals_restore(&saved);
}

bool
co_http_finished(CoHttp *http, CoHttpDone *done)
{
	CoTransfer *transfer = http->finished;

	if (transfer == NULL)
		return false;
	http->finished = transfer->next_finished;
	if (http->finished == NULL)
		http->finished_tail = &http->finished;
	http->nfinished--;

	memset(done, 0, sizeof(*done));
	done->owner = transfer->owner;
	done->transfer = transfer;
	done->outcome = transfer->outcome;
	done->rate = transfer->rate;
	done->body = "";
	if (done->outcome.fault == CO_FAULT_NONE)
	{
		if (transfer->body.length > 0)
			done->body = transfer->body.data;
		done->length = transfer->body.length;
	}
	return true;
}

void
co_http_release(CoHttp *http, CoHttpDone *done)
{
	CoTransfer *transfer = done->transfer;

	(void) http;
	done->transfer = NULL;
	done->body = "";
	done->length = 0;
	if (transfer == NULL)
		return;
	if (transfer->reusable)
		transfer_put(transfer); /* nothing of curl's that might write */
	else
		transfer_discard(transfer);
}
