/*-------------------------------------------------------------------------
 * bulk_order.c
 *		SQL functions that order bulk jobs.
 *
 * The query that says what is asked runs as the caller, in the caller's
 * transaction, and to its end before anything of ours is written.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/portal.h"

#include "arguments.h"
#include "bulk_spool.h"
#include "find.h"

PG_FUNCTION_INFO_V1(clearout_bulk_verify);
PG_FUNCTION_INFO_V1(clearout_bulk_verify_array);
PG_FUNCTION_INFO_V1(clearout_bulk_find);

#define FETCH_ROWS		1000

/* ---------- what is asked ---------- */

static void
add_address(CoSpooling *spooling, text *const *given)
{
	CoAddressError error;

	co_spooling_add(spooling, co_normalize_argument(given[0], &error));
}

static void
add_person(CoSpooling *spooling, text *const *given)
{
	char	   *key = co_find_key(given[0], given[1]);

	/* as clearout_enqueue_find() has it */
	if (key != NULL && strlen(key) >= CO_KEY_SIZE)
		key = NULL;
	co_spooling_add(spooling, key);
}

/* What the query of a function returns. */
#define COLUMNS_MAX		2

typedef struct Form
{
	int			columns;
	void		(*add) (CoSpooling *spooling, text *const *given);	/* none is null */
	const char *wanted;			/* for errors: the columns ... */
	const char *example;		/* ... and a call */
} Form;

static const Form addresses = {
	1, add_address, "one column",
	"clearout_bulk_verify('SELECT email FROM customer')"
};

static const Form people = {
	2, add_person, "two columns, name and domain",
	"clearout_bulk_find('SELECT full_name, company_domain FROM lead')"
};

/* Open the caller's query, as he may run it himself. */
static Portal
open_query(const char *query, const Form *form)
{
	SPIPlanPtr	plan = SPI_prepare_cursor(query, 0, NULL, CURSOR_OPT_NO_SCROLL);
	Portal		portal;

	if (plan == NULL)
		elog(ERROR, "could not prepare the query: %s", SPI_result_code_string(SPI_result));
	if (!SPI_is_cursor_plan(plan))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_CURSOR_DEFINITION),
				 errmsg("the query must be one that returns rows, and a single one"),
				 errhint("For example: %s.", form->example)));
	portal = SPI_cursor_open(NULL, plan, NULL, NULL, false);
	if (portal->tupDesc->natts != form->columns)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the query must return %s, not %d", form->wanted, portal->tupDesc->natts),
				 errhint("For example: %s.", form->example)));
	return portal;
}

/* One row; leaves something in the current context. */
static void
add_row(CoSpooling *spooling, const Form *form, const bool *is_text, HeapTuple row,
		TupleDesc descriptor)
{
	text	   *given[COLUMNS_MAX];

	for (int i = 0; i < form->columns; i++)
	{
		bool		isnull;
		Datum		value = SPI_getbinval(row, descriptor, i + 1, &isnull);

		if (isnull)
		{
			co_spooling_add_null(spooling);
			return;
		}
		given[i] = is_text[i] ? DatumGetTextPP(value)
			: cstring_to_text(SPI_getvalue(row, descriptor, i + 1));
	}
	form->add(spooling, given);
}

static void
add_query(CoSpooling *spooling, const char *query, const Form *form)
{
	Portal		portal = open_query(query, form);
	bool		is_text[COLUMNS_MAX];
	uint64		count;

	for (int i = 0; i < form->columns; i++)
		is_text[i] = getBaseType(TupleDescAttr(portal->tupDesc, i)->atttypid) == TEXTOID;
	do
	{
		MemoryContext old;

		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		count = SPI_processed;
		old = MemoryContextSwitchTo(spooling->batch);
		for (uint64 i = 0; i < count; i++)
		{
			CHECK_FOR_INTERRUPTS();
			add_row(spooling, form, is_text, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(spooling->batch);
		SPI_freetuptable(SPI_tuptable);
	} while (count > 0);
	SPI_cursor_close(portal);
}

/* ---------- the functions ---------- */

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

static const Interval *
age_argument(FunctionCallInfo fcinfo, int number)
{
	return PG_ARGISNULL(number) ? NULL : PG_GETARG_INTERVAL_P(number);
}

static bool
flag_argument(FunctionCallInfo fcinfo, int number)
{
	return !PG_ARGISNULL(number) && PG_GETARG_BOOL(number);
}

Datum
clearout_bulk_verify(PG_FUNCTION_ARGS)
{
	CoSpooling	spooling;
	text	   *optimize;
	int64		job;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	co_bulk_require_writable("clearout_bulk_verify()");
	optimize = optimize_argument(fcinfo, 2);
	co_spooling_begin(&spooling, fcinfo, CO_BULK_VERIFY, age_argument(fcinfo, 1));

	SPI_connect();
	add_query(&spooling, text_to_cstring(PG_GETARG_TEXT_PP(0)), &addresses);
	job = co_spooling_end(&spooling, optimize, flag_argument(fcinfo, 3));
	SPI_finish();
	PG_RETURN_INT64(job);
}

Datum
clearout_bulk_verify_array(PG_FUNCTION_ARGS)
{
	CoSpooling	spooling;
	ArrayIterator iterator;
	MemoryContext old;
	Datum		value;
	bool		isnull;
	text	   *optimize;
	int64		job;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	co_bulk_require_writable("clearout_bulk_verify()");
	optimize = optimize_argument(fcinfo, 2);
	co_spooling_begin(&spooling, fcinfo, CO_BULK_VERIFY, age_argument(fcinfo, 1));

	iterator = array_create_iterator(PG_GETARG_ARRAYTYPE_P(0), 0, NULL);
	old = MemoryContextSwitchTo(spooling.batch);
	while (array_iterate(iterator, &value, &isnull))
	{
		CHECK_FOR_INTERRUPTS();
		if (isnull)
			co_spooling_add_null(&spooling);
		else
		{
			text	   *given = DatumGetTextPP(value);

			add_address(&spooling, &given);
		}
		if (spooling.total % FETCH_ROWS == 0)
			MemoryContextReset(spooling.batch);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(spooling.batch);

	SPI_connect();
	job = co_spooling_end(&spooling, optimize, flag_argument(fcinfo, 3));
	SPI_finish();
	PG_RETURN_INT64(job);
}

Datum
clearout_bulk_find(PG_FUNCTION_ARGS)
{
	CoSpooling	spooling;
	int64		job;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	co_bulk_require_writable("clearout_bulk_find()");
	co_spooling_begin(&spooling, fcinfo, CO_BULK_FIND, age_argument(fcinfo, 1));

	SPI_connect();
	add_query(&spooling, text_to_cstring(PG_GETARG_TEXT_PP(0)), &people);
	job = co_spooling_end(&spooling, NULL, flag_argument(fcinfo, 2));
	SPI_finish();
	PG_RETURN_INT64(job);
}
