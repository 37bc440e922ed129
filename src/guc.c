/*-------------------------------------------------------------------------
 * guc.c
 *		Settings: clearout.*
 *
 * No setting holds the token itself.  Whatever is set is shown: a reload
 * logs new values, ALTER SYSTEM reaches the log and pg_stat_statements, and
 * every role can read pg_db_role_setting.  So clearout.api_token_file names a
 * file that only the server's user can read, and only the worker opens it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/varlena.h"

#include "guc.h"
#include "http.h"

char	   *co_api_token_file = NULL;
int			co_auth_scheme = CO_AUTH_BEARER;
char	   *co_base_url = NULL;
bool		co_allow_http = false;
char	   *co_proxy = NULL;
char	   *co_ca_file = NULL;
char	   *co_databases = NULL;
int			co_max_parallel = 100;
int			co_request_slots = 1024;
int			co_request_timeout = 60000;
int			co_wait_timeout = 30000;
int			co_max_age = 30 * 86400;
int			co_max_age_unknown = 3600;
int			co_max_age_catch_all = -1;
int			co_max_attempts = 5;
int			co_on_error = CO_ON_ERROR_ERROR;
int			co_verify_rpm = 0;
int			co_find_rpm = 0;
int			co_find_timeout = 30000;
int			co_max_age_find = 90 * 86400;
int			co_max_age_lookup = 30 * 86400;
char	   *co_public_url = NULL;
int			co_statement_limit = 1000;
int			co_daily_budget = 0;
int			co_credit_floor = 0;
int			co_usage_days = 400;
bool		co_precheck = true;
int			co_handler_timeout = 10000;
int			co_handler_attempts = 10;
char	   *co_notify_channel = NULL;
int			co_bulk_rows = 100000;
int			co_bulk_max_bytes = 1024;
int			co_bulk_threshold = 0;
int			co_bulk_retention = 30 * 86400;

static const struct config_enum_entry auth_schemes[] = {
	{"bearer", CO_AUTH_BEARER, false},
	{"token", CO_AUTH_TOKEN, false},
	{"bearer_colon", CO_AUTH_BEARER_COLON, false},
	{NULL, 0, false}
};

static const struct config_enum_entry on_error_words[] = {
	{"error", CO_ON_ERROR_ERROR, false},
	{"unknown", CO_ON_ERROR_UNKNOWN, false},
	{NULL, 0, false}
};

/*
 * Whether plain http is allowed for the host depends on clearout.allow_http,
 * which may be set later in the same file; so the worker checks that, and
 * only what is no URL for us at all is refused here.
 */
static bool
check_base_url(char **newval, void **extra, GucSource source)
{
	const char *error = co_http_url_error(*newval, true);

	(void) extra;
	(void) source;
	if (error != NULL)
	{
		GUC_check_errdetail("This URL cannot be used: %s.", error);
		GUC_check_errhint("Use the base URL that the Clearout app shows under Developer, such as \"https://api.clearout.io/v2\".");
		return false;
	}
	return true;
}

static bool
check_public_url(char **newval, void **extra, GucSource source)
{
	return (*newval)[0] == '\0' || check_base_url(newval, extra, source);
}

/* One slip in a list must not mean that no database is listed. */
static bool
check_databases(char **newval, void **extra, GucSource source)
{
	char	   *copy = pstrdup(*newval);
	List	   *names;
	bool		good = SplitIdentifierString(copy, ',', &names);

	(void) extra;
	(void) source;
	if (!good)
		GUC_check_errdetail("List syntax is invalid.");
	list_free(names);
	pfree(copy);
	return good;
}

static bool
check_notify_channel(char **newval, void **extra, GucSource source)
{
	(void) extra;
	(void) source;
	if (strlen(*newval) < NAMEDATALEN)
		return true;
	GUC_check_errdetail("The name of a channel is shorter than %d bytes.", NAMEDATALEN);
	return false;
}

CoOnError
co_on_error_parse(const char *word)
{
	for (const struct config_enum_entry *entry = on_error_words; entry->name; entry++)
	{
		if (pg_strcasecmp(word, entry->name) == 0)
			return (CoOnError) entry->val;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for \"on_error\": \"%s\"", word),
			 errhint("Use \"error\" or \"unknown\".")));
}

/*
 * Each description says what the setting is for; what a reader could not
 * guess stands in the long one.
 */
void
co_guc_init(void)
{
	DefineCustomStringVariable("clearout.api_token_file",
							   "Names the file that holds the API token.",
							   "Only the server's user may be able to read it, as for ssl_key_file. A relative name is relative to the data directory. It is read when a worker starts, at reload, and while there is no valid token.",
							   &co_api_token_file,
							   "",
							   PGC_SUSET, 0,
							   NULL, NULL, NULL);

	DefineCustomEnumVariable("clearout.auth_scheme",
							 "Sets the spelling of the Authorization header.",
							 "The service's documents have all three: \"Bearer TOKEN\", \"TOKEN\" and \"Bearer:TOKEN\".",
							 &co_auth_scheme,
							 CO_AUTH_BEARER, auth_schemes,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);

	DefineCustomStringVariable("clearout.base_url",
							   "Sets the base URL of the Clearout API, with its version.",
							   "It can differ by account and region; the Clearout app shows it.",
							   &co_base_url,
							   "https://api.clearout.io/v2",
							   PGC_SUSET, 0,
							   check_base_url, NULL, NULL);

	DefineCustomBoolVariable("clearout.allow_http",
							 "Allows plain http to hosts other than this one.",
							 "The token and the addresses then cross the network readable.",
							 &co_allow_http,
							 false,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);

	DefineCustomStringVariable("clearout.proxy",
							   "Sets the proxy to reach the service through.",
							   "The environment's proxy variables are never used.",
							   &co_proxy,
							   "",
							   PGC_SUSET, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);

	DefineCustomStringVariable("clearout.ca_file",
							   "Names the file of certificate authorities to trust.",
							   "In place of the system's. The certificate is always verified.",
							   &co_ca_file,
							   "",
							   PGC_SUSET, 0,
							   NULL, NULL, NULL);

	DefineCustomStringVariable("clearout.databases",
							   "Lists the databases that may have a worker.",
							   "Names separated by commas, in double quotes where they have capitals; empty means every database that has the extension.",
							   &co_databases,
							   "",
							   PGC_SIGHUP, GUC_LIST_INPUT,
							   check_databases, NULL, NULL);

	DefineCustomIntVariable("clearout.max_parallel",
							"Sets the number of calls that a worker has in flight at most.",
							"It also bounds what a kill can cost: the calls sent whose answers are not committed yet are made again.",
							&co_max_parallel,
							100, 1, 10000,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	/*
	 * A library that a session loads may define nothing that only the
	 * postmaster sets: the session would end.  There are no slots then.
	 */
	DefineCustomIntVariable("clearout.request_slots",
							"Sets the number of requests that sessions can wait for at once.",
							"For the whole server; each takes about 2.5 kB of shared memory.",
							&co_request_slots,
							1024, 16, 65536,
							process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("clearout.request_timeout",
							"Sets the time that the service may take to answer a call.",
							"It is told to the service, which gives up then; the connection is held for two seconds more. Above 100 s some proxies cut in.",
							&co_request_timeout,
							60000, 1000, 180000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("clearout.wait_timeout",
							"Sets the time that a function waits for an answer.",
							"An answer that comes later is stored all the same.",
							&co_wait_timeout,
							30000, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("clearout.max_age",
							"Sets the age up to which a stored answer is used in place of a call.",
							NULL,
							&co_max_age,
							30 * 86400, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_S,
							NULL, NULL, NULL);

	DefineCustomIntVariable("clearout.max_age_unknown",
							"Sets the same for answers with the status unknown.",
							"The service does not charge for these, and can often say more an hour later. Never longer than the age that holds for other answers.",
							&co_max_age_unknown,
							3600, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_S,
							NULL, NULL, NULL);

	DefineCustomIntVariable("clearout.max_age_catch_all",
							"Sets the same for answers with the status catch_all.",
							"-1 means that they age like all others.",
							&co_max_age_catch_all,
							-1, -1, INT_MAX,
							PGC_USERSET, GUC_UNIT_S,
							NULL, NULL, NULL);

	DefineCustomIntVariable("clearout.max_attempts",
							"Sets how often a call that failed in passing is made at most.",
							"Refusals for the rate limit do not count. A call that may have been charged is never repeated behind a waiting caller's back.",
							&co_max_attempts,
							5, 1, 100,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	DefineCustomEnumVariable("clearout.on_error",
							 "Sets what a function does when the service gives no answer.",
							 "\"error\" raises an error; \"unknown\" returns a row with the status unknown that says why.",
							 &co_on_error,
							 CO_ON_ERROR_ERROR, on_error_words,
							 PGC_USERSET, 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("clearout.verify_rpm",
							"Sets the number of verify calls per minute.",
							"Zero means that the limit is learnt from the service's answers. A lower limit that the service tells is kept in any case.",
							&co_verify_rpm,
							0, 0, 100000,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("clearout.find_rpm",
							"Sets the number of finder calls per minute.",
							"Zero means that the limit is learnt from the service's answers. A lower limit that the service tells is kept in any case.",
							&co_find_rpm,
							0, 0, 100000,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("clearout.find_timeout",
							"Sets the time that the finder may take to answer a call.",
							"What is not found by then is sought on in the background, and asked for again now and then.",
							&co_find_timeout,
							30000, 1000, 180000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("clearout.max_age_find",
							"Sets the age up to which a stored answer of the finder is used in place of a call.",
							"That nobody was found is an answer too.",
							&co_max_age_find,
							90 * 86400, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_S,
							NULL, NULL, NULL);

	DefineCustomIntVariable("clearout.max_age_lookup",
							"Sets the age up to which stored answers of single checks and look-ups are used in place of a call.",
							NULL,
							&co_max_age_lookup,
							30 * 86400, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_S,
							NULL, NULL, NULL);

	DefineCustomStringVariable("clearout.public_url",
							   "Sets the base URL of what needs no token.",
							   "Empty means clearout.base_url without its version.",
							   &co_public_url,
							   "",
							   PGC_SUSET, 0,
							   check_public_url, NULL, NULL);

	DefineCustomIntVariable("clearout.statement_limit",
							"Sets the number of calls that one statement may cause.",
							"A guard against emptying the account by accident; zero means no limit.",
							&co_statement_limit,
							1000, 0, INT_MAX,
							PGC_SUSET, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("clearout.daily_budget",
							"Sets the number of credits that a database may spend a day.",
							"Days are of UTC; calls in flight count in full; zero means no limit. Budgets of roles are set by clearout_set_budget().",
							&co_daily_budget,
							0, 0, INT_MAX,
							PGC_SUSET, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("clearout.credit_floor",
							"Sets the number of credits that are to be left in the account.",
							"No call is made that could leave fewer. The account is asked for its credits now and then; zero means no floor.",
							&co_credit_floor,
							0, 0, INT_MAX,
							PGC_SUSET, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("clearout.usage_days",
							"Sets the number of days that usage is kept.",
							"Older days leave clearout_usage; zero means that all are kept.",
							&co_usage_days,
							400, 0, 100000,
							PGC_SUSET, 0,
							NULL, NULL, NULL);

	DefineCustomBoolVariable("clearout.precheck",
							 "Answers malformed addresses without asking the service.",
							 "Such an answer is free and says that it is local.",
							 &co_precheck,
							 true,
							 PGC_USERSET, 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("clearout.handler_timeout",
							"Sets the time that a call of a handler may take.",
							"A call that takes longer is cancelled, and counts as failed.",
							&co_handler_timeout,
							10000, 10, INT_MAX / 2,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("clearout.handler_attempts",
							"Sets how often a handler is called at most with an answer that it fails on.",
							"The calls are made with growing pauses; after the last one the row of clearout_outbox stays with its error.",
							&co_handler_attempts,
							10, 1, 1000,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	DefineCustomStringVariable("clearout.notify_channel",
							   "Names the channel on which stored answers are notified.",
							   "The payload is clearout_results.id of the row, never the address. Empty means none.",
							   &co_notify_channel,
							   "",
							   PGC_SUSET, 0,
							   check_notify_channel, NULL, NULL);
	DefineCustomIntVariable("clearout.bulk_rows",
							"Sets the number of rows that a list of the bulk API has at most.",
							"A bulk job with more is split into several lists.",
							&co_bulk_rows,
							100000, 1, 1000000,
							PGC_USERSET, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("clearout.bulk_max_bytes",
							"Sets the length that a result file of the bulk API may have.",
							"A longer one is refused: whoever answers in the service's place must not keep the worker busy for ever.",
							&co_bulk_max_bytes,
							1024, 1, INT_MAX / 2,
							PGC_SIGHUP, GUC_UNIT_MB,
							NULL, NULL, NULL);

	DefineCustomIntVariable("clearout.bulk_threshold",
							"Sets the number of rows in the queue from which on they are verified as lists.",
							"Zero means never. A list takes minutes to hours, and costs the same.",
							&co_bulk_threshold,
							0, 0, INT_MAX,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("clearout.bulk_retention",
							"Sets how long a finished bulk job is kept in clearout_jobs.",
							"-1 means until clearout_bulk_remove(). Its answers are kept in any case.",
							&co_bulk_retention,
							30 * 86400, -1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);

	MarkGUCPrefixReserved("clearout");
}
