/*-------------------------------------------------------------------------
 * client.c
 *		What test/bench measures against: calls without an extension.
 *
 *	perform		libcurl's multi interface, curl_multi_perform() and _poll()
 *	socket		the same by curl_multi_socket_action() and epoll
 *	raw			no libcurl: prepared requests over bare sockets, and as little
 *				as possible done with the answers.  It tells what the server
 *				can do.
 *	verify		one session: clearout_verify() in turn with a libcurl call
 *				plus the commit of a one-row insert
 *
 * The first three make COUNT calls, PARALLEL at once, store nothing, and print
 * the calls per second; "verify" prints the medians in microseconds, ours
 * first.  An answer other than 200 ends the program.
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TOKEN_SIZE	256
#define ANSWER_SIZE 65536
#define EVENTS		256
#define WAIT_MS		10000		/* nothing happens for so long: give up */

typedef struct Call
{
	CURL	   *easy;
	char		request[256];	/* its body */
	char		answer[ANSWER_SIZE];
	size_t		length;
	int			fd;				/* raw */
} Call;

static int	port;
static char token[TOKEN_SIZE];
static const char *prefix = "reference";
static long count = 1000;
static int	parallel = 64;
static const char *conninfo = "";
static long warm_up = 0;		/* answers before time begins to count */

static Call *calls;
static long started;
static long finished;
static double begin;
static struct curl_slist *headers;
static char url[128];

static void
fail(const char *what, const char *detail)
{
	fprintf(stderr, "bench client: %s: %s\n", what, detail);
	exit(1);
}

static double
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void
read_token(const char *path)
{
	FILE	   *file = fopen(path, "r");

	if (file == NULL || fgets(token, sizeof(token), file) == NULL)
		fail(path, "cannot be read");
	fclose(file);
	token[strcspn(token, "\n")] = '\0';
}

/* As test/bench makes them in SQL. */
static void
address(long number, char *text, size_t size)
{
	snprintf(text, size, "%s%ld@mail%ld.example", prefix, number, number % 1000);
}

static int
body(long number, char *text, size_t size)
{
	char		email[128];

	address(number, email, sizeof(email));
	return snprintf(text, size, "{\"email\": \"%s\", \"timeout\": 60000}", email);
}

/* ---------- libcurl ---------- */

static size_t
take(char *data, size_t size, size_t number, void *argument)
{
	Call	   *call = argument;
	size_t		length = size * number;

	if (call->length + length > sizeof(call->answer))
		return 0;
	memcpy(call->answer + call->length, data, length);
	call->length += length;
	return length;
}

static void
prepare(Call *call)
{
	call->easy = curl_easy_init();
	if (call->easy == NULL)
		fail("libcurl", "out of memory");
	curl_easy_setopt(call->easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(call->easy, CURLOPT_URL, url);
	curl_easy_setopt(call->easy, CURLOPT_PROXY, "");
	curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(call->easy, CURLOPT_TIMEOUT_MS, 60000L);
	curl_easy_setopt(call->easy, CURLOPT_WRITEFUNCTION, take);
	curl_easy_setopt(call->easy, CURLOPT_WRITEDATA, call);
	curl_easy_setopt(call->easy, CURLOPT_PRIVATE, call);
}

static void
next_request(Call *call)
{
	int			length = body(started++, call->request, sizeof(call->request));

	call->length = 0;
	curl_easy_setopt(call->easy, CURLOPT_POSTFIELDSIZE, (long) length);
	curl_easy_setopt(call->easy, CURLOPT_POSTFIELDS, call->request);
}

static void
require_answer(Call *call, CURLcode result)
{
	long		status = 0;

	curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
	if (result != CURLE_OK)
		fail("call", curl_easy_strerror(result));
	if (status != 200)
		fail("call", "the status is not 200");
}

static void
start(CURLM *multi, Call *call)
{
	next_request(call);
	if (curl_multi_add_handle(multi, call->easy) != CURLM_OK)
		fail("libcurl", "a call cannot be started");
}

static void
collect(CURLM *multi)
{
	CURLMsg    *message;
	int			left;

	while ((message = curl_multi_info_read(multi, &left)) != NULL)
	{
		CURL	   *easy = message->easy_handle;
		CURLcode	result = message->data.result;
		Call	   *call;

		curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **) &call);
		require_answer(call, result);
		curl_multi_remove_handle(multi, easy);
		if (++finished == warm_up)
			begin = now();
		if (started < count)
			start(multi, call);
	}
}

static void
run_perform(void)
{
	CURLM	   *multi = curl_multi_init();
	int			running;

	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long) parallel);
	for (int i = 0; i < parallel && started < count; i++)
		start(multi, &calls[i]);
	while (finished < count)
	{
		if (curl_multi_perform(multi, &running) != CURLM_OK)
			fail("libcurl", "curl_multi_perform");
		collect(multi);
		if (finished < count &&
			curl_multi_poll(multi, NULL, 0, WAIT_MS, NULL) != CURLM_OK)
			fail("libcurl", "curl_multi_poll");
	}
}

static int	epoll;
static long timeout_ms = -1;

static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *argument, void *known)
{
	struct epoll_event event = {0};

	(void) easy;
	event.data.fd = fd;
	if (what == CURL_POLL_REMOVE)
	{
		epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
		return 0;
	}
	event.events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
	if (epoll_ctl(epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) < 0 &&
		epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		fail("epoll_ctl", strerror(errno));
	if (!known)
		curl_multi_assign(argument, fd, &epoll);
	return 0;
}

static int
on_timer(CURLM *multi, long ms, void *argument)
{
	(void) multi;
	(void) argument;
	timeout_ms = ms;
	return 0;
}

static void
run_socket(void)
{
	CURLM	   *multi = curl_multi_init();
	struct epoll_event events[EVENTS];
	int			running;

	epoll = epoll_create1(EPOLL_CLOEXEC);
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long) parallel);
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, multi);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
	for (int i = 0; i < parallel && started < count; i++)
		start(multi, &calls[i]);
	while (finished < count)
	{
		int			wait = timeout_ms < 0 || timeout_ms > WAIT_MS ? WAIT_MS : (int) timeout_ms;
		int			ready = epoll_wait(epoll, events, EVENTS, wait);

		if (ready == 0 || timeout_ms == 0)
		{
			if (ready == 0 && wait == WAIT_MS)
				fail("the server", "does not answer");
			timeout_ms = -1;
			curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
		}
		for (int i = 0; i < ready; i++)
		{
			int			action = 0;

			if (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP))
				action |= CURL_CSELECT_IN;
			if (events[i].events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
				action |= CURL_CSELECT_OUT;
			curl_multi_socket_action(multi, events[i].data.fd, action, &running);
		}
		collect(multi);
	}
}

/* ---------- without libcurl ---------- */

static void
send_raw(Call *call)
{
	char		text[160];
	int			length = body(started++, text, sizeof(text));
	char		request[512 + TOKEN_SIZE];
	int			total;

	call->length = 0;
	total = snprintf(request, sizeof(request),
					 "POST /v2/email_verify/instant HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
					 "Authorization: Bearer %s\r\nContent-Type: application/json\r\n"
					 "Content-Length: %d\r\n\r\n%s", port, token, length, text);
	if (send(call->fd, request, total, MSG_NOSIGNAL) != total)
		fail("send", strerror(errno));
}

/* Is the answer complete? */
static bool
receive_raw(Call *call)
{
	ssize_t		got = recv(call->fd, call->answer + call->length,
						   sizeof(call->answer) - 1 - call->length, 0);
	char	   *end;
	char	   *length;

	if (got <= 0)
		fail("recv", got == 0 ? "the connection was closed" : strerror(errno));
	call->length += got;
	call->answer[call->length] = '\0';
	end = strstr(call->answer, "\r\n\r\n");
	if (end == NULL)
		return false;
	if (strncmp(call->answer, "HTTP/1.1 200", 12) != 0)
		fail("call", "the status is not 200");
	length = strcasestr(call->answer, "\r\nContent-Length:");
	if (length == NULL || length > end)
		fail("call", "the answer has no length");
	return call->length >= (size_t) (end + 4 - call->answer) + strtoul(length + 17, NULL, 10);
}

static void
run_raw(void)
{
	struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct epoll_event events[EVENTS];
	int			on = 1;

	where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	for (int i = 0; i < parallel && started < count; i++)
	{
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = &calls[i]};

		calls[i].fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (calls[i].fd < 0 ||
			connect(calls[i].fd, (struct sockaddr *) &where, sizeof(where)) < 0 ||
			setsockopt(calls[i].fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ||
			epoll_ctl(epoll, EPOLL_CTL_ADD, calls[i].fd, &event) < 0)
			fail("connect", strerror(errno));
		send_raw(&calls[i]);
	}
	while (finished < count)
	{
		int			ready = epoll_wait(epoll, events, EVENTS, WAIT_MS);

		if (ready == 0)
			fail("the server", "does not answer");
		for (int i = 0; i < ready; i++)
		{
			Call	   *call = events[i].data.ptr;

			if (!receive_raw(call))
				continue;
			finished++;
			if (started < count)
				send_raw(call);
		}
	}
}

/* ---------- one session ---------- */

static int
compare(const void *a, const void *b)
{
	double		first = *(const double *) a;
	double		second = *(const double *) b;

	return first < second ? -1 : first > second;
}

static double
median(double *values, long number)
{
	qsort(values, number, sizeof(double), compare);
	return values[number / 2];
}

/*
 * In turn, so that whatever else the machine does slows both down.  Prepared
 * by both, so that what is compared are calls and commits.
 */
static void
run_verify(void)
{
	PGconn	   *connection = PQconnectdb(conninfo);
	Call	   *call = &calls[0];
	double	   *ours = malloc(count * sizeof(double));
	double	   *theirs = malloc(count * sizeof(double));
	char		email[128];
	const char *values[2] = {email, call->answer};

	if (PQstatus(connection) != CONNECTION_OK)
		fail("connection", PQerrorMessage(connection));
	PQclear(PQprepare(connection, "verify", "SELECT status FROM clearout_verify($1)", 0, NULL));
	PQclear(PQprepare(connection, "insert", "INSERT INTO reference_answer VALUES ($1, $2)", 0, NULL));

	for (long i = 0; i < count; i++)
	{
		double		begin;
		PGresult   *result;

		snprintf(email, sizeof(email), "%s-ours%ld@mail%ld.example", prefix, i, i % 1000);
		begin = now();
		result = PQexecPrepared(connection, "verify", 1, values, NULL, NULL, 0);
		ours[i] = now() - begin;
		if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1)
			fail("clearout_verify()", PQerrorMessage(connection));
		PQclear(result);

		begin = now();
		address(started, email, sizeof(email));
		next_request(call);
		require_answer(call, curl_easy_perform(call->easy));
		call->answer[call->length] = '\0';
		result = PQexecPrepared(connection, "insert", 2, values, NULL, NULL, 0);
		theirs[i] = now() - begin;
		if (PQresultStatus(result) != PGRES_COMMAND_OK)
			fail("INSERT", PQerrorMessage(connection));
		PQclear(result);
	}
	PQfinish(connection);
	printf("%.1f %.1f\n", median(ours, count) * 1e6, median(theirs, count) * 1e6);
}

/* ---------- */

int
main(int argc, char **argv)
{
	static const struct
	{
		const char *name;
		void		(*run) (void);
	}			modes[] = {
		{"perform", run_perform}, {"socket", run_socket}, {"raw", run_raw},
		{"verify", run_verify}, {NULL, NULL}
	};
	int			mode = 0;
	char		authorization[TOKEN_SIZE + 32];
	struct rlimit limit;
	int			option;

	while ((option = getopt(argc, argv, "p:t:n:c:a:d:w:")) != -1)
	{
		switch (option)
		{
			case 'p':
				port = atoi(optarg);
				break;
			case 't':
				read_token(optarg);
				break;
			case 'n':
				count = atol(optarg);
				break;
			case 'c':
				parallel = atoi(optarg);
				break;
			case 'a':
				prefix = optarg;
				break;
			case 'd':
				conninfo = optarg;
				break;
			case 'w':
				warm_up = atol(optarg);
				break;
			default:
				return 2;
		}
	}
	while (modes[mode].name != NULL &&
		   (optind != argc - 1 || strcmp(argv[optind], modes[mode].name) != 0))
		mode++;
	if (modes[mode].name == NULL || count < 1 || parallel < 1 || warm_up >= count)
	{
		fprintf(stderr, "Usage: client -p PORT -t TOKEN_FILE [-n COUNT] [-c PARALLEL] [-a PREFIX] [-d CONNINFO] [-w WARM_UP] "
				"perform|socket|raw|verify\n");
		return 2;
	}

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
	{
		limit.rlim_cur = limit.rlim_max;
		(void) setrlimit(RLIMIT_NOFILE, &limit);
	}
	curl_global_init(CURL_GLOBAL_DEFAULT);
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/v2/email_verify/instant", port);
	snprintf(authorization, sizeof(authorization), "Authorization: Bearer %s", token);
	headers = curl_slist_append(NULL, "Content-Type: application/json");
	headers = curl_slist_append(headers, authorization);
	headers = curl_slist_append(headers, "Expect:");

	calls = calloc(parallel, sizeof(Call));
	if (calls == NULL)
		fail("memory", "too little");
	for (int i = 0; i < parallel; i++)
		prepare(&calls[i]);

	begin = now();
	modes[mode].run();
	if (modes[mode].run != run_verify)
	{
		double		seconds = now() - begin;

		printf("%.1f\n", (count - warm_up) / (seconds > 1e-6 ? seconds : 1e-6));
	}
	return 0;
}
