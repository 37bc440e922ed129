/*-------------------------------------------------------------------------
 * endpoint.c
 *		The table of API calls: one row each.
 *
 * Pure.  A path begins with a slash and is appended to a base URL, which ends
 * without one.
 *
 * Where it is not documented whether a call is charged, it counts as one that
 * may be.
 *-------------------------------------------------------------------------
 */
#include "endpoint.h"

#include <stddef.h>

#define POST(path) true, path
#define GET(path) false, path

/*
 * Largest timeouts by the reference: 180000 for verify and find, 110000 for
 * the checks and the look-ups of domains, 10000 for names.
 */
const CoEndpoint co_endpoints[CO_ENDPOINT_COUNT] = {
	[CO_ENDPOINT_VERIFY] = {
		"verify", POST("/email_verify/instant"), CO_SERVICE_VERIFY, 180000,
		CO_KIND_VERIFY, "email", NULL, true
	},
	[CO_ENDPOINT_CREDITS] = {
		"credits", GET("/email_verify/getcredits"), CO_SERVICE_OTHER, 0,
		CO_KIND_LOOKUP, NULL, NULL, false
	},

	/* "find" has two fields; see co_encode_body() */
	[CO_ENDPOINT_FIND] = {
		"find", POST("/email_finder/instant"), CO_SERVICE_FIND, 180000,
		CO_KIND_PERSON, "name", NULL, true
	},
	/* the search is charged, not the question how far it has come */
	[CO_ENDPOINT_FIND_STATUS] = {
		"find_status", GET("/email_finder/instant/queue_status"), CO_SERVICE_FIND, 0,
		CO_KIND_PERSON, "qid", NULL, false
	},

	/*
	 * The key of each flag is the one that clients in use read; the vendor's
	 * OpenAPI document names another check's for four of the six.
	 */
	[CO_ENDPOINT_CATCHALL] = {
		"catchall", POST("/email/verify/catchall"), CO_SERVICE_CHECK, 110000,
		CO_KIND_LOOKUP, "email", "catchall", true
	},
	[CO_ENDPOINT_DISPOSABLE] = {
		"disposable", POST("/email/verify/disposable"), CO_SERVICE_CHECK, 110000,
		CO_KIND_LOOKUP, "email", "disposable", true
	},
	[CO_ENDPOINT_BUSINESS] = {
		"business", POST("/email/verify/business"), CO_SERVICE_CHECK, 110000,
		CO_KIND_LOOKUP, "email", "business_account", true
	},
	[CO_ENDPOINT_FREE] = {
		"free", POST("/email/verify/free"), CO_SERVICE_CHECK, 110000,
		CO_KIND_LOOKUP, "email", "free_account", true
	},
	[CO_ENDPOINT_ROLE] = {
		"role", POST("/email/verify/role"), CO_SERVICE_CHECK, 110000,
		CO_KIND_LOOKUP, "email", "role_account", true
	},
	[CO_ENDPOINT_GIBBERISH] = {
		"gibberish", POST("/email/verify/gibberish"), CO_SERVICE_CHECK, 110000,
		CO_KIND_LOOKUP, "email", "gibberish", true
	},

	/* "name" is a domain */
	[CO_ENDPOINT_REVERSE_EMAIL] = {
		"reverse_email", GET("/reverse_lookup/email"), CO_SERVICE_REVERSE, 0,
		CO_KIND_LOOKUP, "email_address", NULL, true
	},
	[CO_ENDPOINT_REVERSE_LINKEDIN] = {
		"reverse_linkedin", GET("/reverse_lookup/linkedin"), CO_SERVICE_REVERSE, 0,
		CO_KIND_LOOKUP, "url", NULL, true
	},
	[CO_ENDPOINT_REVERSE_DOMAIN] = {
		"reverse_domain", GET("/reverse_lookup/domain"), CO_SERVICE_REVERSE, 0,
		CO_KIND_LOOKUP, "name", NULL, true
	},

	[CO_ENDPOINT_AUTOCOMPLETE] = {
		"autocomplete", GET("/public/companies/autocomplete"), CO_SERVICE_PUBLIC, 0,
		CO_KIND_LOOKUP, "query", NULL, false
	},

	[CO_ENDPOINT_MX] = {
		"mx", POST("/domain/resolve/mx"), CO_SERVICE_DOMAIN, 110000,
		CO_KIND_LOOKUP, "domain", NULL, true
	},
	[CO_ENDPOINT_WHOIS] = {
		"whois", POST("/domain/resolve/whois"), CO_SERVICE_DOMAIN, 110000,
		CO_KIND_LOOKUP, "domain", NULL, true
	},
	[CO_ENDPOINT_NAME] = {
		"name", POST("/name/validate"), CO_SERVICE_NAME, 10000,
		CO_KIND_LOOKUP, "name", NULL, true
	},

	[CO_ENDPOINT_ACCOUNT_CREDITS] = {
		"account_credits", GET("/account/credits"), CO_SERVICE_OTHER, 0,
		CO_KIND_LOOKUP, NULL, NULL, false
	},
	[CO_ENDPOINT_ACCOUNT_LIMITS] = {
		"account_limits", GET("/account/limits"), CO_SERVICE_OTHER, 0,
		CO_KIND_LOOKUP, NULL, NULL, false
	},
	[CO_ENDPOINT_ACCOUNT_PLAN] = {
		"account_plan", GET("/account/myplans"), CO_SERVICE_OTHER, 0,
		CO_KIND_LOOKUP, NULL, NULL, false
	}
};

bool
co_endpoint_is_public(CoEndpointId endpoint)
{
	return co_endpoints[endpoint].service == CO_SERVICE_PUBLIC;
}

const char *
co_service_name(CoService service)
{
	switch (service)
	{
		case CO_SERVICE_VERIFY:
			return "verify";
		case CO_SERVICE_FIND:
			return "find";
		case CO_SERVICE_CHECK:
			return "check";
		case CO_SERVICE_REVERSE:
			return "reverse";
		case CO_SERVICE_DOMAIN:
			return "domain";
		case CO_SERVICE_NAME:
			return "name";
		case CO_SERVICE_PUBLIC:
			return "public";
		case CO_SERVICE_OTHER:
			break;
	}
	return "other";
}
