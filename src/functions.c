/*-------------------------------------------------------------------------
 * functions.c
 *		SQL-callable functions: check arguments, ask the store or the worker,
 *		return a row.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "arguments.h"
#include "ask.h"
#include "clock.h"
#include "convert.h"
#include "error.h"
#include "guc.h"
#include "lookup.h"
#include "slots.h"
#include "statement.h"
#include "verify.h"
#include "worker.h"

PG_FUNCTION_INFO_V1(clearout_normalize);
PG_FUNCTION_INFO_V1(clearout_syntax_error);
PG_FUNCTION_INFO_V1(clearout_verify);
PG_FUNCTION_INFO_V1(clearout_verify_array);
PG_FUNCTION_INFO_V1(clearout_fresh_since);

/* A table that is locked against readers is looked at again after so long. */
#define LOCKED_RETRY_MS		10

/* ---------- addresses ---------- */

Datum
clearout_normalize(PG_FUNCTION_ARGS)
{
	CoAddressError error;
	char	   *normal = co_normalize_argument(PG_GETARG_TEXT_PP(0), &error);

	if (normal == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(normal));
}

Datum
clearout_syntax_error(PG_FUNCTION_ARGS)
{
	CoAddressError error;

	if (co_normalize_argument(PG_GETARG_TEXT_PP(0), &error) != NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(co_address_error_text(error)));
}

/* ---------- freshness ---------- */

Datum
clearout_fresh_since(PG_FUNCTION_ARGS)
{
	CoFreshness accepts = co_accepted_ages(PG_ARGISNULL(1) ? NULL : PG_GETARG_INTERVAL_P(1));

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	if (co_text_equals(PG_GETARG_DATUM(0), "unknown"))
		PG_RETURN_TIMESTAMPTZ(accepts.unknown);
	if (co_text_equals(PG_GETARG_DATUM(0), "catch_all"))
		PG_RETURN_TIMESTAMPTZ(accepts.catch_all);
	PG_RETURN_TIMESTAMPTZ(accepts.verdict);
}

/* ---------- arguments ---------- */

/* What both forms of clearout_verify() take besides the addresses. */
typedef struct Options
{
	int64		timeout;		/* microseconds */
	CoFreshness accepts;
	CoOnError	on_error;
} Options;

/* ---------- rows ---------- */

/* The result type, looked up once per call site. */
static TupleDesc
result_type(FunctionCallInfo fcinfo)
{
	TupleDesc	type = fcinfo->flinfo->fn_extra;

	if (type == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);

		if (get_call_result_type(fcinfo, NULL, &type) != TYPEFUNC_COMPOSITE ||
			type->natts != CO_RESULT_COLUMNS)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("type \"clearout_result\" does not fit the library of the extension \"clearout\""),
					 errhint("Run ALTER EXTENSION clearout UPDATE.")));
		type = BlessTupleDesc(CreateTupleDescCopy(type));
		fcinfo->flinfo->fn_extra = type;
		MemoryContextSwitchTo(old);
	}
	return type;
}

static Datum
make_result(FunctionCallInfo fcinfo, CoRow *row, const char *source)
{
	row->value[CO_COL_SOURCE] = CStringGetTextDatum(source);
	row->isnull[CO_COL_SOURCE] = false;
	return HeapTupleGetDatum(heap_form_tuple(result_type(fcinfo),
											 row->value, row->isnull));
}

static void
clear_row(CoRow *row)
{
	memset(row->value, 0, sizeof(row->value));
	memset(row->isnull, true, sizeof(row->isnull));
}

static void
set_text(CoRow *row, CoColumn column, const char *value)
{
	row->value[column] = CStringGetTextDatum(value);
	row->isnull[column] = false;
}

/*
 * What is said of a malformed address without asking anybody: the words and
 * the number that the service has for a syntax error (Clearout help centre,
 * "sub status": 400).
 */
static void
malformed_row(CoRow *row, text *email, CoAddressError error)
{
	clear_row(row);
	row->value[CO_COL_EMAIL] = PointerGetDatum(email);
	row->isnull[CO_COL_EMAIL] = false;
	set_text(row, CO_COL_STATUS, "invalid");
	set_text(row, CO_COL_SAFE_TO_SEND, "no");
	row->value[CO_COL_SUB_STATUS] = Int32GetDatum(400);
	row->isnull[CO_COL_SUB_STATUS] = false;
	set_text(row, CO_COL_REASON, co_address_error_text(error));
	set_text(row, CO_COL_BOUNCE_TYPE, "hard");
	row->value[CO_COL_VERIFIED_AT] = TimestampTzGetDatum(GetCurrentStatementStartTimestamp());
	row->isnull[CO_COL_VERIFIED_AT] = false;
}

/* What on_error => 'unknown' tells in place of an error. */
static void
failed_row(CoRow *row, const char *key, const CoFailure *failure)
{
	clear_row(row);
	set_text(row, CO_COL_EMAIL, key);
	set_text(row, CO_COL_STATUS, "unknown");
	set_text(row, CO_COL_SAFE_TO_SEND, "unknown");
	set_text(row, CO_COL_REASON, failure->message);
}

/* ---------- verification ---------- */

/*
 * Read what is known to be stored.  It is committed, so it is there, unless
 * somebody has removed it since, or has the table locked.
 */
static void
read_answer(const CoCatalog *catalog, const CoQuestion *question,
			const CoFreshness *accepts, int64 deadline, CoRow *row)
{
	CoFreshness fresh = *accepts;
	CoFreshness any = {DT_NOBEGIN, DT_NOBEGIN, DT_NOBEGIN};
	bool		locked;

	if (question->asked_at != 0)
		fresh.verdict = fresh.unknown = fresh.catch_all = question->asked_at;

	for (;;)
	{
		if (co_lookup(catalog, question->key, &fresh, row, &locked))
			return;

		/* By the service's own times something newer was there already. */
		if (!locked && co_lookup(catalog, question->key, &any, row, &locked))
			return;
		if (!locked || co_clock() >= deadline)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the answer was stored, but cannot be read"),
					 locked ? errdetail("The table \"clearout_results\" is locked.") :
					 errdetail("It was removed at once.")));
		CHECK_FOR_INTERRUPTS();
		pg_usleep(LOCKED_RETRY_MS * 1000L);
	}
}

/*
 * What this statement has heard already holds for the rest of it; what is
 * stored and fresh is taken.  Only what is left NEW needs a call.
 */
static void
settle_without_call(const CoCatalog *catalog, CoQuestion *question,
					const CoFreshness *accepts, CoRow *row)
{
	CoFreshness fresh = *accepts;
	TimestampTz asked_at = 0;

	if (co_statement_recall(question->key, &asked_at, &question->failure))
	{
		if (question->failure != NULL)
		{
			question->state = CO_QUESTION_FAILED;
			return;
		}
		fresh.verdict = Min(fresh.verdict, asked_at);
		fresh.unknown = Min(fresh.unknown, asked_at);
		fresh.catch_all = Min(fresh.catch_all, asked_at);
	}
	if (co_lookup(catalog, question->key, &fresh, row, NULL))
	{
		question->state = CO_QUESTION_ANSWERED;
		question->asked_at = asked_at;
	}
}

/*
 * Ask the service what could not be settled without it.  Whatever comes of
 * it holds for the rest of the statement.
 */
static void
settle_by_call(CoQuestion *questions, int count, const Options *options,
			   int64 deadline)
{
	CoFailure  *failure;

	/*
	 * No time means no call.  That costs nothing, so it is not remembered: the
	 * statement may ask in earnest later.
	 */
	if (options->timeout == 0)
	{
		for (int i = 0; i < count; i++)
		{
			questions[i].state = CO_QUESTION_FAILED;
			questions[i].failure = co_failure_no_time(CO_ENDPOINT_VERIFY);
		}
		if (options->on_error == CO_ON_ERROR_ERROR)
			co_failure_raise(questions[0].failure);
		return;
	}

	co_require_spending_allowed();
	for (int i = 0; i < count; i++)
		co_statement_count_call();

	failure = co_ask(questions, count, &options->accepts, deadline,
					 options->on_error == CO_ON_ERROR_ERROR);
	for (int i = 0; i < count; i++)
	{
		if (questions[i].state == CO_QUESTION_FAILED)
			co_statement_remember(questions[i].key, 0, questions[i].failure);
		else if (questions[i].state == CO_QUESTION_ANSWERED && questions[i].asked_at != 0)
			co_statement_remember(questions[i].key, questions[i].asked_at, NULL);
	}
	if (failure != NULL && options->on_error == CO_ON_ERROR_ERROR)
		co_failure_raise(failure);
}

/* Settle one question, by a call if need be; its row, if it is ANSWERED. */
static void
settle(const CoCatalog *catalog, CoQuestion *question, const Options *options,
	   CoRow *row)
{
	settle_without_call(catalog, question, &options->accepts, row);
	if (question->state == CO_QUESTION_NEW)
	{
		int64		deadline = co_clock() + options->timeout;

		settle_by_call(question, 1, options, deadline);
		if (question->state == CO_QUESTION_ANSWERED)
			read_answer(catalog, question, &options->accepts, deadline, row);
	}
}

CoFailure *
co_verify_key(const CoCatalog *catalog, const char *key, int64 timeout,
			  const CoFreshness *accepts, CoRow *row)
{
	Options		options = {timeout, *accepts, CO_ON_ERROR_UNKNOWN};
	CoQuestion	question = {0};

	question.key = key;
	settle(catalog, &question, &options, row);
	return question.failure;
}

static const char *
source_of(const CoQuestion *question)
{
	return question->asked_at != 0 ? "service" : "stored";
}

/* Read the arguments that both forms have after the addresses. */
static Options
read_options(FunctionCallInfo fcinfo)
{
	Options		options;
	int64		timeout;

	timeout = PG_ARGISNULL(1) ? (int64) co_wait_timeout * 1000
		: co_interval_argument(PG_GETARG_INTERVAL_P(1), "timeout");
	options.timeout = Min(timeout, USECS_PER_DAY);
	options.accepts = co_accepted_ages(PG_ARGISNULL(2) ? NULL : PG_GETARG_INTERVAL_P(2));
	options.on_error = PG_ARGISNULL(3) ? (CoOnError) co_on_error
		: co_on_error_parse(text_to_cstring(PG_GETARG_TEXT_PP(3)));

	if (co_am_worker)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("clearout_verify() cannot be called inside a Clearout worker"),
				 errdetail("It would wait for itself.")));
	return options;
}

Datum
clearout_verify(PG_FUNCTION_ARGS)
{
	text	   *email;
	Options		options;
	CoCatalog	catalog;
	CoQuestion	question = {0};
	CoAddressError error;
	CoRow		row;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	email = PG_GETARG_TEXT_PP(0);
	options = read_options(fcinfo);

	question.key = co_key_argument(email, &error);
	if (question.key == NULL)
	{
		malformed_row(&row, email, error);
		return make_result(fcinfo, &row, "local");
	}

	co_catalog_of_function(fcinfo, &catalog);
	settle(&catalog, &question, &options, &row);
	if (question.state == CO_QUESTION_ANSWERED)
		return make_result(fcinfo, &row, source_of(&question));

	if (options.on_error == CO_ON_ERROR_ERROR)
		co_failure_raise(question.failure);
	failed_row(&row, question.key, question.failure);
	return make_result(fcinfo, &row, "none");
}

/* ---------- many at once ---------- */

/* One element of the array. */
typedef struct Element
{
	text	   *input;			/* NULL: a null */
	char	   *key;			/* NULL: a null, or malformed */
	CoAddressError error;		/* when malformed */
	int			question;		/* when key */
} Element;

static int
compare_element_keys(const void *a, const void *b)
{
	return strcmp((*(Element *const *) a)->key, (*(Element *const *) b)->key);
}

static Element *
read_elements(ArrayType *array, int *count)
{
	Datum	   *values;
	bool	   *nulls;
	Element    *elements;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT,
					  &values, &nulls, count);
	elements = MemoryContextAllocHuge(CurrentMemoryContext,
									  Max(*count, 1) * sizeof(Element));
	for (int i = 0; i < *count; i++)
	{
		memset(&elements[i], 0, sizeof(Element));
		CHECK_FOR_INTERRUPTS();
		if (nulls[i])
			continue;
		elements[i].input = DatumGetTextPP(values[i]);
		elements[i].key = co_key_argument(elements[i].input, &elements[i].error);
	}
	return elements;
}

/* Equal addresses are one question.  Returns how many there are. */
static CoQuestion *
make_questions(Element *elements, int count, int *question_count)
{
	Element   **sorted = MemoryContextAllocHuge(CurrentMemoryContext,
												Max(count, 1) * sizeof(Element *));
	CoQuestion *questions;
	int			keys = 0;

	for (int i = 0; i < count; i++)
	{
		if (elements[i].key != NULL)
			sorted[keys++] = &elements[i];
	}
	qsort(sorted, keys, sizeof(Element *), compare_element_keys);

	questions = MemoryContextAllocExtended(CurrentMemoryContext,
										   Max(keys, 1) * sizeof(CoQuestion),
										   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	*question_count = 0;
	for (int i = 0; i < keys; i++)
	{
		if (i == 0 || strcmp(sorted[i]->key, sorted[i - 1]->key) != 0)
			questions[(*question_count)++].key = sorted[i]->key;
		sorted[i]->question = *question_count - 1;
	}
	pfree(sorted);
	return questions;
}

/* What is stored is settled; the rest is asked, all together. */
static void
settle_all(const CoCatalog *catalog, CoQuestion *questions, int count,
		   const Options *options, int64 deadline)
{
	CoQuestion *open = MemoryContextAllocHuge(CurrentMemoryContext,
											  Max(count, 1) * sizeof(CoQuestion));
	int		   *place = MemoryContextAllocHuge(CurrentMemoryContext,
											   Max(count, 1) * sizeof(int));
	int			open_count = 0;
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "clearout look-up",
												  ALLOCSET_DEFAULT_SIZES);

	for (int i = 0; i < count; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(scratch);
		CoRow		row;

		CHECK_FOR_INTERRUPTS();
		settle_without_call(catalog, &questions[i], &options->accepts, &row);
		MemoryContextSwitchTo(old);
		if (questions[i].failure != NULL)
			questions[i].failure = co_failure_copy(questions[i].failure);
		MemoryContextReset(scratch);
		if (questions[i].state == CO_QUESTION_FAILED &&
			options->on_error == CO_ON_ERROR_ERROR)
			co_failure_raise(questions[i].failure);
		if (questions[i].state == CO_QUESTION_NEW)
		{
			place[open_count] = i;
			open[open_count++] = questions[i];
		}
	}
	MemoryContextDelete(scratch);

	if (open_count > 0)
		settle_by_call(open, open_count, options, deadline);
	for (int i = 0; i < open_count; i++)
		questions[place[i]] = open[i];
	pfree(open);
	pfree(place);
}

/* Columns of the array form: these, then those of clearout_result. */
#define ELEMENT_COLUMNS 2

static void
put_row(ReturnSetInfo *rsinfo, int position, text *input, CoRow *row,
		const char *source)
{
	Datum		values[ELEMENT_COLUMNS + CO_RESULT_COLUMNS];
	bool		nulls[ELEMENT_COLUMNS + CO_RESULT_COLUMNS];

	values[0] = Int32GetDatum(position);
	nulls[0] = false;
	values[1] = PointerGetDatum(input);
	nulls[1] = input == NULL;
	memcpy(values + ELEMENT_COLUMNS, row->value, CO_RESULT_COLUMNS * sizeof(Datum));
	memcpy(nulls + ELEMENT_COLUMNS, row->isnull, CO_RESULT_COLUMNS * sizeof(bool));
	nulls[ELEMENT_COLUMNS + CO_COL_SOURCE] = source == NULL;
	if (source != NULL)
		values[ELEMENT_COLUMNS + CO_COL_SOURCE] = CStringGetTextDatum(source);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

Datum
clearout_verify_array(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Options		options;
	CoCatalog	catalog;
	Element    *elements;
	CoQuestion *questions;
	int			count;
	int			question_count;
	int64		deadline;
	MemoryContext scratch;

	InitMaterializedSRF(fcinfo, 0);
	if (rsinfo->setDesc->natts != ELEMENT_COLUMNS + CO_RESULT_COLUMNS)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("clearout_verify(text[]) does not fit the library of the extension \"clearout\""),
				 errhint("Run ALTER EXTENSION clearout UPDATE.")));
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	options = read_options(fcinfo);
	deadline = co_clock() + options.timeout;

	elements = read_elements(PG_GETARG_ARRAYTYPE_P(0), &count);
	questions = make_questions(elements, count, &question_count);
	co_catalog_of_function(fcinfo, &catalog);
	settle_all(&catalog, questions, question_count, &options, deadline);

	/* Rows are read one by one, so that memory does not grow with them. */
	scratch = AllocSetContextCreate(CurrentMemoryContext, "clearout row",
									ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < count; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(scratch);
		Element    *element = &elements[i];
		CoQuestion *question = &questions[element->question];
		const char *source = NULL;
		CoRow		row;

		CHECK_FOR_INTERRUPTS();
		if (element->input == NULL)
			clear_row(&row);
		else if (element->key == NULL)
		{
			malformed_row(&row, element->input, element->error);
			source = "local";
		}
		else if (question->state == CO_QUESTION_ANSWERED)
		{
			read_answer(&catalog, question, &options.accepts, deadline, &row);
			source = source_of(question);
		}
		else
		{
			failed_row(&row, question->key, question->failure);
			source = "none";
		}
		put_row(rsinfo, i + 1, element->input, &row, source);
		MemoryContextSwitchTo(old);
		MemoryContextReset(scratch);
	}
	MemoryContextDelete(scratch);
	PG_RETURN_NULL();
}
