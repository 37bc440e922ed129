/*-------------------------------------------------------------------------
 * lookup.c
 *		GET /reverse_lookup/...: who is behind an address, a profile, a domain.
 *
 * A person for the first two, a company for a domain.  What a lookup finds is
 * made up from its key; it finds nothing where people.c says so.
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>

#include "answer.h"
#include "arguments.h"
#include "people.h"
#include "serve.h"
#include "settings.h"
#include "table.h"

#define PRICE 4
#define ROLE_PRICE 2

static void
write_person(Text *out, const char *key, uint32_t hash)
{
	static const char *const first[] = {"Jane", "John", "Maria", "Ravi", "Li"};
	static const char *const last[] = {"Doe", "Smith", "Garcia", "Kumar", "Wei"};
	static const char *const titles[] = {"Engineer", "Director of Sales", "Founder"};
	const char *at = strchr(key, '@');
	const char *given = first[hash % 5];
	const char *family = last[hash / 5 % 5];
	const char *title = titles[hash / 25 % 3];

	text_printf(out, "{\"type\":\"person\",\"id\":\"%08x\",\"name\":\"%s %s\",\"%s\":\"%s at Example\","
				"\"title\":\"%s\",\"profile_picture\":null,\"linkedin_url\":", hash, given, family,
				settings.lead_title ? "constructed_title" : "contructed_title", title, title);
	if (at)
		text_printf(out, "\"https://www.linkedin.com/in/%s-%s-%08x\"", given, family, hash);
	else
		text_json(out, key);
	text_string(out, ",\"company_name\":\"Example\",\"company_domain\":");
	text_json(out, at ? at + 1 : "example.test");
	text_printf(out, ",\"addresses\":[{\"full_address\":\"1 Main Street, Springfield\","
				"\"city\":\"Springfield\",\"state\":null,\"country\":\"United States\","
				"\"country_code\":\"US\"}],\"total_experience_in_months\":%u}", hash / 100 % 400);
}

static void
write_company(Text *out, const char *key, uint32_t hash)
{
	text_printf(out, "{\"type\":\"company\",\"id\":\"%08x\",\"name\":", hash);
	text_json(out, key);
	text_printf(out, ",\"profile_picture\":null,\"linkedin_url\":"
				"\"https://www.linkedin.com/company/%08x\",\"addresses\":"
				"{\"full_address\":\"1 Main Street, Springfield\",\"country\":\"United States\","
				"\"country_code\":\"US\"}}", hash);
}

static void
look_up(Call *call, const char *parameter, bool (*fits) (const char *), const char *problem,
		void (*write) (Text *out, const char *key, uint32_t hash))
{
	const char *const known[] = {parameter, NULL};
	Text	   *out = &call->answer;
	const char *key;
	bool		found;

	arguments_begin(call);
	key = arguments_query(call, parameter);
	if (key && !fits(key))
		answer_reason(call, parameter, "query", problem, "string.uri");
	if (!arguments_end(call, known) || !answer_affordable(call))
		return;
	found = people_known(key);
	if (!found && settings.lead_nothing == LEAD_404)
	{
		answer_status(call, 404);
		return;
	}
	if (found)
		call_charge(call, people_word(key, "role") || people_word(key, "info") ? ROLE_PRICE : PRICE);
	answer_begin(call);
	text_printf(out, "{\"%s\":", parameter);
	text_json(out, key);
	if (found)
	{
		text_string(out, ",\"lead\":");
		write(out, key, table_hash(key));
	}
	else if (settings.lead_nothing == LEAD_NULL)
		text_string(out, ",\"lead\":null");
	else if (settings.lead_nothing == LEAD_EMPTY)
		text_string(out, ",\"lead\":{}");
	text_string(out, "}");
	answer_end(call);
}

static bool
is_email(const char *key)
{
	const char *at = strrchr(key, '@');

	return at && at > key && at[1];
}

static bool
is_profile(const char *key)
{
	return (strncmp(key, "http://", 7) == 0 || strncmp(key, "https://", 8) == 0) &&
		strstr(key, "linkedin.com/") != NULL;
}

static bool
is_domain(const char *key)
{
	return strchr(key, '.') && !strpbrk(key, " @/:");
}

void
serve_reverse_email(Call *call)
{
	look_up(call, "email_address", is_email, "must be a valid email", write_person);
}

void
serve_reverse_linkedin(Call *call)
{
	look_up(call, "url", is_profile, "must be a valid uri", write_person);
}

void
serve_reverse_domain(Call *call)
{
	look_up(call, "name", is_domain, "must be a valid domain", write_company);
}
