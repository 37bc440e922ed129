/*-------------------------------------------------------------------------
 * store_lookups.c
 *		Write all other answers down: rows of clearout_people,
 *		clearout_lookups and clearout_lookup_spill.
 *
 * The newer answer wins, going by what the service says of its time; where an
 * older one was asked for later, what is there counts as asked now.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "people.h"
#include "row.h"
#include "store_kinds.h"

static const Oid person_types[CO_PERSON_COLUMNS] = {
	TEXTOID, TEXTOID, TEXTOID, TEXTOID, BOOLOID, BOOLOID, TEXTARRAYOID,
	TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT4OID, INT4OID,
	TIMESTAMPTZOID, TEXTOID, JSONBOID, TIMESTAMPTZOID
};

#define PERSON_STATEMENT(text) {CO_TABLE_PEOPLE, text, CO_PERSON_COLUMNS, person_types, NULL, ""}
#define PERSON_VALUES \
	"status, email, role, business, emails, first_name, last_name, full_name," \
	" domain, company, confidence_score, credits_charged, found_at, source, raw, asked_at"
#define PERSON_KEY "asked_name = $1 AND asked_domain = $2"

static CoStatement put_person =
PERSON_STATEMENT("INSERT INTO %s.clearout_people AS p (asked_name, asked_domain, " PERSON_VALUES ")"
				 " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,"
				 " $16, $17, $18)"
				 " ON CONFLICT (asked_name, asked_domain) DO UPDATE SET (" PERSON_VALUES ") ="
				 " ROW (excluded.status, excluded.email, excluded.role, excluded.business,"
				 " excluded.emails, excluded.first_name, excluded.last_name,"
				 " excluded.full_name, excluded.domain, excluded.company,"
				 " excluded.confidence_score, excluded.credits_charged,"
				 " excluded.found_at, excluded.source, excluded.raw, excluded.asked_at)"
				 " WHERE p.found_at <= excluded.found_at");
static CoStatement confirm_person =
PERSON_STATEMENT("UPDATE %s.clearout_people SET asked_at = $18"
				 " WHERE " PERSON_KEY " AND (asked_at IS NULL OR asked_at <= $18)");
static CoStatement find_newer_person =
PERSON_STATEMENT("SELECT FROM %s.clearout_people WHERE " PERSON_KEY " AND asked_at > $18");

/* Types of the parameters: those of a row, and the note. */
static const Oid lookup_types[CO_LOOKUP_COLUMNS + 1] = {
	TEXTOID, TEXTOID, BOOLOID, BOOLOID, JSONBOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID
};

#define LOOKUP_STATEMENT(text) {CO_TABLE_LOOKUPS, text, CO_LOOKUP_COLUMNS, lookup_types, NULL, ""}
#define LOOKUP_COLUMNS "kind, key, found, flag, answer, answered_at, asked_at"

static CoStatement put_lookup =
LOOKUP_STATEMENT("INSERT INTO %s.clearout_lookups AS l (" LOOKUP_COLUMNS ")"
				 " VALUES ($1, $2, $3, $4, $5, $6, $7)"
				 " ON CONFLICT (kind, key) DO UPDATE SET (found, flag, answer, answered_at, asked_at) ="
				 " ROW (excluded.found, excluded.flag, excluded.answer,"
				 " excluded.answered_at, excluded.asked_at)"
				 " WHERE l.answered_at <= excluded.answered_at");
static CoStatement confirm_lookup =
LOOKUP_STATEMENT("UPDATE %s.clearout_lookups SET asked_at = $7"
				 " WHERE kind = $1 AND key = $2 AND (asked_at IS NULL OR asked_at <= $7)");
static CoStatement find_newer_lookup =
LOOKUP_STATEMENT("SELECT FROM %s.clearout_lookups WHERE kind = $1 AND key = $2 AND asked_at > $7");

static CoStatement put_spill =
{CO_TABLE_LOOKUP_SPILL, "INSERT INTO %s.clearout_lookup_spill (" LOOKUP_COLUMNS ", error)"
" VALUES ($1, $2, $3, $4, $5, $6, $7, $8)", CO_LOOKUP_COLUMNS + 1, lookup_types, NULL, ""};

static const Oid id_type[] = {INT8OID};

#define ID_STATEMENT(text) {CO_TABLE_LOOKUP_SPILL, text, 1, id_type, NULL, ""}

/* In the order of the keys, as everybody writes them. */
static CoStatement read_spill_rows =
ID_STATEMENT("SELECT * FROM (SELECT " LOOKUP_COLUMNS ", id FROM %s.clearout_lookup_spill"
			 " WHERE id > $1 ORDER BY id LIMIT 1000) AS s ORDER BY kind, key, id");
static CoStatement read_spill_row =
ID_STATEMENT("SELECT " LOOKUP_COLUMNS ", id FROM %s.clearout_lookup_spill WHERE id = $1");
static CoStatement delete_spill_row =
ID_STATEMENT("DELETE FROM %s.clearout_lookup_spill WHERE id = $1");
static CoStatement look_at_spill =
ID_STATEMENT("SELECT bool_or(error IS NULL) FROM %s.clearout_lookup_spill WHERE $1 = $1");

static const Oid refuse_types[] = {INT8OID, TEXTOID};
static CoStatement refuse_spill_row =
{CO_TABLE_LOOKUP_SPILL, "UPDATE %s.clearout_lookup_spill SET error = $2 WHERE id = $1"
	" AND error IS DISTINCT FROM $2", 2, refuse_types, NULL, ""};

static void
to_marks(const bool *nulls, int count, char *marks)
{
	for (int i = 0; i < count; i++)
		marks[i] = nulls[i] ? 'n' : ' ';
}

/*
 * Nothing written, and nothing newer there: a trigger that fires even in the
 * worker (ENABLE ALWAYS) has dropped the row.  It must not be taken for
 * stored.
 */
static void
write_one(const CoCatalog *catalog, CoStatement *put, CoStatement *confirm,
		  CoStatement *find_newer, Datum *values, const char *marks, const char *table)
{
	if (co_execute(catalog, put, values, marks) == 0 &&
		co_execute(catalog, confirm, values, marks) == 0 &&
		co_execute(catalog, find_newer, values, marks) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("a trigger of the table \"%s\" dropped the answer", table)));
}

/* Put one row where it belongs.  raw as for co_person_fill(). */
static void
write_row(const CoCatalog *catalog, Datum *values, const bool *nulls, const char *raw)
{
	char		marks[CO_PERSON_COLUMNS];

	if (co_text_equals(values[CO_LOOKUP_KIND], CO_FIND_KIND))
	{
		Datum		person[CO_PERSON_COLUMNS];
		bool		person_nulls[CO_PERSON_COLUMNS];

		co_person_fill(values, nulls, raw, true, person, person_nulls);
		to_marks(person_nulls, CO_PERSON_COLUMNS, marks);
		write_one(catalog, &put_person, &confirm_person, &find_newer_person,
				  person, marks, "clearout_people");
	}
	else
	{
		to_marks(nulls, CO_LOOKUP_COLUMNS, marks);
		write_one(catalog, &put_lookup, &confirm_lookup, &find_newer_lookup,
				  values, marks, "clearout_lookups");
	}
}

/* Somebody has locked a whole table: no use in trying row by row. */
static void
require_tables(const CoCatalog *catalog)
{
	if (!ConditionalLockRelationOid(catalog->people, RowExclusiveLock) ||
		!ConditionalLockRelationOid(catalog->lookups, RowExclusiveLock))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("table \"clearout_people\" or \"clearout_lookups\" is locked")));
}

static void
fill(const CoAnswer *answer, Datum *values, bool *nulls)
{
	co_lookup_fill(co_endpoints[answer->endpoint].kind == CO_KIND_PERSON ? CO_FIND_KIND :
				   co_endpoints[answer->endpoint].name,
				   answer->key, &answer->lookup, answer->asked_at, answer->received_at,
				   values, nulls);
}

static void
write_answers(CoCatalog *catalog, CoAnswer **answers, int count, CoWriting writing)
{
	(void) writing;
	for (int i = 0; i < count; i++)
	{
		Datum		values[CO_LOOKUP_COLUMNS];
		bool		nulls[CO_LOOKUP_COLUMNS];

		fill(answers[i], values, nulls);
		write_row(catalog, values, nulls, answers[i]->lookup.raw);
	}
}

static void
put_aside(const CoCatalog *catalog, Datum *values, const bool *nulls, const char *note)
{
	char		marks[CO_LOOKUP_COLUMNS + 1];

	to_marks(nulls, CO_LOOKUP_COLUMNS, marks);
	marks[CO_LOOKUP_COLUMNS] = note ? ' ' : 'n';
	if (note)
		values[CO_LOOKUP_COLUMNS] = CStringGetTextDatum(note);
	(void) co_execute(catalog, &put_spill, values, marks);
}

static void
spill_answers(const CoCatalog *catalog, CoAnswer **answers, int count, const char *note)
{
	for (int i = 0; i < count; i++)
	{
		Datum		values[CO_LOOKUP_COLUMNS + 1];
		bool		nulls[CO_LOOKUP_COLUMNS];

		fill(answers[i], values, nulls);
		put_aside(catalog, values, nulls, note);
	}
}

/* Without what the service said: that was what could not be kept. */
static void
record_answer(const CoCatalog *catalog, const CoAnswer *answer, const char *note)
{
	CoAnswer	bare = *answer;
	Datum		values[CO_LOOKUP_COLUMNS + 1];
	bool		nulls[CO_LOOKUP_COLUMNS];

	bare.lookup.raw = NULL;
	fill(&bare, values, nulls);
	put_aside(catalog, values, nulls, note);
}

const CoWriter co_lookups_writer = {
	require_tables, write_answers, spill_answers, record_answer
};

static void
write_spilled(CoCatalog *catalog, CoSpilled *rows, int count)
{
	for (int i = 0; i < count; i++)
	{
		bool		nulls[CO_LOOKUP_COLUMNS];

		for (int column = 0; column < CO_LOOKUP_COLUMNS; column++)
			nulls[column] = rows[i].nulls[column] == 'n';
		write_row(catalog, rows[i].values, nulls, NULL);
	}
}

CoSpill		co_lookups_spill = {
	"clearout_lookup_spill", CO_LOOKUP_COLUMNS, co_lookup_types,
	&read_spill_rows, &read_spill_row, &delete_spill_row, &refuse_spill_row, &look_at_spill,
	require_tables, write_spilled
};
