/*-------------------------------------------------------------------------
 * name.c
 *		POST /name/validate: does this look like the name of a person?
 *
 * Its yes and no are JSON booleans, unlike those of the other calls.
 *-------------------------------------------------------------------------
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "answer.h"
#include "arguments.h"
#include "people.h"
#include "serve.h"
#include "settings.h"
#include "stats.h"
#include "table.h"

#define TIMEOUT_MIN 1000
#define TIMEOUT_DEFAULT 8000
#define TIMEOUT_MAX 10000

/* Five consonants in a row; a test may also say it. */
static bool
is_gibberish(const char *name)
{
	int			run = 0;

	if (people_word(name, "gibberish"))
		return true;
	for (; *name; name++)
	{
		run = isalpha((unsigned char) *name) && !strchr("aeiouyAEIOUY", *name) ? run + 1 : 0;
		if (run >= 5)
			return true;
	}
	return false;
}

static void
check_settings(Call *call, const json_t *given)
{
	const char *name;
	json_t	   *value;

	if (given && !json_is_object(given))
		answer_reason(call, "settings", "body", "must be an object", "object.base");
	json_object_foreach((json_t *) given, name, value)
	{
		const char *word = json_string_value(value);

		if (strcmp(name, "gibberish_threshold") != 0)
		{
			if (settings.unknown_parameters == UNKNOWN_REFUSE)
				answer_reason(call, "settings", "body", "has an unknown member", "object.allowUnknown");
		}
		else if (!word || (strcmp(word, "off") && strcmp(word, "medium") && strcmp(word, "high")))
			answer_reason(call, "gibberish_threshold", "body", "must be one of [off, medium, high]",
						  "any.allowOnly");
	}
}

void
serve_name(Call *call)
{
	static const char *const known[] = {"name", "settings", "timeout", NULL};
	const json_t *given = json_object_get(call->json, "settings");
	const char *threshold = json_string_value(json_object_get(given, "gibberish_threshold"));
	const char *name;
	int64_t		timeout;
	bool		gibberish;
	bool		profanity;

	if (!settings.optional_endpoints)
	{
		answer_status(call, 404);
		return;
	}
	arguments_begin(call);
	name = arguments_string(call, "name", true);
	timeout = arguments_timeout(call, TIMEOUT_MIN, TIMEOUT_DEFAULT, TIMEOUT_MAX);
	check_settings(call, given);
	if (!arguments_end(call, known))
		return;
	if (settings.utility_price > 0 && !answer_affordable(call))
		return;
	if (call->latency > timeout)
	{
		call->latency = timeout;
		stats.timed_out++;
		answer_timeout(call, "name", name, NULL);
		return;
	}
	if (settings.utility_price > 0)
		call_charge(call, settings.utility_price);
	gibberish = is_gibberish(name) && !(threshold && strcmp(threshold, "off") == 0);
	profanity = people_word(name, "profanity");
	answer_begin(call);
	text_string(&call->answer, "{\"input_name\":");
	text_json(&call->answer, name);
	text_printf(&call->answer, ",\"status\":\"%s\",\"profanity\":%s,\"gibberish\":%s,\"time_taken\":%u}",
				people_name_ok(name) && !gibberish && !profanity ? "valid" : "invalid",
				profanity ? "true" : "false", gibberish ? "true" : "false",
				5 + table_hash(name) % 50);
	answer_end(call);
}
