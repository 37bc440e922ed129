/*-------------------------------------------------------------------------
 * stats.c
 *		What tests read: counters, and the last requests.
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "searches.h"
#include "stats.h"

#define RECENT 128				/* requests remembered one by one */

/* What is remembered of a request: no token, but how it was spelt. */
typedef struct Recent
{
	int64_t		arrived;
	int64_t		connection;
	int64_t		number;			/* on its connection, from 1 */
	int			status;			/* 0 = a fault without an answer */
	char		method[8];
	char		path[96];
	char		authorization[8];	/* bearer, colon, raw, none */
	char		content_type[48];
	char		user_agent[64];
	char		email[128];
	char		subject[128];
} Recent;

Stats		stats;

static Recent recent[RECENT];
static int64_t nrecent;

static void
copy(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%s", from ? from : "");
}

void
stats_request(const Call *call)
{
	Recent	   *r = &recent[nrecent++ % RECENT];
	const char *authorization = call_header(call, "Authorization");

	r->arrived = call->arrived;
	r->connection = call->peer->number;
	r->number = call->number;
	r->status = call->silent ? 0 : call->status;
	copy(r->method, sizeof(r->method), call->method);
	copy(r->path, sizeof(r->path), call->path);
	copy(r->authorization, sizeof(r->authorization),
		 authorization == NULL ? "none" :
		 strncmp(authorization, "Bearer ", 7) == 0 ? "bearer" :
		 strncmp(authorization, "Bearer:", 7) == 0 ? "colon" : "raw");
	copy(r->content_type, sizeof(r->content_type), call_header(call, "Content-Type"));
	copy(r->user_agent, sizeof(r->user_agent), call_header(call, "User-Agent"));
	copy(r->email, sizeof(r->email), call->email);
	copy(r->subject, sizeof(r->subject), call->subject);
}

/* What clients send is not always text, or was cut within a character. */
static json_t *
words(const char *string)
{
	json_t	   *json = json_string(string);

	return json ? json : json_string("(not UTF-8)");
}

json_t *
stats_recent_json(void)
{
	json_t	   *list = json_array();
	int64_t		first = nrecent > RECENT ? nrecent - RECENT : 0;

	for (int64_t i = first; i < nrecent; i++)
	{
		const Recent *r = &recent[i % RECENT];

		json_array_append_new(list,
							  json_pack("{sI sI sI si so so so so so so so}",
										"arrived_ms", (json_int_t) r->arrived,
										"connection", (json_int_t) r->connection,
										"number", (json_int_t) r->number,
										"status", r->status,
										"method", words(r->method),
										"path", words(r->path),
										"authorization", words(r->authorization),
										"content_type", words(r->content_type),
										"user_agent", words(r->user_agent),
										"email", words(r->email),
										"subject", words(r->subject)));
	}
	return list;
}

static void
add_window(json_t *list, const Account *account, int which, const WindowRecord *w)
{
	if (w->start == 0)
		return;
	json_array_append_new(list,
						  json_pack("{ss ss sI sI sI sI sI}",
									"token", account->token,
									"service", service_names[which],
									"start_ms", (json_int_t) w->start,
									"end_ms", (json_int_t) w->end,
									"limit", (json_int_t) w->limit,
									"counted", (json_int_t) w->counted,
									"refused", (json_int_t) w->refused));
}

json_t *
stats_json(void)
{
	json_t	   *by_status = json_object();
	json_t	   *by_endpoint = json_object();
	json_t	   *tokens = json_array();
	json_t	   *windows = json_array();

	for (int i = 0; i < STATS_STATUSES; i++)
	{
		char		name[16];

		if (stats.by_status[i] == 0)
			continue;
		snprintf(name, sizeof(name), "%d", i);
		json_object_set_new(by_status, name, json_integer(stats.by_status[i]));
	}
	for (Route *route = routes; route->name; route++)
	{
		/* there may be several paths to one endpoint */
		int64_t		before = json_integer_value(json_object_get(by_endpoint, route->name));

		json_object_set_new(by_endpoint, route->name, json_integer(before + route->calls));
	}
	for (Account *account = accounts; account; account = account->next)
	{
		int64_t		left = account_daily_left(account);

		json_array_append_new(tokens,
							  json_pack("{ss sb sI sI so}",
										"token", account->token,
										"valid", (int) account->valid,
										"credits", (json_int_t) account->credits,
										"charged", (json_int_t) account->charged,
										"daily_left", left < 0 ? json_null() : json_integer(left)));
		for (int which = 0; which < SERVICE_WINDOWS; which++)
		{
			const Window *w = &account->windows[which];

			for (int i = w->npast; i > 0; i--)
				add_window(windows, account, which,
						   &w->past[(w->next_past - i + WINDOW_HISTORY) % WINDOW_HISTORY]);
			add_window(windows, account, which, &w->now);
		}
	}
	return json_pack("{sI sI sI sI sI sI sI sI sI sI sI sI sI sI sI sI sI sI sI sI sI so so so so}",
					 "now_ms", (json_int_t) clock_wall_ms(),
					 "requests", (json_int_t) stats.requests,
					 "answered", (json_int_t) stats.answered,
					 "broken", (json_int_t) stats.broken,
					 "charged", (json_int_t) stats.charged,
					 "lists", (json_int_t) stats.lists,
					 "rows", (json_int_t) stats.rows,
					 "searches", (json_int_t) searches_running(),
					 "credits", (json_int_t) (accounts ? accounts->credits : 0),
					 "unauthorized", (json_int_t) stats.by_status[401],
					 "payment_required", (json_int_t) stats.by_status[402],
					 "rate_limited", (json_int_t) stats.by_status[429],
					 "refused", (json_int_t) stats.refused,
					 "timed_out", (json_int_t) stats.timed_out,
					 "faulted", (json_int_t) stats.faulted,
					 "in_flight", (json_int_t) stats.in_flight,
					 "max_in_flight", (json_int_t) stats.max_in_flight,
					 "held", (json_int_t) stats.held,
					 "hung", (json_int_t) stats.hung,
					 "connections", (json_int_t) stats.connections,
					 "connections_now", (json_int_t) stats.connections_now,
					 "by_status", by_status,
					 "by_endpoint", by_endpoint,
					 "tokens", tokens,
					 "windows", windows);
}

void
stats_reset(void)
{
	Stats		fresh = {
		.in_flight = stats.in_flight,
		.max_in_flight = stats.in_flight,
		.held = stats.held,
		.hung = stats.hung,
		.connections_now = stats.connections_now,
		.max_connections = stats.connections_now
	};

	stats = fresh;
	nrecent = 0;
	for (Route *route = routes; route->name; route++)
		route->calls = 0;
}
