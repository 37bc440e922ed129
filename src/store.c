/*-------------------------------------------------------------------------
 * store.c
 *		Write answers down.
 *
 * An answer has been paid for, so it is committed, whatever stands in the
 * way; and the worker waits for nobody, since a session that waits for the
 * worker may itself hold the row (PostgreSQL could not see that deadlock).
 *
 *		answers --group--> clearout_results
 *		   |  row locked, table locked, refused for its content
 *		   +-------------> clearout_spill --merge, later--> clearout_results
 *		   |  that fails too (disk full)
 *		   +-------------> kept in memory; the worker starts no call
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "clock.h"
#include "convert.h"
#include "insert.h"
#include "outbox.h"
#include "row.h"
#include "session.h"
#include "slots.h"
#include "store.h"
#include "transaction.h"

/* Time that a batch may spend on waiting for others' row locks. */
#define ROW_LOCK_TIMEOUT	"20ms"
#define ROW_LOCK_BUDGET		200000	/* microseconds */

#define MERGE_BATCH			1000

/* What the steps below share; palloc'd in the batch's context. */
typedef struct Batch
{
	CoAnswer  **answer;
	int			count;
	int			only;			/* write this one alone; -1: all that are new */
	const char *note;			/* for clearout_spill.error; or NULL */
} Batch;

/* Somebody has locked the whole table: no use in trying row by row. */
static void
require_table(Oid table)
{
	if (!ConditionalLockRelationOid(table, RowExclusiveLock))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("table \"clearout_results\" is locked")));
}

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
		values[column] = CStringGetTextDatum(co_text_from_utf8(utf8));
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
	nulls[CO_COL_RAW] = verify->raw == NULL ? 'n' : ' ';
	if (verify->raw != NULL)
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

static bool
in_batch(const Batch *batch, int i)
{
	if (batch->only >= 0)
		return i == batch->only;
	return batch->answer[i]->state == CO_ANSWER_NEW ||
		batch->answer[i]->state == CO_ANSWER_UNSTORED;
}

/* What is answered leaves the queue with the same commit. */
static void
delete_queue_rows(CoCatalog *catalog, const Batch *batch)
{
	CoQueueRow *rows;
	int			count = 0;

	for (int i = 0; i < batch->count; i++)
	{
		if (in_batch(batch, i))
			count += batch->answer[i]->row_count;
	}
	if (count == 0)
		return;
	rows = palloc(count * sizeof(CoQueueRow));
	count = 0;
	for (int i = 0; i < batch->count; i++)
	{
		const CoAnswer *answer = batch->answer[i];

		if (!in_batch(batch, i))
			continue;
		memcpy(rows + count, answer->row, answer->row_count * sizeof(CoQueueRow));
		count += answer->row_count;
	}
	co_queue_delete(catalog, rows, count);
}

static void
store_step(CoCatalog *catalog, void *argument)
{
	Batch	   *batch = argument;
	Datum		values[CO_WRITTEN_COLUMNS + 1];
	char		nulls[CO_WRITTEN_COLUMNS + 1];
	Datum	   *stored = palloc(batch->count * sizeof(Datum));
	int			count = 0;
	CoInserter *inserter = NULL;

	require_table(catalog->results);

	/* For one row alone, the statement is as good. */
	if (batch->only < 0)
		inserter = co_insert_begin(catalog->results, co_column_types, CO_WRITTEN_COLUMNS);
	for (int i = 0; i < batch->count; i++)
	{
		if (!in_batch(batch, i))
			continue;
		answer_to_parameters(batch->answer[i], values, nulls);
		if (inserter == NULL || !co_insert_row(inserter, values, nulls))
			write_row(catalog, values, nulls);
		stored[count++] = values[CO_COL_EMAIL];
	}
	if (inserter != NULL)
		co_insert_end(inserter);
	co_outbox_put(catalog, stored, count);
	delete_queue_rows(catalog, batch);
}

static void
spill_step(CoCatalog *catalog, void *argument)
{
	Batch	   *batch = argument;
	Datum		values[CO_WRITTEN_COLUMNS + 1];
	char		nulls[CO_WRITTEN_COLUMNS + 1];

	for (int i = 0; i < batch->count; i++)
	{
		if (!in_batch(batch, i))
			continue;
		answer_to_parameters(batch->answer[i], values, nulls);
		nulls[CO_WRITTEN_COLUMNS] = batch->note ? ' ' : 'n';
		if (batch->note)
			values[CO_WRITTEN_COLUMNS] = CStringGetTextDatum(batch->note);
		(void) co_execute(catalog, &put_spill, values, nulls);
	}
	delete_queue_rows(catalog, batch);
}

/* The same with as little as possible: key, status and times. */
static void
record_step(CoCatalog *catalog, void *argument)
{
	Batch	   *batch = argument;
	CoAnswer   *answer = batch->answer[batch->only];
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
	values[CO_WRITTEN_COLUMNS] = CStringGetTextDatum(batch->note);
	(void) co_execute(catalog, &put_spill, values, nulls);
	delete_queue_rows(catalog, batch);
}

/* Set the state of all that the batch stands for. */
static void
mark(Batch *batch, CoAnswerState state)
{
	for (int i = 0; i < batch->count; i++)
	{
		if (in_batch(batch, i))
			batch->answer[i]->state = state;
	}
}

static int
compare_keys(const void *a, const void *b)
{
	return strcmp((*(CoAnswer *const *) a)->key, (*(CoAnswer *const *) b)->key);
}

bool
co_store_answers(CoAnswer **answers, int count, bool *spilled,
				 char *reason, size_t reason_size)
{
	Batch		batch = {answers, count, -1, NULL};
	CoTrouble	trouble;
	char		note[CO_REASON_SIZE];
	int64		budget_end;

	/* Everybody who writes several keys does so in their order. */
	qsort(answers, count, sizeof(CoAnswer *), compare_keys);

	/* The usual way: all of them at once. */
	if (co_run(store_step, &batch, &trouble))
	{
		mark(&batch, CO_ANSWER_STORED);
		return true;
	}
	elog(DEBUG1, "clearout: %d answers not stored at once: %s", count, trouble.message);

	/* One by one, so that one that is held up leaves its neighbours alone. */
	if (trouble.sqlstate != ERRCODE_OBJECT_IN_USE)
	{
		budget_end = co_clock() + ROW_LOCK_BUDGET;
		co_session_set_lock_timeout(ROW_LOCK_TIMEOUT);
		for (batch.only = 0; batch.only < count; batch.only++)
		{
			if (answers[batch.only]->state == CO_ANSWER_STORED)
				continue;
			if (co_clock() > budget_end)
				break;
			if (co_run(store_step, &batch, &trouble))
				answers[batch.only]->state = CO_ANSWER_STORED;
			else if (!co_is_lock_trouble(&trouble))
			{
				/* Refused for itself: keep it with the reason. */
				strlcpy(note, trouble.message, sizeof(note));
				batch.note = note;
				if (co_run(spill_step, &batch, &trouble) ||
					(co_is_content_trouble(&trouble) && co_run(record_step, &batch, &trouble)))
				{
					answers[batch.only]->state = CO_ANSWER_SPILLED;
					*spilled = true;
				}
				batch.note = NULL;
			}
		}
		batch.only = -1;
		co_session_set_lock_timeout(CO_LOCK_TIMEOUT);
	}

	/* What is held up goes aside. */
	for (int i = 0; i < count; i++)
	{
		if (!in_batch(&batch, i))
			continue;
		if (co_run(spill_step, &batch, &trouble))
		{
			mark(&batch, CO_ANSWER_SPILLED);
			*spilled = true;
			return true;
		}
		mark(&batch, CO_ANSWER_UNSTORED);
		strlcpy(reason, trouble.message, reason_size);
		return false;
	}
	return true;
}

/* ---------- the spill ---------- */

typedef struct Merge
{
	int64		after;			/* id; those behind it ... */
	int64		only;			/* ... or this one alone, if not 0 */
	int			moved;
	int			count;			/* what was read; ids of it */
	int64		ids[MERGE_BATCH];
	const char *error;			/* why "only" was refused */
	bool		any;			/* is anything there ... */
	bool		some_wait;		/* ... that is not refused? */
} Merge;

/* Where the next look begins: what is held up must not hold up the others. */
static int64 merge_after = 0;

/* Read what there is to move. */
static SPITupleTable *
read_spill(CoCatalog *catalog, Merge *merge)
{
	Datum		parameter = Int64GetDatum(merge->only != 0 ? merge->only : merge->after);
	uint64		rows;

	rows = co_execute(catalog,
					  merge->only != 0 ? &read_spill_row : &read_spill_rows,
					  &parameter, " ");
	/* The table's owner may have changed its columns. */
	for (int column = 0; column <= CO_WRITTEN_COLUMNS; column++)
	{
		if (SPI_gettypeid(SPI_tuptable->tupdesc, column + 1) !=
			(column < CO_WRITTEN_COLUMNS ? co_column_types[column] : INT8OID))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table \"clearout_spill\" does not fit the library of the extension \"clearout\"")));
	}
	merge->count = 0;
	merge->moved = 0;
	for (uint64 i = 0; i < rows; i++)
	{
		bool		isnull;
		Datum		id = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
									   CO_WRITTEN_COLUMNS + 1, &isnull);

		merge->ids[merge->count++] = DatumGetInt64(id);
	}
	return SPI_tuptable;
}

static void
read_step(CoCatalog *catalog, void *argument)
{
	(void) read_spill(catalog, argument);
}

static void
look_step(CoCatalog *catalog, void *argument)
{
	Merge	   *merge = argument;
	Datum		nothing = Int64GetDatum(0);
	bool		isnull;
	Datum		some_wait;

	(void) co_execute(catalog, &look_at_spill, &nothing, " ");
	some_wait = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	merge->any = !isnull;
	merge->some_wait = !isnull && DatumGetBool(some_wait);
}

static void
refuse_step(CoCatalog *catalog, void *argument)
{
	Merge	   *merge = argument;
	Datum		values[2];

	values[0] = Int64GetDatum(merge->only);
	values[1] = CStringGetTextDatum(merge->error);
	(void) co_execute(catalog, &refuse_spill_row, values, "  ");
}

static void
merge_step(CoCatalog *catalog, void *argument)
{
	Merge	   *merge = argument;
	SPITupleTable *table;
	Datum		stored[MERGE_BATCH];

	require_table(catalog->results);
	table = read_spill(catalog, merge);
	for (int i = 0; i < merge->count; i++)
	{
		Datum		values[CO_WRITTEN_COLUMNS];
		char		nulls[CO_WRITTEN_COLUMNS];
		Datum		id = Int64GetDatum(merge->ids[i]);

		for (int column = 0; column < CO_WRITTEN_COLUMNS; column++)
		{
			bool		isnull;

			values[column] = SPI_getbinval(table->vals[i], table->tupdesc,
										   column + 1, &isnull);
			nulls[column] = isnull ? 'n' : ' ';
		}
		write_row(catalog, values, nulls);
		(void) co_execute(catalog, &delete_spill_row, &id, " ");
		stored[merge->moved++] = values[CO_COL_EMAIL];
	}
	co_outbox_put(catalog, stored, merge->moved);
}

/* Row by row, as long as the time allows. */
static void
merge_one_by_one(Merge *merge, const int64 *ids, int count, int *moved)
{
	int64		budget_end = co_clock() + ROW_LOCK_BUDGET;
	CoTrouble	trouble;

	for (int i = 0; i < count; i++)
	{
		if (co_clock() >= budget_end)
			return;
		merge->only = ids[i];
		merge_after = Max(merge_after, ids[i]);
		if (co_run(merge_step, merge, &trouble))
			*moved += merge->moved;
		else if (!co_is_lock_trouble(&trouble))
		{
			char		reason[CO_REASON_SIZE];
			CoTrouble	unused;

			strlcpy(reason, trouble.message, sizeof(reason));
			merge->error = reason;
			(void) co_run(refuse_step, merge, &unused);
		}
	}
}

static int
compare_ids(const void *a, const void *b)
{
	int64		first = *(const int64 *) a;
	int64		second = *(const int64 *) b;

	return first < second ? -1 : first > second;
}

void
co_store_merge_spill(int *moved, bool *left, bool *refused)
{
	Merge	   *merge = palloc0(sizeof(Merge));
	CoTrouble	trouble;
	static bool complained = false;

	*moved = 0;
	merge->after = merge_after;
	co_session_set_lock_timeout(ROW_LOCK_TIMEOUT);
	if (co_run(merge_step, merge, &trouble))
	{
		*moved = merge->moved;
		merge_after = 0;
	}
	else if (trouble.sqlstate != ERRCODE_OBJECT_IN_USE &&
			 co_run(read_step, merge, &trouble))
	{
		int			count = merge->count;
		int64	   *ids = palloc(MERGE_BATCH * sizeof(int64));

		memcpy(ids, merge->ids, MERGE_BATCH * sizeof(int64));
		qsort(ids, count, sizeof(int64), compare_ids);
		if (count == 0)
			merge_after = 0;	/* at the end: from the beginning again */
		merge_one_by_one(merge, ids, count, moved);
	}
	if (co_run(look_step, merge, &trouble))
	{
		*left = merge->any;
		*refused = merge->any && !merge->some_wait;
		complained = false;
	}
	else
	{
		*left = *refused = true;
		if (!complained)
			ereport(LOG, (errmsg("clearout: clearout_spill cannot be read: %s", trouble.message)));
		complained = true;
	}
	if (*left && merge->count == 0)
		merge_after = 0;
	co_session_set_lock_timeout(CO_LOCK_TIMEOUT);
	pfree(merge);
}
