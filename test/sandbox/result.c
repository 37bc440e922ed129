/*-------------------------------------------------------------------------
 * result.c
 *		The result file of a list: the original columns, then Clearout's.
 *
 * The original record goes in as it came.  What a client must be able to
 * stand beside the documented form is chosen by the settings result_*.
 *-------------------------------------------------------------------------
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "addresses.h"
#include "clock.h"
#include "people.h"
#include "result.h"
#include "settings.h"
#include "stats.h"
#include "table.h"

#define COLUMNS_MAX 16
#define BOM "\xef\xbb\xbf"

static const char *const verify_columns[] = {
	"Clearout Safe to Send", "Clearout Verification Status", "Clearout Reason",
	"Clearout Suggested Email", "Clearout Bounce Type", "Clearout Disposable Status",
	"Clearout Free Account Status", "Clearout Role Account Status",
	"Clearout Gibberish Status", "Clearout Account", "Clearout Domain",
	"Clearout MX Record", "Clearout SMTP Provider", "Clearout Verified At (UTC)",
	"Clearout Time Taken (ms)", NULL
};

static const char *const find_columns[] = {
	"Clearout Finder Full Name", "Clearout Finder First Name", "Clearout Finder Last Name",
	"Clearout Finder Domain", "Clearout Finder Company", "Clearout Finder Email Address",
	"Clearout Finder Confidence Score", "Clearout Finder Business Account",
	"Clearout Finder Status", "Clearout Finder Reason", "Clearout Finder Processed At (UTC)", NULL
};

/* Places in List.columns. */
enum
{
	COLUMN_EMAIL = 0,			/* of a verifier's list */
	COLUMN_NAME = 0,			/* of a finder's list: the whole name */
	COLUMN_FIRST, COLUMN_LAST,	/* or these two */
	COLUMN_DOMAIN, COLUMN_COMPANY
};

static const char *const email_headers[] = {
	"email", "emails", "email address", "emailaddress", NULL
};

/* Which words the service takes there is not documented. */
static const char *const find_headers[LIST_COLUMNS][4] = {
	{"name", "full name", "fullname", NULL},
	{"first name", "firstname", NULL},
	{"last name", "lastname", NULL},
	{"domain", "website", "company domain", NULL},
	{"company", "company name", NULL}
};

static Text line;
static Text field;

/* --- columns of the upload --- */

/* A header without blanks around it and without a BOM in front of it. */
static const char *
plain_header(Text *header)
{
	char	   *p = header->data;

	if (strncmp(p, BOM, 3) == 0)
		p += 3;
	while (isspace((unsigned char) *p))
		p++;
	for (size_t len = strlen(p); len > 0 && isspace((unsigned char) p[len - 1]); len--)
		p[len - 1] = '\0';
	return p;
}

/* The first column that has one of these names, or -1. */
static int
column_named(const Text *header, const char *const *names)
{
	for (int i = 0; csv_field(header->data, header->len, i, &field); i++)
	{
		const char *name = plain_header(&field);

		for (const char *const *known = names; *known; known++)
			if (strcasecmp(*known, name) == 0)
				return i;
	}
	return -1;
}

bool
result_columns(ListKind kind, const Text *header, int columns[LIST_COLUMNS])
{
	for (int i = 0; i < LIST_COLUMNS; i++)
		columns[i] = -1;
	if (header->len == 0)
		return false;
	if (kind == LIST_VERIFY)
	{
		columns[COLUMN_EMAIL] = column_named(header, email_headers);
		return columns[COLUMN_EMAIL] >= 0;
	}
	for (int i = 0; i < LIST_COLUMNS; i++)
		columns[i] = column_named(header, find_headers[i]);
	return (columns[COLUMN_NAME] >= 0 || columns[COLUMN_FIRST] >= 0) &&
		(columns[COLUMN_DOMAIN] >= 0 || columns[COLUMN_COMPANY] >= 0);
}

/* --- writing a line --- */

static void
add_cells(const char *const *cells, int from, int to)
{
	for (int i = from; i < to; i++)
	{
		if (line.len > 0)
			text_add(&line, ",", 1);
		csv_add(&line, cells[i]);
	}
}

static void
write_line(List *list, const char *record, size_t len, const char *const *cells, int ncells)
{
	const char *reversed[COLUMNS_MAX];

	text_clear(&line);
	if (settings.result_order == ORDER_MIXED)
	{
		/* last to first, and the original columns amid them */
		for (int i = 0; i < ncells; i++)
			reversed[i] = cells[ncells - 1 - i];
		add_cells(reversed, 0, ncells / 2);
		text_add(&line, ",", 1);
		text_add(&line, record, len);
		add_cells(reversed, ncells / 2, ncells);
	}
	else
	{
		text_add(&line, record, len);
		add_cells(cells, 0, ncells);
	}
	if (settings.result_line_end == LINE_CRLF)
		text_add(&line, "\r\n", 2);
	else
		text_add(&line, "\n", 1);
	spool_add(&list->result, line.data, line.len);
}

static void
change_case(char *name)
{
	bool		lower = settings.result_header == HEADER_LOWER;

	for (char *p = name; *p; p++)
	{
		*p = (char) (lower ? tolower((unsigned char) *p) : toupper((unsigned char) *p));
		if (settings.result_header == HEADER_MIXED)
			lower = !lower;
	}
}

void
result_begin(List *list)
{
	const char *const *columns = list->kind == LIST_FIND ? find_columns : verify_columns;
	char		names[COLUMNS_MAX][64];
	const char *cells[COLUMNS_MAX];
	int			n = 0;
	const char *record;
	size_t		len;

	for (; columns[n]; n++)
	{
		snprintf(names[n], sizeof(names[n]), "%s", columns[n]);
		if (settings.result_header != HEADER_DOCUMENTED)
			change_case(names[n]);
		cells[n] = names[n];
	}
	if (!csv_next(&list->reader, &record, &len))
		return;
	if (len >= 3 && memcmp(record, BOM, 3) == 0)
		record += 3, len -= 3;
	if (settings.result_bom)
		spool_add(&list->result, BOM, 3);
	if (settings.result_extra && list->kind == LIST_VERIFY)
		cells[n++] = "Clearout AI Verdict";
	write_line(list, record, len, cells, n);
	list->result_header = list->result.len;
}

/* "catch_all" is "Catch All" there. */
static const char *
title(const char *word)
{
	static const struct
	{
		const char *json;
		const char *csv;
	}			words[] =
	{
		{"yes", "Yes"}, {"no", "No"}, {"risky", "Risky"}, {"unknown", "Unknown"},
		{"valid", "Valid"}, {"invalid", "Invalid"}, {"catch_all", "Catch All"},
		{"hard", "Hard"}, {"soft", "Soft"},
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(words[i].json, word) == 0)
			return words[i].csv;
	return word;
}

static const char *
yes_no(bool flag)
{
	return flag ? "Yes" : "No";
}

/* What a test asks for goes in place of the reason. */
static const char *
odd_reason(const List *list, const char *reason)
{
	static char text[256];
	int64_t		row = list->processed + 1;

	if (settings.result_bad_row == row)
		snprintf(text, sizeof(text), "%s \xe9t\xe9", reason);
	else if (settings.result_line_breaks && row % 3 == 0)
		snprintf(text, sizeof(text), "%s,\n\"%s\"", reason, reason);
	else
		return reason;
	return text;
}

static void
time_cell(int64_t wall, char text[CLOCK_TEXT_SIZE])
{
	clock_iso(wall, text);
	if (settings.result_time == TIME_BLANK)
	{
		text[10] = ' ';
		text[19] = '\0';
	}
}


/* A field of the original record, without blanks around it; good until the next. */
static const char *
value_of(const List *list, int column, const char *record, size_t len)
{
	char	   *p;

	if (list->columns[column] < 0 || !csv_field(record, len, list->columns[column], &field))
	{
		text_clear(&field);
		text_add(&field, "", 0);
	}
	for (p = field.data; isspace((unsigned char) *p); p++)
		;
	for (size_t l = strlen(p); l > 0 && isspace((unsigned char) p[l - 1]); l--)
		p[l - 1] = '\0';
	return p;
}

/* What a row costs, but only for the first of its kind in the list. */
static int
charge(List *list, const char *key, int credits)
{
	if (credits == 0 || !seen_add(&list->seen, key))
		return 0;
	account_charge(list->account, list->kind == LIST_FIND ? SERVICE_FIND : SERVICE_VERIFY, credits);
	stats.charged += credits;
	list->charged += credits;
	return credits;
}

static void
count_row(Table *table, const char *key, int credits)
{
	Count	   *count;

	stats.rows++;
	if (!settings.remember)
		return;
	count = table_at(table, table_enter(table, key));
	count->rows++;
	count->charged += (uint32_t) credits;
}

static void
verify_row(List *list, const char *record, size_t len, RowFate fate)
{
	const char *cells[COLUMNS_MAX];
	int			n = 0;
	Verdict		verdict;
	char		suggested[ADDRESS_SUGGESTED_SIZE];
	char		account[ADDRESS_ACCOUNT_SIZE];
	char		mx[300];
	char		verified_at[CLOCK_TEXT_SIZE];
	char		taken[16];
	const char *email;
	const char *domain;

	email = value_of(list, COLUMN_EMAIL, record, len);
	if (fate == ROW_PROCESSED)
		addresses_judge(email, &verdict);
	else
		addresses_unprocessed(&verdict);
	domain = addresses_split(email, account);
	addresses_suggest(&verdict, account, suggested);

	cells[n++] = title(verdict.safe_to_send);
	cells[n++] = title(verdict.status);
	cells[n++] = fate == ROW_CANCELLED ? "Request cancelled" :
		odd_reason(list, addresses_reason(verdict.code));
	cells[n++] = suggested;
	cells[n++] = title(verdict.bounce);
	cells[n++] = yes_no(verdict.disposable);
	cells[n++] = yes_no(verdict.free);
	cells[n++] = yes_no(verdict.role);
	cells[n++] = yes_no(verdict.gibberish);
	cells[n++] = account;
	cells[n++] = domain;
	if (verdict.mx_record == NULL)
	{
		snprintf(mx, sizeof(mx), "mx1.%s", domain);
		cells[n++] = mx;
	}
	else
		cells[n++] = verdict.mx_record;
	cells[n++] = verdict.smtp_provider;
	time_cell(clock_wall_ms(), verified_at);
	cells[n++] = verified_at;
	snprintf(taken, sizeof(taken), "%u", 80 + table_hash(email) % 800);
	cells[n++] = taken;
	if (settings.result_extra)
		cells[n++] = addresses_opinion(&verdict);
	write_line(list, record, len, cells, n);

	if (fate == ROW_PROCESSED)
		count_row(addresses_asked, email, charge(list, email, verdict.charged && *email ? 1 : 0));
}

static void
find_row(List *list, const char *record, size_t len, RowFate fate)
{
	static Text name;
	static Text key;
	const char *cells[COLUMNS_MAX];
	int			n = 0;
	const char *domain;
	char		confidence[8] = "";
	char		processed_at[CLOCK_TEXT_SIZE];
	Person		person;

	text_clear(&name);
	text_string(&name, value_of(list, COLUMN_NAME, record, len));
	if (name.len == 0)
	{
		text_string(&name, value_of(list, COLUMN_FIRST, record, len));
		if (*value_of(list, COLUMN_LAST, record, len))
		{
			text_string(&name, " ");
			text_string(&name, value_of(list, COLUMN_LAST, record, len));
		}
	}
	domain = value_of(list, COLUMN_DOMAIN, record, len);
	if (*domain == '\0')
		domain = value_of(list, COLUMN_COMPANY, record, len);
	people_find(name.data, domain, &person);
	if (fate == ROW_CANCELLED || name.len == 0 || *domain == '\0' || !people_name_ok(name.data))
	{
		person.found = false;
		person.nemails = person.credits = 0;
	}
	if (person.found)
		snprintf(confidence, sizeof(confidence), "%d", person.confidence);
	time_cell(clock_wall_ms(), processed_at);

	cells[n++] = person.full;
	cells[n++] = person.first;
	cells[n++] = person.last;
	cells[n++] = person.domain;
	cells[n++] = person.company;
	cells[n++] = person.found ? person.emails[0] : "";
	cells[n++] = confidence;
	cells[n++] = person.found ? "Yes" : "";
	cells[n++] = person.found ? "Found" : "Not Found";
	cells[n++] = fate == ROW_CANCELLED ? "Request cancelled" :
		odd_reason(list, person.found ? "Success" : "Email Address Not Found");
	cells[n++] = processed_at;

	text_clear(&key);
	text_string(&key, "find ");
	text_add(&key, name.data, name.len);
	text_string(&key, "|");
	text_string(&key, domain);
	write_line(list, record, len, cells, n);
	if (fate == ROW_PROCESSED)
		count_row(others_asked, key.data, charge(list, key.data, person.credits));
}

void
result_row(List *list, const char *record, size_t len, RowFate fate)
{
	if (list->kind == LIST_FIND)
		find_row(list, record, len, fate);
	else
		verify_row(list, record, len, fate);
}

void
result_name(const List *list, Text *name)
{
	const char *dot = strrchr(list->name, '.');
	size_t		len = dot ? (size_t) (dot - list->name) : strlen(list->name);

	text_add(name, list->name, len);
	text_string(name, list->kind == LIST_VERIFY ? "_clearout_results.csv" :
				"_appended_clearout_finder_results.csv");
}
