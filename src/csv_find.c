/*-------------------------------------------------------------------------
 * csv_find.c
 *		Lists of the finder: what goes into the upload, and rows of the result.
 *
 * Pure.  Which headers an upload may have is not documented; those here are
 * of the vendor's own sample, where a last name is missing in one row.  The
 * service keeps them in front of its own columns, so a row of the result
 * tells what was asked, whatever the service has made of it.
 *-------------------------------------------------------------------------
 */
#include <limits.h>
#include <string.h>

#include "csv_field.h"

static const CoCsvName names[] = {
	{"firstname", CO_CSV_ASKED_FIRST, true},
	{"lastname", CO_CSV_ASKED_LAST, true},
	{"company", CO_CSV_ASKED_COMPANY, true},
	{"domain", CO_CSV_ASKED_DOMAIN, true},
	{"clearoutfinderfullname", CO_CSV_FOUND_FULL_NAME, false},
	{"clearoutfinderfirstname", CO_CSV_FOUND_FIRST_NAME, false},
	{"clearoutfinderlastname", CO_CSV_FOUND_LAST_NAME, false},
	{"clearoutfinderdomain", CO_CSV_FOUND_DOMAIN, false},
	{"clearoutfindercompany", CO_CSV_FOUND_COMPANY, false},
	{"clearoutfinderemailaddress", CO_CSV_FOUND_EMAIL, false},
	{"clearoutfinderemail", CO_CSV_FOUND_EMAIL, false},
	{"clearoutfinderconfidencescore", CO_CSV_FOUND_CONFIDENCE, false},
	{"clearoutfinderbusinessaccount", CO_CSV_FOUND_BUSINESS, false},
	{"clearoutfinderstatus", CO_CSV_FOUND_STATUS, false},
	{"clearoutfinderreason", CO_CSV_FOUND_REASON, false},
	{"clearoutfinderprocessedat", CO_CSV_FOUND_AT, false},
	{"clearoutfinderprocessedatutc", CO_CSV_FOUND_AT, false}
};

/*
 * The first word, with whatever is abbreviated in front of it, be it a title
 * or a name: "dr. jane" of "dr. jane van doe".  But of several words never
 * the last.
 */
size_t
co_csv_first_name(const char *name)
{
	size_t		length = 0;

	for (;;)
	{
		size_t		word = length + strcspn(name + length, " ");
		bool		abbreviated = word > length && name[word - 1] == '.';

		/* there is no word but this, or only abbreviations before it */
		if (name[word] == '\0')
			return length == 0 ? word : length - 1;
		if (!abbreviated)
			return word;
		length = word + 1;
	}
}

const char *
co_csv_find_map(char *const *header, int count, CoCsvMap *map)
{
	co_csv_find_columns(header, count, names, sizeof(names) / sizeof(names[0]), map);
	if (map->at[CO_CSV_FOUND_STATUS] < 0)
		return "it has no column \"Clearout Finder Status\"";
	if (map->at[CO_CSV_FOUND_EMAIL] < 0)
		return "it has no column \"Clearout Finder Email Address\"";
	if (map->at[CO_CSV_ASKED_FIRST] < 0 ||
		(map->at[CO_CSV_ASKED_DOMAIN] < 0 && map->at[CO_CSV_ASKED_COMPANY] < 0))
		return "it lacks the columns that were uploaded";
	return NULL;
}

CoCsvVerdict
co_csv_person(const CoCsvMap *map, char *const *fields, int count,
			  CoCsvPerson *person)
{
	char		status[CO_CSV_WORD_MAX + 1];

#define FIELD(column) co_csv_field(map, fields, count, column)
	/* fields that are empty at the end may have been left out */
	if (map->at[CO_CSV_FOUND_STATUS] >= count)
		return CO_CSV_FEW_FIELDS;

	person->asked_first = FIELD(CO_CSV_ASKED_FIRST);
	person->asked_last = FIELD(CO_CSV_ASKED_LAST);
	person->asked_company = FIELD(CO_CSV_ASKED_COMPANY);
	person->asked_domain = FIELD(CO_CSV_ASKED_DOMAIN);
	if ((person->asked_first == NULL && person->asked_last == NULL) ||
		(person->asked_company == NULL && person->asked_domain == NULL))
		return CO_CSV_NO_NAME;

	co_csv_fold_word(FIELD(CO_CSV_FOUND_STATUS), status);
	if (status[0] == '\0')
		return CO_CSV_NO_STATUS;
	person->email = FIELD(CO_CSV_FOUND_EMAIL);
	if (strcmp(status, "not_found") == 0)
	{
		if (co_csv_is_cancelled(FIELD(CO_CSV_FOUND_REASON)))
			return CO_CSV_UNDONE;
		person->found = false;
	}
	else if (strcmp(status, "found") == 0)
	{
		if (person->email == NULL)
			return CO_CSV_NO_ADDRESS;
		person->found = true;
	}
	else
		return CO_CSV_ODD_STATUS;

	person->business = co_csv_ternary(FIELD(CO_CSV_FOUND_BUSINESS));
	person->first_name = FIELD(CO_CSV_FOUND_FIRST_NAME);
	person->last_name = FIELD(CO_CSV_FOUND_LAST_NAME);
	person->full_name = FIELD(CO_CSV_FOUND_FULL_NAME);
	person->domain = FIELD(CO_CSV_FOUND_DOMAIN);
	person->company = FIELD(CO_CSV_FOUND_COMPANY);
	person->confidence_score = (int) co_csv_whole(FIELD(CO_CSV_FOUND_CONFIDENCE), INT_MAX);
	person->found_on = co_csv_utc_time(FIELD(CO_CSV_FOUND_AT));
#undef FIELD
	return CO_CSV_ANSWER;
}
