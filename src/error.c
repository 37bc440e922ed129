/*-------------------------------------------------------------------------
 * error.c
 *		Errors that a program can tell apart.
 *
 * The message says what is wrong for us, the detail what the service or
 * libcurl said, the hint what to do.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "convert.h"
#include "error.h"

static CoFailure *
failure(int sqlstate, const char *message, char *detail, const char *hint)
{
	CoFailure  *result = palloc0(sizeof(CoFailure));

	result->sqlstate = sqlstate;
	result->message = pstrdup(message);
	result->detail = detail;
	result->hint = hint ? pstrdup(hint) : NULL;
	return result;
}

/* "The service said: MESSAGE (HTTP 402, code 1002)." as far as it is known. */
static char *
service_detail(const CoOutcome *outcome)
{
	StringInfoData detail;
	char	   *message = co_text_from_utf8(outcome->message);
	int			length = strlen(message);

	initStringInfo(&detail);
	if (length > 0 && message[length - 1] == '.')
		message[length - 1] = '\0';

	if (outcome->http_status == 0)
		appendStringInfo(&detail, "%s.", message[0] ? message : "No more is known");
	else if (message[0])
		appendStringInfo(&detail, "The service said: %s (HTTP %d", message,
						 outcome->http_status);
	else
		appendStringInfo(&detail, "The service gave no reason (HTTP %d",
						 outcome->http_status);
	if (outcome->http_status != 0)
	{
		if (outcome->code != 0)
			appendStringInfo(&detail, ", code %d", outcome->code);
		appendStringInfoString(&detail, ").");
	}
	return detail.data;
}

static const char *
maybe_paid_hint(const CoReply *reply)
{
	return reply->maybe_paid
		? "The call was sent and may have been charged. Ask again if you need the answer."
		: "Ask again later.";
}

static CoFailure *
failure_of_call(const CoReply *reply)
{
	char	   *detail;

	detail = service_detail(&reply->outcome);
	switch (reply->error_class)
	{
		case CO_ERROR_UNAUTHORIZED:
			return failure(CO_ERRCODE_UNAUTHORIZED,
						   "the Clearout service refused the token", detail,
						   "Put a valid token into the file named by clearout.api_token_file and reload the server's configuration.");
		case CO_ERROR_CREDITS:
			return failure(CO_ERRCODE_CREDITS,
						   "the Clearout account is out of credits", detail,
						   "Buy credits in the Clearout app.");
		case CO_ERROR_DAILY_LIMIT:
			return failure(CO_ERRCODE_DAILY_LIMIT,
						   "the Clearout account has reached its daily limit", detail,
						   "Ask again tomorrow, or raise the limit in the Clearout app.");
		case CO_ERROR_RATE_LIMIT:
			return failure(CO_ERRCODE_RATE_LIMIT,
						   "the Clearout service's rate limit is used up", detail,
						   "Ask again in a minute, or wait longer.");
		case CO_ERROR_TIMEOUT:
			return failure(CO_ERRCODE_TIMEOUT,
						   "the Clearout service did not answer in time", detail,
						   maybe_paid_hint(reply));
		case CO_ERROR_UNREACHABLE:
			return failure(CO_ERRCODE_SERVICE,
						   "the Clearout service cannot be reached", detail,
						   "Check clearout.base_url, clearout.proxy, clearout.ca_file and the network.");
		case CO_ERROR_BAD_INPUT:
			return failure(CO_ERRCODE_BAD_REQUEST,
						   "the Clearout service refused the request", detail,
						   "Check what is asked for; the detail says what the service does not like about it.");
		case CO_ERROR_LOCAL:
			return failure(CO_ERRCODE_NO_WORKER,
						   "the Clearout worker lacks the means to make the call", detail,
						   "See the server log.");
		case CO_ERROR_SERVICE:
		case CO_ERROR_NONE:
			break;
	}
	return failure(CO_ERRCODE_SERVICE,
				   "the Clearout service failed to answer", detail,
				   maybe_paid_hint(reply));
}

CoFailure *
co_failure_from_reply(const CoReply *reply)
{
	CoFailure  *result;
	char	   *detail;

	detail = co_text_from_utf8(reply->outcome.message);
	switch (reply->refusal)
	{
		case CO_REFUSED_NOT:
			break;
		case CO_REFUSED_NOT_CONFIGURED:
			return failure(CO_ERRCODE_NOT_CONFIGURED,
						   "Clearout is not configured", detail,
						   co_shared == NULL ?
						   "Add \"clearout\" to shared_preload_libraries, and restart the server." :
						   "Check clearout.api_token_file, the file that it names, and clearout.base_url.");
		case CO_REFUSED_OUTDATED:
			return failure(CO_ERRCODE_NOT_CONFIGURED,
						   "the extension \"clearout\" in this database is older than its library", detail,
						   "Run ALTER EXTENSION clearout UPDATE.");
		case CO_REFUSED_NO_WORKER:
			return failure(CO_ERRCODE_NO_WORKER,
						   "no Clearout worker serves this database", detail,
						   "See the view clearout_status and the server log.");
		case CO_REFUSED_NO_SLOT:
			return failure(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
						   "out of Clearout request slots", detail,
						   "Increase \"clearout.request_slots\".");
		case CO_REFUSED_BUDGET:
			return failure(CO_ERRCODE_BUDGET,
						   "the budget for calls of the Clearout service is used up", detail,
						   "Ask again when there is a budget again, which for that of a day is at 00:00 UTC, or raise it.");
	}

	result = failure_of_call(reply);
	result->quotes = reply->outcome.message[0] != '\0';
	return result;
}

CoFailure *
co_failure_no_time(CoEndpointId endpoint)
{
	return failure(CO_ERRCODE_TIMEOUT,
				   endpoint == CO_ENDPOINT_VERIFY ? "no fresh answer about the address is stored"
				   : "no fresh answer is stored",
				   pstrdup("With a timeout of zero, the Clearout service is not asked."),
				   NULL);
}

CoFailure *
co_failure_timeout(CoProgress progress)
{
	if (progress == CO_PROGRESS_SOUGHT)
		return failure(CO_ERRCODE_TIMEOUT,
					   "the Clearout service has not found an answer within the time limit",
					   pstrdup("It is still being sought; the answer is stored when it comes."),
					   "Ask again later: that joins the search, and costs nothing more.");
	if (progress == CO_PROGRESS_SENT)
		return failure(CO_ERRCODE_TIMEOUT,
					   "no answer from the Clearout service within the time limit",
					   pstrdup("The call was sent; an answer that still comes is stored."),
					   "Ask again later, or wait longer: see the function's timeout and clearout.wait_timeout.");
	return failure(CO_ERRCODE_TIMEOUT,
				   "no answer from the Clearout service within the time limit",
				   pstrdup("No call was sent for it: the rate limit, clearout.max_parallel or a backoff stood in the way. Nothing is charged."),
				   "See the view clearout_status, or wait longer.");
}

CoFailure *
co_failure_copy(const CoFailure *failure)
{
	CoFailure  *copy = palloc(sizeof(CoFailure));

	*copy = *failure;
	copy->message = pstrdup(failure->message);
	copy->detail = failure->detail ? pstrdup(failure->detail) : NULL;
	copy->hint = failure->hint ? pstrdup(failure->hint) : NULL;
	return copy;
}

void
co_failure_raise(const CoFailure *failure)
{
	ereport(ERROR,
			(errcode(failure->sqlstate),
			 errmsg("%s", failure->message),
			 failure->detail ? errdetail("%s", failure->detail) : 0,
			 failure->quotes ? errdetail_log("What the service said is told to the caller alone.") : 0,
			 failure->hint ? errhint("%s", failure->hint) : 0));
}
