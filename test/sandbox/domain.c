/*-------------------------------------------------------------------------
 * domain.c
 *		POST /domain/resolve/mx and /domain/resolve/whois, made up from the
 *		name of the domain.
 *
 * domain-not-found.test and no-mx.test have no mail server; what the service
 * says then is not documented: an empty list here.
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>

#include "answer.h"
#include "arguments.h"
#include "clock.h"
#include "serve.h"
#include "settings.h"
#include "stats.h"
#include "table.h"

#define TIMEOUT_MIN 1000
#define TIMEOUT_DEFAULT 90000
#define TIMEOUT_MAX 110000

/* The domain, or NULL: then the answer is written. */
static const char *
the_domain(Call *call)
{
	static const char *const known[] = {"domain", "timeout", NULL};
	const char *domain;
	int64_t		timeout;

	arguments_begin(call);
	domain = arguments_string(call, "domain", true);
	timeout = arguments_timeout(call, TIMEOUT_MIN, TIMEOUT_DEFAULT, TIMEOUT_MAX);
	if (domain && (!strchr(domain, '.') || strpbrk(domain, " @/:")))
		answer_reason(call, "domain", "body", "must be a valid domain", "string.hostname");
	if (!arguments_end(call, known))
		return NULL;
	if (settings.utility_price > 0 && !answer_affordable(call))
		return NULL;
	if (call->latency > timeout)
	{
		call->latency = timeout;
		stats.timed_out++;
		answer_timeout(call, "domain", domain, NULL);
		return NULL;
	}
	if (settings.utility_price > 0)
		call_charge(call, settings.utility_price);
	return domain;
}

static void
begin(Call *call, const char *domain)
{
	char		verified_on[CLOCK_TEXT_SIZE];

	clock_iso(call->arrived + call->latency, verified_on);
	answer_begin(call);
	text_string(&call->answer, "{\"domain\":");
	text_json(&call->answer, domain);
	text_printf(&call->answer, ",\"verified_on\":\"%s\",\"time_taken\":%u", verified_on,
				10 + table_hash(domain) % 90);
}

void
serve_mx(Call *call)
{
	const char *domain = the_domain(call);
	Text		exchange = {0};
	int			count = 2;

	if (domain == NULL)
		return;
	if (strncmp(domain, "no-mx.", 6) == 0 || strncmp(domain, "domain-not-found.", 17) == 0)
		count = 0;
	begin(call, domain);
	text_string(&call->answer, ",\"mx_records\":[");
	for (int i = 0; i < count; i++)
	{
		text_clear(&exchange);
		text_printf(&exchange, "mx%d.", i + 1);
		text_string(&exchange, domain);
		text_string(&call->answer, i ? ",{\"exchange\":" : "{\"exchange\":");
		text_json(&call->answer, exchange.data);
		text_printf(&call->answer, ",\"priority\":%d}", 10 * (i + 1));
	}
	text_string(&call->answer, "]}");
	answer_end(call);
	text_free(&exchange);
}

static void
add_contact(Text *out, const char *role, bool known)
{
	text_printf(out, ",\"%s\":{\"id\":null,\"name\":%s,\"organization\":%s,\"street\":null,"
				"\"city\":null,\"state\":null,\"postal_code\":null,\"country\":%s,\"phone\":null,"
				"\"phone_ext\":null,\"fax\":null,\"fax_ext\":null,\"email\":null}",
				role, known ? "\"Domain Manager\"" : "null", known ? "\"Example\"" : "null",
				known ? "\"US\"" : "null");
}

void
serve_whois(Call *call)
{
	const char *domain = the_domain(call);
	Text	   *out = &call->answer;

	if (domain == NULL)
		return;
	begin(call, domain);
	text_printf(out, ",\"whoisRecord\":{\"domain\":{\"id\":\"%08x_DOMAIN\",\"name\":", table_hash(domain));
	text_json(out, domain);
	text_string(out, ",\"created_date\":\"1999-12-31T00:00:00Z\","
				"\"status\":{\"clientTransferProhibited\":\"https://icann.org/epp#clientTransferProhibited\"}},"
				"\"registrar\":{\"name\":\"Example Registrar\",\"url\":\"https://registrar.test\","
				"\"whois_server\":\"whois.registrar.test\",\"registration_expiry_date\":\"2030-12-31T00:00:00Z\","
				"\"abuse_contact_email\":\"abuse@registrar.test\",\"abuse_contact_phone\":\"+1.5550100\"}");
	add_contact(out, "registrant", true);
	add_contact(out, "admin", false);
	add_contact(out, "tech", false);
	text_string(out, ",\"nameservers\":[\"ns1.registrar.test\",\"ns2.registrar.test\"],"
				"\"dnssec\":\"unsigned\",\"last_update_whois_database\":\"2026-01-01T00:00:00Z\","
				"\"notice\":\"\",\"term_of_use\":\"\"}}");
	answer_end(call);
}
