/*-------------------------------------------------------------------------
 * bulk_spool.c
 *		What a job asks, on its way from a caller's query into the spool.
 *
 * What is given is brought to normal form, sorted to find what is given twice
 * (on disk where it does not fit into work_mem), and spooled in the order of
 * these keys.  So the lists, their results and the rows of clearout_results or
 * clearout_people have the same order, which makes storing them fast, and
 * memory does not grow with their number.
 *
 * Like clearout_enqueue(), this writes as the owner of the tables.
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
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "arguments.h"
#include "bulk_kind.h"
#include "bulk_spool.h"
#include "compat.h"
#include "find.h"
#include "fresh.h"
#include "guc.h"
#include "people.h"

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
 * What is answered, and what another job has, needs no place; nor has whom the
 * service seeks already, by a single call.  Positions go on through all parts:
 * the place of the row counts, and the part follows.
 */
static const Oid spool_types[] = {
	TEXTARRAYOID, INT8OID, INT8OID, INT4OID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID,
	TEXTOID
};

#define INSERT_ASKED(fresh, sought) \
	{CO_TABLE_JOBS, "WITH given AS MATERIALIZED (SELECT u.asked, u.number, " fresh " AS fresh" \
	" FROM (SELECT a.asked COLLATE \"C\" AS asked, a.number" \
	" FROM unnest($1) WITH ORDINALITY AS a (asked, number)) AS u)," \
	" open AS MATERIALIZED (SELECT g.asked, g.number," \
	" EXISTS (SELECT FROM %s.clearout_spool AS s" \
	" JOIN %s.clearout_parts AS p USING (job, part)" \
	" JOIN %s.clearout_jobs_data AS j USING (job)" \
	" WHERE s.asked = g.asked AND s.job <> $2 AND j.origin = $5 AND j.kind = $9" \
	" AND j.cancelled_at IS NULL" \
	" AND p.state NOT IN ('done', 'failed', 'cancelled')) OR " sought " AS waits" \
	" FROM given AS g WHERE NOT g.fresh)," \
	" placed AS (INSERT INTO %s.clearout_spool (job, part, position, asked)" \
	" SELECT $2, n.place / $4 + 1, n.place % $4 + 1, n.asked" \
	" FROM (SELECT o.asked, $3 - 1 + row_number() OVER (ORDER BY o.number) AS place" \
	" FROM open AS o WHERE NOT o.waits) AS n)" \
	" SELECT (SELECT count(*) FROM given WHERE fresh), (SELECT count(*) FROM open WHERE waits)", \
	9, spool_types, NULL, ""}

static CoStatement insert_asked[CO_BULK_KINDS] = {
	[CO_BULK_VERIFY] = INSERT_ASKED(
		"(EXISTS (SELECT FROM %s.clearout_results AS r WHERE r.email = u.asked"
		" AND " CO_FRESH("$6", "$7", "$8") ")"
		" OR EXISTS (SELECT FROM %s.clearout_spill AS r WHERE r.email = u.asked"
		" AND " CO_FRESH("$6", "$7", "$8") "))",
		"false"),
	[CO_BULK_FIND] = INSERT_ASKED(
		"(EXISTS (SELECT FROM %s.clearout_people AS r WHERE r.asked_name = " CO_ASKED_NAME("u.asked")
		" AND r.asked_domain = " CO_ASKED_DOMAIN("u.asked") " AND greatest(r.found_at, r.asked_at) >= $6)"
		" OR EXISTS (SELECT FROM %s.clearout_lookup_spill AS r WHERE r.kind = '" CO_FIND_KIND "'"
		" AND r.key = u.asked AND greatest(r.answered_at, r.asked_at) >= $6))",
		"EXISTS (SELECT FROM %s.clearout_queue AS q WHERE q.email IS NULL"
		" AND q.name = " CO_ASKED_NAME("g.asked") " AND q.domain = " CO_ASKED_DOMAIN("g.asked")
		" AND q.queue_id IS NOT NULL AND q.failed_at IS NULL AND q.origin = $5)")
};

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

uint64
co_bulk_execute(const CoCatalog *catalog, CoStatement *statement,
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

void
co_bulk_require_writable(const char *function)
{
	PreventCommandIfReadOnly(function);
	PreventCommandDuringRecovery(function);
}

static int64
result_int64(int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

/* ---------- spooling ---------- */

void
co_spooling_begin(CoSpooling *spooling, FunctionCallInfo fcinfo, CoBulkKind kind,
				  const Interval *max_age)
{
	memset(spooling, 0, sizeof(*spooling));
	spooling->kind = kind;
	co_catalog_of_function(fcinfo, &spooling->catalog);
	if (kind == CO_BULK_VERIFY)
		spooling->accepts = co_accepted_ages(max_age);
	else
		spooling->accepts.verdict =
			co_oldest_accepted(max_age ? co_interval_argument(max_age, "max_age")
							   : (int64) co_max_age_find * USECS_PER_SEC);
	spooling->part_rows = co_bulk_rows;
	spooling->batch = AllocSetContextCreate(CurrentMemoryContext, "clearout spooling",
											ALLOCSET_DEFAULT_SIZES);
	spooling->sort = tuplesort_begin_datum(TEXTOID, TextLessOperator, C_COLLATION_OID,
										   false, work_mem, NULL, TUPLESORT_NONE);
}

void
co_spooling_add_null(CoSpooling *spooling)
{
	spooling->total++;
	spooling->null++;
}

void
co_spooling_add(CoSpooling *spooling, const char *key)
{
	spooling->total++;
	if (key == NULL)
		spooling->malformed++;
	else
		tuplesort_putdatum(spooling->sort, CStringGetTextDatum(key), false);
}

/* Spool some, all different. */
static void
spool_batch(CoSpooling *spooling, Datum *asked, int count)
{
	Datum		values[9];
	int64		fresh;
	int64		waiting;

	values[0] = PointerGetDatum(construct_array(asked, count, TEXTOID, -1, false, TYPALIGN_INT));
	values[1] = Int64GetDatum(spooling->job);
	values[2] = Int64GetDatum(spooling->spooled);
	values[3] = Int32GetDatum(spooling->part_rows);
	values[4] = Int64GetDatum(co_queue_origin());
	values[5] = TimestampTzGetDatum(spooling->accepts.verdict);
	values[6] = TimestampTzGetDatum(spooling->accepts.unknown);
	values[7] = TimestampTzGetDatum(spooling->accepts.catch_all);
	values[8] = CStringGetTextDatum(co_bulk_rules[spooling->kind].word);
	(void) co_bulk_execute(&spooling->catalog, &insert_asked[spooling->kind], values, "         ");
	fresh = result_int64(1);
	waiting = result_int64(2);
	SPI_freetuptable(SPI_tuptable);
	spooling->fresh += fresh;
	spooling->waiting += waiting;
	spooling->spooled += count - fresh - waiting;
}

/* All are given: sort them, and spool what is left. */
static void
spool_all(CoSpooling *spooling)
{
	Datum	   *asked = palloc(SPOOL_ROWS * sizeof(Datum));
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
		text	   *key = DatumGetTextPP(value);
		Size		size = VARSIZE_ANY_EXHDR(key);

		CHECK_FOR_INTERRUPTS();
		if (last != NULL && size == last_size &&
			memcmp(VARDATA_ANY(key), VARDATA_ANY(last), size) == 0)
		{
			spooling->duplicate++;
			pfree(DatumGetPointer(value));
			continue;
		}
		asked[count++] = value;
		last = key;
		last_size = size;
		if (count == SPOOL_ROWS)
		{
			spool_batch(spooling, asked, count);

			/* the last one is still to be compared with */
			count = 0;
			MemoryContextSwitchTo(old);
			last = (text *) memcpy(palloc(VARSIZE_ANY(last)), last, VARSIZE_ANY(last));
			MemoryContextReset(spooling->batch);
			MemoryContextSwitchTo(spooling->batch);
		}
	}
	if (count > 0)
		spool_batch(spooling, asked, count);
	MemoryContextSwitchTo(old);
	tuplesort_end(spooling->sort);
	MemoryContextDelete(spooling->batch);
}

static void
create_job(CoSpooling *spooling, text *optimize, bool remove_list)
{
	Datum		values[4];
	char		nulls[5] = "    ";

	values[0] = CStringGetTextDatum(co_bulk_rules[spooling->kind].word);
	values[1] = DirectFunctionCall1(namein, CStringGetDatum(GetUserNameFromId(GetUserId(), false)));
	values[2] = PointerGetDatum(optimize);
	nulls[2] = optimize ? ' ' : 'n';
	values[3] = BoolGetDatum(remove_list);
	(void) co_bulk_execute(&spooling->catalog, &insert_job, values, nulls);
	spooling->job = result_int64(1);
}

static void
complete_job(CoSpooling *spooling)
{
	Datum		parts[3];
	Datum		counts[8];

	parts[0] = counts[0] = Int64GetDatum(spooling->job);
	parts[1] = Int64GetDatum(spooling->spooled);
	parts[2] = Int32GetDatum(spooling->part_rows);
	(void) co_bulk_execute(&spooling->catalog, &insert_parts, parts, "   ");
	counts[1] = Int64GetDatum(spooling->total);
	counts[2] = Int64GetDatum(spooling->null);
	counts[3] = Int64GetDatum(spooling->malformed);
	counts[4] = Int64GetDatum(spooling->duplicate);
	counts[5] = Int64GetDatum(spooling->fresh);
	counts[6] = Int64GetDatum(spooling->waiting);
	counts[7] = Int64GetDatum(spooling->spooled);
	(void) co_bulk_execute(&spooling->catalog, &update_job, counts, "        ");
	co_bulk_note();
}

int64
co_spooling_end(CoSpooling *spooling, text *optimize, bool remove_list)
{
	create_job(spooling, optimize, remove_list);
	spool_all(spooling);
	complete_job(spooling);
	return spooling->job;
}
