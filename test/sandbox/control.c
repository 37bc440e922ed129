/*-------------------------------------------------------------------------
 * control.c
 *		The control port: where tests read counters and order faults.
 *
 * JSON over HTTP, on loopback only, without the token of the API.  A word
 * that is not known is an error, so that a misspelt test does not pass.
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <microhttpd.h>

#include "control.h"
#include "faults.h"
#include "lists.h"
#include "searches.h"
#include "server.h"
#include "settings.h"
#include "stats.h"
#include "table.h"
#include "text.h"

#define REPEATED_MAX 1000		/* addresses listed by GET /calls */
#define ORDER_MAX (64 * 1024 * 1024)

static struct MHD_Daemon *control;
static Watch control_watch;

typedef struct Order
{
	struct MHD_Connection *connection;
	const json_t *json;			/* never NULL, an object */
	const char *problem;		/* set by the function if it fails */
} Order;

/* --- reading --- */

static json_t *
get_stats(Order *order)
{
	(void) order;
	return stats_json();
}

static json_t *
get_recent(Order *order)
{
	(void) order;
	return stats_recent_json();
}

static json_t *
words(const char *text)
{
	json_t	   *json = json_string(text);

	return json ? json : json_string("(not UTF-8)");
}

static json_t *
one_count(const char *what, const char *key, const Count *count)
{
	static const Count none;

	if (count == NULL)
		count = &none;
	return json_pack("{so sI sI sI sI}", what, words(key),
					 "asked", (json_int_t) count->asked,
					 "answered", (json_int_t) count->answered,
					 "rows", (json_int_t) count->rows,
					 "charged", (json_int_t) count->charged);
}

/* What is summed up over many counts. */
typedef struct Summary
{
	const char *prefix;			/* of the keys that are meant, left out in print */
	const char *what;
	int64_t		distinct;
	int64_t		asked;
	int64_t		answered;
	int64_t		rows;
	int64_t		charged;
	uint32_t	max;
	json_t	   *repeated;		/* those asked for more than once */
	int64_t		more;			/* of them, what was left out */
} Summary;

static void
sum_up(const Count *count, void *arg)
{
	Summary    *sum = arg;
	size_t		len = strlen(sum->prefix);

	if (strncmp(count->key, sum->prefix, len) != 0)
		return;
	sum->distinct++;
	sum->asked += count->asked;
	sum->answered += count->answered;
	sum->rows += count->rows;
	sum->charged += count->charged;
	if (count->asked > sum->max)
		sum->max = count->asked;
	if (count->asked < 2)
		return;
	if (json_array_size(sum->repeated) < REPEATED_MAX)
		json_array_append_new(sum->repeated, one_count(sum->what, count->key + len, count));
	else
		sum->more++;
}

/*
 * Of one address, or over all of them; with an endpoint other than verify, of
 * one subject or over all of that endpoint.
 */
static json_t *
get_calls(Order *order)
{
	const char *email = MHD_lookup_connection_value(order->connection,
													MHD_GET_ARGUMENT_KIND, "email");
	const char *subject = MHD_lookup_connection_value(order->connection,
													  MHD_GET_ARGUMENT_KIND, "subject");
	const char *endpoint = MHD_lookup_connection_value(order->connection,
													   MHD_GET_ARGUMENT_KIND, "endpoint");
	Summary		sum = {.prefix = "",.what = "email"};
	const Table *table = addresses_asked;
	json_t	   *answer;
	Text		key = {0};

	if (email && !endpoint)
		return one_count("email", email, table_find(addresses_asked, email));
	if (endpoint && strcmp(endpoint, "verify") != 0)
	{
		table = others_asked;
		text_printf(&key, "%s ", endpoint);
		if (email || subject)
		{
			text_string(&key, email ? email : subject);
			answer = one_count("subject", email ? email : subject, table_find(table, key.data));
			text_free(&key);
			return answer;
		}
		sum.prefix = key.data;
		sum.what = "subject";
	}
	sum.repeated = json_array();
	table_each(table, sum_up, &sum);
	text_free(&key);
	return json_pack("{sI sI sI sI sI sI so sI}",
					 "distinct", (json_int_t) sum.distinct,
					 "asked", (json_int_t) sum.asked,
					 "answered", (json_int_t) sum.answered,
					 "rows", (json_int_t) sum.rows,
					 "charged", (json_int_t) sum.charged,
					 "max", (json_int_t) sum.max,
					 "repeated", sum.repeated,
					 "repeated_more", (json_int_t) sum.more);
}

static json_t *
get_faults(Order *order)
{
	(void) order;
	return json_pack("{so so}", "faults", fault_list(false), "holds", fault_list(true));
}

static json_t *
get_config(Order *order)
{
	(void) order;
	return settings_json();
}

/* --- ordering --- */

static json_t *
add_rule(Order *order, bool hold)
{
	int			id = fault_add(order->json, hold, &order->problem);

	return id ? json_pack("{si}", "id", id) : NULL;
}

static json_t *
post_fault(Order *order)
{
	return add_rule(order, false);
}

static json_t *
post_hold(Order *order)
{
	return add_rule(order, true);
}

static json_t *
post_clear(Order *order)
{
	const json_t *given = json_object_get(order->json, "id");
	int64_t		id = 0;

	if (json_object_size(order->json) > (given ? 1 : 0) ||
		(given && (!settings_number(given, &id) || id == 0)))
	{
		order->problem = "clear takes nothing but the id of a fault";
		return NULL;
	}
	fault_clear(false, (int) id, NULL, NULL);
	return json_object();
}

static json_t *
post_release(Order *order)
{
	const char *key;
	json_t	   *value;
	const char *email = NULL;
	const char *endpoint = NULL;
	bool		keep = false;

	json_object_foreach((json_t *) order->json, key, value)
	{
		if (strcmp(key, "email") == 0 && json_is_string(value))
			email = json_string_value(value);
		else if (strcmp(key, "endpoint") == 0 && json_is_string(value))
			endpoint = json_string_value(value);
		else if (strcmp(key, "keep") != 0 || !settings_bool(value, &keep))
		{
			order->problem = "release takes email, endpoint and keep";
			return NULL;
		}
	}
	if (!keep)
		fault_clear(true, 0, email, endpoint);
	return json_pack("{si}", "released", call_release(email, endpoint));
}

/* Settings of one token, or of all of them. */
static const char *
configure_account(Account *account, const char *key, const json_t *value)
{
	int64_t		number = -1;

	if (strcmp(key, "valid") == 0 && settings_bool(value, &account->valid))
		;
	else if (strcmp(key, "credits") == 0 && settings_number(value, &number))
		account->credits = number;
	else if (strcmp(key, "daily_limit") == 0 &&
			 (json_is_null(value) || settings_number(value, &number)))
	{
		account->daily_limit = number;
		account->daily_used = 0;
	}
	else
		return "a token has valid, credits and daily_limit";
	return NULL;
}

static json_t *
post_config(Order *order)
{
	const char *token = json_string_value(json_object_get(order->json, "token"));
	Account    *only = NULL;
	const char *key;
	json_t	   *value;

	if (token)
	{
		only = account_by_token(token);
		if (only == NULL)
			only = account_add(token);
	}
	json_object_foreach((json_t *) order->json, key, value)
	{
		bool		of_account = strcmp(key, "valid") == 0 || strcmp(key, "credits") == 0 ||
			strcmp(key, "daily_limit") == 0;

		if (strcmp(key, "token") == 0)
			continue;
		if (settings_known(key) && !only)
			order->problem = settings_set_json(key, value);
		if (of_account || only)
			for (Account *account = accounts; account && !order->problem; account = account->next)
				if (!only || only == account)
					order->problem = configure_account(account, key, value);
		if (!of_account && !only && !settings_known(key))
			order->problem = "unknown setting";
		if (order->problem)
			return NULL;

		/* a window that began under other rules is over */
		if (strncmp(key, "window_", 7) == 0 || strcmp(key, "shared_window") == 0)
			for (Account *account = accounts; account; account = account->next)
				for (int i = 0; i < SERVICE_WINDOWS; i++)
					window_restart(&account->windows[i]);
	}
	return settings_json();
}

/* All of them, also those that were removed; or those of one name. */
static json_t *
get_lists(Order *order)
{
	const char *name = MHD_lookup_connection_value(order->connection,
												   MHD_GET_ARGUMENT_KIND, "name");
	json_t	   *all = json_array();

	for (const List *list = lists; list; list = list->next)
		if (name == NULL || strcmp(list->name, name) == 0)
			json_array_insert_new(all, 0, list_json(list));
	return json_pack("{so}", "lists", all);
}

static const char *
order_list(List *list, const char *key, const json_t *value)
{
	bool		flag = false;

	if (strcmp(key, "say") == 0 && (json_is_null(value) || json_is_string(value)))
		list_say(list, json_string_value(value));
	else if (strcmp(key, "percent") == 0)
	{
		list->percent = -1;
		if (!json_is_null(value) && !settings_number(value, &list->percent))
			return "percent is a number or null";
	}
	else if (!settings_bool(value, &flag) || !flag)
		return "unknown, or not true";
	else if (strcmp(key, "finish") == 0)
		list_finish(list);
	else if (strcmp(key, "cancel") == 0)
		list_cancel(list);
	else if (strcmp(key, "expire") == 0)
		list_expire(list);
	else if (strcmp(key, "remove") == 0)
		list_remove(list);
	else
		return "a list takes say, percent, finish, cancel, expire and remove";
	return NULL;
}

/* To the lists that are there, or to those of one id or name. */
static json_t *
post_list(Order *order)
{
	const char *id = json_string_value(json_object_get(order->json, "list_id"));
	const char *name = json_string_value(json_object_get(order->json, "name"));
	const char *key;
	json_t	   *value;
	int			count = 0;

	for (List *list = lists; list; list = list->next)
	{
		if (list->removed || (id && strcmp(list->id, id) != 0) ||
			(name && strcmp(list->name, name) != 0))
			continue;
		json_object_foreach((json_t *) order->json, key, value)
		{
			if (strcmp(key, "list_id") == 0 || strcmp(key, "name") == 0)
				continue;
			order->problem = order_list(list, key, value);
			if (order->problem)
				return NULL;
		}
		count++;
	}
	if (count == 0)
	{
		order->problem = "there is no such list";
		return NULL;
	}
	return json_pack("{si}", "lists", count);
}

static json_t *
post_reset(Order *order)
{
	(void) order;
	settings_restore();
	fault_clear(false, 0, NULL, NULL);
	fault_clear(true, 0, NULL, NULL);
	call_release(NULL, NULL);
	lists_reset();
	stats_reset();
	table_clear(addresses_asked);
	table_clear(others_asked);
	searches_reset();
	for (Account *account = accounts; account; account = account->next)
	{
		account_reset(account);
		account->valid = true;
	}
	return json_object();
}

static const struct
{
	const char *method;
	const char *path;
	json_t	   *(*obey) (Order *order);
}			orders[] =
{
	{"GET", "/stats", get_stats},
	{"GET", "/calls", get_calls},
	{"GET", "/requests", get_recent},
	{"GET", "/faults", get_faults},
	{"GET", "/config", get_config},
	{"POST", "/config", post_config},
	{"POST", "/fault", post_fault},
	{"POST", "/clear", post_clear},
	{"POST", "/hold", post_hold},
	{"POST", "/release", post_release},
	{"GET", "/lists", get_lists},
	{"POST", "/list", post_list},
	{"POST", "/reset", post_reset},
};

/* --- libmicrohttpd --- */

static enum MHD_Result
reply(struct MHD_Connection *connection, unsigned status, json_t *json)
{
	char	   *dump = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);
	struct MHD_Response *response;
	enum MHD_Result result;

	json_decref(json);
	if (dump == NULL)
		dump = need_copy("null");
	response = MHD_create_response_from_buffer(strlen(dump), dump, MHD_RESPMEM_MUST_FREE);
	MHD_add_response_header(response, "Content-Type", "application/json");
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result
obey(struct MHD_Connection *connection, const char *method, const char *path, const Text *body)
{
	Order		order = {.connection = connection};
	json_t	   *json = NULL;
	json_t	   *result = NULL;
	unsigned	status = 404;

	order.problem = "no such order";
	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++)
	{
		if (strcmp(orders[i].method, method) != 0 || strcmp(orders[i].path, path) != 0)
			continue;
		json = body->len ? json_loadb(body->data, body->len, JSON_ALLOW_NUL, NULL) : json_object();
		status = 400;
		order.problem = "the body is not a JSON object";
		if (!json_is_object(json))
			break;
		order.json = json;
		order.problem = NULL;
		result = orders[i].obey(&order);
		break;
	}
	if (result)
		status = 200;
	else
		result = json_pack("{ss}", "error", order.problem ? order.problem : "failed");
	json_decref(json);
	return reply(connection, status, result);
}

static enum MHD_Result
on_request(void *arg, struct MHD_Connection *connection, const char *path,
		   const char *method, const char *version, const char *upload,
		   size_t *upload_size, void **request)
{
	Text	   *body = *request;

	(void) arg;
	(void) version;
	if (body == NULL)
	{
		body = need(sizeof(*body));
		memset(body, 0, sizeof(*body));
		*request = body;
		return MHD_YES;
	}
	if (*upload_size > 0)
	{
		if (body->len + *upload_size > ORDER_MAX)
			return MHD_NO;
		text_add(body, upload, *upload_size);
		*upload_size = 0;
		return MHD_YES;
	}
	return obey(connection, method, path, body);
}

static void
on_completed(void *arg, struct MHD_Connection *connection, void **request,
			 enum MHD_RequestTerminationCode how)
{
	(void) arg;
	(void) connection;
	(void) how;
	if (*request)
	{
		text_free(*request);
		free(*request);
	}
	*request = NULL;
}

int64_t
control_turn(void)
{
	return server_patience(control);
}

bool
control_start(int listen_fd)
{
	control = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
							   on_request, NULL,
							   MHD_OPTION_LISTEN_SOCKET, listen_fd,
							   MHD_OPTION_CONNECTION_LIMIT, 256u,
							   MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
							   MHD_OPTION_END);
	if (control == NULL)
		return false;
	server_drive(control, &control_watch);
	return true;
}
