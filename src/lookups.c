/*-------------------------------------------------------------------------
 * lookups.c
 *		SQL functions: single checks, look-ups, the account.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "arguments.h"
#include "convert.h"
#include "guc.h"
#include "inquire.h"
#include "lookup.h"
#include "timestamp.h"

PG_FUNCTION_INFO_V1(clearout_is_catchall);
PG_FUNCTION_INFO_V1(clearout_is_disposable);
PG_FUNCTION_INFO_V1(clearout_is_business);
PG_FUNCTION_INFO_V1(clearout_is_free);
PG_FUNCTION_INFO_V1(clearout_is_role);
PG_FUNCTION_INFO_V1(clearout_is_gibberish);
PG_FUNCTION_INFO_V1(clearout_reverse_email);
PG_FUNCTION_INFO_V1(clearout_reverse_linkedin);
PG_FUNCTION_INFO_V1(clearout_reverse_domain);
PG_FUNCTION_INFO_V1(clearout_autocomplete);
PG_FUNCTION_INFO_V1(clearout_mx);
PG_FUNCTION_INFO_V1(clearout_whois);
PG_FUNCTION_INFO_V1(clearout_validate_name);
PG_FUNCTION_INFO_V1(clearout_credits);
PG_FUNCTION_INFO_V1(clearout_account_credits);
PG_FUNCTION_INFO_V1(clearout_account_limits);
PG_FUNCTION_INFO_V1(clearout_account_plan);

/*
 * Ask; false if there is no answer, of which the caller is warned: a null says
 * no reason.
 */
static bool
inquire(const CoCatalog *catalog, CoInquiry *inquiry)
{
	const CoFailure *failure;

	co_inquire(catalog, inquiry);
	failure = inquiry->failure;
	if (failure != NULL)
		ereport(WARNING,
				(errcode(failure->sqlstate),
				 errmsg("%s", failure->message),
				 failure->detail ? errdetail("%s", failure->detail) : 0,
				 failure->quotes ? errdetail_log("What the service said is told to the caller alone.") : 0,
				 failure->hint ? errhint("%s", failure->hint) : 0));
	return failure == NULL;
}

/* ---------- parts of an answer ---------- */

/* The answer; NULL if the service gave none. */
static JsonbContainer *
answer_of(const CoInquiry *inquiry)
{
	if (inquiry->stored.lookup_null[CO_LOOKUP_ANSWER])
		return NULL;
	return &DatumGetJsonbP(inquiry->stored.lookup[CO_LOOKUP_ANSWER])->root;
}

static JsonbValue *
member(JsonbContainer *object, const char *name)
{
	if (object == NULL || !JsonContainerIsObject(object))
		return NULL;
	return getKeyJsonValueFromContainer(object, name, strlen(name), NULL);
}

static JsonbContainer *
container(JsonbValue *value)
{
	return value != NULL && value->type == jbvBinary ? value->val.binary.data : NULL;
}

static bool
set_text(JsonbValue *value, Datum *datum, bool *isnull)
{
	*isnull = value == NULL || value->type != jbvString;
	if (!*isnull)
		*datum = PointerGetDatum(cstring_to_text_with_len(value->val.string.val,
														  value->val.string.len));
	return !*isnull;
}

/* A number, or a string of digits. */
static bool
read_number(JsonbValue *value, double *number)
{
	if (value == NULL)
		return false;
	if (value->type == jbvNumeric)
	{
		*number = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
													 NumericGetDatum(value->val.numeric)));
		return true;
	}
	if (value->type == jbvString)
	{
		char	   *text = pnstrdup(value->val.string.val, value->val.string.len);
		char	   *end;

		*number = strtod(text, &end);
		return text[0] >= '0' && text[0] <= '9' && *end == '\0';
	}
	return false;
}

static void
set_integer(JsonbValue *value, Datum *datum, bool *isnull)
{
	double		number;

	*isnull = !read_number(value, &number) || number < 0 || number > 9007199254740992.0;
	if (!*isnull)
		*datum = Int64GetDatum((int64) number);
}

/* ---------- single checks ---------- */

/* Does a verification tell what is asked? */
static bool
is_told(CoEndpointId endpoint, const CoRow *row, bool *flag)
{
	CoColumn	column;

	/* 600 to 699: on a list of the account's, so nothing was checked */
	if (!row->isnull[CO_COL_SUB_STATUS] &&
		DatumGetInt32(row->value[CO_COL_SUB_STATUS]) / 100 == 6)
		return false;

	switch (endpoint)
	{
		case CO_ENDPOINT_CATCHALL:
			/* who takes mail for any address confirms none */
			*flag = co_text_equals(row->value[CO_COL_STATUS], "catch_all");
			return *flag || co_text_equals(row->value[CO_COL_STATUS], "valid");
		case CO_ENDPOINT_DISPOSABLE:
			column = CO_COL_DISPOSABLE;
			break;
		case CO_ENDPOINT_FREE:
			column = CO_COL_FREE;
			break;
		case CO_ENDPOINT_ROLE:
			column = CO_COL_ROLE;
			break;
		case CO_ENDPOINT_GIBBERISH:
			column = CO_COL_GIBBERISH;
			break;
		default:
			return false;		/* business is not the opposite of free */
	}
	*flag = !row->isnull[column] && DatumGetBool(row->value[column]);
	return !row->isnull[column];
}

static Datum
check(FunctionCallInfo fcinfo, CoEndpointId endpoint)
{
	CoInquiry	inquiry = {endpoint};
	CoCatalog	catalog;
	CoAddressError error;
	CoFreshness accepts;
	CoRow		row;
	bool		flag;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	co_inquiry_options(fcinfo, 1, co_max_age_lookup, &inquiry);
	inquiry.key = co_key_argument(PG_GETARG_TEXT_PP(0), &error);
	if (inquiry.key == NULL)
		PG_RETURN_NULL();		/* malformed: it is no address of any kind */

	co_catalog_of_function(fcinfo, &catalog);
	accepts = co_accepted_ages(PG_ARGISNULL(2) ? NULL : PG_GETARG_INTERVAL_P(2));
	if (co_lookup(&catalog, inquiry.key, &accepts, &row, NULL) &&
		is_told(endpoint, &row, &flag))
		PG_RETURN_BOOL(flag);

	if (!inquire(&catalog, &inquiry) || inquiry.stored.lookup_null[CO_LOOKUP_FLAG])
		PG_RETURN_NULL();
	PG_RETURN_DATUM(inquiry.stored.lookup[CO_LOOKUP_FLAG]);
}

Datum
clearout_is_catchall(PG_FUNCTION_ARGS)
{
	return check(fcinfo, CO_ENDPOINT_CATCHALL);
}

Datum
clearout_is_disposable(PG_FUNCTION_ARGS)
{
	return check(fcinfo, CO_ENDPOINT_DISPOSABLE);
}

Datum
clearout_is_business(PG_FUNCTION_ARGS)
{
	return check(fcinfo, CO_ENDPOINT_BUSINESS);
}

Datum
clearout_is_free(PG_FUNCTION_ARGS)
{
	return check(fcinfo, CO_ENDPOINT_FREE);
}

Datum
clearout_is_role(PG_FUNCTION_ARGS)
{
	return check(fcinfo, CO_ENDPOINT_ROLE);
}

Datum
clearout_is_gibberish(PG_FUNCTION_ARGS)
{
	return check(fcinfo, CO_ENDPOINT_GIBBERISH);
}

/* ---------- look-ups ---------- */

/*
 * Ask about the first argument.  False if there is nothing to ask, no answer,
 * or the answer is that there is nothing.
 */
static bool
look_up(FunctionCallInfo fcinfo, CoEndpointId endpoint, CoInquiry *inquiry)
{
	CoCatalog	catalog;
	CoAddressError error;
	text	   *asked;

	memset(inquiry, 0, sizeof(*inquiry));
	inquiry->endpoint = endpoint;
	if (PG_ARGISNULL(0))
		return false;
	asked = PG_GETARG_TEXT_PP(0);
	co_inquiry_options(fcinfo, 1, co_max_age_lookup, inquiry);
	switch (endpoint)
	{
		case CO_ENDPOINT_REVERSE_EMAIL:
			inquiry->key = co_key_argument(asked, &error);
			break;
		case CO_ENDPOINT_REVERSE_DOMAIN:
		case CO_ENDPOINT_MX:
		case CO_ENDPOINT_WHOIS:
			inquiry->key = co_words_argument(asked, co_precheck ? CO_WORDS_DOMAIN : CO_WORDS_COMPANY);
			break;
		case CO_ENDPOINT_AUTOCOMPLETE:
			inquiry->key = co_words_argument(asked, CO_WORDS_FOLDED);
			break;
		default:
			inquiry->key = co_words_argument(asked, CO_WORDS_KEPT);
	}
	if (inquiry->key == NULL || inquiry->key[0] == '\0')
		return false;
	co_catalog_of_function(fcinfo, &catalog);
	return inquire(&catalog, inquiry) &&
		DatumGetBool(inquiry->stored.lookup[CO_LOOKUP_FOUND]);
}

/* A member of the answer, or all of it; null if there is none. */
static Datum
answer_as_jsonb(FunctionCallInfo fcinfo, CoEndpointId endpoint, const char *name)
{
	CoInquiry	inquiry;
	JsonbValue *value;

	if (!look_up(fcinfo, endpoint, &inquiry) || answer_of(&inquiry) == NULL)
		PG_RETURN_NULL();
	if (name == NULL)
		PG_RETURN_DATUM(inquiry.stored.lookup[CO_LOOKUP_ANSWER]);
	value = member(answer_of(&inquiry), name);
	if (value == NULL || value->type == jbvNull)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(JsonbValueToJsonb(value));
}

Datum
clearout_reverse_email(PG_FUNCTION_ARGS)
{
	return answer_as_jsonb(fcinfo, CO_ENDPOINT_REVERSE_EMAIL, "lead");
}

Datum
clearout_reverse_linkedin(PG_FUNCTION_ARGS)
{
	return answer_as_jsonb(fcinfo, CO_ENDPOINT_REVERSE_LINKEDIN, "lead");
}

Datum
clearout_reverse_domain(PG_FUNCTION_ARGS)
{
	return answer_as_jsonb(fcinfo, CO_ENDPOINT_REVERSE_DOMAIN, "lead");
}

Datum
clearout_whois(PG_FUNCTION_ARGS)
{
	return answer_as_jsonb(fcinfo, CO_ENDPOINT_WHOIS, "whoisRecord");
}

Datum
clearout_validate_name(PG_FUNCTION_ARGS)
{
	return answer_as_jsonb(fcinfo, CO_ENDPOINT_NAME, NULL);
}

Datum
clearout_autocomplete(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	JsonbContainer *list;
	CoInquiry	inquiry;

	InitMaterializedSRF(fcinfo, 0);
	if (!look_up(fcinfo, CO_ENDPOINT_AUTOCOMPLETE, &inquiry))
		PG_RETURN_NULL();
	list = answer_of(&inquiry);
	for (uint32 i = 0; list != NULL && JsonContainerIsArray(list) && i < JsonContainerSize(list); i++)
	{
		JsonbContainer *company = container(getIthJsonbValueFromContainer(list, i));
		Datum		values[4] = {0};
		bool		nulls[4];
		double		score;

		if (!set_text(member(company, "domain"), &values[1], &nulls[1]))
			continue;
		set_text(member(company, "name"), &values[0], &nulls[0]);
		nulls[2] = !read_number(member(company, "confidence_score"), &score);
		if (!nulls[2])
			values[2] = Float8GetDatum(score);
		set_text(member(company, "logo_url"), &values[3], &nulls[3]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	PG_RETURN_NULL();
}

Datum
clearout_mx(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	JsonbContainer *list;
	CoInquiry	inquiry;

	InitMaterializedSRF(fcinfo, 0);
	if (!look_up(fcinfo, CO_ENDPOINT_MX, &inquiry))
		PG_RETURN_NULL();
	list = container(member(answer_of(&inquiry), "mx_records"));
	for (uint32 i = 0; list != NULL && JsonContainerIsArray(list) && i < JsonContainerSize(list); i++)
	{
		JsonbContainer *record = container(getIthJsonbValueFromContainer(list, i));
		Datum		values[2] = {0};
		bool		nulls[2];
		double		priority;

		if (!set_text(member(record, "exchange"), &values[0], &nulls[0]))
			continue;
		nulls[1] = !read_number(member(record, "priority"), &priority) ||
			priority < 0 || priority > PG_INT32_MAX;
		if (!nulls[1])
			values[1] = Int32GetDatum((int32) priority);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	PG_RETURN_NULL();
}

/* ---------- the account ---------- */

/* What the account says of itself is asked for anew by each statement. */
static void
ask_account(FunctionCallInfo fcinfo, CoEndpointId endpoint, CoInquiry *inquiry)
{
	CoCatalog	catalog;

	memset(inquiry, 0, sizeof(*inquiry));
	inquiry->endpoint = endpoint;
	inquiry->key = "";
	co_inquiry_options(fcinfo, 0, 0, inquiry);
	co_catalog_of_function(fcinfo, &catalog);
	co_inquire(&catalog, inquiry);
}

static Datum
account(FunctionCallInfo fcinfo, CoEndpointId endpoint)
{
	CoInquiry	inquiry;

	ask_account(fcinfo, endpoint, &inquiry);
	if (answer_of(&inquiry) == NULL)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(inquiry.stored.lookup[CO_LOOKUP_ANSWER]);
}

Datum
clearout_account_credits(PG_FUNCTION_ARGS)
{
	return account(fcinfo, CO_ENDPOINT_ACCOUNT_CREDITS);
}

Datum
clearout_account_limits(PG_FUNCTION_ARGS)
{
	return account(fcinfo, CO_ENDPOINT_ACCOUNT_LIMITS);
}

Datum
clearout_account_plan(PG_FUNCTION_ARGS)
{
	return account(fcinfo, CO_ENDPOINT_ACCOUNT_PLAN);
}

typedef enum CreditColumn
{
	CREDIT_AVAILABLE,
	CREDIT_DAILY_LIMIT_AVAILABLE,
	CREDIT_DAILY_LIMIT_RESETS_AT,
	CREDIT_TOTAL,
	CREDIT_LOW_BALANCE_THRESHOLD,
	CREDIT_ASKED_AT,
	CREDIT_RAW,
	CREDIT_COLUMNS
} CreditColumn;

static void
set_time(JsonbValue *value, Datum *datum, bool *isnull)
{
	int64		unix_time;

	*isnull = value == NULL || value->type != jbvString ||
		!co_timestamp_parse(pnstrdup(value->val.string.val, value->val.string.len), &unix_time);
	if (!*isnull)
		*datum = TimestampTzGetDatum(unix_time -
									 (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY);
}

Datum
clearout_credits(PG_FUNCTION_ARGS)
{
	CoInquiry	inquiry;
	JsonbContainer *answer;
	JsonbContainer *credits;
	TupleDesc	type;
	Datum		values[CREDIT_COLUMNS] = {0};
	bool		nulls[CREDIT_COLUMNS];

	if (get_call_result_type(fcinfo, NULL, &type) != TYPEFUNC_COMPOSITE ||
		type->natts != CREDIT_COLUMNS)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("type \"clearout_credit\" does not fit the library of the extension \"clearout\""),
				 errhint("Run ALTER EXTENSION clearout UPDATE.")));
	ask_account(fcinfo, CO_ENDPOINT_CREDITS, &inquiry);
	answer = answer_of(&inquiry);
	credits = container(member(answer, "credits"));
	memset(nulls, true, sizeof(nulls));
	set_integer(member(answer, "available_credits"), &values[CREDIT_AVAILABLE], &nulls[CREDIT_AVAILABLE]);
	if (nulls[CREDIT_AVAILABLE])
		set_integer(member(credits, "available"), &values[CREDIT_AVAILABLE], &nulls[CREDIT_AVAILABLE]);
	set_integer(member(credits, "available_daily_verify_limit"),
				&values[CREDIT_DAILY_LIMIT_AVAILABLE], &nulls[CREDIT_DAILY_LIMIT_AVAILABLE]);
	set_time(member(credits, "reset_daily_verify_limit_date"),
			 &values[CREDIT_DAILY_LIMIT_RESETS_AT], &nulls[CREDIT_DAILY_LIMIT_RESETS_AT]);
	set_integer(member(credits, "total"), &values[CREDIT_TOTAL], &nulls[CREDIT_TOTAL]);
	set_integer(member(answer, "low_credit_balance_min_threshold"),
				&values[CREDIT_LOW_BALANCE_THRESHOLD], &nulls[CREDIT_LOW_BALANCE_THRESHOLD]);
	values[CREDIT_ASKED_AT] = inquiry.stored.lookup[CO_LOOKUP_ASKED_AT];
	nulls[CREDIT_ASKED_AT] = inquiry.stored.lookup_null[CO_LOOKUP_ASKED_AT];
	values[CREDIT_RAW] = inquiry.stored.lookup[CO_LOOKUP_ANSWER];
	nulls[CREDIT_RAW] = inquiry.stored.lookup_null[CO_LOOKUP_ANSWER];
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(type), values, nulls)));
}
