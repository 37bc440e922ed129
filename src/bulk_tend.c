/*-------------------------------------------------------------------------
 * bulk_tend.c
 *		SQL functions that tend bulk jobs: cancel one, forget it, decide about it.
 *
 * Like clearout_enqueue(), these functions write as the owner of the tables.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "bulk_spool.h"
#include "queue.h"

PG_FUNCTION_INFO_V1(clearout_bulk_cancel);
PG_FUNCTION_INFO_V1(clearout_bulk_remove);
PG_FUNCTION_INFO_V1(clearout_bulk_resolve);

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

static const Oid origin_type[] = {INT8OID};
static CoStatement adopt_jobs =
{CO_TABLE_JOBS, "UPDATE %s.clearout_jobs_data SET origin = $1 WHERE origin <> $1",
1, origin_type, NULL, ""};

void
co_bulk_adopt(const CoCatalog *catalog)
{
	Datum		origin = Int64GetDatum(co_queue_origin());

	SPI_connect();
	(void) co_bulk_execute(catalog, &adopt_jobs, &origin, " ");
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

	if (co_bulk_execute(catalog, &find_job, &value, " ") == 0)
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

	co_bulk_require_writable("clearout_bulk_cancel()");
	co_catalog_of_function(fcinfo, &catalog);
	SPI_connect();
	open = !lock_job(&catalog, DatumGetInt64(job)).finished;
	if (open)
	{
		(void) co_bulk_execute(&catalog, &cancel_job, &job, " ");
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

	co_bulk_require_writable("clearout_bulk_remove()");
	co_catalog_of_function(fcinfo, &catalog);
	SPI_connect();
	if (!lock_job(&catalog, PG_GETARG_INT64(0)).finished)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("bulk job %lld is not finished", (long long) PG_GETARG_INT64(0)),
				 errhint("Wait for it with clearout_wait(), or end it with clearout_bulk_cancel().")));
	(void) co_bulk_execute(&catalog, &remove_job, values, "  ");
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
	co_bulk_require_writable("clearout_bulk_resolve()");
	co_catalog_of_function(fcinfo, &catalog);
	SPI_connect();
	(void) lock_job(&catalog, PG_GETARG_INT64(0));
	values[0] = PG_GETARG_DATUM(0);
	values[1] = PG_GETARG_DATUM(1);
	values[2] = PG_ARGISNULL(2) ? (Datum) 0 : PG_GETARG_DATUM(2);
	nulls[2] = PG_ARGISNULL(2) ? 'n' : ' ';
	if (co_bulk_execute(&catalog, &resolve_part, values, nulls) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("bulk job %lld has no part %d that waits for a decision",
						(long long) PG_GETARG_INT64(0), PG_GETARG_INT32(1))));
	co_bulk_note();
	SPI_finish();
	PG_RETURN_VOID();
}
