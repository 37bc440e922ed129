/*-------------------------------------------------------------------------
 * bulk_wait.c
 *		CALL clearout_wait(): see a bulk job through.
 *
 * A list takes minutes to hours.  Whoever waits for it must not hold back
 * vacuum meanwhile: so each look at the job is a transaction of its own, and
 * nothing is held in between, which only a procedure outside of a transaction
 * block can do.  Such a procedure cannot have its search_path set in its
 * definition either, so each look does it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "arguments.h"
#include "bulk_spool.h"
#include "clock.h"
#include "compat.h"
#include "error.h"
#include "transaction.h"

PG_FUNCTION_INFO_V1(clearout_wait);

/* The end of the job is seen that soon, however rare the lines are. */
#define LOOK_INTERVAL	INT64CONST(1000000)

static const Oid one_job[] = {INT8OID};
static CoStatement look_at_job =
{CO_TABLE_JOBS, "SELECT v.state, v.parts::integer, v.parts_finished::integer, v.rows_total,"
	" v.rows_skipped, v.rows_answered, v.rows_unanswered, v.percent, v.rows_per_second,"
	" v.eta::text, v.error, v.credits, d.xmin, d.finished_at IS NOT NULL"
	" FROM %s.clearout_jobs AS v JOIN %s.clearout_jobs_data AS d USING (job) WHERE job = $1",
1, one_job, NULL, ""};

static char *
text_column(int column)
{
	char	   *value = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column);

	return value ? value : pstrdup("");
}

static Datum
column_of(int column)
{
	bool		isnull;

	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &isnull);
}

static void
show_progress(int64 job)
{
	StringInfoData line;
	char	   *rate = text_column(9);
	char	   *eta = text_column(10);
	char	   *error = text_column(11);

	initStringInfo(&line);
	appendStringInfo(&line, "bulk job %lld: %s, %s %%, %s of %s lists finished, %s rows answered",
					 (long long) job, text_column(1), text_column(8), text_column(3),
					 text_column(2), text_column(6));
	if (*rate)
		appendStringInfo(&line, ", %s rows/s", rate);
	if (*eta)
		appendStringInfo(&line, ", about %s left", eta);
	ereport(NOTICE,
			(errmsg_internal("%s", line.data),
			 *error ? errdetail_internal("%s", error) : 0));
}

static void
show_summary(int64 job)
{
	char	   *error = text_column(11);

	ereport(NOTICE,
			(errmsg("bulk job %lld: %s: %s rows, of these %s left out, %s answered, %s without an answer; %s credits",
					(long long) job, text_column(1), text_column(4), text_column(5),
					text_column(6), text_column(7), text_column(12)),
			 *error ? errdetail_internal("%s", error) : 0));
}

/* One look; true when the job is finished. */
static bool
look(FunctionCallInfo fcinfo, int64 job, bool show)
{
	CoCatalog	catalog;
	Datum		value = Int64GetDatum(job);
	bool		finished;

	co_catalog_of_function(fcinfo, &catalog);
	if (co_bulk_execute(&catalog, &look_at_job, &value, " ") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no bulk job %lld", (long long) job),
				 errhint("A job can be waited for once its transaction is committed.")));
	if (TransactionIdIsCurrentTransactionId(DatumGetTransactionId(column_of(13))))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("bulk job %lld is not committed yet", (long long) job),
				 errdetail("Nothing is sent before the transaction that ordered it is committed."),
				 errhint("COMMIT first.")));
	finished = DatumGetBool(column_of(14));
	if (finished)
		show_summary(job);
	else if (show)
		show_progress(job);
	SPI_freetuptable(SPI_tuptable);
	return finished;
}

static void
sleep_for(int64 time)
{
	static uint32 wait_event = 0;

	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 Max(1, (long) (time / 1000)), co_wait_event(&wait_event, "ClearoutBulkWait"));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

Datum
clearout_wait(PG_FUNCTION_ARGS)
{
	int64		job;
	int64		every;
	int64		next_line;
	int64		end = PG_INT64_MAX;

	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("clearout_wait() cannot be called in a transaction block"),
				 errhint("COMMIT first, so that the job can begin.")));
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the job must not be null")));
	job = PG_GETARG_INT64(0);
	every = PG_ARGISNULL(1) ? 10 * USECS_PER_SEC
		: Max(co_interval_argument(PG_GETARG_INTERVAL_P(1), "every"), 100000);
	if (!PG_ARGISNULL(2))
	{
		int64		timeout = co_interval_argument(PG_GETARG_INTERVAL_P(2), "timeout");

		if (timeout < PG_INT64_MAX - co_clock())
			end = co_clock() + timeout;
	}

	SPI_connect_ext(SPI_OPT_NONATOMIC);
	next_line = co_clock() + every;
	for (;;)
	{
		int64		now = co_clock();
		bool		line = now >= next_line;

		if (look(fcinfo, job, line))
			break;
		if (now >= end)
			ereport(ERROR,
					(errcode(CO_ERRCODE_TIMEOUT),
					 errmsg("bulk job %lld was not finished in time", (long long) job),
					 errdetail("It goes on; see the view clearout_jobs.")));
		if (line)
			next_line = now + every;
		SPI_commit();
		SPI_start_transaction();
		sleep_for(Min(Min(next_line, end) - now, LOOK_INTERVAL));
	}
	SPI_finish();
	PG_RETURN_VOID();
}
