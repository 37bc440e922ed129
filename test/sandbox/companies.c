/*-------------------------------------------------------------------------
 * companies.c
 *		GET /public/companies/autocomplete: domains for the name of a company.
 *
 * Public: no token, no window, no charge.  Nothing is found for "nobody".
 *-------------------------------------------------------------------------
 */
#include <ctype.h>

#include "answer.h"
#include "arguments.h"
#include "people.h"
#include "serve.h"
#include "table.h"

#define MATCHES_MAX 5

void
serve_autocomplete(Call *call)
{
	static const char *const known[] = {"query", NULL};
	static const char *const endings[MATCHES_MAX] = {".test", ".example", "-group.test", ".invalid", "-app.test"};
	Text	   *out = &call->answer;
	Text		slug = {0};
	Text		domain = {0};
	const char *query;
	unsigned	count;

	arguments_begin(call);
	query = arguments_query(call, "query");
	if (!arguments_end(call, known))
		return;
	for (const char *p = query; *p && *p != '.'; p++)
		if (isalnum((unsigned char) *p))
			text_printf(&slug, "%c", tolower((unsigned char) *p));
	count = slug.len == 0 || people_word(query, "nobody") ? 0 : 1 + table_hash(query) % MATCHES_MAX;
	answer_begin(call);
	text_string(out, "[");
	for (unsigned i = 0; i < count; i++)
	{
		text_clear(&domain);
		text_printf(&domain, "%s%s", slug.data, endings[i]);
		text_string(out, i ? ",{\"name\":" : "{\"name\":");
		text_json(out, query);
		text_string(out, ",\"domain\":");
		text_json(out, domain.data);
		text_printf(out, ",\"confidence_score\":%u,\"logo_url\":", 100 - 7 * i);
		if (i % 2)
			text_string(out, "null}");
		else
		{
			text_string(&domain, "/logo.png");
			text_string(out, "\"https://logo.");
			text_add(out, domain.data, domain.len);
			text_string(out, "\"}");
		}
	}
	text_string(out, "]");
	answer_end(call);
	text_free(&slug);
	text_free(&domain);
}
