/*-------------------------------------------------------------------------
 * import_results.c
 *		Result files of the verifier: rows of clearout_results.
 *
 * What store_results.c does for one answer, for a batch of them.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "arguments.h"
#include "import_kinds.h"
#include "outbox.h"
#include "price.h"
#include "worker.h"

/* ---------- rows ---------- */

static char *
key_of(const CoCsvAnswer *answer)
{
	CoAddressError error;
	const char *email = answer->email ? answer->email
		: psprintf("%s@%s", answer->account, answer->domain);

	return co_normalize_argument(cstring_to_text(email), &error);
}

static CoRowFate
fill_row(const CoImport *import, char **fields, int count, TimestampTz now,
		 CoImportRow *row, const char **why)
{
	CoCsvAnswer answer;
	CoCsvVerdict verdict = co_csv_answer(&import->map, fields, count, &answer);
	TimestampTz verified_at;
	Interval   *taken;

	if (verdict == CO_CSV_UNDONE)
		return CO_ROW_UNDONE;
	if (verdict != CO_CSV_ANSWER)
	{
		*why = co_csv_verdict_text(verdict);
		return CO_ROW_BROKEN;
	}
	row->key = key_of(&answer);
	if (row->key == NULL)
	{
		*why = "the address is malformed";
		return CO_ROW_BROKEN;
	}
	verified_at = co_import_time(import, answer.verified_on, now);
	if (verified_at == 0)
	{
		*why = "the time of the verification is missing or not understood";
		return CO_ROW_BROKEN;
	}

	row->weak = strcmp(answer.status, "unknown") == 0;
	row->time = verified_at;
	row->credits = co_price_of_status(answer.status);
	co_import_set_text(row, CO_COL_EMAIL, row->key);
	co_import_set_text(row, CO_COL_STATUS, answer.status);
	co_import_set_text(row, CO_COL_SAFE_TO_SEND, answer.safe_to_send);
	row->isnull[CO_COL_SUB_STATUS] = answer.sub_status < 0;
	row->value[CO_COL_SUB_STATUS] = Int32GetDatum(answer.sub_status);
	co_import_set_text(row, CO_COL_REASON, answer.reason);
	co_import_set_text(row, CO_COL_BOUNCE_TYPE, answer.bounce_type);
	co_import_set_ternary(row, CO_COL_DISPOSABLE, answer.disposable);
	co_import_set_ternary(row, CO_COL_FREE, answer.free);
	co_import_set_ternary(row, CO_COL_ROLE, answer.role);
	co_import_set_ternary(row, CO_COL_GIBBERISH, answer.gibberish);
	co_import_set_text(row, CO_COL_SUGGESTED_EMAIL, answer.suggested_email);
	co_import_set_text(row, CO_COL_ACCOUNT, answer.account);
	co_import_set_text(row, CO_COL_DOMAIN, answer.domain);
	co_import_set_text(row, CO_COL_MX_RECORD, answer.mx_record);
	co_import_set_text(row, CO_COL_SMTP_PROVIDER, answer.smtp_provider);
	co_import_set_text(row, CO_COL_AI_VERDICT, answer.ai_verdict);
	co_import_set_time(row, CO_COL_VERIFIED_AT, verified_at);
	row->isnull[CO_COL_TIME_TAKEN] = answer.time_taken < 0;
	if (answer.time_taken >= 0)
	{
		taken = palloc0(sizeof(Interval));
		taken->time = answer.time_taken * 1000;
		row->value[CO_COL_TIME_TAKEN] = IntervalPGetDatum(taken);
	}
	co_import_set_text(row, CO_COL_SOURCE, import->source);
	row->isnull[CO_COL_RAW] = true;
	co_import_set_time(row, CO_COL_ASKED_AT, import->asked_at);
	co_import_set_time(row, CO_COL_ATTEMPTED_AT, import->asked_at != 0 ? import->asked_at : verified_at);
	return CO_ROW_ANSWER;
}

/* ---------- storing ---------- */

#define WRITTEN_COLUMNS \
	"email, status, safe_to_send, sub_status, reason, bounce_type," \
	" disposable, free, role, gibberish, suggested_email, account, domain," \
	" mx_record, smtp_provider, ai_verdict, verified_at, time_taken, source," \
	" raw, asked_at, attempted_at"

static const Oid note_type[] = {TEXTOID};

#define REPLACED_COLUMNS \
	"(status, safe_to_send, sub_status, reason, bounce_type," \
	" disposable, free, role, gibberish, suggested_email, account, domain," \
	" mx_record, smtp_provider, ai_verdict, verified_at, time_taken, source," \
	" raw, asked_at, attempted_at," \
	" attempt_status, attempt_sub_status, attempt_reason, attempt_raw)"
#define REPLACING_ROW(a) \
	"ROW (" a ".status, " a ".safe_to_send, " a ".sub_status, " a ".reason, " a ".bounce_type," \
	" " a ".disposable, " a ".free, " a ".role, " a ".gibberish, " a ".suggested_email," \
	" " a ".account, " a ".domain, " a ".mx_record, " a ".smtp_provider, " a ".ai_verdict," \
	" " a ".verified_at, " a ".time_taken, " a ".source, " a ".raw, " a ".asked_at," \
	" " a ".attempted_at, NULL, NULL, NULL, NULL)"

/* A newer verdict, or any over an unknown; an unknown only over an older one. */
#define IS_REPLACED_BY(a) \
	"((r.status = 'unknown' AND (" a ".status <> 'unknown' OR r.verified_at <= " a ".verified_at))" \
	" OR (" a ".status <> 'unknown' AND r.verified_at <= " a ".verified_at))"

/* Rows that are there: cheaper than ON CONFLICT, which locks them first. */
static CoStatement replace_rows =
{CO_TABLE_RESULTS, "UPDATE %s.clearout_results AS r SET " REPLACED_COLUMNS " = " REPLACING_ROW("a")
	" FROM " CO_IMPORT_ROWS_NAME " AS a WHERE r.email = a.email AND " IS_REPLACED_BY("a"),
0, note_type, NULL, ""};

/* Rows that are not, or that a snapshot does not show. */
static CoStatement put_rows =
{CO_TABLE_RESULTS, "INSERT INTO %s.clearout_results AS r (" WRITTEN_COLUMNS ")"
	" SELECT " WRITTEN_COLUMNS " FROM " CO_IMPORT_ROWS_NAME " AS a"
	" WHERE NOT EXISTS (SELECT FROM %s.clearout_results AS t WHERE t.email = a.email)"
	" ON CONFLICT (email) DO UPDATE SET " REPLACED_COLUMNS " = " REPLACING_ROW("excluded")
	" WHERE " IS_REPLACED_BY("excluded"), 0, note_type, NULL, ""};

/* Beside a verdict: the last attempt. */
static CoStatement put_attempts =
{CO_TABLE_RESULTS, "UPDATE %s.clearout_results AS r SET attempted_at = a.attempted_at,"
	" attempt_status = a.status, attempt_sub_status = a.sub_status,"
	" attempt_reason = a.reason, attempt_raw = a.raw"
	" FROM " CO_IMPORT_ROWS_NAME " AS a WHERE r.email = a.email AND a.status = 'unknown'"
	" AND r.status <> 'unknown' AND (r.attempted_at IS NULL OR r.attempted_at <= a.attempted_at)",
0, note_type, NULL, ""};

/* A newer verdict is there, but it was asked for again. */
static CoStatement confirm_verdicts =
{CO_TABLE_RESULTS, "UPDATE %s.clearout_results AS r SET asked_at = a.asked_at,"
	" attempted_at = a.attempted_at, attempt_status = NULL, attempt_sub_status = NULL,"
	" attempt_reason = NULL, attempt_raw = NULL"
	" FROM " CO_IMPORT_ROWS_NAME " AS a WHERE r.email = a.email AND a.status <> 'unknown'"
	" AND a.asked_at IS NOT NULL AND r.verified_at > a.verified_at"
	" AND (r.attempted_at IS NULL OR r.attempted_at <= a.attempted_at)",
0, note_type, NULL, ""};

static CoStatement find_missing =
{CO_TABLE_RESULTS, "SELECT FROM " CO_IMPORT_ROWS_NAME " AS a WHERE NOT EXISTS"
	" (SELECT FROM %s.clearout_results AS r WHERE r.email = a.email) LIMIT 1",
0, note_type, NULL, ""};

static CoStatement spill_rows =
{CO_TABLE_SPILL, "INSERT INTO %s.clearout_spill (" WRITTEN_COLUMNS ", error)"
	" SELECT " WRITTEN_COLUMNS ", $1 FROM " CO_IMPORT_ROWS_NAME, 1, note_type, NULL, ""};

/* Those that the statements have to do. */
static void
store_others(const CoCatalog *catalog, CoImport *import, CoImportRow *const *rows, int count)
{
	EphemeralNamedRelation relation;

	if (count == 0)
		return;
	relation = co_import_show(import, rows, count);
	if (co_execute(catalog, &replace_rows, NULL, NULL) < (uint64) count)
	{
		(void) co_execute(catalog, &put_rows, NULL, NULL);
		(void) co_execute(catalog, &put_attempts, NULL, NULL);
		(void) co_execute(catalog, &confirm_verdicts, NULL, NULL);
		if (co_execute(catalog, &find_missing, NULL, NULL) > 0)
			ereport(ERROR,
					(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
					 errmsg("a trigger of the table \"clearout_results\" dropped the answer")));
	}
	co_import_hide_rows(relation);
}

static void
store_rows(CoCatalog *catalog, CoImport *import, int from, int to)
{
	CoImportRow **others;
	Datum	   *emails;
	int			count = 0;

	/* somebody has locked the whole table: no use in trying row by row */
	if (!ConditionalLockRelationOid(catalog->results, RowExclusiveLock))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("table \"clearout_results\" is locked")));
	others = palloc((to - from) * sizeof(CoImportRow *));
	store_others(catalog, import, others,
				 co_import_insert_new(catalog->results, import, from, to, others));
	pfree(others);

	/* what a user imports is news to nobody */
	if (!co_am_worker)
		return;
	emails = palloc((to - from) * sizeof(Datum));
	for (int i = from; i < to; i++)
	{
		if (!import->row[i].unasked)
			emails[count++] = import->row[i].value[CO_COL_EMAIL];
	}
	co_outbox_put(catalog, emails, count);
}

static void
put_aside(CoCatalog *catalog, CoImport *import, int from, int to, const char *note)
{
	EphemeralNamedRelation relation = co_import_show_rows(import, from, to);
	Datum		value = note ? CStringGetTextDatum(note) : (Datum) 0;

	(void) co_execute(catalog, &spill_rows, &value, note ? " " : "n");
	co_import_hide_rows(relation);
}

static const char *const names[CO_WRITTEN_COLUMNS] = {
	"email", "status", "safe_to_send", "sub_status", "reason", "bounce_type",
	"disposable", "free", "role", "gibberish", "suggested_email", "account", "domain",
	"mx_record", "smtp_provider", "ai_verdict", "verified_at", "time_taken", "source",
	"raw", "asked_at", "attempted_at"
};

const CoImportKind co_results_import = {
	CO_WRITTEN_COLUMNS, names, co_column_types, 1,
	co_csv_map, fill_row, store_rows, put_aside
};
