/*-------------------------------------------------------------------------
 * faults.c
 *		What goes wrong on demand, and what is held back on demand.
 *
 * A rule that is cleared while calls still carry it lives until the last of
 * them is over.
 *-------------------------------------------------------------------------
 */
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "faults.h"
#include "server.h"
#include "settings.h"
#include "stats.h"

static Fault *lists[2];			/* faults, holds */
static int	last_id;

static const char *const kinds[] = {
	"answer", "reset", "close", "dead", "hang", "cut", "half", "long", "short",
	"huge", "drip", "raw", NULL
};
static const char *const ends[] = {"close", "reset", "hang", NULL};

/* --- reading a rule --- */

static bool
read_string(const json_t *value, char **to)
{
	if (!json_is_string(value))
		return false;
	free(*to);
	*to = need_copy(json_string_value(value));
	return true;
}

static bool
read_small(const json_t *value, int *to)
{
	int64_t		number;

	if (!settings_number(value, &number) || number > 999999)
		return false;
	*to = (int) number;
	return true;
}

static bool
read_word(const json_t *value, const char *const *words, int *to)
{
	const char *word = json_string_value(value);

	for (int i = 0; word && words[i]; i++)
		if (strcmp(words[i], word) == 0)
		{
			*to = i;
			return true;
		}
	return false;
}

/* A string as it is (NUL included), or an object or array as JSON. */
static bool
read_body(const json_t *value, Fault *fault)
{
	if (json_is_string(value))
		text_add(&fault->body, json_string_value(value), json_string_length(value));
	else
	{
		char	   *dump = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

		if (dump == NULL)
			return false;
		text_string(&fault->body, dump);
		free(dump);
	}
	fault->has_body = true;
	return true;
}

/* Bytes that no JSON string can hold. */
static bool
read_hex(const json_t *value, Fault *fault)
{
	const char *p = json_string_value(value);

	if (p == NULL || strlen(p) % 2 != 0)
		return false;
	for (; *p; p += 2)
	{
		char		digits[3] = {p[0], p[1], '\0'};
		char	   *end;
		char		byte = (char) strtol(digits, &end, 16);

		if (*end)
			return false;
		text_add(&fault->body, &byte, 1);
	}
	fault->has_body = true;
	return true;
}

static bool
read_nested(const json_t *value, Fault *fault)
{
	int64_t		depth;

	if (!settings_number(value, &depth) || depth > 16 * 1024 * 1024)
		return false;
	text_fill(&fault->body, '[', (size_t) depth);
	text_fill(&fault->body, ']', (size_t) depth);
	fault->has_body = true;
	return true;
}

/* A number or a string goes into the header as it is, null leaves it out. */
static bool
read_rate(const json_t *value, Fault *fault, int which)
{
	char		text[32];

	fault->replace[which] = json_is_null(value) ? REPLACE_OMIT : REPLACE_VALUE;
	if (json_is_null(value))
		return true;
	if (!json_is_integer(value))
		return read_string(value, &fault->values[which]);
	snprintf(text, sizeof(text), "%lld", (long long) json_integer_value(value));
	free(fault->values[which]);
	fault->values[which] = need_copy(text);
	return true;
}

static bool
read_headers(const json_t *value, Fault *fault)
{
	const char *name;
	json_t	   *text;

	json_object_foreach((json_t *) value, name, text)
		if (!json_is_string(text))
			return false;
	if (!json_is_object(value))
		return false;
	fault->headers = json_deep_copy(value);
	return true;
}

static const char *
read_rule(const json_t *rule, Fault *fault, bool hold)
{
	static char problem[128];
	const char *key;
	json_t	   *value;
	int			word = 0;
	int			processed = -1;
	bool		flag = false;
	bool		has_end = false;

	json_object_foreach((json_t *) rule, key, value)
	{
		bool		good = true;

#define IS(name) (strcmp(key, name) == 0)
		if (IS("email"))
			good = read_string(value, &fault->email);
		else if (IS("pattern"))
			good = read_string(value, &fault->pattern);
		else if (IS("endpoint"))
			good = read_string(value, &fault->endpoint);
		else if (IS("subject"))
			good = read_string(value, &fault->subject);
		else if (IS("token"))
			good = read_string(value, &fault->token);
		else if (IS("request"))
			good = settings_number(value, &fault->request);
		else if (IS("from_request"))
			good = settings_number(value, &fault->from_request);
		else if (IS("after"))
			good = settings_number(value, &fault->after);
		else if (IS("times"))
			good = json_is_null(value) || settings_number(value, &fault->times);
		else if (IS("probability"))
		{
			good = json_is_number(value) || json_is_string(value);
			fault->probability = json_is_string(value) ?
				atof(json_string_value(value)) : json_number_value(value);
		}
		else if (hold)
			good = IS("bytes") && settings_number(value, &fault->bytes);
		else if (IS("kind"))
		{
			good = read_word(value, kinds, &word);
			fault->kind = (FaultKind) word;
		}
		else if (IS("status"))
			good = read_small(value, &fault->status) &&
				fault->status >= 200 && fault->status < STATS_STATUSES;
		else if (IS("code"))
			good = read_small(value, &fault->code);
		else if (IS("message"))
			good = read_string(value, &fault->message);
		else if (IS("body"))
			good = read_body(value, fault);
		else if (IS("body_hex"))
			good = read_hex(value, fault);
		else if (IS("nested"))
			good = read_nested(value, fault);
		else if (IS("content_type"))
			good = read_string(value, &fault->content_type);
		else if (IS("location"))
			good = read_string(value, &fault->location);
		else if (IS("headers"))
			good = read_headers(value, fault);
		else if (IS("limit"))
			good = read_rate(value, fault, RATE_LIMIT);
		else if (IS("remaining"))
			good = read_rate(value, fault, RATE_REMAINING);
		else if (IS("reset"))
			good = read_rate(value, fault, RATE_RESET);
		else if (IS("rate_headers"))
		{
			good = settings_bool(value, &flag);
			for (int i = 0; good && !flag && i < RATE_HEADERS; i++)
				fault->replace[i] = REPLACE_OMIT;
		}
		else if (IS("delay_ms"))
			good = settings_number(value, &fault->delay_ms);
		else if (IS("bytes"))
			good = settings_number(value, &fault->bytes);
		else if (IS("interval_ms"))
			good = settings_number(value, &fault->interval_ms);
		else if (IS("megabytes"))
			good = settings_number(value, &fault->megabytes);
		else if (IS("chunked"))
			good = settings_bool(value, &fault->chunked);
		else if (IS("end"))
		{
			good = read_word(value, ends, &word);
			fault->end = (FaultEnd) word;
			has_end = true;
		}
		else if (IS("processed"))
		{
			good = settings_bool(value, &flag);
			processed = flag;
		}
		else
			good = false;
#undef IS
		if (!good)
		{
			snprintf(problem, sizeof(problem), "unknown, or of the wrong type: %.64s", key);
			return problem;
		}
	}
	if ((fault->kind == FAULT_RAW || fault->kind == FAULT_SHORT) && server_has_tls())
		return "kinds raw and short do not work with TLS";
	if (fault->kind == FAULT_RAW && !fault->has_body)
		return "kind raw needs a body";
	if (fault->kind == FAULT_DEAD && fault->request == 0 && fault->from_request == 0)
		fault->from_request = 2;
	if (fault->kind == FAULT_SHORT && !has_end)
		fault->end = END_HANG;
	if (fault->location && fault->status == 0)
		fault->status = 302;

	/* Unless the rule says so, a request is served if its answer is used. */
	if (processed >= 0)
		fault->processed = processed;
	else
		fault->processed = !fault->status && !fault->code && !fault->message && !fault->has_body &&
			(fault->kind == FAULT_ANSWER || fault->kind == FAULT_CUT ||
			 fault->kind == FAULT_HALF || fault->kind == FAULT_LONG ||
			 fault->kind == FAULT_SHORT || fault->kind == FAULT_DRIP);
	return NULL;
}

static void
fault_free(Fault *fault)
{
	free(fault->email);
	free(fault->pattern);
	free(fault->endpoint);
	free(fault->subject);
	free(fault->token);
	free(fault->message);
	text_free(&fault->body);
	free(fault->content_type);
	free(fault->location);
	json_decref(fault->headers);
	for (int i = 0; i < RATE_HEADERS; i++)
		free(fault->values[i]);
	free(fault);
}

int
fault_add(const json_t *rule, bool hold, const char **problem)
{
	Fault	  **last = &lists[hold];
	Fault	   *fault = need(sizeof(*fault));

	memset(fault, 0, sizeof(*fault));
	fault->times = -1;
	fault->probability = 1;
	fault->bytes = -1;
	fault->interval_ms = 100;
	fault->megabytes = 16;
	*problem = read_rule(rule, fault, hold);
	if (*problem)
	{
		fault_free(fault);
		return 0;
	}
	while (*last)
		last = &(*last)->next;
	*last = fault;
	fault->users = 1;
	fault->id = ++last_id;
	return fault->id;
}

/* --- finding it --- */

static bool
fits(const Fault *fault, const Call *call)
{
	if (fault->times == 0)
		return false;
	if (fault->email && (!call->email || strcmp(fault->email, call->email) != 0))
		return false;
	if (fault->pattern && (!call->email || fnmatch(fault->pattern, call->email, 0) != 0))
		return false;
	if (fault->endpoint && (!call->route || fnmatch(fault->endpoint, call->route->name, 0) != 0))
		return false;
	if (fault->subject && (!call->subject || fnmatch(fault->subject, call->subject, 0) != 0))
		return false;
	if (fault->token && (!call->account || strcmp(fault->token, call->account->token) != 0))
		return false;
	if (fault->request && fault->request != call->number)
		return false;
	return call->number >= fault->from_request;
}

/* received: bytes of the body so far; -1: all of it has come. */
static Fault *
find(Fault *list, const Call *call, int64_t received)
{
	for (Fault *fault = list; fault; fault = fault->next)
	{
		/* with that, a hold is one amid the body */
		if (list == lists[1] && (received >= 0) != (fault->bytes >= 0))
			continue;
		if (received >= 0 && received < fault->bytes)
			continue;
		if (!fits(fault, call))
			continue;
		if (++fault->matched <= fault->after)
			continue;
		if (fault->probability < 1 &&
			settings_random(0, 999999) >= (int64_t) (fault->probability * 1000000))
			continue;
		if (fault->times > 0)
			fault->times--;
		fault->hits++;
		return fault;
	}
	return NULL;
}

Fault *
fault_find(const Call *call)
{
	Fault	   *fault = find(lists[0], call, -1);

	if (fault)
	{
		fault->users++;
		stats.faulted++;
	}
	return fault;
}

bool
fault_holds(const Call *call)
{
	return find(lists[1], call, -1) != NULL;
}

bool
fault_holds_body(const Call *call, int64_t received)
{
	return find(lists[1], call, received) != NULL;
}

void
fault_let_go(Fault *fault)
{
	if (--fault->users == 0)
		fault_free(fault);
}

void
fault_clear(bool holds, int id, const char *email, const char *endpoint)
{
	Fault	  **link = &lists[holds];

	while (*link)
	{
		Fault	   *fault = *link;

		if ((id == 0 || fault->id == id) &&
			(email == NULL || (fault->email && strcmp(fault->email, email) == 0)) &&
			(endpoint == NULL || (fault->endpoint && strcmp(fault->endpoint, endpoint) == 0)))
		{
			*link = fault->next;
			fault_let_go(fault);
		}
		else
			link = &fault->next;
	}
}

json_t *
fault_list(bool holds)
{
	json_t	   *list = json_array();

	for (Fault *fault = lists[holds]; fault; fault = fault->next)
		json_array_append_new(list,
							  json_pack("{si ss sI sI sI}",
										"id", fault->id,
										"kind", kinds[fault->kind],
										"matched", (json_int_t) fault->matched,
										"hits", (json_int_t) fault->hits,
										"times_left", (json_int_t) fault->times));
	return list;
}

/* --- applying it --- */

void
fault_apply(Call *call)
{
	const Fault *fault = call->fault;
	int			status = fault->status ? fault->status : 200;

	call->silent = fault->kind == FAULT_RESET || fault->kind == FAULT_CLOSE ||
		fault->kind == FAULT_DEAD || fault->kind == FAULT_HANG || fault->kind == FAULT_RAW ||
		fault->kind == FAULT_SHORT;

	if (call->has_file && (fault->has_body || fault->location || fault->code ||
						   fault->message || fault->status))
		call->has_file = false;
	if (fault->has_body || fault->location || (fault->kind == FAULT_HUGE && !call->has_file))
	{
		text_clear(&call->answer);
		text_add(&call->answer, "", 0);
		if (fault->has_body)
			text_add(&call->answer, fault->body.data ? fault->body.data : "", fault->body.len);
		call->status = status;
		call->content_type = "application/json; charset=utf-8";
		call->success = false;
	}
	else if (fault->code || fault->message)
		answer_failure(call, status, fault->code, fault->message);
	else if (fault->status)
	{
		if (status == 429 && !call->rate.known)
		{
			call->rate.known = true;
			call->rate.limit = 100;
			call->rate.reset = 60;
		}
		if (status == 429)
			call->rate.remaining = 0;
		answer_status(call, status);
	}
	else if (!fault->processed)
		answer_status(call, 200);
	if (fault->content_type)
		call->content_type = fault->content_type;
	if (fault->kind == FAULT_HALF)
	{
		size_t		len = fault->bytes < 0 ? call->answer.len / 2 : (size_t) fault->bytes;

		if (call->has_file)
		{
			int64_t		file_len = fault->bytes < 0 ? call->file_len / 2 : fault->bytes;

			if (file_len < call->file_len)
				call->file_len = file_len;
		}
		else if (len < call->answer.len)
			call->answer.len = len;
	}
}
