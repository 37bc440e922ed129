/*-------------------------------------------------------------------------
 * find.c
 *		SQL functions of the finder.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "arguments.h"
#include "enqueue.h"
#include "find.h"
#include "guc.h"
#include "inquire.h"
#include "queue.h"
#include "transaction.h"

PG_FUNCTION_INFO_V1(clearout_find);
PG_FUNCTION_INFO_V1(clearout_enqueue_find);

/* Columns of clearout_person: those from CO_PERSON_STATUS to CO_PERSON_RAW, and
 * the reason. */
#define RESULT_COLUMNS (CO_PERSON_RAW - CO_PERSON_STATUS + 2)

char *
co_find_key(text *name, text *domain)
{
	char	   *folded = co_words_argument(name, CO_WORDS_FOLDED);
	char	   *company = co_words_argument(domain, CO_WORDS_COMPANY);

	if (folded[0] == '\0' || company[0] == '\0')
		return NULL;
	return psprintf("%s%c%s", folded, CO_FIND_SEPARATOR, company);
}

/* The result type, looked up once per call site. */
static TupleDesc
result_type(FunctionCallInfo fcinfo)
{
	TupleDesc	type = fcinfo->flinfo->fn_extra;

	if (type == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);

		if (get_call_result_type(fcinfo, NULL, &type) != TYPEFUNC_COMPOSITE ||
			type->natts != RESULT_COLUMNS)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("type \"clearout_person\" does not fit the library of the extension \"clearout\""),
					 errhint("Run ALTER EXTENSION clearout UPDATE.")));
		type = BlessTupleDesc(CreateTupleDescCopy(type));
		fcinfo->flinfo->fn_extra = type;
		MemoryContextSwitchTo(old);
	}
	return type;
}

static Datum
make_result(FunctionCallInfo fcinfo, const CoInquiry *inquiry)
{
	const int	source = CO_PERSON_SOURCE - CO_PERSON_STATUS;
	const int	reason = RESULT_COLUMNS - 1;
	Datum		values[RESULT_COLUMNS];
	bool		nulls[RESULT_COLUMNS];

	memset(values, 0, sizeof(values));
	memset(nulls, true, sizeof(nulls));
	nulls[source] = false;
	if (inquiry->failure != NULL)
	{
		values[0] = CStringGetTextDatum("unknown");
		nulls[0] = false;
		values[source] = CStringGetTextDatum("none");
		values[reason] = CStringGetTextDatum(inquiry->failure->message);
		nulls[reason] = false;
	}
	else
	{
		memcpy(values, inquiry->stored.person + CO_PERSON_STATUS,
			   (RESULT_COLUMNS - 1) * sizeof(Datum));
		memcpy(nulls, inquiry->stored.person_null + CO_PERSON_STATUS,
			   (RESULT_COLUMNS - 1) * sizeof(bool));
		values[source] = CStringGetTextDatum(inquiry->by_call ? "service" : "stored");
		nulls[source] = false;
	}
	return HeapTupleGetDatum(heap_form_tuple(result_type(fcinfo), values, nulls));
}

Datum
clearout_find(PG_FUNCTION_ARGS)
{
	CoInquiry	inquiry = {CO_ENDPOINT_FIND};
	CoCatalog	catalog;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	co_inquiry_options(fcinfo, 2, co_max_age_find, &inquiry);
	inquiry.key = co_find_key(PG_GETARG_TEXT_PP(0), PG_GETARG_TEXT_PP(1));
	if (inquiry.key == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the finder needs a name and a domain"),
				 errdetail("One of them is empty.")));
	co_catalog_of_function(fcinfo, &catalog);
	co_inquire(&catalog, &inquiry);
	return make_result(fcinfo, &inquiry);
}

/* ---------- for later ---------- */

static const Oid enqueue_types[] = {TEXTOID, TEXTOID, INT4OID, NAMEOID, INT8OID, TIMESTAMPTZOID};
static CoStatement enqueue_person =
{CO_TABLE_QUEUE, "INSERT INTO %s.clearout_queue (name, domain, priority, requested_by, accepts_since)"
	" SELECT $1, $2, $3, $4, $6"
	" WHERE NOT EXISTS (SELECT FROM %s.clearout_queue AS q"
	" WHERE q.email IS NULL AND q.name = $1 AND q.domain = $2"
	" AND q.failed_at IS NULL AND q.origin = $5)",
6, enqueue_types, NULL, ""};

Datum
clearout_enqueue_find(PG_FUNCTION_ARGS)
{
	CoCatalog	catalog;
	CoStored	stored;
	TimestampTz since = co_oldest_accepted((int64) co_max_age_find * USECS_PER_SEC);
	char	   *key;
	char	   *separator;
	int			priority = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2);
	Datum		values[6];

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	co_require_priority(priority);
	PreventCommandIfReadOnly("clearout_enqueue_find()");
	PreventCommandDuringRecovery("clearout_enqueue_find()");

	key = co_find_key(PG_GETARG_TEXT_PP(0), PG_GETARG_TEXT_PP(1));
	if (key == NULL || strlen(key) >= CO_KEY_SIZE)
		PG_RETURN_BOOL(false);	/* nobody can be found by that */
	co_catalog_of_function(fcinfo, &catalog);
	if (co_stored_find(&catalog, CO_ENDPOINT_FIND, key, since, &stored, NULL))
		PG_RETURN_BOOL(false);

	separator = strchr(key, CO_FIND_SEPARATOR);
	*separator = '\0';
	values[0] = CStringGetTextDatum(key);
	values[1] = CStringGetTextDatum(separator + 1);
	values[2] = Int32GetDatum(priority);
	values[3] = DirectFunctionCall1(namein, CStringGetDatum(GetUserNameFromId(GetUserId(), false)));
	values[4] = Int64GetDatum(co_queue_origin());
	values[5] = TimestampTzGetDatum(since);
	PG_RETURN_BOOL(co_execute_as_owner(&catalog, &enqueue_person, values, "      ") > 0);
}
