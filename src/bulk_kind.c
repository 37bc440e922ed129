/*-------------------------------------------------------------------------
 * bulk_kind.c
 *		What lists of the verifier and of the finder do not have in common.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "address.h"
#include "bulk_kind.h"
#include "codec.h"

static void
append_field(StringInfo csv, const char *text, size_t length)
{
	enlargeStringInfo(csv, 2 * length + 2);
	csv->len += co_csv_quote(text, length, csv->data + csv->len);
	csv->data[csv->len] = '\0';
}

static void
write_address(StringInfo csv, const char *asked)
{
	append_field(csv, asked, strlen(asked));
	appendStringInfoChar(csv, '\n');
}

/*
 * What is no domain is the name of a company; some accounts take none (Domain
 * Check), but all know the columns.
 */
static void
write_person(StringInfo csv, const char *asked)
{
	const char *separator = strchr(asked, CO_FIND_SEPARATOR);
	char	   *name = pnstrdup(asked, separator ? separator - asked : strlen(asked));
	const char *company = separator ? separator + 1 : "";
	size_t		first = co_csv_first_name(name);
	const char *last = name[first] == ' ' ? name + first + 1 : "";
	char		domain[CO_ADDRESS_DOMAIN_MAX + 1];
	bool		is_domain = co_domain_normalize(company, strlen(company), domain,
												sizeof(domain)) == CO_ADDRESS_OK;

	append_field(csv, name, first);
	appendStringInfoChar(csv, ',');
	append_field(csv, last, strlen(last));
	appendStringInfoChar(csv, ',');
	append_field(csv, company, is_domain ? 0 : strlen(company));
	appendStringInfoChar(csv, ',');
	append_field(csv, company, is_domain ? strlen(company) : 0);
	appendStringInfoChar(csv, '\n');
	pfree(name);
}

const CoBulkRules co_bulk_rules[CO_BULK_KINDS] = {
	[CO_BULK_VERIFY] = {
		"verify", CO_SERVICE_VERIFY, 1, CO_QUEUE_VERIFY, true, "Email\n",
		write_address, &co_results_import
	},
	[CO_BULK_FIND] = {
		"find", CO_SERVICE_FIND, 4, CO_QUEUE_FIND, false, CO_CSV_FIND_HEADER,
		write_person, &co_people_import
	}
};

CoBulkKind
co_bulk_kind(const char *word)
{
	return strcmp(word, co_bulk_rules[CO_BULK_FIND].word) == 0 ? CO_BULK_FIND : CO_BULK_VERIFY;
}
