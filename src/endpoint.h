/*-------------------------------------------------------------------------
 * endpoint.h
 *		The table of API calls: one row each.
 *
 * Pure.  Source of the paths: Clearout API reference, REST API v2.
 *-------------------------------------------------------------------------
 */
#ifndef CO_ENDPOINT_H
#define CO_ENDPOINT_H

#include <stdbool.h>

/*
 * Calls are rationed per service.  The plans name separate limits for verify
 * and find; of the other families it is not documented which ration they are
 * counted in, so each has its own, and the headers of its answers tell.
 */
typedef enum CoService
{
	CO_SERVICE_VERIFY,
	CO_SERVICE_FIND,
	CO_SERVICE_CHECK,			/* /email/verify/... */
	CO_SERVICE_REVERSE,			/* /reverse_lookup/... */
	CO_SERVICE_DOMAIN,			/* /domain/resolve/... */
	CO_SERVICE_NAME,			/* /name/... */
	CO_SERVICE_OTHER,			/* the account itself */
	CO_SERVICE_PUBLIC			/* no token, and no ration that is told */
} CoService;
#define CO_SERVICE_COUNT 8

typedef enum CoEndpointId
{
	CO_ENDPOINT_VERIFY,			/* POST /email_verify/instant */
	CO_ENDPOINT_CREDITS,		/* GET /email_verify/getcredits */
	CO_ENDPOINT_FIND,			/* POST /email_finder/instant */
	CO_ENDPOINT_FIND_STATUS,	/* GET /email_finder/instant/queue_status */
	CO_ENDPOINT_CATCHALL,		/* POST /email/verify/catchall ... */
	CO_ENDPOINT_DISPOSABLE,
	CO_ENDPOINT_BUSINESS,
	CO_ENDPOINT_FREE,
	CO_ENDPOINT_ROLE,
	CO_ENDPOINT_GIBBERISH,
	CO_ENDPOINT_REVERSE_EMAIL,	/* GET /reverse_lookup/email ... */
	CO_ENDPOINT_REVERSE_LINKEDIN,
	CO_ENDPOINT_REVERSE_DOMAIN,
	CO_ENDPOINT_AUTOCOMPLETE,	/* GET /public/companies/autocomplete */
	CO_ENDPOINT_MX,				/* POST /domain/resolve/mx */
	CO_ENDPOINT_WHOIS,			/* POST /domain/resolve/whois */
	CO_ENDPOINT_NAME,			/* POST /name/validate */
	CO_ENDPOINT_ACCOUNT_CREDITS,	/* GET /account/credits */
	CO_ENDPOINT_ACCOUNT_LIMITS, /* GET /account/limits */
	CO_ENDPOINT_ACCOUNT_PLAN	/* GET /account/myplans */
} CoEndpointId;
#define CO_ENDPOINT_COUNT 20

/* What kind of answer it brings, and so where that is kept. */
typedef enum CoAnswerKind
{
	CO_KIND_VERIFY,				/* clearout_results */
	CO_KIND_PERSON,				/* clearout_people */
	CO_KIND_LOOKUP				/* clearout_lookups */
} CoAnswerKind;
#define CO_KIND_COUNT 3

typedef struct CoEndpoint
{
	const char *name;			/* the word used in SQL and in views */
	bool		post;			/* else GET */
	const char *path;			/* relative to clearout.base_url, or to
								 * clearout.public_url */
	CoService	service;
	int			timeout_max;	/* upper limit of the request's own "timeout"
								 * field, ms; 0 where it has none */
	CoAnswerKind kind;
	const char *field;			/* of the body, or parameter of the query, that
								 * carries what is asked; NULL: none */
	const char *flag;			/* of the answer: the yes or no; NULL: none */
	bool		costs;			/* may it be charged? */
} CoEndpoint;

extern const CoEndpoint co_endpoints[CO_ENDPOINT_COUNT];

/* The smallest timeout that the service takes, ms. */
#define CO_TIMEOUT_MIN 1000

/* Does it go without token and without rate limit? */
extern bool co_endpoint_is_public(CoEndpointId endpoint);

/* verify, find, check, reverse, domain, name, other, public */
extern const char *co_service_name(CoService service);

#endif							/* CO_ENDPOINT_H */
