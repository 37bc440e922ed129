/*-------------------------------------------------------------------------
 * codec.c
 *		HTTP answer -> typed reply: verification and balance.
 *
 * Pure; one thread at a time.
 *
 * An answer has been paid for, so it is read as generously as can be done
 * without guessing: only the verdict (status) and the address are insisted
 * on, every other field that is not what the API documents is NULL, and raw
 * keeps what came.  Words are open sets and are data.
 *-------------------------------------------------------------------------
 */
#include "codec.h"

#include <stdlib.h>
#include <string.h>

#include "codec_json.h"
#include "verdict.h"

static CoValue
part_of(const void *object, const char *name)
{
	return co_json_value(json_object_get(object, name));
}

static const void *
object_of(const void *object, const char *name)
{
	const json_t *found = json_object_get(object, name);

	return json_is_object(found) ? found : NULL;
}

static const CoVerdictReader reader = {part_of, object_of};

static void
read_verify(const json_t *data, size_t guess, const char *email,
			CoVerifyAnswer *answer, CoOutcome *outcome)
{
	CoVerdictParts parts;
	CoVerdictTexts texts;
	size_t		used;

	co_verdict_pick(&reader, data, &parts);
	if (!co_verdict_read(&parts, email, answer, &texts, outcome))
		return;
	answer->raw = co_json_dump(data, guess, texts.room, &used);
	if (answer->raw != NULL)
		co_verdict_put(&texts, answer->raw + used);
	else
	{
		memset(answer, 0, sizeof(*answer));
		co_json_set_fault(outcome, CO_FAULT_LOCAL, "out of memory");
	}
}

void
co_decode_verify(int http_status, const char *body, size_t length,
				 const char *email, CoVerifyAnswer *answer, CoOutcome *outcome)
{
	const json_t *data;

	memset(answer, 0, sizeof(*answer));
	data = co_json_open(http_status, body, length, CO_DATA_OBJECT, outcome, NULL);
	if (data != NULL)
		read_verify(data, length, email, answer, outcome);
	co_json_end();
}

/* A count; below zero (an overdrawn account) is none. */
static int64_t
read_count(const json_t *json)
{
	int64_t		number;

	if (json_is_integer(json) && json_integer_value(json) < 0)
		return 0;
	return co_json_whole(json, INT64_MAX, &number) ? number : -1;
}

void
co_decode_credits(int http_status, const char *body, size_t length,
				  CoCreditsAnswer *answer, CoOutcome *outcome)
{
	const json_t *data;

	memset(answer, 0, sizeof(*answer));
	data = co_json_open(http_status, body, length, CO_DATA_FIRST, outcome, NULL);
	if (data != NULL && !co_json_store(data, length, &answer->raw))
		co_json_set_fault(outcome, CO_FAULT_LOCAL, "out of memory");
	else if (data != NULL)
	{
		const json_t *credits = json_object_get(data, "credits");

		answer->available =
			read_count(json_object_get(data, "available_credits"));
		if (answer->available < 0)
			answer->available =
				read_count(json_object_get(credits, "available"));
		answer->daily_limit_available =
			read_count(json_object_get(credits, "available_daily_verify_limit"));
		answer->daily_limit_reset =
			co_json_time(json_object_get(credits, "reset_daily_verify_limit_date"));
	}
	co_json_end();
}

void
co_verify_answer_free(CoVerifyAnswer *answer)
{
	free(answer->raw);
	free(answer->jsonb);
	memset(answer, 0, sizeof(*answer));
}

void
co_credits_answer_free(CoCreditsAnswer *answer)
{
	free(answer->raw);
	memset(answer, 0, sizeof(*answer));
}
