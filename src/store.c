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

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "clock.h"
#include "convert.h"
#include "row.h"
#include "session.h"
#include "slots.h"
#include "store.h"

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

/* How a transaction ended. */
typedef struct Failure
{
	int			sqlstate;		/* 0: committed */
	char		message[CO_REASON_SIZE];	/* primary message, no address in it */
} Failure;

/* The transaction under way writes as the tables' owner. */
static Oid	saved_user;
static int	saved_context;

static Oid
table_owner(Oid table)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table with OID %u is gone", table)));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* Somebody has locked the whole table: no use in trying row by row. */
static void
require_table(Oid table)
{
	if (!ConditionalLockRelationOid(table, RowExclusiveLock))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("table \"clearout_results\" is locked")));
}

static void
begin(CoCatalog *catalog)
{
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (!co_catalog_of_extension(catalog))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"clearout\" is gone")));

	GetUserIdAndSecContext(&saved_user, &saved_context);
	SetUserIdAndSecContext(table_owner(catalog->results),
						   saved_context | SECURITY_RESTRICTED_OPERATION);
	SPI_connect();
}

static void
commit(void)
{
	SPI_finish();
	SetUserIdAndSecContext(saved_user, saved_context);
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/*
 * Run one step in a transaction of its own and report how it ended.  Only the
 * primary message is kept: details quote rows.
 */
static bool
run(void (*step) (CoCatalog *, void *), void *argument, Failure *failure)
{
	MemoryContext context = CurrentMemoryContext;
	CoCatalog	catalog;

	failure->sqlstate = 0;
	failure->message[0] = '\0';
	PG_TRY();
	{
		begin(&catalog);
		step(&catalog, argument);
		commit();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();	/* user and context come back by it too */
		MemoryContextSwitchTo(context);

		failure->sqlstate = error->sqlerrcode;
		strlcpy(failure->message, error->message ? error->message : "unknown error",
				sizeof(failure->message));
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return failure->sqlstate == 0;
}

static bool
is_lock_trouble(const Failure *failure)
{
	return failure->sqlstate == ERRCODE_LOCK_NOT_AVAILABLE ||
		failure->sqlstate == ERRCODE_OBJECT_IN_USE ||
		failure->sqlstate == ERRCODE_T_R_DEADLOCK_DETECTED ||
		failure->sqlstate == ERRCODE_T_R_SERIALIZATION_FAILURE;
}

/* Would another row have failed as well (disk, memory, read-only, ...)? */
static bool
is_content_trouble(const Failure *failure)
{
	int			class = ERRCODE_TO_CATEGORY(failure->sqlstate);

	return class == ERRCODE_TO_CATEGORY(ERRCODE_DATA_EXCEPTION) ||
		class == ERRCODE_TO_CATEGORY(ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION) ||
		class == ERRCODE_TO_CATEGORY(ERRCODE_PROGRAM_LIMIT_EXCEEDED) ||
		class == ERRCODE_TO_CATEGORY(ERRCODE_FEATURE_NOT_SUPPORTED) ||
		class == ERRCODE_TO_CATEGORY(ERRCODE_RAISE_EXCEPTION);
}

static const Oid column_type[CO_STORED_COLUMNS] = {
	TEXTOID, TEXTOID, TEXTOID, INT4OID, TEXTOID, TEXTOID,
	BOOLOID, BOOLOID, BOOLOID, BOOLOID,
	TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
	TIMESTAMPTZOID, INTERVALOID, TEXTOID, JSONBOID,
	TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, INT4OID, TEXTOID, JSONBOID
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

typedef enum Statement
{
	STATEMENT_VERDICT,			/* newer verdict, or any over an unknown */
	STATEMENT_UNKNOWN,			/* only over an older unknown */
	STATEMENT_ATTEMPT,			/* beside a verdict: the last attempt */
	STATEMENT_CONFIRM,			/* a newer verdict is there, but it was asked */
	STATEMENT_NEWER,			/* is there a later attempt? */
	STATEMENT_SPILL,
	STATEMENT_SPILL_READ,
	STATEMENT_SPILL_READ_ONE,
	STATEMENT_SPILL_DELETE
} Statement;
#define STATEMENT_COUNT 9

static const struct
{
	const char *sql;			/* %s: the quoted schema */
	int			parameters;		/* leading ones as in column_type; -1: one int8 */
}			statements[STATEMENT_COUNT] = {
	{REPLACE_ROW " WHERE r.status = 'unknown' OR r.verified_at <= excluded.verified_at",
	CO_WRITTEN_COLUMNS},
	{REPLACE_ROW " WHERE r.status = 'unknown' AND r.verified_at <= excluded.verified_at",
	CO_WRITTEN_COLUMNS},
	{"UPDATE %s.clearout_results SET attempted_at = $22, attempt_status = $2,"
		" attempt_sub_status = $4, attempt_reason = $5, attempt_raw = $20"
		" WHERE email = $1 AND (attempted_at IS NULL OR attempted_at <= $22)",
	CO_WRITTEN_COLUMNS},
	{"UPDATE %s.clearout_results SET asked_at = $21, attempted_at = $22,"
		" attempt_status = NULL, attempt_sub_status = NULL,"
		" attempt_reason = NULL, attempt_raw = NULL"
		" WHERE email = $1 AND (attempted_at IS NULL OR attempted_at <= $22)",
	CO_WRITTEN_COLUMNS},
	{"SELECT FROM %s.clearout_results WHERE email = $1 AND attempted_at > $22",
	CO_WRITTEN_COLUMNS},
	{"INSERT INTO %s.clearout_spill (" WRITTEN_COLUMNS ", error)"
		" VALUES (" WRITTEN_PARAMETERS ", $23)",
	CO_WRITTEN_COLUMNS + 1},
	{"SELECT " WRITTEN_COLUMNS ", id FROM %s.clearout_spill"
		" WHERE error IS NULL OR $1 <> 0 ORDER BY email, id LIMIT 1000",
	-1},
	{"SELECT " WRITTEN_COLUMNS ", id FROM %s.clearout_spill WHERE id = $1", -1},
	{"DELETE FROM %s.clearout_spill WHERE id = $1", -1}
};

/* Plans are kept for the schema that they were made for. */
static SPIPlanPtr plans[STATEMENT_COUNT];
static char plans_schema[NAMEDATALEN];

static SPIPlanPtr
plan_of(const CoCatalog *catalog, Statement statement)
{
	char	   *schema = get_namespace_name(catalog->schema);

	if (schema == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_SCHEMA),
				 errmsg("the schema of the extension \"clearout\" is gone")));
	if (strcmp(schema, plans_schema) != 0)
	{
		for (int i = 0; i < STATEMENT_COUNT; i++)
		{
			if (plans[i] != NULL)
				SPI_freeplan(plans[i]);
			plans[i] = NULL;
		}
		strlcpy(plans_schema, schema, sizeof(plans_schema));
	}
	if (plans[statement] == NULL)
	{
		Oid			types[CO_WRITTEN_COLUMNS + 1];
		int			count = statements[statement].parameters;
		SPIPlanPtr	plan;
		char	   *sql = psprintf(statements[statement].sql,
								   quote_identifier(schema));

		memcpy(types, column_type, sizeof(Oid) * CO_WRITTEN_COLUMNS);
		types[CO_WRITTEN_COLUMNS] = TEXTOID;
		if (count < 0)
		{
			types[0] = INT8OID;
			count = 1;
		}
		plan = SPI_prepare(sql, count, types);
		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare \"%s\"", sql);
		plans[statement] = plan;
	}
	return plans[statement];
}

static uint64
execute(const CoCatalog *catalog, Statement statement, Datum *values, char *nulls)
{
	int			result = SPI_execute_plan(plan_of(catalog, statement), values,
										  nulls, false, 0);

	if (result < 0)
		elog(ERROR, "could not store an answer: %s", SPI_result_code_string(result));
	return SPI_processed;
}

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
		if (execute(catalog, STATEMENT_UNKNOWN, values, nulls) > 0 ||
			execute(catalog, STATEMENT_ATTEMPT, values, nulls) > 0)
			return;
	}
	else
	{
		if (execute(catalog, STATEMENT_VERDICT, values, nulls) > 0 ||
			execute(catalog, STATEMENT_CONFIRM, values, nulls) > 0)
			return;
	}
	if (execute(catalog, STATEMENT_NEWER, values, nulls) == 0)
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

static void
store_step(CoCatalog *catalog, void *argument)
{
	Batch	   *batch = argument;
	Datum		values[CO_WRITTEN_COLUMNS + 1];
	char		nulls[CO_WRITTEN_COLUMNS + 1];

	require_table(catalog->results);

	for (int i = 0; i < batch->count; i++)
	{
		if (!in_batch(batch, i))
			continue;
		answer_to_parameters(batch->answer[i], values, nulls);
		write_row(catalog, values, nulls);
	}
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
		(void) execute(catalog, STATEMENT_SPILL, values, nulls);
	}
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
	(void) execute(catalog, STATEMENT_SPILL, values, nulls);
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
	Failure		failure;
	char		note[CO_REASON_SIZE];
	int64		budget_end;

	/* Everybody who writes several keys does so in their order. */
	qsort(answers, count, sizeof(CoAnswer *), compare_keys);

	/* The usual way: all of them at once. */
	if (run(store_step, &batch, &failure))
	{
		mark(&batch, CO_ANSWER_STORED);
		return true;
	}
	elog(DEBUG1, "clearout: %d answers not stored at once: %s", count, failure.message);

	/* One by one, so that one that is held up leaves its neighbours alone. */
	if (failure.sqlstate != ERRCODE_OBJECT_IN_USE)
	{
		budget_end = co_clock() + ROW_LOCK_BUDGET;
		co_session_set_lock_timeout(ROW_LOCK_TIMEOUT);
		for (batch.only = 0; batch.only < count; batch.only++)
		{
			if (answers[batch.only]->state == CO_ANSWER_STORED)
				continue;
			if (co_clock() > budget_end)
				break;
			if (run(store_step, &batch, &failure))
				answers[batch.only]->state = CO_ANSWER_STORED;
			else if (!is_lock_trouble(&failure))
			{
				/* Refused for itself: keep it with the reason. */
				strlcpy(note, failure.message, sizeof(note));
				batch.note = note;
				if (run(spill_step, &batch, &failure) ||
					(is_content_trouble(&failure) && run(record_step, &batch, &failure)))
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
		if (run(spill_step, &batch, &failure))
		{
			mark(&batch, CO_ANSWER_SPILLED);
			*spilled = true;
			return true;
		}
		mark(&batch, CO_ANSWER_UNSTORED);
		strlcpy(reason, failure.message, reason_size);
		return false;
	}
	return true;
}

/* ---------- the spill ---------- */

typedef struct Merge
{
	bool		retry_failed;	/* also those that were refused for themselves */
	int64		only;			/* id; 0: all */
	int			moved;
	int			count;			/* what was read; ids of it */
	int64		ids[MERGE_BATCH];
} Merge;

/* Read what there is to move. */
static SPITupleTable *
read_spill(CoCatalog *catalog, Merge *merge)
{
	Datum		parameter = Int64GetDatum(merge->only != 0 ? merge->only :
										  merge->retry_failed ? 1 : 0);
	uint64		rows;

	rows = execute(catalog,
				   merge->only != 0 ? STATEMENT_SPILL_READ_ONE : STATEMENT_SPILL_READ,
				   &parameter, " ");
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
count_step(CoCatalog *catalog, void *argument)
{
	(void) read_spill(catalog, argument);
}

static void
merge_step(CoCatalog *catalog, void *argument)
{
	Merge	   *merge = argument;
	SPITupleTable *table;

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
		(void) execute(catalog, STATEMENT_SPILL_DELETE, &id, " ");
		merge->moved++;
	}
}

void
co_store_merge_spill(bool retry_failed, int *moved, bool *left)
{
	Merge	   *merge = palloc0(sizeof(Merge));
	Failure		failure;
	int64		budget_end;
	int			count;

	*moved = 0;
	*left = true;
	merge->retry_failed = retry_failed;
	co_session_set_lock_timeout(ROW_LOCK_TIMEOUT);
	if (run(merge_step, merge, &failure))
	{
		*moved = merge->moved;
		*left = merge->moved == MERGE_BATCH;
	}
	else if (failure.sqlstate != ERRCODE_OBJECT_IN_USE &&
			 run(count_step, merge, &failure))
	{
		int64		ids[MERGE_BATCH];

		count = merge->count;
		memcpy(ids, merge->ids, sizeof(ids));
		budget_end = co_clock() + ROW_LOCK_BUDGET;
		for (int i = 0; i < count && co_clock() < budget_end; i++)
		{
			merge->only = ids[i];
			if (run(merge_step, merge, &failure))
				*moved += merge->moved;
		}
		*left = *moved < count || count == MERGE_BATCH;
	}
	co_session_set_lock_timeout(CO_LOCK_TIMEOUT);
	pfree(merge);
}
