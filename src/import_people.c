/*-------------------------------------------------------------------------
 * import_people.c
 *		Result files of the finder: rows of clearout_people.
 *
 * What store_lookups.c does for one answer, for a batch of them.  The file
 * does not tell whether an address is that of a role, nor what it has cost.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "arguments.h"
#include "import_kinds.h"
#include "people.h"
#include "price.h"
#include "slots.h"

/* ---------- rows ---------- */

/*
 * What was asked, from the columns that were uploaded.  They are in normal
 * form, unless something on the way has changed letters or blanks.
 */
static bool
set_asked(CoImportRow *row, const CoCsvPerson *answer)
{
	char	   *name = psprintf("%s %s", answer->asked_first ? answer->asked_first : "",
								answer->asked_last ? answer->asked_last : "");
	const char *company = answer->asked_domain ? answer->asked_domain : answer->asked_company;

	name = co_words_argument(cstring_to_text(name), CO_WORDS_FOLDED);
	company = co_words_argument(cstring_to_text(company), CO_WORDS_FOLDED);
	if (name[0] == '\0' || company[0] == '\0')
		return false;
	row->key = psprintf("%s%c%s", name, CO_FIND_SEPARATOR, company);

	/* nobody has asked that, and it would not fit into an index */
	if (strlen(row->key) >= CO_KEY_SIZE)
		return false;
	co_import_set_text(row, CO_PERSON_ASKED_NAME, name);
	co_import_set_text(row, CO_PERSON_ASKED_DOMAIN, company);
	return true;
}

static void
set_number(CoImportRow *row, int column, int number)
{
	row->isnull[column] = number < 0;
	row->value[column] = Int32GetDatum(number);
}

/* As an instant answer says it: of nobody there is nothing to tell. */
static void
set_person(CoImportRow *row, const CoCsvPerson *answer)
{
	Datum		email = CStringGetTextDatum(answer->email);

	co_import_set_text(row, CO_PERSON_EMAIL, answer->email);
	row->isnull[CO_PERSON_EMAILS] = false;
	row->value[CO_PERSON_EMAILS] = PointerGetDatum(construct_array(&email, 1, TEXTOID, -1, false,
																   TYPALIGN_INT));
	co_import_set_ternary(row, CO_PERSON_BUSINESS, answer->business);
	co_import_set_text(row, CO_PERSON_FIRST_NAME, answer->first_name);
	co_import_set_text(row, CO_PERSON_LAST_NAME, answer->last_name);
	co_import_set_text(row, CO_PERSON_FULL_NAME, answer->full_name);
	co_import_set_text(row, CO_PERSON_DOMAIN, answer->domain);
	co_import_set_text(row, CO_PERSON_COMPANY, answer->company);
	set_number(row, CO_PERSON_CONFIDENCE_SCORE, answer->confidence_score);
}

static CoRowFate
fill_row(const CoImport *import, char **fields, int count, TimestampTz now,
		 CoImportRow *row, const char **why)
{
	CoCsvPerson answer;
	CoCsvVerdict verdict = co_csv_person(&import->map, fields, count, &answer);

	if (verdict == CO_CSV_UNDONE)
		return CO_ROW_UNDONE;
	*why = co_csv_verdict_text(verdict);
	if (verdict != CO_CSV_ANSWER)
		return CO_ROW_BROKEN;
	memset(row->value, 0, sizeof(row->value));
	memset(row->isnull, true, sizeof(row->isnull));
	if (!set_asked(row, &answer))
	{
		*why = "the name or the domain is none that can be asked for";
		return CO_ROW_BROKEN;
	}
	row->time = co_import_time(import, answer.found_on, now);
	row->weak = false;
	row->credits = co_price_of_answer(CO_ENDPOINT_FIND, answer.found, false, -1);
	co_import_set_text(row, CO_PERSON_STATUS, answer.found ? "found" : "not_found");
	co_import_set_text(row, CO_PERSON_SOURCE, import->source);
	co_import_set_time(row, CO_PERSON_FOUND_AT, row->time);
	co_import_set_time(row, CO_PERSON_ASKED_AT, import->asked_at);
	if (answer.found)
		set_person(row, &answer);
	return CO_ROW_ANSWER;
}

/* ---------- storing ---------- */

static const Oid note_type[] = {TEXTOID};

/* The newer answer wins, whether it has found somebody or not. */
static CoStatement put_rows =
{CO_TABLE_PEOPLE, "INSERT INTO %s.clearout_people AS p (asked_name, asked_domain, status, email, role,"
	" business, emails, first_name, last_name, full_name, domain, company, confidence_score,"
	" credits_charged, found_at, source, raw, asked_at)"
	" SELECT asked_name, asked_domain, status, email, role,"
	" business, emails, first_name, last_name, full_name, domain, company, confidence_score,"
	" credits_charged, found_at, source, raw, asked_at FROM " CO_IMPORT_ROWS_NAME
	" ON CONFLICT (asked_name, asked_domain) DO UPDATE SET (status, email, role,"
	" business, emails, first_name, last_name, full_name, domain, company, confidence_score,"
	" credits_charged, found_at, source, raw, asked_at) ="
	" ROW (excluded.status, excluded.email, excluded.role, excluded.business,"
	" excluded.emails, excluded.first_name, excluded.last_name, excluded.full_name,"
	" excluded.domain, excluded.company, excluded.confidence_score, excluded.credits_charged,"
	" excluded.found_at, excluded.source, excluded.raw, greatest(p.asked_at, excluded.asked_at))"
	" WHERE p.found_at <= excluded.found_at",
0, note_type, NULL, ""};

/* A newer one is there, but it was asked for again. */
static CoStatement confirm_people =
{CO_TABLE_PEOPLE, "UPDATE %s.clearout_people AS p SET asked_at = a.asked_at FROM " CO_IMPORT_ROWS_NAME " AS a"
	" WHERE p.asked_name = a.asked_name AND p.asked_domain = a.asked_domain"
	" AND p.found_at > a.found_at AND (p.asked_at IS NULL OR p.asked_at <= a.asked_at)",
0, note_type, NULL, ""};

static CoStatement find_missing =
{CO_TABLE_PEOPLE, "SELECT FROM " CO_IMPORT_ROWS_NAME " AS a WHERE NOT EXISTS"
	" (SELECT FROM %s.clearout_people AS p"
	" WHERE p.asked_name = a.asked_name AND p.asked_domain = a.asked_domain) LIMIT 1",
0, note_type, NULL, ""};

/* In the shape of an instant answer, so that it is merged as one. */
static CoStatement spill_rows =
{CO_TABLE_LOOKUP_SPILL, "INSERT INTO %s.clearout_lookup_spill (kind, key, found, answer, answered_at, asked_at, error)"
	" SELECT '" CO_FIND_KIND "', asked_name || chr(31) || asked_domain, status = 'found',"
	" CASE status WHEN 'found' THEN jsonb_build_object('" CO_FIND_LISTED "', true,"
	" 'emails', jsonb_build_array(jsonb_build_object('email_address', email,"
	" 'business', CASE WHEN business THEN 'yes' WHEN NOT business THEN 'no' END)),"
	" 'first_name', first_name, 'last_name', last_name, 'full_name', full_name,"
	" 'domain', domain, 'company', jsonb_build_object('name', company),"
	" 'confidence_score', confidence_score)"
	" ELSE jsonb_build_object('" CO_FIND_LISTED "', true) END,"
	" found_at, asked_at, $1 FROM " CO_IMPORT_ROWS_NAME, 1, note_type, NULL, ""};

static void
store_rows(CoCatalog *catalog, CoImport *import, int from, int to)
{
	EphemeralNamedRelation relation;

	/* somebody has locked the whole table: no use in trying row by row */
	if (!ConditionalLockRelationOid(catalog->people, RowExclusiveLock))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("table \"clearout_people\" is locked")));
	relation = co_import_show_rows(import, from, to);
	if (co_execute(catalog, &put_rows, NULL, NULL) < (uint64) (to - from))
	{
		(void) co_execute(catalog, &confirm_people, NULL, NULL);
		if (co_execute(catalog, &find_missing, NULL, NULL) > 0)
			ereport(ERROR,
					(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
					 errmsg("a trigger of the table \"clearout_people\" dropped the answer")));
	}
	co_import_hide_rows(relation);
}

static void
put_aside(CoCatalog *catalog, CoImport *import, int from, int to, const char *note)
{
	EphemeralNamedRelation relation = co_import_show_rows(import, from, to);
	Datum		value = note ? CStringGetTextDatum(note) : (Datum) 0;

	(void) co_execute(catalog, &spill_rows, &value, note ? " " : "n");
	co_import_hide_rows(relation);
}

static const char *const names[CO_PERSON_COLUMNS] = {
	"asked_name", "asked_domain", "status", "email", "role", "business", "emails",
	"first_name", "last_name", "full_name", "domain", "company", "confidence_score",
	"credits_charged", "found_at", "source", "raw", "asked_at"
};

StaticAssertDecl((int) CO_PERSON_COLUMNS <= (int) CO_WRITTEN_COLUMNS,
				 "a row of an import has no room for a person");

const CoImportKind co_people_import = {
	CO_PERSON_COLUMNS, names, co_person_types, 2,
	co_csv_find_map, fill_row, store_rows, put_aside
};
