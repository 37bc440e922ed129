/*-------------------------------------------------------------------------
 * people.c
 *		Rows of clearout_people and clearout_lookups, as their readers and
 *		writers see them.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "convert.h"
#include "people.h"

const Oid	co_person_types[CO_PERSON_COLUMNS] = {
	TEXTOID, TEXTOID, TEXTOID, TEXTOID, BOOLOID, BOOLOID, TEXTARRAYOID,
	TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT4OID, INT4OID,
	TIMESTAMPTZOID, TEXTOID, JSONBOID, TIMESTAMPTZOID
};

const Oid	co_lookup_types[CO_LOOKUP_COLUMNS] = {
	TEXTOID, TEXTOID, BOOLOID, BOOLOID, JSONBOID, TIMESTAMPTZOID, TIMESTAMPTZOID
};

static TimestampTz
from_unix(int64 microseconds)
{
	return microseconds -
		(int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}

void
co_lookup_fill(const char *kind, const char *key, const CoLookupAnswer *answer,
			   TimestampTz asked_at, TimestampTz received_at,
			   Datum *values, bool *nulls)
{
	/* The service's clock may be ahead of ours: nothing is from the future. */
	TimestampTz answered_at = answer->told_on == CO_NO_TIME ? received_at
		: Min(from_unix(answer->told_on), received_at);

	memset(nulls, false, CO_LOOKUP_COLUMNS * sizeof(bool));
	values[CO_LOOKUP_KIND] = CStringGetTextDatum(kind);
	values[CO_LOOKUP_KEY] = CStringGetTextDatum(key);
	values[CO_LOOKUP_FOUND] = BoolGetDatum(answer->found);
	nulls[CO_LOOKUP_FLAG] = answer->flag == CO_NULL;
	values[CO_LOOKUP_FLAG] = BoolGetDatum(answer->flag == CO_TRUE);
	nulls[CO_LOOKUP_ANSWER] = answer->raw == NULL;
	values[CO_LOOKUP_ANSWER] = answer->raw == NULL ? (Datum) 0 :
		DirectFunctionCall1(jsonb_in, CStringGetDatum(co_text_from_utf8(answer->raw)));
	values[CO_LOOKUP_ANSWERED_AT] = TimestampTzGetDatum(answered_at);
	values[CO_LOOKUP_ASKED_AT] = TimestampTzGetDatum(asked_at);
}

static void
set_text(Datum *values, bool *nulls, CoPersonColumn column, const char *utf8)
{
	nulls[column] = utf8 == NULL;
	if (utf8 != NULL)
		values[column] = CStringGetTextDatum(co_text_from_utf8(utf8));
}

static void
set_ternary(Datum *values, bool *nulls, CoPersonColumn column, CoTernary ternary)
{
	nulls[column] = ternary == CO_NULL;
	values[column] = BoolGetDatum(ternary == CO_TRUE);
}

static void
set_number(Datum *values, bool *nulls, CoPersonColumn column, int number)
{
	nulls[column] = number < 0;
	values[column] = Int32GetDatum(number);
}

static void
set_person(const CoPerson *person, Datum *values, bool *nulls)
{
	Datum	   *emails = palloc(person->email_count * sizeof(Datum));

	for (int i = 0; i < person->email_count; i++)
		emails[i] = CStringGetTextDatum(co_text_from_utf8(person->emails[i]));
	nulls[CO_PERSON_EMAILS] = false;
	values[CO_PERSON_EMAILS] = PointerGetDatum(construct_array(emails, person->email_count,
															   TEXTOID, -1, false, TYPALIGN_INT));
	set_text(values, nulls, CO_PERSON_EMAIL, person->email);
	set_ternary(values, nulls, CO_PERSON_ROLE, person->role);
	set_ternary(values, nulls, CO_PERSON_BUSINESS, person->business);
	set_text(values, nulls, CO_PERSON_FIRST_NAME, person->first_name);
	set_text(values, nulls, CO_PERSON_LAST_NAME, person->last_name);
	set_text(values, nulls, CO_PERSON_FULL_NAME, person->full_name);
	set_text(values, nulls, CO_PERSON_DOMAIN, person->domain);
	set_text(values, nulls, CO_PERSON_COMPANY, person->company);
	set_number(values, nulls, CO_PERSON_CONFIDENCE_SCORE, person->confidence_score);
	set_number(values, nulls, CO_PERSON_CREDITS_CHARGED, person->credits_charged);
}

/* Fill the row, and let go of the person, whatever comes of it. */
static void
set_and_free(CoPerson *person, Datum *values, bool *nulls)
{
	PG_TRY();
	{
		set_person(person, values, nulls);
	}
	PG_FINALLY();
	{
		free(person);
	}
	PG_END_TRY();
}

/* What the finder has said of whom it found. */
static void
read_person(const char *raw, bool complete, Datum *values, bool *nulls)
{
	CoPerson   *person = raw == NULL ? NULL : co_person_read(raw);

	if (person == NULL && !complete)
		return;
	if (person == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("a finder's answer is missing, or there is no memory to read it")));
	set_and_free(person, values, nulls);
}

static char *
utf8_of_jsonb(Datum value)
{
	char	   *text = JsonbToCString(NULL, &DatumGetJsonbP(value)->root, -1);

	return co_text_to_utf8(text, strlen(text));
}

/* Has it come in a list? */
static bool
is_listed(Datum answer)
{
	return DatumGetBool(DirectFunctionCall2(jsonb_exists, answer, CStringGetTextDatum(CO_FIND_LISTED)));
}

void
co_person_fill(const Datum *lookup_values, const bool *lookup_nulls,
			   const char *raw, bool complete, Datum *values, bool *nulls)
{
	char	   *key = TextDatumGetCString(lookup_values[CO_LOOKUP_KEY]);
	char	   *separator = strchr(key, CO_FIND_SEPARATOR);
	bool		found = DatumGetBool(lookup_values[CO_LOOKUP_FOUND]);
	bool		listed = !lookup_nulls[CO_LOOKUP_ANSWER] && is_listed(lookup_values[CO_LOOKUP_ANSWER]);

	if (separator == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("a finder's answer has a key without a domain")));
	*separator = '\0';
	memset(nulls, true, CO_PERSON_COLUMNS * sizeof(bool));
	memset(values, 0, CO_PERSON_COLUMNS * sizeof(Datum));

	nulls[CO_PERSON_ASKED_NAME] = nulls[CO_PERSON_ASKED_DOMAIN] = false;
	values[CO_PERSON_ASKED_NAME] = CStringGetTextDatum(key);
	values[CO_PERSON_ASKED_DOMAIN] = CStringGetTextDatum(separator + 1);
	nulls[CO_PERSON_STATUS] = nulls[CO_PERSON_SOURCE] = false;
	values[CO_PERSON_STATUS] = CStringGetTextDatum(found ? "found" : "not_found");
	values[CO_PERSON_SOURCE] = CStringGetTextDatum(listed ? "bulk" : "instant");
	nulls[CO_PERSON_RAW] = listed || lookup_nulls[CO_LOOKUP_ANSWER];
	values[CO_PERSON_RAW] = lookup_values[CO_LOOKUP_ANSWER];
	nulls[CO_PERSON_FOUND_AT] = lookup_nulls[CO_LOOKUP_ANSWERED_AT];
	values[CO_PERSON_FOUND_AT] = lookup_values[CO_LOOKUP_ANSWERED_AT];
	nulls[CO_PERSON_ASKED_AT] = lookup_nulls[CO_LOOKUP_ASKED_AT];
	values[CO_PERSON_ASKED_AT] = lookup_values[CO_LOOKUP_ASKED_AT];

	if (found)
	{
		if (raw == NULL && !lookup_nulls[CO_LOOKUP_ANSWER])
			raw = utf8_of_jsonb(lookup_values[CO_LOOKUP_ANSWER]);
		read_person(raw, complete, values, nulls);
	}
}
