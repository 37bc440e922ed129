/*-------------------------------------------------------------------------
 * main.c
 *		clearout-sandbox: a loopback server that stands in for the Clearout
 *		REST API.  This file reads the options and turns the loop.
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <getopt.h>
#include <malloc.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "account.h"
#include "control.h"
#include "loop.h"
#include "server.h"
#include "settings.h"
#include "text.h"

#define BACKLOG 4096

/* The official form: 32 characters, a colon, 64 characters. */
#define SAMPLE_TOKEN "sandbox0sandbox0sandbox0sandbox0:" \
	"not0a0real0token0not0a0real0token0not0a0real0token0not0a0real000"

static const struct option long_options[] = {
	{"port", required_argument, NULL, 'p'},
	{"control-port", required_argument, NULL, 'c'},
	{"port-file", required_argument, NULL, 'f'},
	{"bind", required_argument, NULL, 'b'},
	{"token", required_argument, NULL, 't'},
	{"tls-cert", required_argument, NULL, 'C'},
	{"tls-key", required_argument, NULL, 'K'},
	{"idle-timeout", required_argument, NULL, 'i'},
	{"max-body", required_argument, NULL, 'm'},
	{"max-upload", required_argument, NULL, 'M'},
	{"exit-with-parent", no_argument, NULL, 'x'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0}
};

static void
help(void)
{
	printf("Usage: clearout-sandbox [OPTION]...\n"
		   "Stands in for the Clearout REST API on loopback.\n\n"
		   "  --port N           port of the API, 0 = any free one (0)\n"
		   "  --control-port N   port for tests, always on 127.0.0.1 (0)\n"
		   "  --port-file FILE   write \"PORT CONTROL_PORT\" there once ready\n"
		   "  --bind ADDRESS     address of the API (127.0.0.1)\n"
		   "  --token T          an API token; may be repeated (see below)\n"
		   "  --tls-cert FILE    serve HTTPS with this certificate, PEM\n"
		   "  --tls-key FILE     its key, PEM\n"
		   "  --idle-timeout S   close connections idle for S seconds, 0 = never (0)\n"
		   "  --max-body BYTES   largest request body (1048576)\n"
		   "  --max-upload BYTES largest file of a list (4294967296)\n"
		   "  --exit-with-parent end when the process that started us ends\n"
		   "  --help             this text\n\n"
		   "Settings, here or while running with POST /config:\n");
	settings_help(stdout);
	printf("\nWithout --token the token is\n" SAMPLE_TOKEN "\n");
}

static void
fail(const char *what, const char *detail)
{
	fprintf(stderr, "clearout-sandbox: %s: %s\n", what, detail);
	exit(1);
}

static int64_t
number(const char *option, const char *text, int64_t max)
{
	char	   *end;
	long long	value = strtoll(text, &end, 10);

	if (end == text || *end || value < 0 || value > max)
		fail(option, "not a number, or out of range");
	return value;
}

static char *
read_file(const char *path)
{
	FILE	   *file = fopen(path, "r");
	Text		text = {0};
	char		piece[4096];
	size_t		len;

	if (file == NULL)
	{
		perror(path);
		exit(1);
	}
	while ((len = fread(piece, 1, sizeof(piece), file)) > 0)
		text_add(&text, piece, len);
	fclose(file);
	if (text.len == 0)
		fail(path, "is empty");
	return text.data;
}

/* A socket that listens; *port is filled in. */
static int
listen_on(const char *address, int *port)
{
	struct addrinfo hints = {
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
		.ai_socktype = SOCK_STREAM
	};
	struct addrinfo *found;
	struct sockaddr_storage bound;
	socklen_t	len = sizeof(bound);
	char		service[16];
	int			on = 1;
	int			fd;

	snprintf(service, sizeof(service), "%d", *port);
	if (getaddrinfo(address, service, &hints, &found) != 0)
		fail("--bind", "not a numeric address");
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 ||
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
		bind(fd, found->ai_addr, found->ai_addrlen) < 0 ||
		listen(fd, BACKLOG) < 0 ||
		getsockname(fd, (struct sockaddr *) &bound, &len) < 0)
	{
		perror("clearout-sandbox: listen");
		exit(1);
	}
	freeaddrinfo(found);
	*port = ntohs(bound.ss_family == AF_INET6 ?
				  ((struct sockaddr_in6 *) &bound)->sin6_port :
				  ((struct sockaddr_in *) &bound)->sin_port);
	return fd;
}

/* Written under another name first: whoever sees it sees all of it. */
static void
write_port_file(const char *path, int port, int control_port)
{
	char	   *new = need(strlen(path) + 5);
	FILE	   *file;

	sprintf(new, "%s.new", path);
	file = fopen(new, "w");
	if (file == NULL || fprintf(file, "%d %d\n", port, control_port) < 0 ||
		fclose(file) != 0 || rename(new, path) != 0)
	{
		perror(path);
		exit(1);
	}
	free(new);
}

static void
on_signal(int signal)
{
	(void) signal;
	_exit(0);
}

/* Thousands of connections want thousands of descriptors. */
static void
raise_limits(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0)
	{
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

static void
follow_parent(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	/* it may have ended before that call */
	if (getppid() != parent)
		exit(0);
}

int
main(int argc, char **argv)
{
	ServerOptions options = {.max_body = 1 << 20,.max_upload = (int64_t) 1 << 32};
	char		authority[80];
	pid_t		parent = getppid();
	const char *address = "127.0.0.1";
	const char *port_file = NULL;
	const char *tls_cert = NULL;
	const char *tls_key = NULL;
	const char *tokens[64];
	int			ntokens = 0;
	int			port = 0;
	int			control_port = 0;
	int			control_fd;
	char	  **rest;
	int			nrest = 1;

	/*
	 * The settings come first: they are taken out of argv by their table, so
	 * that getopt sees only what is left.
	 */
	rest = need(((size_t) argc + 1) * sizeof(char *));
	rest[0] = argv[0];
	for (int i = 1; i < argc; i++)
	{
		const char *name = argv[i] + 2;
		char		key[64];
		const char *value = strchr(argv[i], '=');
		const char *problem;

		snprintf(key, sizeof(key), "%.*s",
				 (int) (strncmp(argv[i], "--", 2) ? 0 : strcspn(name, "=")), name);
		if (!settings_known(key))
		{
			rest[nrest++] = argv[i];
			continue;
		}
		if (value)
			value++;
		else if (++i < argc)
			value = argv[i];
		else
			fail(key, "needs a value");
		problem = settings_set(key, value);
		if (problem)
			fail(key, problem);
	}
	rest[nrest] = NULL;

	for (;;)
	{
		int			c = getopt_long(nrest, rest, "", long_options, NULL);

		if (c == -1)
			break;
		switch (c)
		{
			case 'p':
				port = (int) number("--port", optarg, 65535);
				break;
			case 'c':
				control_port = (int) number("--control-port", optarg, 65535);
				break;
			case 'f':
				port_file = optarg;
				break;
			case 'b':
				address = optarg;
				break;
			case 't':
				if (ntokens == 64)
					fail("--token", "too many");
				tokens[ntokens++] = optarg;
				break;
			case 'C':
				tls_cert = optarg;
				break;
			case 'K':
				tls_key = optarg;
				break;
			case 'i':
				options.idle_timeout = (unsigned) number("--idle-timeout", optarg, 86400);
				break;
			case 'm':
				options.max_body = (size_t) number("--max-body", optarg, 1 << 30);
				break;
			case 'M':
				options.max_upload = number("--max-upload", optarg, INT64_MAX);
				break;
			case 'x':
				follow_parent(parent);
				break;
			case 'h':
				help();
				return 0;
			default:
				fputs("Try --help.\n", stderr);
				return 2;
		}
	}
	if (optind < nrest)
		fail("unexpected argument", rest[optind]);
	free(rest);
	if ((tls_cert == NULL) != (tls_key == NULL))
		fail("--tls-cert", "goes with --tls-key");

	settings_keep();
	if (ntokens == 0)
		tokens[ntokens++] = SAMPLE_TOKEN;
	for (int i = 0; i < ntokens; i++)
		if (!account_by_token(tokens[i]))
			account_add(tokens[i]);

	/* by default this grows, and large blocks then leave holes behind */
	mallopt(M_MMAP_THRESHOLD, 128 * 1024);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	raise_limits();
	loop_init();

	if (tls_cert)
	{
		options.tls_cert = read_file(tls_cert);
		options.tls_key = read_file(tls_key);
	}
	options.listen_fd = listen_on(address, &port);
	snprintf(authority, sizeof(authority), strchr(address, ':') ? "[%s]:%d" : "%s:%d", address, port);
	options.authority = authority;
	options.any_address = strcmp(address, "0.0.0.0") == 0 || strcmp(address, "::") == 0;
	control_fd = listen_on("127.0.0.1", &control_port);
	if (!server_start(&options))
		fail("the API", "libmicrohttpd does not start");
	if (!control_start(control_fd))
		fail("the control port", "libmicrohttpd does not start");

	printf("listening %s://%s/v2 control http://127.0.0.1:%d\n",
		   tls_cert ? "https" : "http", authority, control_port);
	fflush(stdout);
	if (port_file)
		write_port_file(port_file, port, control_port);

	for (;;)
	{
		/* the control port first: what it orders may wake the API's calls */
		int64_t		wait = control_turn();
		int64_t		api = server_turn();

		if (wait < 0 || (api >= 0 && api < wait))
			wait = api;
		loop_turn(wait);
	}
}
