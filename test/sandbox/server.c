/*-------------------------------------------------------------------------
 * server.c
 *		The API on its port: from libmicrohttpd to the routing table and back.
 *
 * A request is decided once, when its body is complete (unless it is held before): whose it is, whether
 * its window has room, what goes wrong with it, what the answer is, and what
 * that costs.  What follows (latency, delay, hold) only concerns when the
 * answer is sent.  So a client that leaves early has been charged, as with
 * the service.
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "answer.h"
#include "clock.h"
#include "download.h"
#include "faults.h"
#include "lists.h"
#include "raw.h"
#include "serve.h"
#include "server.h"
#include "settings.h"
#include "stats.h"
#include "stream.h"
#include "table.h"

#define CONNECTION_LIMIT 100000
#define CONNECTION_MEMORY 16384

/* A client that leaves is noticed in waits from this length on. */
#define WATCH_FROM_MS 1000

/* Bytes written behind libmicrohttpd's back are given time to be read. */
#define RAW_RESET_AFTER_MS 50

static struct MHD_Daemon *api;
static Watch api_watch;
static ServerOptions options;

static Call *held;
static Call *free_calls;

/*
 * Calls were resumed since libmicrohttpd ran last.  Neither its descriptor
 * nor its timeout tells that when we, and not a thread of its own, run it.
 */
static bool resumed;

bool
server_has_tls(void)
{
	return options.tls_cert != NULL;
}

/* --- calls --- */

const char *
call_header(const Call *call, const char *name)
{
	return MHD_lookup_connection_value(call->connection, MHD_HEADER_KIND, name);
}

const char *
call_query(const Call *call, const char *name)
{
	return MHD_lookup_connection_value(call->connection, MHD_GET_ARGUMENT_KIND, name);
}

/* Our own address, or the one that the client knows us by. */
void
server_url(const Call *call, Text *url)
{
	const char *host = options.any_address ? call_header(call, "Host") : NULL;

	text_printf(url, "%s://%s", server_has_tls() ? "https" : "http",
				host ? host : options.authority);
}

static void
call_timer(void *arg)
{
	Call	   *call = arg;

	call_wake(call, CALL_READY);
}

static void
call_left(void *arg)
{
	Call	   *call = arg;

	call_wake(call, CALL_OVER);
}

static Call *
call_new(struct MHD_Connection *connection, const char *method, const char *path)
{
	Call	   *call = free_calls;

	if (call)
		free_calls = call->next;
	else
	{
		call = need(sizeof(*call));
		memset(call, 0, sizeof(*call));
	}
	call->connection = connection;
	call->peer = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
	call->number = ++call->peer->requests;
	call->state = CALL_READING;
	call->timer.fire = call_timer;
	call->watch.ready = call_left;
	call->timer.arg = call->watch.arg = call;
	call->method = method;
	call->path = need_copy(path);
	call->route = route_find(method, path);
	call->file_fd = -1;
	return call;
}

static void
call_free(Call *call)
{
	Text		body = call->body;
	Text		answer = call->answer;

	free(call->path);
	json_decref(call->json);
	if (call->upload)
		upload_free(call->upload);
	if (call->file_fd >= 0)
		close(call->file_fd);
	text_free(&call->subject_text);
	if (call->fault)
		fault_let_go(call->fault);
	text_clear(&body);
	text_clear(&answer);
	memset(call, 0, sizeof(*call));
	call->body = body;
	call->answer = answer;
	call->next = free_calls;
	free_calls = call;
}

/* Undo what a wait has set up, whoever ends it. */
static void
call_stop_waiting(Call *call)
{
	timer_cancel(&call->timer);
	if (call->watched)
		loop_unwatch(&call->watch);
	call->watched = false;
	if (call->state == CALL_HELD)
	{
		Call	  **link = &held;

		while (*link != call)
			link = &(*link)->next;
		*link = call->next;
		stats.held--;
	}
	else if (call->state == CALL_HUNG)
		stats.hung--;
}

void
call_wake(Call *call, CallState state)
{
	call_stop_waiting(call);
	/* the rest of its body is still to be read */
	if (state == CALL_READY && call->arrived == 0)
		state = CALL_READING;
	call->state = state;
	MHD_resume_connection(call->connection);
	resumed = true;
}

void
call_wait(Call *call, CallState state, int64_t ms)
{
	call->state = state;
	if (state == CALL_WAITING)
		timer_set(&call->timer, clock_ms() + ms);
	else if (state == CALL_HELD)
	{
		Call	  **last = &held;

		/* in order of arrival, so that they are released in that order */
		while (*last)
			last = &(*last)->next;
		call->next = NULL;
		*last = call;
		stats.held++;
	}
	else
		stats.hung++;
	if (state != CALL_WAITING || ms >= WATCH_FROM_MS)
	{
		call->watch.fd = raw_fd(call->connection);
		loop_watch(&call->watch, EPOLLRDHUP);
		call->watched = true;
	}
	MHD_suspend_connection(call->connection);
}

int
call_release(const char *email, const char *endpoint)
{
	int			released = 0;
	Call	   *next;

	for (Call *call = held; call; call = next)
	{
		next = call->next;
		if (email && (call->email == NULL || strcmp(email, call->email) != 0))
			continue;
		if (endpoint && (call->route == NULL || strcmp(endpoint, call->route->name) != 0))
			continue;
		call_wake(call, CALL_READY);
		released++;
	}
	return released;
}

/* --- deciding --- */

/* Is the body of the kind that the route wants? */
static bool
is_of_kind(const Call *call)
{
	const char *content_type = call_header(call, "Content-Type");
	const char *wanted = call->route->body == BODY_FORM ? "multipart/form-data" : "application/json";
	size_t		len;

	if (call->route->body == BODY_NONE)
		return true;
	if (content_type == NULL)
		return false;
	len = strcspn(content_type, "; \t");
	return len == strlen(wanted) && strncasecmp(content_type, wanted, len) == 0;
}

static void
read_body(Call *call)
{
	if (call->body.len == 0 || call->too_large)
		return;
	call->json = json_loadb(call->body.data, call->body.len, 0, NULL);
	if (!json_is_object(call->json))
	{
		json_decref(call->json);
		call->json = NULL;
		return;
	}
}

/* What it is about, for the faults and the counters. */
static void
read_subject(Call *call)
{
	const Route *route = call->route;
	const char *subject = NULL;

	if (call->upload)
		subject = call->upload->file_name;
	else if (route->subject && route->body == BODY_JSON)
		subject = json_string_value(json_object_get(call->json, route->subject));
	else if (route->subject)
		subject = call_query(call, route->subject);
	else if (route->serve == serve_download)
		subject = download_subject(call->path);
	if (subject == NULL || *subject == '\0')
		return;
	if (route->by_email)
		call->email = subject;
	else if (route->serve == serve_find)
	{
		const char *domain = json_string_value(json_object_get(call->json, "domain"));

		text_string(&call->subject_text, subject);
		text_string(&call->subject_text, "|");
		text_string(&call->subject_text, domain ? domain : "");
		subject = call->subject_text.data;
	}
	else if (route->subject && strcmp(route->subject, "list_id") == 0)
		subject = list_subject(subject);
	call->subject = subject;
}

/* What the service would answer. */
static void
serve(Call *call)
{
	bool		is_public = call->route && call->route->access == ACCESS_PUBLIC;

	if (call->account == NULL && !is_public)
		answer_failure(call, 401, 1000, NULL);
	else if (call->rate.refused)
	{
		stats.refused++;
		answer_too_many(call);
	}
	else if (call->route == NULL)
		answer_status(call, 404);
	else if (call->too_large || (call->upload && call->upload->too_large))
		answer_status(call, 413);
	else if (!is_of_kind(call))
		answer_status(call, 415);
	else
	{
		call->latency = settings_random(settings.latency[0], settings.latency[1]);
		call->route->serve(call);
	}
}

static void
count_subject(Call *call)
{
	static Text key;

	if (call->subject == NULL || !settings.remember)
		return;
	if (call->route->serve == serve_verify)
	{
		call->table = addresses_asked;
		call->count = table_enter(call->table, call->subject);
	}
	else
	{
		text_clear(&key);
		text_printf(&key, "%s ", call->route->name);
		text_string(&key, call->subject);
		call->table = others_asked;
		call->count = table_enter(call->table, key.data);
	}
	call->epoch = table_epoch(call->table);
	call->counted = true;
	table_at(call->table, call->count)->asked++;
}

void
call_charge(Call *call, int64_t credits)
{
	account_charge(call->account, call->route->service, credits);
	stats.charged += credits;
	if (call->counted && call->epoch == table_epoch(call->table))
		table_at(call->table, call->count)->charged += (uint32_t) credits;
}

static void
arrive(Call *call)
{
	call->arrived = clock_wall_ms();
	stats.requests++;
	if (++stats.in_flight > stats.max_in_flight)
		stats.max_in_flight = stats.in_flight;

	if (call->route == NULL || call->route->access == ACCESS_TOKEN)
		call->account = account_authenticate(call_header(call, "Authorization"));
	if (call->upload)
		upload_end(call->upload);
	read_body(call);
	if (call->route)
	{
		call->route->calls++;
		read_subject(call);
	}
	count_subject(call);
	if (call->account)
		account_rate(call->account, call->route ? call->route->service : SERVICE_OTHER,
					 true, &call->rate);

	call->fault = fault_find(call);
	if (call->fault == NULL || call->fault->processed ||
		(call->fault->kind == FAULT_HUGE && call->route && call->route->serve == serve_download))
		serve(call);
	if (call->fault)
		fault_apply(call);
	stats_request(call);
}

/* --- sending --- */

static void
add_header(struct MHD_Response *response, const char *name, const char *value)
{
	if (MHD_add_response_header(response, name, value) != MHD_YES)
		fprintf(stderr, "clearout-sandbox: header %s cannot be sent\n", name);
}

static const char *const rate_names[RATE_HEADERS] = {
	"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"
};

/* The value of a rate header, or NULL if it is not to be sent. */
static const char *
rate_value(Call *call, int which, char buffer[32])
{
	const Rate *rate = &call->rate;
	int64_t		value = which == RATE_LIMIT ? rate->limit :
		which == RATE_REMAINING ? rate->remaining : rate->reset;
	Replace		replace = call->fault ? call->fault->replace[which] : REPLACE_NOT;

	if (replace == REPLACE_VALUE)
		return call->fault->values[which];
	if (replace == REPLACE_OMIT || !rate->known || !settings.rate_headers)
		return NULL;
	snprintf(buffer, 32, "%lld", (long long) value);
	return buffer;
}

static void
refresh_rate(Call *call)
{
	if (settings.headers_at == HEADERS_AT_RESPONSE && call->account && call->rate.known)
		account_rate(call->account, call->route ? call->route->service : SERVICE_OTHER,
					 false, &call->rate);
}

static enum MHD_Result
send_answer(Call *call)
{
	FaultKind	kind = call->fault ? call->fault->kind : FAULT_ANSWER;
	struct MHD_Response *response;
	enum MHD_Result result;

	refresh_rate(call);
	switch (kind)
	{
		case FAULT_CUT:
		case FAULT_LONG:
		case FAULT_HUGE:
		case FAULT_DRIP:
			response = stream_response(call);
			break;
		default:
			if (call->fault && call->fault->chunked)
				response = stream_response(call);
			else if (call->has_file)
			{
				response = MHD_create_response_from_fd64((uint64_t) call->file_len, call->file_fd);
				call->file_fd = -1;
			}
			else
				response = MHD_create_response_from_buffer(call->answer.len, call->answer.data,
														   MHD_RESPMEM_MUST_COPY);
			break;
	}
	if (call->answer.len > 0 || call->has_file || kind == FAULT_HUGE)
		add_header(response, "Content-Type", call->content_type);
	for (int i = 0; i < RATE_HEADERS; i++)
	{
		char		buffer[32];
		const char *value = rate_value(call, i, buffer);

		if (value)
			add_header(response, rate_names[i], value);
	}
	if (call->fault && call->fault->location)
		add_header(response, "Location", call->fault->location);
	if (call->fault && call->fault->headers)
	{
		const char *name;
		json_t	   *value;

		json_object_foreach(call->fault->headers, name, value)
			add_header(response, name, json_string_value(value));
	}
	stats.by_status[call->status]++;
	result = MHD_queue_response(call->connection, (unsigned) call->status, response);
	MHD_destroy_response(response);
	return result;
}

/*
 * libmicrohttpd would add the true length beside a wrong one, so the head is
 * written by hand.
 */
static void
make_short(Call *call)
{
	size_t		less = call->fault->bytes < 0 ? 10 : (size_t) call->fault->bytes;
	size_t		len;
	Text		whole = {0};

	if (call->has_file)
	{
		text_fill(&call->answer, '\0', (size_t) call->file_len);
		call->answer.len = spool_read(call->file_fd, 0, call->answer.data, (size_t) call->file_len);
	}
	len = call->answer.len;
	refresh_rate(call);
	text_printf(&whole, "HTTP/1.1 %d Answer\r\nContent-Type: %s\r\nContent-Length: %zu\r\n",
				call->status, call->content_type, len > less ? len - less : 0);
	for (int i = 0; i < RATE_HEADERS; i++)
	{
		char		buffer[32];
		const char *value = rate_value(call, i, buffer);

		if (value)
			text_printf(&whole, "%s: %s\r\n", rate_names[i], value);
	}
	text_string(&whole, "\r\n");
	text_add(&whole, call->answer.data, len);
	text_free(&call->answer);
	call->answer = whole;
}

/* The faults whose bytes, if any, do not go through libmicrohttpd. */
static enum MHD_Result
send_silence(Call *call)
{
	const Fault *fault = call->fault;
	FaultEnd	end = END_CLOSE;

	if (fault->kind == FAULT_RAW || fault->kind == FAULT_SHORT)
	{
		end = fault->end;
		if (!call->raw_sent)
		{
			if (fault->kind == FAULT_SHORT)
				make_short(call);
			raw_write(call->connection, call->answer.data, call->answer.len);
			call->raw_sent = true;
			if (end == END_RESET)
			{
				call_wait(call, CALL_WAITING, RAW_RESET_AFTER_MS);
				return MHD_YES;
			}
		}
	}
	else if (fault->kind == FAULT_RESET)
		end = END_RESET;
	else if (fault->kind == FAULT_HANG)
		end = END_HANG;
	if (end == END_HANG)
	{
		call_wait(call, CALL_HUNG, 0);
		return MHD_YES;
	}
	if (end == END_RESET)
		raw_reset(call->connection);
	return MHD_NO;
}

/* --- libmicrohttpd --- */

static enum MHD_Result
on_request(void *arg, struct MHD_Connection *connection, const char *path,
		   const char *method, const char *version, const char *upload,
		   size_t *upload_size, void **request)
{
	Call	   *call = *request;

	(void) arg;
	(void) version;
	if (call == NULL)
	{
		call = *request = call_new(connection, method, path);
		if (call->route && call->route->body == BODY_FORM)
			call->upload = upload_begin(connection, options.max_upload);
		return MHD_YES;
	}
	if (*upload_size > 0)
	{
		if (call->upload)
			upload_add(call->upload, upload, *upload_size);
		else if (call->body.len + *upload_size > options.max_body)
			call->too_large = true;
		else
			text_add(&call->body, upload, *upload_size);
		call->received += (int64_t) *upload_size;
		*upload_size = 0;
		if (!call->held_amid && call->state == CALL_READING && fault_holds_body(call, call->received))
		{
			call->held_amid = true;
			raw_narrow(call->connection);
			call_wait(call, CALL_HELD, 0);
		}
		return MHD_YES;
	}
	if (call->state == CALL_READING)
	{
		int64_t		wait;

		arrive(call);
		wait = call->latency + (call->fault ? call->fault->delay_ms : 0);
		call->state = CALL_READY;
		if (fault_holds(call))
			call_wait(call, CALL_HELD, 0);
		else if (wait > 0)
			call_wait(call, CALL_WAITING, wait);
		if (call->state != CALL_READY)
			return MHD_YES;
	}
	if (call->state == CALL_OVER)
		return MHD_NO;
	return call->silent ? send_silence(call) : send_answer(call);
}

static void
on_completed(void *arg, struct MHD_Connection *connection, void **request,
			 enum MHD_RequestTerminationCode how)
{
	Call	   *call = *request;

	(void) arg;
	(void) connection;
	if (call == NULL)
		return;
	*request = NULL;
	call_stop_waiting(call);
	if (call->arrived != 0)
	{
		stats.in_flight--;
		if (how == MHD_REQUEST_TERMINATED_COMPLETED_OK)
		{
			stats.answered++;
			if (call->success && call->counted && call->epoch == table_epoch(call->table))
				table_at(call->table, call->count)->answered++;
			if (call->success && call->list)
				list_downloaded(call->list);
		}
		else
			stats.broken++;
	}
	call_free(call);
}

static void
on_connection(void *arg, struct MHD_Connection *connection, void **context,
			  enum MHD_ConnectionNotificationCode what)
{
	(void) arg;
	(void) connection;
	if (what == MHD_CONNECTION_NOTIFY_STARTED)
	{
		Peer	   *peer = need(sizeof(*peer));

		peer->number = ++stats.connections;
		peer->requests = 0;
		*context = peer;
		if (++stats.connections_now > stats.max_connections)
			stats.max_connections = stats.connections_now;
	}
	else
	{
		stats.connections_now--;
		free(*context);
		*context = NULL;
	}
}

static void
run_daemon(void *arg)
{
	MHD_run(arg);
}

void
server_drive(struct MHD_Daemon *daemon, Watch *watch)
{
	watch->fd = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
	watch->ready = run_daemon;
	watch->arg = daemon;
	loop_watch(watch, EPOLLIN);
}

int64_t
server_patience(struct MHD_Daemon *daemon)
{
	MHD_UNSIGNED_LONG_LONG timeout;

	if (MHD_get_timeout(daemon, &timeout) != MHD_YES)
		return -1;
	if (timeout > 0)
		return (int64_t) timeout;
	MHD_run(daemon);
	return MHD_get_timeout(daemon, &timeout) == MHD_YES ? (int64_t) timeout : -1;
}

int64_t
server_turn(void)
{
	if (resumed)
	{
		resumed = false;
		MHD_run(api);
	}
	return server_patience(api);
}

/*
 * TURBO: libmicrohttpd then does not shut a socket down before it closes it,
 * which would be one call more, and a FIN ahead of our RST.
 */
bool
server_start(const ServerOptions *given)
{
	unsigned	flags = MHD_USE_EPOLL | MHD_USE_TURBO | MHD_ALLOW_SUSPEND_RESUME;
	struct MHD_OptionItem tls[] = {
		{MHD_OPTION_HTTPS_MEM_CERT, 0, (void *) given->tls_cert},
		{MHD_OPTION_HTTPS_MEM_KEY, 0, (void *) given->tls_key},
		{MHD_OPTION_END, 0, NULL}
	};
	struct MHD_OptionItem plain[] = {
		{MHD_OPTION_END, 0, NULL}
	};

	options = *given;
	if (server_has_tls())
		flags |= MHD_USE_TLS;
	api = MHD_start_daemon(flags, 0, NULL, NULL, on_request, NULL,
						   MHD_OPTION_LISTEN_SOCKET, options.listen_fd,
						   MHD_OPTION_CONNECTION_LIMIT, (unsigned) CONNECTION_LIMIT,
						   MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) CONNECTION_MEMORY,
						   MHD_OPTION_CONNECTION_TIMEOUT, options.idle_timeout,
						   MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
						   MHD_OPTION_NOTIFY_CONNECTION, on_connection, NULL,
						   MHD_OPTION_ARRAY, server_has_tls() ? tls : plain,
						   MHD_OPTION_END);
	if (api == NULL)
		return false;
	server_drive(api, &api_watch);
	return true;
}
