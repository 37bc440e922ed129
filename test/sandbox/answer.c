/*-------------------------------------------------------------------------
 * answer.c
 *		The envelopes around every answer of the API.
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>

#include "answer.h"
#include "clock.h"
#include "serve.h"
#include "settings.h"

#define CONTENT_JSON "application/json; charset=utf-8"

static const struct
{
	int			code;
	const char *message;
}			code_messages[] =
{
	{1000, "Invalid API Token, please generate new token"},
	{1001, "You have reached the maximum number of bulk verify requests, please try after the existing request completes"},
	{1002, "You have exhausted your credits, please add additional credits to continue"},
	{1004, "We could not find any email address in the uploaded list"},
	{1007, "Result file got expired"},
	{1008, "You are not authorized to access this resource"},
	{1017, "You have reached daily verify limit, please try next day"},
	{1027, "Email address not found"},
	{1028, "Your available credits are not enough for the list"},
	{1029, "List is not available"},
	{1030, "You have reached API rate limit"},
	{1031, "You have exhausted your credits, please add additional credits to continue"},
	{1032, "You have reached daily verify limit, please try next day"},
	{1074, "Invalid origin"},
	{1083, "You have reached the maximum number of email finder bulk requests, please try after the existing request completes"},
	{1088, "Name has unsupported characters"},
	{1099, "You have exhausted your credits, please add additional credits to continue"},
	{1100, "Invalid file type"},
	{1104, "Invalid queue ID"},
	{1116, "List is not in the cancellable stage"},
};

static const struct
{
	int			status;
	int			code;
	const char *message;
}			status_messages[] =
{
	{400, 0, "validation failed"},
	{401, 1000, NULL},
	{402, 1002, NULL},
	{403, 1074, NULL},
	{404, 0, "Not Found"},
	{413, 0, "Payload Too Large"},
	{415, 0, "Unsupported Media Type"},
	{500, 0, "Internal Server Error"},
	{502, 0, "Bad Gateway"},
	{524, 0, "Timeout Occurred"},
};

static void
begin(Call *call, int status)
{
	text_clear(&call->answer);
	call->status = status;
	call->content_type = CONTENT_JSON;
	call->success = false;
}

void
answer_begin(Call *call)
{
	begin(call, 200);
	call->success = true;
	text_string(&call->answer, "{\"status\":\"success\",\"data\":");
}

void
answer_end(Call *call)
{
	text_string(&call->answer, "}");
}

static const char *
message_for(int status, int code)
{
	for (size_t i = 0; i < sizeof(code_messages) / sizeof(code_messages[0]); i++)
		if (code_messages[i].code == code)
			return code_messages[i].message;
	for (size_t i = 0; i < sizeof(status_messages) / sizeof(status_messages[0]); i++)
		if (status_messages[i].status == status && status_messages[i].message)
			return status_messages[i].message;
	return "Something went wrong";
}

void
answer_failure(Call *call, int status, int code, const char *message)
{
	begin(call, status);
	text_string(&call->answer, "{\"status\":\"failed\",\"error\":{");
	if (code)
		text_printf(&call->answer, "\"code\":%d,", code);
	text_string(&call->answer, "\"message\":");
	text_json(&call->answer, message ? message : message_for(status, code));
	text_string(&call->answer, "}}");
}

void
answer_reason(Call *call, const char *field, const char *location,
			  const char *message, const char *type)
{
	char		text[128];

	if (call->status != 400)
	{
		begin(call, 400);
		text_string(&call->answer, "{\"status\":\"failed\",\"error\":"
					"{\"message\":\"validation failed\",\"reasons\":[");
	}
	else
		text_string(&call->answer, ",");
	snprintf(text, sizeof(text), "\"%s\" %s", field, message);
	text_string(&call->answer, "{\"field\":[");
	text_json(&call->answer, field);
	text_string(&call->answer, "]");
	if (location)
	{
		text_string(&call->answer, ",\"location\":");
		text_json(&call->answer, location);
	}
	text_string(&call->answer, ",\"messages\":[");
	text_json(&call->answer, text);
	text_string(&call->answer, "],\"types\":[");
	text_json(&call->answer, type);
	text_string(&call->answer, "]}");
}

void
answer_reasons_end(Call *call)
{
	text_string(&call->answer, "]}}");
}

/* A 503 has no documented body, so it has none here. */
void
answer_status(Call *call, int status)
{
	int			code = 0;

	switch (status)
	{
		case 204:
		case 304:
		case 503:
			begin(call, status);
			return;
		case 429:
			answer_too_many(call);
			return;
		case 524:
			if (call->route && call->route->serve == serve_find)
				find_time_out(call);
			else
				answer_timeout(call, "email", call->email, NULL);
			return;
	}
	for (size_t i = 0; i < sizeof(status_messages) / sizeof(status_messages[0]); i++)
		if (status_messages[i].status == status)
			code = status_messages[i].code;
	answer_failure(call, status, code, NULL);
}

void
answer_too_many(Call *call)
{
	char		when[CLOCK_TEXT_SIZE];
	char		message[CLOCK_TEXT_SIZE + 160];

	clock_long(call->rate.end ? call->rate.end : call->arrived + 60000, when);
	snprintf(message, sizeof(message),
			 "You have reached API rate limit, try calling after %s or to increase limit upgrade plan",
			 when);
	answer_failure(call, 429, (int) settings.rate_code, message);
}

/* No code is documented for it. */
void
answer_timeout(Call *call, const char *resource, const char *value, const char *queue_id)
{
	begin(call, 524);
	text_printf(&call->answer, "{\"status\":\"failed\",\"error\":"
				"{\"message\":\"Timeout Occurred\",\"additional_info\":"
				"{\"resource_name\":\"%s\",\"resource_value\":", resource);
	text_json(&call->answer, value ? value : "");
	if (queue_id)
		text_printf(&call->answer, ",\"queue_id\":\"%s\"", queue_id);
	text_string(&call->answer, "}}}");
}

void
answer_add_info(Call *call, const char *name, int64_t value)
{
	call->answer.len -= strlen("}}");
	text_printf(&call->answer, ",\"additional_info\":{\"%s\":%lld}}}", name, (long long) value);
}

bool
answer_affordable(Call *call)
{
	if (account_daily_left(call->account) == 0)
		answer_failure(call, 200, (int) settings.daily_code, NULL);
	else if (call->account->credits <= 0)
		answer_failure(call, 402, (int) settings.credits_code, NULL);
	else
		return true;
	return false;
}

void
answer_storage(Call *call, int status, const char *code, const char *message)
{
	begin(call, status);
	call->content_type = "application/xml";
	text_printf(&call->answer, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
				"<Error><Code>%s</Code><Message>%s</Message></Error>", code, message);
}
