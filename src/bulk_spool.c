/*-------------------------------------------------------------------------
 * bulk_spool.c
 *		SQL functions that order bulk jobs and tend them.
 *
 * The query of clearout_bulk_verify() runs as the caller, in the caller's
 * transaction; what it returns is brought to normal form, sorted to find what
 * is given twice (on disk where it does not fit into work_mem), and spooled in
 * the order of the addresses.  So the lists, their results and the rows of
 * clearout_results have the same order, which makes storing them fast, and
 * memory does not grow with their number.
 *
 * Like clearout_enqueue(), these functions write as the owner of the tables.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/tuplesort.h"

#include "arguments.h"
#include "bulk.h"
#include "compat.h"
#include "fresh.h"
#include "guc.h"
#include "queue.h"
#include "transaction.h"

PG_FUNCTION_INFO_V1(clearout_bulk_verify);
PG_FUNCTION_INFO_V1(clearout_bulk_verify_array);
PG_FUNCTION_INFO_V1(clearout_bulk_cancel);
PG_FUNCTION_INFO_V1(clearout_bulk_remove);
PG_FUNCTION_INFO_V1(clearout_bulk_resolve);

#define FETCH_ROWS		1000
#define SPOOL_ROWS		5000

/* ---------- telling the worker ---------- */

static bool noted = false;

static void
transaction_callback(XactEvent event, void *argument)
{
	(void) argument;
	if (!noted || (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
				   event != XACT_EVENT_PREPARE))
		return;
	noted = false;
	if (event != XACT_EVENT_ABORT)
	{
		int			index;

		LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
		index = co_database_entry(MyDatabaseId, true);
		if (index >= 0)
		{
			CoDatabase *database = &co_shared->database[index];

			if (event == XACT_EVENT_PREPARE)
				database->queue_prepared = true;
			else
			{
				database->bulk_news = true;
				co_worker_wake(database);
				if (database->worker == NULL)
					co_launcher_wake();
			}
		}
		LWLockRelease(co_shared->lock);
	}
}

void
co_bulk_note(void)
{
	static bool registered = false;

	if (co_shared == NULL || !IsUnderPostmaster)
		return;
	if (!registered)
	{
		RegisterXactCallback(transaction_callback, NULL);
		registered = true;
	}
	noted = true;
}

/* ---------- statements, as the owner of the tables ---------- */

static const Oid job_types[] = {TEXTOID, NAMEOID, TEXTOID, BOOLOID};
static CoStatement insert_job =
{CO_TABLE_JOBS, "INSERT INTO %s.clearout_jobs_data (kind, requested_by, optimize, remove_list)"
	" VALUES ($1, $2, $3, $4) RETURNING job", 4, job_types, NULL, ""};

/*
 * What is answered, and what another job has, needs no place.  Positions go on
 * through all parts: the place of the row counts, and the part follows.
 */
static const Oid spool_types[] = {
	TEXTARRAYOID, INT8OID, INT8OID, INT4OID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID
};
static CoStatement insert_addresses =
{CO_TABLE_JOBS, "WITH given AS MATERIALIZED (SELECT u.asked COLLATE \"C\" AS asked, u.number,"
	" EXISTS (SELECT FROM %s.clearout_results AS r WHERE r.email = u.asked COLLATE \"C\""
	" AND " CO_FRESH("$6", "$7", "$8") ")"
	" OR EXISTS (SELECT FROM %s.clearout_spill AS r WHERE r.email = u.asked COLLATE \"C\""
	" AND " CO_FRESH("$6", "$7", "$8") ") AS fresh"
	" FROM unnest($1) WITH ORDINALITY AS u (asked, number)),"
	" open AS MATERIALIZED (SELECT g.asked, g.number,"
	" EXISTS (SELECT FROM %s.clearout_spool AS s"
	" JOIN %s.clearout_parts AS p USING (job, part)"
	" JOIN %s.clearout_jobs_data AS j USING (job)"
	" WHERE s.asked = g.asked AND s.job <> $2 AND j.origin = $5 AND j.kind = 'verify'"
	" AND j.cancelled_at IS NULL"
	" AND p.state NOT IN ('done', 'failed', 'cancelled')) AS waits"
	" FROM given AS g WHERE NOT g.fresh),"
	" placed AS (INSERT INTO %s.clearout_spool (job, part, position, asked)"
	" SELECT $2, n.place / $4 + 1, n.place % $4 + 1, n.asked"
	" FROM (SELECT o.asked, $3 - 1 + row_number() OVER (ORDER BY o.number) AS place"
	" FROM open AS o WHERE NOT o.waits) AS n)"
	" SELECT (SELECT count(*) FROM given WHERE fresh), (SELECT count(*) FROM open WHERE waits)",
8, spool_types, NULL, ""};

static const Oid parts_types[] = {INT8OID, INT8OID, INT4OID};
static CoStatement insert_parts =
{CO_TABLE_JOBS, "INSERT INTO %s.clearout_parts (job, part, rows)"
	" SELECT $1, n, least($3, $2 - (n - 1) * $3) FROM generate_series(1, ($2 + $3 - 1) / $3) AS n",
3, parts_types, NULL, ""};

static const Oid count_types[] = {INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID};
static CoStatement update_job =
{CO_TABLE_JOBS, "UPDATE %s.clearout_jobs_data SET rows_total = $2, rows_null = $3, rows_malformed = $4,"
	" rows_duplicate = $5, rows_fresh = $6, rows_waiting = $7, rows_spooled = $8,"
	" finished_at = CASE WHEN $8 = 0 THEN now() END WHERE job = $1",
8, count_types, NULL, ""};

static const Oid one_job[] = {INT8OID};
static CoStatement find_job =
{CO_TABLE_JOBS, "SELECT requested_by, finished_at IS NOT NULL, cancelled_at IS NOT NULL"
	" FROM %s.clearout_jobs_data WHERE job = $1 AND removed_at IS NULL FOR UPDATE",
1, one_job, NULL, ""};

static CoStatement cancel_job =
{CO_TABLE_JOBS, "UPDATE %s.clearout_jobs_data SET cancelled_at = coalesce(cancelled_at, now())"
	" WHERE job = $1", 1, one_job, NULL, ""};

static const Oid remove_types[] = {INT8OID, BOOLOID};
static CoStatement remove_job =
{CO_TABLE_JOBS, "WITH parts AS (UPDATE %s.clearout_parts SET list_removed = list_removed OR NOT $2"
	" WHERE job = $1)"
	" UPDATE %s.clearout_jobs_data SET removed_at = now() WHERE job = $1",
2, remove_types, NULL, ""};

static const Oid resolve_types[] = {INT8OID, INT4OID, TEXTOID};
static CoStatement resolve_part =
{CO_TABLE_JOBS, "UPDATE %s.clearout_parts SET held = false, error = NULL, attempts = 0,"
	" list_id = $3, file_name = CASE WHEN $3 IS NULL THEN NULL ELSE file_name END,"
	" state = CASE WHEN $3 IS NULL THEN 'spooled' ELSE 'running' END, changed_at = now()"
	" WHERE job = $1 AND part = $2 AND held", 3, resolve_types, NULL, ""};

/*
 * Run one statement of ours, out of reach of the caller's search_path and
 * planner settings: everything here is by key.
 */
static uint64
execute_as_owner(const CoCatalog *catalog, CoStatement *statement,
				 Datum *values, const char *nulls)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"plan_cache_mode", "force_generic_plan"},
		{"enable_seqscan", "off"},
		{"jit", "off"}
	};
	int			guc_level = NewGUCNestLevel();
	uint64		count;

	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	count = co_execute(catalog, statement, values, nulls);
	AtEOXact_GUC(false, guc_level);
	return count;
}

static int64
result_int64(int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

/* ---------- spooling ---------- */

typedef struct Spooling
{
	CoCatalog	catalog;
	CoFreshness accepts;
	Tuplesortstate *sort;
	MemoryContext batch;		/* of a few rows */
	int64		job;
	int			part_rows;
	int64		total;
	int64		null;
	int64		malformed;
	int64		duplicate;
	int64		fresh;
	int64		waiting;
	int64		spooled;
} Spooling;

static void
begin_spooling(Spooling *spooling, FunctionCallInfo fcinfo, const Interval *max_age)
{
	memset(spooling, 0, sizeof(*spooling));
	co_catalog_of_function(fcinfo, &spooling->catalog);
	spooling->accepts = co_accepted_ages(max_age);
	spooling->part_rows = co_bulk_rows;
	spooling->batch = AllocSetContextCreate(CurrentMemoryContext, "clearout spooling",
											ALLOCSET_DEFAULT_SIZES);
	spooling->sort = tuplesort_begin_datum(TEXTOID, TextLessOperator, C_COLLATION_OID,
										   false, work_mem, NULL, TUPLESORT_NONE);
}

/* One address that was given; leaves something in the current context. */
static void
spool_one(Spooling *spooling, text *given)
{
	CoAddressError error;
	char	   *key;

	spooling->total++;
	if (given == NULL)
	{
		spooling->null++;
		return;
	}
	key = co_normalize_argument(given, &error);
	if (key == NULL)
		spooling->malformed++;
	else
		tuplesort_putdatum(spooling->sort, CStringGetTextDatum(key), false);
}

/* Spool some addresses, all different. */
static void
spool_batch(Spooling *spooling, Datum *addresses, int count)
{
	Datum		values[8];
	int64		fresh;
	int64		waiting;

	values[0] = PointerGetDatum(construct_array(addresses, count, TEXTOID, -1, false, TYPALIGN_INT));
	values[1] = Int64GetDatum(spooling->job);
	values[2] = Int64GetDatum(spooling->spooled);
	values[3] = Int32GetDatum(spooling->part_rows);
	values[4] = Int64GetDatum(co_queue_origin());
	values[5] = TimestampTzGetDatum(spooling->accepts.verdict);
	values[6] = TimestampTzGetDatum(spooling->accepts.unknown);
	values[7] = TimestampTzGetDatum(spooling->accepts.catch_all);
	(void) execute_as_owner(&spooling->catalog, &insert_addresses, values, "        ");
	fresh = result_int64(1);
	waiting = result_int64(2);
	SPI_freetuptable(SPI_tuptable);
	spooling->fresh += fresh;
	spooling->waiting += waiting;
	spooling->spooled += count - fresh - waiting;
}

/* All are given: sort them, and spool what is left. */
static void
spool_all(Spooling *spooling)
{
	Datum	   *addresses = palloc(SPOOL_ROWS * sizeof(Datum));
	MemoryContext old;
	int			count = 0;
	Datum		value;
	bool		isnull;
	text	   *last = NULL;
	Size		last_size = 0;

	tuplesort_performsort(spooling->sort);
	old = MemoryContextSwitchTo(spooling->batch);
	while (co_tuplesort_getdatum(spooling->sort, &value, &isnull))
	{
		text	   *address = DatumGetTextPP(value);
		Size		size = VARSIZE_ANY_EXHDR(address);

		CHECK_FOR_INTERRUPTS();
		if (last != NULL && size == last_size &&
			memcmp(VARDATA_ANY(address), VARDATA_ANY(last), size) == 0)
		{
			spooling->duplicate++;
			pfree(DatumGetPointer(value));
			continue;
		}
		addresses[count++] = value;
		last = address;
		last_size = size;
		if (count == SPOOL_ROWS)
		{
			spool_batch(spooling, addresses, count);

			/* the last one is still to be compared with */
			count = 0;
			MemoryContextSwitchTo(old);
			last = (text *) memcpy(palloc(VARSIZE_ANY(last)), last, VARSIZE_ANY(last));
			MemoryContextReset(spooling->batch);
			MemoryContextSwitchTo(spooling->batch);
		}
	}
	if (count > 0)
		spool_batch(spooling, addresses, count);
	MemoryContextSwitchTo(old);
	tuplesort_end(spooling->sort);
	MemoryContextDelete(spooling->batch);
}

static void
create_job(Spooling *spooling, const char *kind, text *optimize, bool remove_list)
{
	Datum		values[4];
	char		nulls[5] = "    ";

	values[0] = CStringGetTextDatum(kind);
	values[1] = DirectFunctionCall1(namein, CStringGetDatum(GetUserNameFromId(GetUserId(), false)));
	values[2] = PointerGetDatum(optimize);
	nulls[2] = optimize ? ' ' : 'n';
	values[3] = BoolGetDatum(remove_list);
	(void) execute_as_owner(&spooling->catalog, &insert_job, values, nulls);
	spooling->job = result_int64(1);
}

static void
complete_job(Spooling *spooling)
{
	Datum		parts[3];
	Datum		counts[8];

	parts[0] = counts[0] = Int64GetDatum(spooling->job);
	parts[1] = Int64GetDatum(spooling->spooled);
	parts[2] = Int32GetDatum(spooling->part_rows);
	(void) execute_as_owner(&spooling->catalog, &insert_parts, parts, "   ");
	counts[1] = Int64GetDatum(spooling->total);
	counts[2] = Int64GetDatum(spooling->null);
	counts[3] = Int64GetDatum(spooling->malformed);
	counts[4] = Int64GetDatum(spooling->duplicate);
	counts[5] = Int64GetDatum(spooling->fresh);
	counts[6] = Int64GetDatum(spooling->waiting);
	counts[7] = Int64GetDatum(spooling->spooled);
	(void) execute_as_owner(&spooling->catalog, &update_job, counts, "        ");
	co_bulk_note();
}

/* ---------- clearout_bulk_verify() ---------- */

static text *
optimize_argument(FunctionCallInfo fcinfo, int number)
{
	text	   *optimize = PG_ARGISNULL(number) ? NULL : PG_GETARG_TEXT_PP(number);
	char	   *word;

	if (optimize == NULL)
		return NULL;
	word = text_to_cstring(optimize);
	if (strcmp(word, "highest_accuracy") != 0 && strcmp(word, "fastest_turnaround") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for \"optimize\": \"%s\"", word),
				 errhint("Use \"highest_accuracy\" or \"fastest_turnaround\".")));
	return optimize;
}

static void
require_writable(const char *function)
{
	PreventCommandIfReadOnly(function);
	PreventCommandDuringRecovery(function);
}

/* Open the caller's query, as he may run it himself. */
static Portal
open_query(const char *query)
{
	SPIPlanPtr	plan = SPI_prepare_cursor(query, 0, NULL, CURSOR_OPT_NO_SCROLL);
	Portal		portal;

	if (plan == NULL)
		elog(ERROR, "could not prepare the query: %s", SPI_result_code_string(SPI_result));
	if (!SPI_is_cursor_plan(plan))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_CURSOR_DEFINITION),
				 errmsg("the query must be one that returns rows, and a single one"),
				 errhint("For example: clearout_bulk_verify('SELECT email FROM customer').")));
	portal = SPI_cursor_open(NULL, plan, NULL, NULL, false);
	if (portal->tupDesc->natts != 1)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the query must return one column, not %d", portal->tupDesc->natts)));
	return portal;
}

Datum
clearout_bulk_verify(PG_FUNCTION_ARGS)
{
	Spooling	spooling;
	Portal		portal;
	bool		is_text;
	text	   *optimize;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	require_writable("clearout_bulk_verify()");
	optimize = optimize_argument(fcinfo, 2);
	begin_spooling(&spooling, fcinfo, PG_ARGISNULL(1) ? NULL : PG_GETARG_INTERVAL_P(1));

	SPI_connect();
	portal = open_query(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	is_text = getBaseType(TupleDescAttr(portal->tupDesc, 0)->atttypid) == TEXTOID;
	for (;;)
	{
		MemoryContext old;
		uint64		count;

		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		count = SPI_processed;
		old = MemoryContextSwitchTo(spooling.batch);
		for (uint64 i = 0; i < count; i++)
		{
			HeapTuple	tuple = SPI_tuptable->vals[i];
			bool		isnull;
			Datum		value = SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &isnull);

			CHECK_FOR_INTERRUPTS();
			if (isnull)
				spool_one(&spooling, NULL);
			else if (is_text)
				spool_one(&spooling, DatumGetTextPP(value));
			else
				spool_one(&spooling, cstring_to_text(SPI_getvalue(tuple, SPI_tuptable->tupdesc, 1)));
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(spooling.batch);
		SPI_freetuptable(SPI_tuptable);
		if (count == 0)
			break;
	}
	SPI_cursor_close(portal);

	create_job(&spooling, "verify", optimize, !PG_ARGISNULL(3) && PG_GETARG_BOOL(3));
	spool_all(&spooling);
	complete_job(&spooling);
	SPI_finish();
	PG_RETURN_INT64(spooling.job);
}

Datum
clearout_bulk_verify_array(PG_FUNCTION_ARGS)
{
	Spooling	spooling;
	ArrayIterator iterator;
	MemoryContext old;
	Datum		value;
	bool		isnull;
	text	   *optimize;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	require_writable("clearout_bulk_verify()");
	optimize = optimize_argument(fcinfo, 2);
	begin_spooling(&spooling, fcinfo, PG_ARGISNULL(1) ? NULL : PG_GETARG_INTERVAL_P(1));

	iterator = array_create_iterator(PG_GETARG_ARRAYTYPE_P(0), 0, NULL);
	old = MemoryContextSwitchTo(spooling.batch);
	while (array_iterate(iterator, &value, &isnull))
	{
		spool_one(&spooling, isnull ? NULL : DatumGetTextPP(value));
		if (spooling.total % FETCH_ROWS == 0)
			MemoryContextReset(spooling.batch);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(spooling.batch);

	SPI_connect();
	create_job(&spooling, "verify", optimize, !PG_ARGISNULL(3) && PG_GETARG_BOOL(3));
	spool_all(&spooling);
	complete_job(&spooling);
	SPI_finish();
	PG_RETURN_INT64(spooling.job);
}

/* ---------- tending ---------- */

static const Oid origin_type[] = {INT8OID};
static CoStatement adopt_jobs =
{CO_TABLE_JOBS, "UPDATE %s.clearout_jobs_data SET origin = $1 WHERE origin <> $1",
1, origin_type, NULL, ""};

void
co_bulk_adopt(const CoCatalog *catalog)
{
	Datum		origin = Int64GetDatum(co_queue_origin());

	SPI_connect();
	(void) execute_as_owner(catalog, &adopt_jobs, &origin, " ");
	SPI_finish();
	co_bulk_note();
}

typedef struct Job
{
	bool		finished;
	bool		cancelled;
} Job;

/*
 * Lock a job, for its owner: whoever ordered it, is a member of that role, or
 * may change the table anyway.
 */
static Job
lock_job(const CoCatalog *catalog, int64 job)
{
	Datum		value = Int64GetDatum(job);
	Datum		owner;
	Oid			role;
	bool		isnull;
	Job			result;

	if (execute_as_owner(catalog, &find_job, &value, " ") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no bulk job %lld", (long long) job)));
	owner = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	role = get_role_oid(NameStr(*DatumGetName(owner)), true);
	result.finished = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	result.cancelled = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &isnull));

	if (!(OidIsValid(role) && has_privs_of_role(GetUserId(), role)) &&
		pg_class_aclcheck(co_catalog_need(catalog, &catalog->jobs), GetUserId(), ACL_UPDATE) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for bulk job %lld", (long long) job),
				 errdetail("It was ordered by the role \"%s\".", NameStr(*DatumGetName(owner)))));
	return result;
}

Datum
clearout_bulk_cancel(PG_FUNCTION_ARGS)
{
	Datum		job = PG_GETARG_DATUM(0);
	CoCatalog	catalog;
	bool		open;

	require_writable("clearout_bulk_cancel()");
	co_catalog_of_function(fcinfo, &catalog);
	SPI_connect();
	open = !lock_job(&catalog, DatumGetInt64(job)).finished;
	if (open)
	{
		(void) execute_as_owner(&catalog, &cancel_job, &job, " ");
		co_bulk_note();
	}
	SPI_finish();
	PG_RETURN_BOOL(open);
}

Datum
clearout_bulk_remove(PG_FUNCTION_ARGS)
{
	Datum		values[2] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)};
	CoCatalog	catalog;

	require_writable("clearout_bulk_remove()");
	co_catalog_of_function(fcinfo, &catalog);
	SPI_connect();
	if (!lock_job(&catalog, PG_GETARG_INT64(0)).finished)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("bulk job %lld is not finished", (long long) PG_GETARG_INT64(0)),
				 errhint("Wait for it with clearout_wait(), or end it with clearout_bulk_cancel().")));
	(void) execute_as_owner(&catalog, &remove_job, values, "  ");
	co_bulk_note();
	SPI_finish();
	PG_RETURN_VOID();
}

Datum
clearout_bulk_resolve(PG_FUNCTION_ARGS)
{
	Datum		values[3];
	char		nulls[4] = "   ";
	CoCatalog	catalog;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("job and part must not be null")));
	require_writable("clearout_bulk_resolve()");
	co_catalog_of_function(fcinfo, &catalog);
	SPI_connect();
	(void) lock_job(&catalog, PG_GETARG_INT64(0));
	values[0] = PG_GETARG_DATUM(0);
	values[1] = PG_GETARG_DATUM(1);
	values[2] = PG_ARGISNULL(2) ? (Datum) 0 : PG_GETARG_DATUM(2);
	nulls[2] = PG_ARGISNULL(2) ? 'n' : ' ';
	if (execute_as_owner(&catalog, &resolve_part, values, nulls) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("bulk job %lld has no part %d that waits for a decision",
						(long long) PG_GETARG_INT64(0), PG_GETARG_INT32(1))));
	co_bulk_note();
	SPI_finish();
	PG_RETURN_VOID();
}
