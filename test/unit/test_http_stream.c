/*-------------------------------------------------------------------------
 * test_http_stream.c
 *		What passes through the HTTP engine bit by bit: uploads from a source
 *		that takes its time, downloads to a sink that does.
 *
 * The server forks for each connection, and counts in memory that it shares
 * with the tests.  Everything is on loopback.
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "http.h"

/* Freed memory that the sanitizer holds back would look like ours. */
extern const char *__asan_default_options(void);
const char *
__asan_default_options(void)
{
	return "quarantine_size_mb=1";
}

typedef struct Counters
{
	atomic_int	heads;			/* request heads that came in whole */
	atomic_int	bodies;			/* bodies that came in whole */
	atomic_ullong bytes;		/* of bodies */
	atomic_int	wrong;			/* bytes of a body that are not what was sent */
	char		head[4096];		/* the last one */
} Counters;

static Counters *counters;
static int	server_port;

static int64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* What stands at this place of every body, here and there. */
static char
pattern(uint64_t at)
{
	return 'a' + (at * 7 + at / 1000) % 26;
}

/*-------------------------------------------------------------------------
 * The server
 *-------------------------------------------------------------------------
 */

static void
send_all(int fd, const char *data, size_t length)
{
	while (length > 0)
	{
		ssize_t		n = send(fd, data, length, MSG_NOSIGNAL);

		if (n <= 0)
			_exit(0);
		data += n;
		length -= n;
	}
}

static void
send_text(int fd, const char *text)
{
	send_all(fd, text, strlen(text));
}

static void
send_pattern(int fd, uint64_t length)
{
	char		piece[50000];
	uint64_t	sent = 0;

	while (sent < length)
	{
		size_t		n = length - sent < sizeof(piece) ? length - sent : sizeof(piece);

		for (size_t i = 0; i < n; i++)
			piece[i] = pattern(sent + i);
		send_all(fd, piece, n);
		sent += n;
	}
}

/* One request; the answer is named by its path. */
static void
serve_one(int fd, int number)
{
	char		head[4096];
	size_t		used = 0;
	size_t		extra;
	char	   *end = NULL;
	char	   *length_header;
	char		path[100];
	uint64_t	length = 0;
	uint64_t	at = 0;
	uint64_t	stop;
	char		buffer[65536];

	while (end == NULL)
	{
		ssize_t		n = used < sizeof(head) - 1 ?
			recv(fd, head + used, sizeof(head) - 1 - used, 0) : 0;

		if (n <= 0)
			_exit(0);
		used += n;
		head[used] = '\0';
		end = strstr(head, "\r\n\r\n");
	}
	end += 4;
	extra = used - (end - head);
	length_header = strcasestr(head, "\r\nContent-Length: ");
	if (length_header != NULL && length_header < end)
		length = strtoull(length_header + 18, NULL, 10);
	memcpy(counters->head, head, end - head);
	counters->head[end - head] = '\0';
	atomic_fetch_add(&counters->heads, 1);
	snprintf(path, sizeof(path), "%.*s", (int) strcspn(strchr(head, ' ') + 1, " "),
			 strchr(head, ' ') + 1);

	stop = strcmp(path, "/half-read") == 0 ? length / 2 : length;
	while (at < stop)
	{
		ssize_t		n;

		if (extra > 0)
		{
			n = extra;
			memcpy(buffer, end, extra);
			extra = 0;
		}
		else
			n = recv(fd, buffer, sizeof(buffer), 0);
		if (n <= 0)
			_exit(0);
		for (ssize_t i = 0; i < n; i++)
		{
			if (buffer[i] != pattern(at + i))
				atomic_fetch_add(&counters->wrong, 1);
		}
		at += n;
		atomic_fetch_add(&counters->bytes, n);
	}
	if (stop < length)
	{
		struct linger linger = {1, 0};

		setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		close(fd);
		_exit(0);
	}
	if (length > 0)
		atomic_fetch_add(&counters->bodies, 1);

#define IS(name) (strcmp(path, name) == 0)
	if (IS("/take"))
		send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	else if (IS("/second-close"))
	{
		if (number > 0)
			_exit(0);
		send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	}
	else if (IS("/no-answer"))
		_exit(0);
	else if (IS("/file"))
	{
		send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n");
		send_pattern(fd, 20000000);
	}
	else if (IS("/small"))
	{
		send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
		send_pattern(fd, 1000);
	}
	else if (IS("/quick"))
	{
		send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 700000\r\n\r\n");
		send_pattern(fd, 700000);
	}
	else if (IS("/endless"))
	{
		send_text(fd, "HTTP/1.1 200 OK\r\n\r\n");
		for (;;)
			send_pattern(fd, 20000000);
	}
	else if (IS("/cut"))
	{
		send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n");
		send_pattern(fd, 7000000);
		_exit(0);
	}
	else if (IS("/hang"))
	{
		send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n");
		send_pattern(fd, 1000);
		pause();
	}
	else if (IS("/expired"))
		send_text(fd, "HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\n\r\nexpired");
	else if (IS("/long-refusal"))
	{
		send_text(fd, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2000000\r\n\r\n");
		send_pattern(fd, 2000000);
	}
	else
		send_text(fd, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
#undef IS
}

static pid_t
server_start(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t	length = sizeof(address);
	int			listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid_t		pid;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(listener, (struct sockaddr *) &address, sizeof(address)) != 0 ||
		listen(listener, 100) != 0 ||
		getsockname(listener, (struct sockaddr *) &address, &length) != 0)
	{
		perror("listen");
		exit(1);
	}
	server_port = ntohs(address.sin_port);
	counters = mmap(NULL, sizeof(Counters), PROT_READ | PROT_WRITE,
					MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid = fork();
	if (pid == 0)
	{
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGCHLD, SIG_IGN);
		for (;;)
		{
			int			client = accept(listener, NULL, NULL);

			if (client < 0)
				continue;
			if (fork() == 0)
			{
				prctl(PR_SET_PDEATHSIG, SIGKILL);
				for (int number = 0;; number++)
					serve_one(client, number);
			}
			close(client);
		}
	}
	close(listener);
	return pid;
}

/*-------------------------------------------------------------------------
 * The client
 *-------------------------------------------------------------------------
 */

typedef struct Stream
{
	CoHttpTransfer *transfer;
	uint64_t	upload;			/* bytes to send */
	uint64_t	supplied;
	size_t		piece;			/* supply so many at a time */
	int			slowness;		/* ms before each supply or chunk */
	uint64_t	taken;			/* bytes received */
	int			chunks;
	int			wrong;
	size_t		largest;
	bool		done;
	CoOutcome	outcome;
	char		body[100];
} Stream;

static CoHttp *
client(void)
{
	CoHttpConfig config = {
		.connect_timeout = 5000,
		.body_max = 1000000,
		.max_transfers = 100
	};
	char		message[200] = "";
	CoHttp	   *http = co_http_create(&config, message, sizeof(message));

	if (http == NULL)
	{
		printf("co_http_create: %s\n", message);
		exit(1);
	}
	return http;
}

static bool
begin(CoHttp *http, Stream *stream, const char *path, uint64_t upload,
	  uint64_t download_max, int stall)
{
	char		url[200];
	CoHttpRequest request = {
		.url = url,
		.authorization = upload > 0 ? "Bearer tok-5ecret" : NULL,
		.content_type = upload > 0 ? "multipart/form-data; boundary=x" : NULL,
		.upload_length = upload,
		.download_max = download_max,
		.stall = stall,
		.timeout = 60000,
		.owner = stream
	};

	snprintf(url, sizeof(url), "http://127.0.0.1:%d%s", server_port, path);
	memset(stream, 0, sizeof(*stream));
	stream->upload = upload;
	stream->piece = CO_HTTP_CHUNK;
	return co_http_start_stream(http, &request, &stream->transfer, &stream->outcome);
}

static void
take(Stream *stream, const char *data, size_t length)
{
	for (size_t i = 0; i < length; i++)
	{
		if (data[i] != pattern(stream->taken + i))
			stream->wrong++;
	}
	stream->taken += length;
}

static void
slow_down(const Stream *stream)
{
	if (stream->slowness > 0)
		poll(NULL, 0, stream->slowness);
}

/* One turn of an owner with one stream, who looks after each drive. */
static void
turn(CoHttp *http, Stream *stream)
{
	static char piece[CO_HTTP_CHUNK];
	struct pollfd pollfd = {.fd = co_http_fd(http), .events = POLLIN};
	long		timeout = co_http_timeout(http);
	CoHttpDone	done;
	const char *data;
	size_t		length;
	uint64_t	hungry;

	poll(&pollfd, 1, timeout < 0 || timeout > 1000 ? 1000 : (int) timeout);
	co_http_drive(http, INT_MAX);
	while (co_http_finished(http, &done))
	{
		Stream	   *owner = done.owner;

		CHECK(!owner->done, "finished twice");
		owner->done = true;
		owner->outcome = done.outcome;
		snprintf(owner->body, sizeof(owner->body), "%.*s", (int) done.length, done.body);
		if (done.outcome.http_status == 200)
			take(owner, done.body, done.length);
		co_http_release(http, &done);
	}
	if (stream->done)
		return;

	hungry = co_http_hungry(stream->transfer);
	if (hungry > 0)
	{
		CHECK(hungry == stream->upload - stream->supplied, "hungry for %llu",
			  (unsigned long long) hungry);
		length = hungry < stream->piece ? hungry : stream->piece;
		for (size_t i = 0; i < length; i++)
			piece[i] = pattern(stream->supplied + i);
		slow_down(stream);
		CHECK(co_http_supply(http, stream->transfer, piece, length), "supply");
		stream->supplied += length;
	}
	length = co_http_chunk(stream->transfer, &data);
	if (length > 0)
	{
		slow_down(stream);
		take(stream, data, length);
		stream->chunks++;
		if (length > stream->largest)
			stream->largest = length;
		co_http_chunk_done(http, stream->transfer);
	}
}

static void
run(CoHttp *http, Stream *stream, const char *what)
{
	int64_t		end = now_ms() + 60000;

	while (!stream->done && now_ms() < end)
		turn(http, stream);
	CHECK(stream->done, "%s did not end", what);
}

static void
reset(void)
{
	memset(counters, 0, sizeof(*counters));
}

static long
resident_kb(void)
{
	long		size = 0;
	long		resident = 0;
	FILE	   *file = fopen("/proc/self/statm", "r");

	if (file == NULL)
		return 0;
	if (fscanf(file, "%ld %ld", &size, &resident) != 2)
		resident = 0;
	fclose(file);
	return resident * 4;
}

static void
test_upload(void)
{
	CoHttp	   *http = client();
	Stream		stream;
	static const size_t pieces[] = {CO_HTTP_CHUNK, 1000, 1, 70000};

	for (int i = 0; i < 4; i++)
	{
		uint64_t	length = pieces[i] == 1 ? 300 : pieces[i] == 1000 ? 100000 : 5000000;

		reset();
		CHECK(begin(http, &stream, "/take", length, 0, 0), "upload begins");
		stream.piece = pieces[i];
		run(http, &stream, "upload");
		CHECK(stream.outcome.fault == CO_FAULT_NONE && stream.outcome.http_status == 200,
			  "fault %d", stream.outcome.fault);
		CHECK(strcmp(stream.body, "ok") == 0, "answer %s", stream.body);
		CHECK(atomic_load(&counters->bytes) == length, "%llu bytes came",
			  (unsigned long long) atomic_load(&counters->bytes));
		CHECK(atomic_load(&counters->wrong) == 0, "wrong bytes");
		CHECK(atomic_load(&counters->heads) == 1, "%d requests", atomic_load(&counters->heads));
		CHECK(strstr(counters->head, "\r\nContent-Type: multipart/form-data; boundary=x\r\n") != NULL,
			  "%s", counters->head);
		CHECK(strstr(counters->head, "Content-Type: application/json") == NULL &&
			  strstr(counters->head, "Expect") == NULL &&
			  strstr(counters->head, "Transfer-Encoding") == NULL, "%s", counters->head);
	}

	/* a source that takes its time is not cut off by the stall limit */
	reset();
	begin(http, &stream, "/take", 700000, 0, 1000);
	stream.slowness = 1200;
	run(http, &stream, "slow upload");
	CHECK(stream.outcome.fault == CO_FAULT_NONE, "slow upload: fault %d", stream.outcome.fault);
	co_http_destroy(http);
}

/* Whatever happens to it, an upload is made once. */
static void
test_upload_once(void)
{
	CoHttp	   *http = client();
	Stream		stream;

	reset();
	begin(http, &stream, "/half-read", 3000000, 0, 0);
	run(http, &stream, "half read");
	CHECK(stream.outcome.fault == CO_FAULT_LOST && stream.outcome.sent,
		  "half read: fault %d", stream.outcome.fault);
	CHECK(atomic_load(&counters->heads) == 1, "half read: %d requests", atomic_load(&counters->heads));

	reset();
	begin(http, &stream, "/no-answer", 600000, 0, 0);
	run(http, &stream, "no answer");
	CHECK(stream.outcome.fault == CO_FAULT_LOST && stream.outcome.sent, "no answer: fault %d",
		  stream.outcome.fault);
	CHECK(atomic_load(&counters->heads) == 1 && atomic_load(&counters->bodies) == 1,
		  "no answer: %d requests", atomic_load(&counters->heads));

	/* on a connection that has served before, curl itself would repeat it */
	for (int size = 1; size <= 2; size++)
	{
		reset();
		begin(http, &stream, "/second-close", 1000, 0, 0);
		run(http, &stream, "first");
		CHECK(stream.outcome.fault == CO_FAULT_NONE, "first: fault %d", stream.outcome.fault);
		begin(http, &stream, "/second-close", size == 1 ? 1000 : 1000000, 0, 0);
		run(http, &stream, "second");
		CHECK(stream.outcome.fault == CO_FAULT_LOST && stream.outcome.sent,
			  "second: fault %d", stream.outcome.fault);
		CHECK(atomic_load(&counters->heads) == 2 && atomic_load(&counters->bodies) == 2,
			  "second: %d requests", atomic_load(&counters->heads));
	}
	co_http_destroy(http);
}

static void
test_download(void)
{
	CoHttp	   *http = client();
	Stream		stream;
	Stream		other;
	long		before;

	reset();
	CHECK(begin(http, &stream, "/small", 0, 1000000, 0), "download begins");
	run(http, &stream, "small");
	CHECK(stream.taken == 1000 && stream.wrong == 0 && stream.chunks == 0, "small: %llu bytes",
		  (unsigned long long) stream.taken);
	CHECK(strcasestr(counters->head, "Authorization") == NULL, "%s", counters->head);
	CHECK(strstr(counters->head, "Accept: */*\r\n") != NULL, "%s", counters->head);

	/* flat memory, whatever the sink's pace; others go on meanwhile */
	before = resident_kb();
	for (int slowness = 0; slowness <= 5; slowness += 5)
	{
		begin(http, &stream, "/file", 0, 20000000, 1000);
		stream.slowness = slowness;
		run(http, &stream, "file");
		CHECK(stream.outcome.fault == CO_FAULT_NONE, "file: fault %d, %s", stream.outcome.fault, stream.outcome.message);
		CHECK(stream.taken == 20000000 && stream.wrong == 0, "file: %llu bytes, %d wrong",
			  (unsigned long long) stream.taken, stream.wrong);
		CHECK(stream.largest <= CO_HTTP_CHUNK && stream.chunks >= 76, "file: %d chunks of up to %zu",
			  stream.chunks, stream.largest);
	}
	CHECK(resident_kb() - before < 4000, "memory grew by %ld kB", resident_kb() - before);

	/* on a connection that another call has just left, all of it at once */
	for (int i = 0; i < 100; i++)
	{
		begin(http, &other, "/take", 0, 0, 0);
		run(http, &other, "call before");
		begin(http, &stream, "/quick", 0, 1000000, 1000);
		poll(NULL, 0, i % 3);
		run(http, &stream, "quick");
		if (!CHECK(stream.outcome.fault == CO_FAULT_NONE && stream.taken == 700000 && stream.wrong == 0,
				   "quick: fault %d, %llu bytes", stream.outcome.fault, (unsigned long long) stream.taken))
			break;
	}

	/* a chunk that is left where it is, while others come and go */
	begin(http, &stream, "/file", 0, 20000000, 1000);
	{
		const char *data;
		int64_t		end = now_ms() + 20000;
		struct pollfd pollfd = {.fd = co_http_fd(http), .events = POLLIN};

		while (co_http_chunk(stream.transfer, &data) == 0 && now_ms() < end)
		{
			poll(&pollfd, 1, 10);
			co_http_drive(http, INT_MAX);
		}
		CHECK(co_http_chunk(stream.transfer, &data) > 0, "a chunk came");
		for (int i = 0; i < 3; i++)
		{
			CoHttpDone	done;
			bool		seen = false;

			begin(http, &other, "/take", 0, 0, 0);
			end = now_ms() + 20000;
			while (!seen && now_ms() < end)
			{
				poll(&pollfd, 1, 10);
				co_http_drive(http, INT_MAX);
				seen = co_http_finished(http, &done);
			}
			CHECK(seen && done.owner == &other, "another call beside it");
			if (seen)
				co_http_release(http, &done);
			poll(NULL, 0, 600);
		}
		/* it stands still, and nothing wakes up for it */
		CHECK(poll(&pollfd, 1, 0) == 0, "nothing to do while it stands still");
	}
	run(http, &stream, "continued file");
	CHECK(stream.outcome.fault == CO_FAULT_NONE && stream.taken == 20000000 && stream.wrong == 0,
		  "continued: fault %d, %llu bytes", stream.outcome.fault, (unsigned long long) stream.taken);
	co_http_destroy(http);
}

static void
test_download_faults(void)
{
	CoHttp	   *http = client();
	Stream		stream;

	/* known by its length before a byte of it is taken */
	begin(http, &stream, "/file", 0, 19999999, 0);
	run(http, &stream, "too large");
	CHECK(stream.outcome.fault == CO_FAULT_TOO_LARGE && stream.taken == 0, "too large: fault %d, %llu bytes",
		  stream.outcome.fault, (unsigned long long) stream.taken);

	begin(http, &stream, "/endless", 0, 3000000, 0);
	run(http, &stream, "endless");
	CHECK(stream.outcome.fault == CO_FAULT_TOO_LARGE, "endless: fault %d", stream.outcome.fault);
	CHECK(stream.taken <= 3000000 && stream.wrong == 0, "endless: %llu bytes",
		  (unsigned long long) stream.taken);

	begin(http, &stream, "/cut", 0, 100000000, 0);
	run(http, &stream, "cut");
	CHECK(stream.outcome.fault == CO_FAULT_LOST, "cut: fault %d", stream.outcome.fault);
	CHECK(stream.taken <= 7000000 && stream.taken >= 6000000 && stream.wrong == 0,
		  "cut: %llu bytes", (unsigned long long) stream.taken);

	begin(http, &stream, "/hang", 0, 100000000, 1000);
	run(http, &stream, "hang");
	CHECK(stream.outcome.fault == CO_FAULT_TIMEOUT, "hang: fault %d", stream.outcome.fault);

	/* a refusal is an answer as any other */
	begin(http, &stream, "/expired", 0, 100000000, 0);
	run(http, &stream, "expired");
	CHECK(stream.outcome.fault == CO_FAULT_NONE && stream.outcome.http_status == 403 &&
		  strcmp(stream.body, "expired") == 0 && stream.taken == 0,
		  "expired: fault %d, %s", stream.outcome.fault, stream.body);
	begin(http, &stream, "/long-refusal", 0, 100000000, 0);
	run(http, &stream, "long refusal");
	CHECK(stream.outcome.fault == CO_FAULT_TOO_LARGE, "long refusal: fault %d", stream.outcome.fault);
	co_http_destroy(http);
}

/* Wherever a transfer stands, its owner may turn away from it. */
static void
test_abandon(void)
{
	for (int destroy = 0; destroy <= 1; destroy++)
	{
		CoHttp	   *http = client();
		struct pollfd pollfd = {.fd = co_http_fd(http), .events = POLLIN};
		Stream		stream;

		for (int turns = 0; turns <= 50; turns += 10)
		{
			static const struct
			{
				const char *path;
				uint64_t	upload;
				uint64_t	download;
			}			cases[] = {{"/file", 0, 100000000}, {"/take", 1000000, 0}, {"/small", 0, 1000000}};

			for (int i = 0; i < 3; i++)
			{
				begin(http, &stream, cases[i].path, cases[i].upload, cases[i].download, 0);
				for (int turn = 0; turn < turns; turn++)
				{
					poll(&pollfd, 1, 1);
					co_http_drive(http, INT_MAX);
				}
				if (!destroy)
					co_http_abandon(http, stream.transfer);
			}
		}
		if (!destroy)
		{
			CoHttpDone	done;

			CHECK(!co_http_finished(http, &done), "nothing is heard of them");
			begin(http, &stream, "/file", 0, 100000000, 0);
			run(http, &stream, "after abandoned ones");
			CHECK(stream.taken == 20000000 && stream.wrong == 0, "and others go on");
			begin(http, &stream, "/small", 0, 1000000, 0);
			run(http, &stream, "after all");
		}
		co_http_destroy(http);
	}
	CHECK(true, "no leak");
}

int
main(void)
{
	pid_t		server = server_start();

	test_upload();
	test_upload_once();
	test_download();
	test_download_faults();
	test_abandon();
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	return check_done();
}
