/*-------------------------------------------------------------------------
 * find.c
 *		POST /email_finder/instant and GET /email_finder/instant/queue_status:
 *		the address of a person at a company.
 *
 * A search that takes longer than the request allows ends it with 524; if the
 * request wanted that, it goes on, and the answer names where to ask for it.
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>

#include "answer.h"
#include "arguments.h"
#include "clock.h"
#include "people.h"
#include "searches.h"
#include "serve.h"
#include "settings.h"
#include "stats.h"

#define TIMEOUT_DEFAULT 30000
#define TIMEOUT_MAX 180000

#define PRICE 4					/* what must be there before it is known */

static void
write_person(Call *call, const Person *person, int64_t found_at)
{
	Text	   *out = &call->answer;
	char		found_on[CLOCK_TEXT_SIZE];

	if (!person->found && settings.find_nothing == NOTHING_CODE)
	{
		answer_failure(call, 200, 1027, NULL);
		call->success = true;	/* an answer all the same */
		return;
	}
	clock_iso(found_at, found_on);
	answer_begin(call);
	text_string(out, "{\"emails\":[");
	for (int i = 0; i < person->nemails; i++)
	{
		text_string(out, i ? ",{\"email_address\":" : "{\"email_address\":");
		text_json(out, person->emails[i]);
		text_printf(out, ",\"role\":\"%s\",\"business\":\"yes\"}", person->role ? "yes" : "no");
	}
	text_string(out, "],\"first_name\":");
	text_json(out, person->first);
	text_string(out, ",\"last_name\":");
	text_json(out, person->last);
	text_string(out, ",\"full_name\":");
	text_json(out, person->full);
	text_string(out, ",\"domain\":");
	text_json(out, person->domain);
	text_printf(out, ",\"confidence_score\":%d,\"total\":%d,\"company\":{\"name\":",
				person->confidence, person->nemails);
	text_json(out, person->company);
	text_printf(out, "},\"found_on\":\"%s\",\"credits_charged\":%d}", found_on, person->credits);
	answer_end(call);
}

/* 524, and where to ask for what is found later, if anywhere. */
static void
time_out(Call *call, const char *name, const char *domain, bool queue, int64_t ms)
{
	const Search *search = queue ? search_add(call->account, name, domain, ms) : NULL;

	answer_timeout(call, "email_finder", name, search ? search->id : NULL);
}

/* For a fault that wants a 524 where one may be resumed. */
void
find_time_out(Call *call)
{
	const char *name = json_string_value(json_object_get(call->json, "name"));
	const char *domain = json_string_value(json_object_get(call->json, "domain"));

	time_out(call, name ? name : "", domain ? domain : "",
			 call->account && name && domain &&
			 !json_is_false(json_object_get(call->json, "queue")), settings.find_later);
}

void
serve_find(Call *call)
{
	static const char *const known[] = {"name", "domain", "timeout", "queue", NULL};
	const char *name;
	const char *domain;
	int64_t		timeout;
	bool		queue;
	Person		person;

	arguments_begin(call);
	name = arguments_string(call, "name", true);
	domain = arguments_string(call, "domain", true);
	timeout = arguments_timeout(call, settings.timeout_min, TIMEOUT_DEFAULT, TIMEOUT_MAX);
	queue = arguments_bool(call, "queue", true);
	if (!arguments_end(call, known))
		return;
	if (!people_name_ok(name))
	{
		answer_failure(call, 200, 1088, NULL);
		return;
	}
	if (call->account->credits < PRICE)
	{
		answer_failure(call, 402, 1099, NULL);
		return;
	}
	call->latency += settings_random(settings.find_time[0], settings.find_time[1]);
	if (call->latency > timeout)
	{
		stats.timed_out++;
		time_out(call, name, domain, queue, call->latency);
		call->latency = timeout;
		return;
	}
	people_find(name, domain, &person);
	if (person.credits > 0)
		call_charge(call, person.credits);
	write_person(call, &person, call->arrived + call->latency);
}

void
serve_queue(Call *call)
{
	static const char *const known[] = {"qid", NULL};
	const char *id;
	const Search *search;
	Person		person;

	arguments_begin(call);
	id = arguments_query(call, "qid");
	if (!arguments_end(call, known))
		return;
	search = search_find(id, call->account);
	if (search == NULL)
		answer_failure(call, 200, 1104, NULL);
	else if (!search->over)
	{
		answer_begin(call);
		text_string(&call->answer, "{\"query_status\":\"running\"}");
		answer_end(call);
	}
	else
	{
		people_find(search->name, search->domain, &person);
		write_person(call, &person, search->ended);
	}
}
