/*-------------------------------------------------------------------------
 * arguments.c
 *		What a request brings, in a JSON body or behind the question mark.
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>

#include "answer.h"
#include "arguments.h"
#include "settings.h"

typedef struct Names
{
	Call	   *call;
	const char *const *known;
} Names;

void
arguments_begin(Call *call)
{
	call->status = 0;
	if (call->json == NULL && call->route->body == BODY_JSON)
		answer_reason(call, "value", "body", "must be an object", "object.base");
}

const char *
arguments_string(Call *call, const char *name, bool required)
{
	const json_t *value = json_object_get(call->json, name);

	if (call->json == NULL)
		return NULL;
	if (value == NULL)
	{
		if (required)
			answer_reason(call, name, "body", "is required", "any.required");
	}
	else if (!json_is_string(value))
		answer_reason(call, name, "body", "must be a string", "string.base");
	else if (json_string_length(value) == 0)
		answer_reason(call, name, "body", "is not allowed to be empty", "any.empty");
	else
		return json_string_value(value);
	return NULL;
}

bool
arguments_bool(Call *call, const char *name, bool usual)
{
	const json_t *value = json_object_get(call->json, name);

	if (value == NULL)
		return usual;
	if (!json_is_boolean(value))
		answer_reason(call, name, "body", "must be a boolean", "boolean.base");
	return json_is_true(value);
}

int64_t
arguments_number(Call *call, const char *name, int64_t min, int64_t usual, int64_t max)
{
	const json_t *value = json_object_get(call->json, name);
	int64_t		number;
	char		problem[64];

	if (value == NULL)
		return usual;
	if (!json_is_number(value))
		answer_reason(call, name, "body", "must be a number", "number.base");
	else if (!json_is_integer(value))
		answer_reason(call, name, "body", "must be an integer", "number.integer");
	else
	{
		number = json_integer_value(value);
		if (number >= min && number <= max)
			return number;
		if (number < min)
			snprintf(problem, sizeof(problem), "must be larger than or equal to %lld",
					 (long long) min);
		else
			snprintf(problem, sizeof(problem), "must be less than or equal to %lld",
					 (long long) max);
		answer_reason(call, name, "body", problem, number < min ? "number.min" : "number.max");
	}
	return usual;
}

int64_t
arguments_timeout(Call *call, int64_t min, int64_t usual, int64_t max)
{
	return arguments_number(call, "timeout", min, usual, max);
}

const char *
arguments_query(Call *call, const char *name)
{
	const char *value = call_query(call, name);

	if (value == NULL)
		answer_reason(call, name, "query", "is required", "any.required");
	else if (*value == '\0')
		answer_reason(call, name, "query", "is not allowed to be empty", "any.empty");
	else
		return value;
	return NULL;
}

static bool
is_known(const char *name, const char *const *known)
{
	for (; *known; known++)
		if (strcmp(*known, name) == 0)
			return true;
	return false;
}

static enum MHD_Result
check_query(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
	Names	   *names = arg;

	(void) kind;
	(void) value;
	if (names->call->route->body == BODY_JSON || !is_known(name, names->known))
		answer_reason(names->call, name, "query", "is not allowed", "object.allowUnknown");
	return MHD_YES;
}

bool
arguments_end(Call *call, const char *const *known)
{
	if (settings.unknown_parameters == UNKNOWN_REFUSE)
	{
		Names		names = {call, known};
		const char *name;
		json_t	   *value;

		json_object_foreach(call->json, name, value)
			if (!is_known(name, known))
				answer_reason(call, name, "body", "is not allowed", "object.allowUnknown");
		MHD_get_connection_values(call->connection, MHD_GET_ARGUMENT_KIND, check_query, &names);
	}
	if (call->status == 0)
		return true;
	answer_reasons_end(call);
	return false;
}
