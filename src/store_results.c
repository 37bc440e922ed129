/*-------------------------------------------------------------------------
 * store_results.c
 *		Write verdicts down: rows of clearout_results and clearout_spill.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "convert.h"
#include "insert.h"
#include "outbox.h"
#include "row.h"
#include "store_kinds.h"

/* Types of the parameters: those that an answer fills, and the note. */
static const Oid spill_types[CO_WRITTEN_COLUMNS + 1] = {
	TEXTOID, TEXTOID, TEXTOID, INT4OID, TEXTOID, TEXTOID,
	BOOLOID, BOOLOID, BOOLOID, BOOLOID,
	TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
	TIMESTAMPTZOID, INTERVALOID, TEXTOID, JSONBOID,
	TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID
};

#define WRITTEN_COLUMNS \
	"email, status, safe_to_send, sub_status, reason, bounce_type," \
	" disposable, free, role, gibberish, suggested_email, account, domain," \
	" mx_record, smtp_provider, ai_verdict, verified_at, time_taken, source," \
	" raw, asked_at, attempted_at"
#define WRITTEN_PARAMETERS \
	"$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16," \
	" $17, $18, $19, $20, $21, $22"
#define REPLACE_ROW \
	"INSERT INTO %s.clearout_results AS r (" WRITTEN_COLUMNS ")" \
	" VALUES (" WRITTEN_PARAMETERS ")" \
	" ON CONFLICT (email) DO UPDATE SET" \
	" (status, safe_to_send, sub_status, reason, bounce_type," \
	" disposable, free, role, gibberish, suggested_email, account, domain," \
	" mx_record, smtp_provider, ai_verdict, verified_at, time_taken, source," \
	" raw, asked_at, attempted_at," \
	" attempt_status, attempt_sub_status, attempt_reason, attempt_raw) =" \
	" ROW (excluded.status, excluded.safe_to_send, excluded.sub_status," \
	" excluded.reason, excluded.bounce_type, excluded.disposable," \
	" excluded.free, excluded.role, excluded.gibberish," \
	" excluded.suggested_email, excluded.account, excluded.domain," \
	" excluded.mx_record, excluded.smtp_provider, excluded.ai_verdict," \
	" excluded.verified_at, excluded.time_taken, excluded.source," \
	" excluded.raw, excluded.asked_at, excluded.attempted_at," \
	" NULL, NULL, NULL, NULL)"

static const Oid id_type[] = {INT8OID};

#define ROW_STATEMENT(text) {CO_TABLE_RESULTS, text, CO_WRITTEN_COLUMNS, spill_types, NULL, ""}
#define ID_STATEMENT(text) {CO_TABLE_SPILL, text, 1, id_type, NULL, ""}

/* A newer verdict, or any over an unknown. */
static CoStatement put_verdict =
ROW_STATEMENT(REPLACE_ROW " WHERE r.status = 'unknown' OR r.verified_at <= excluded.verified_at");

/* Only over an older unknown. */
static CoStatement put_unknown =
ROW_STATEMENT(REPLACE_ROW " WHERE r.status = 'unknown' AND r.verified_at <= excluded.verified_at");

/* Beside a verdict: the last attempt. */
static CoStatement put_attempt =
ROW_STATEMENT("UPDATE %s.clearout_results SET attempted_at = $22, attempt_status = $2,"
			  " attempt_sub_status = $4, attempt_reason = $5, attempt_raw = $20"
			  " WHERE email = $1 AND (attempted_at IS NULL OR attempted_at <= $22)");

/* A newer verdict is there, but it was asked again. */
static CoStatement confirm_verdict =
ROW_STATEMENT("UPDATE %s.clearout_results SET asked_at = $21, attempted_at = $22,"
			  " attempt_status = NULL, attempt_sub_status = NULL,"
			  " attempt_reason = NULL, attempt_raw = NULL"
			  " WHERE email = $1 AND (attempted_at IS NULL OR attempted_at <= $22)");

/* Is there a later attempt? */
static CoStatement find_newer =
ROW_STATEMENT("SELECT FROM %s.clearout_results WHERE email = $1 AND attempted_at > $22");

static CoStatement put_spill =
{CO_TABLE_SPILL, "INSERT INTO %s.clearout_spill (" WRITTEN_COLUMNS ", error)"
" VALUES (" WRITTEN_PARAMETERS ", $23)", CO_WRITTEN_COLUMNS + 1, spill_types, NULL, ""};

/* In the order of the keys, as everybody writes them. */
static CoStatement read_spill_rows =
ID_STATEMENT("SELECT * FROM (SELECT " WRITTEN_COLUMNS ", id FROM %s.clearout_spill"
			 " WHERE id > $1 ORDER BY id LIMIT 1000) AS s ORDER BY email, id");

/* Is anything there, and is some of it not refused? */
static CoStatement look_at_spill =
ID_STATEMENT("SELECT bool_or(error IS NULL) FROM %s.clearout_spill WHERE $1 = $1");

static const Oid refuse_types[] = {INT8OID, TEXTOID};
static CoStatement refuse_spill_row =
{CO_TABLE_SPILL, "UPDATE %s.clearout_spill SET error = $2 WHERE id = $1"
	" AND error IS DISTINCT FROM $2", 2, refuse_types, NULL, ""};

static CoStatement read_spill_row =
ID_STATEMENT("SELECT " WRITTEN_COLUMNS ", id FROM %s.clearout_spill WHERE id = $1");

static CoStatement delete_spill_row =
ID_STATEMENT("DELETE FROM %s.clearout_spill WHERE id = $1");

static void
set_text(Datum *values, char *nulls, CoColumn column, const char *utf8)
{
	nulls[column] = (utf8 == NULL || utf8[0] == '\0') ? 'n' : ' ';
	if (nulls[column] == ' ')
		values[column] = co_datum_from_utf8(utf8);
}

static void
set_ternary(Datum *values, char *nulls, CoColumn column, CoTernary ternary)
{
	nulls[column] = ternary == CO_NULL ? 'n' : ' ';
	values[column] = BoolGetDatum(ternary == CO_TRUE);
}

static TimestampTz
from_unix(int64 microseconds)
{
	return microseconds -
		(int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}

/* The parameters that an answer fills.  Throws where its content is refused. */
static void
answer_to_parameters(const CoAnswer *answer, Datum *values, char *nulls)
{
	const CoVerifyAnswer *verify = &answer->verify;
	TimestampTz verified_at = answer->received_at;
	Interval   *taken;

	memset(nulls, ' ', CO_WRITTEN_COLUMNS);
	values[CO_COL_EMAIL] = CStringGetTextDatum(answer->key);
	set_text(values, nulls, CO_COL_STATUS, verify->status);
	set_text(values, nulls, CO_COL_SAFE_TO_SEND, verify->safe_to_send);
	nulls[CO_COL_SUB_STATUS] = verify->sub_status < 0 ? 'n' : ' ';
	values[CO_COL_SUB_STATUS] = Int32GetDatum(verify->sub_status);
	set_text(values, nulls, CO_COL_REASON, verify->reason);
	set_text(values, nulls, CO_COL_BOUNCE_TYPE, verify->bounce_type);
	set_ternary(values, nulls, CO_COL_DISPOSABLE, verify->disposable);
	set_ternary(values, nulls, CO_COL_FREE, verify->free);
	set_ternary(values, nulls, CO_COL_ROLE, verify->role);
	set_ternary(values, nulls, CO_COL_GIBBERISH, verify->gibberish);
	set_text(values, nulls, CO_COL_SUGGESTED_EMAIL, verify->suggested_email);
	set_text(values, nulls, CO_COL_ACCOUNT, verify->account);
	set_text(values, nulls, CO_COL_DOMAIN, verify->domain);
	set_text(values, nulls, CO_COL_MX_RECORD, verify->mx_record);
	set_text(values, nulls, CO_COL_SMTP_PROVIDER, verify->smtp_provider);
	set_text(values, nulls, CO_COL_AI_VERDICT, verify->ai_verdict);

	/* The service's clock may be ahead of ours: nothing is from the future. */
	if (verify->verified_on != CO_NO_TIME)
		verified_at = Min(from_unix(verify->verified_on), answer->received_at);
	values[CO_COL_VERIFIED_AT] = TimestampTzGetDatum(verified_at);

	nulls[CO_COL_TIME_TAKEN] = verify->time_taken < 0 ? 'n' : ' ';
	taken = palloc0(sizeof(Interval));
	taken->time = verify->time_taken * 1000;
	values[CO_COL_TIME_TAKEN] = IntervalPGetDatum(taken);

	values[CO_COL_SOURCE] = CStringGetTextDatum("instant");
	nulls[CO_COL_RAW] = verify->raw == NULL && verify->jsonb == NULL ? 'n' : ' ';
	if (verify->jsonb != NULL)
		values[CO_COL_RAW] = PointerGetDatum(verify->jsonb);
	else if (verify->raw != NULL)
		values[CO_COL_RAW] = DirectFunctionCall1(jsonb_in,
												 CStringGetDatum(co_text_from_utf8(verify->raw)));
	values[CO_COL_ASKED_AT] = TimestampTzGetDatum(answer->asked_at);
	values[CO_COL_ATTEMPTED_AT] = TimestampTzGetDatum(answer->asked_at);
}

/*
 * Put one row where it belongs, unless something newer is there.  That may
 * be newer by the service's own times although it was asked before; then it
 * counts as asked now, so that nobody pays for the old answer again.
 *
 * Nothing written, and nothing newer there: a trigger that fires even here
 * (ENABLE ALWAYS) has dropped the row.  It must not be taken for stored.
 */
static void
write_row(const CoCatalog *catalog, Datum *values, char *nulls)
{
	if (co_text_equals(values[CO_COL_STATUS], "unknown"))
	{
		if (co_execute(catalog, &put_unknown, values, nulls) > 0 ||
			co_execute(catalog, &put_attempt, values, nulls) > 0)
			return;
	}
	else
	{
		if (co_execute(catalog, &put_verdict, values, nulls) > 0 ||
			co_execute(catalog, &confirm_verdict, values, nulls) > 0)
			return;
	}
	if (co_execute(catalog, &find_newer, values, nulls) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("a trigger of the table \"clearout_results\" dropped the answer")));
}

static void
require_results(const CoCatalog *catalog)
{
	/* Somebody has locked the whole table: no use in trying row by row. */
	if (!ConditionalLockRelationOid(catalog->results, RowExclusiveLock))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("table \"clearout_results\" is locked")));
}

/*
 * Those that are new are gathered and written together.  But keys are written
 * in their order: before a row is replaced, what was gathered goes first.
 *
 * One that is written alone may be so because somebody else is putting such a
 * row in, with which only the statement copes.
 */
static void
write_answers(CoCatalog *catalog, CoAnswer **answers, int count, CoWriting writing)
{
	Datum		values[CO_WRITTEN_COLUMNS + 1];
	char		nulls[CO_WRITTEN_COLUMNS + 1];
	Datum	   *stored = palloc(Max(count, 1) * sizeof(Datum));
	CoInserter *inserter = NULL;

	if (writing != CO_WRITING_ALONE)
		inserter = co_insert_begin(catalog->results, co_column_types, CO_WRITTEN_COLUMNS);
	for (int i = 0; i < count; i++)
	{
		answer_to_parameters(answers[i], values, nulls);
		stored[i] = values[CO_COL_EMAIL];
		if (inserter != NULL &&
			co_insert_add(inserter, values, nulls,
						  writing == CO_WRITING_TRUSTING && answers[i]->absent))
			continue;
		if (inserter != NULL)
			co_insert_write(inserter);
		write_row(catalog, values, nulls);
	}
	if (inserter != NULL)
	{
		co_insert_write(inserter);
		co_insert_end(inserter);
	}
	co_outbox_put(catalog, stored, count);
}

static void
spill_answers(const CoCatalog *catalog, CoAnswer **answers, int count, const char *note)
{
	Datum		values[CO_WRITTEN_COLUMNS + 1];
	char		nulls[CO_WRITTEN_COLUMNS + 1];

	for (int i = 0; i < count; i++)
	{
		answer_to_parameters(answers[i], values, nulls);
		nulls[CO_WRITTEN_COLUMNS] = note ? ' ' : 'n';
		if (note)
			values[CO_WRITTEN_COLUMNS] = CStringGetTextDatum(note);
		(void) co_execute(catalog, &put_spill, values, nulls);
	}
}

/* The same with as little as possible: key, status and times. */
static void
record_answer(const CoCatalog *catalog, const CoAnswer *answer, const char *note)
{
	Datum		values[CO_WRITTEN_COLUMNS + 1];
	char		nulls[CO_WRITTEN_COLUMNS + 1];

	memset(nulls, 'n', sizeof(nulls));
	nulls[CO_COL_EMAIL] = nulls[CO_COL_STATUS] = nulls[CO_COL_VERIFIED_AT] = ' ';
	nulls[CO_COL_SOURCE] = nulls[CO_COL_ASKED_AT] = nulls[CO_COL_ATTEMPTED_AT] = ' ';
	nulls[CO_WRITTEN_COLUMNS] = ' ';
	values[CO_COL_EMAIL] = CStringGetTextDatum(answer->key);
	values[CO_COL_STATUS] = CStringGetTextDatum(co_text_from_utf8(answer->verify.status));
	values[CO_COL_VERIFIED_AT] = TimestampTzGetDatum(answer->received_at);
	values[CO_COL_SOURCE] = CStringGetTextDatum("instant");
	values[CO_COL_ASKED_AT] = TimestampTzGetDatum(answer->asked_at);
	values[CO_COL_ATTEMPTED_AT] = TimestampTzGetDatum(answer->asked_at);
	values[CO_WRITTEN_COLUMNS] = CStringGetTextDatum(note);
	(void) co_execute(catalog, &put_spill, values, nulls);
}

const CoWriter co_results_writer = {
	require_results, write_answers, spill_answers, record_answer
};

static void
write_spilled(CoCatalog *catalog, CoSpilled *rows, int count)
{
	Datum	   *stored = palloc(Max(count, 1) * sizeof(Datum));

	for (int i = 0; i < count; i++)
	{
		write_row(catalog, rows[i].values, rows[i].nulls);
		stored[i] = rows[i].values[CO_COL_EMAIL];
	}
	co_outbox_put(catalog, stored, count);
}

CoSpill		co_results_spill = {
	"clearout_spill", CO_WRITTEN_COLUMNS, co_column_types,
	&read_spill_rows, &read_spill_row, &delete_spill_row, &refuse_spill_row, &look_at_spill,
	require_results, write_spilled
};
