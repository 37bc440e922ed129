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

/* Calls are rationed per service: the plans name separate limits. */
typedef enum CoService
{
	CO_SERVICE_VERIFY,
	CO_SERVICE_FIND,
	CO_SERVICE_OTHER
} CoService;
#define CO_SERVICE_COUNT 3

typedef enum CoEndpointId
{
	CO_ENDPOINT_VERIFY,			/* POST /email_verify/instant */
	CO_ENDPOINT_CREDITS			/* GET /email_verify/getcredits */
} CoEndpointId;
#define CO_ENDPOINT_COUNT 2

typedef struct CoEndpoint
{
	const char *name;			/* the word used in SQL and in views */
	bool		post;			/* else GET */
	const char *path;			/* relative to clearout.base_url */
	CoService	service;
	int			timeout_max;	/* upper limit of the request's own "timeout"
								 * field, ms; 0 where it has none */
} CoEndpoint;

extern const CoEndpoint co_endpoints[CO_ENDPOINT_COUNT];

extern const char *co_service_name(CoService service);	/* verify, find, other */

#endif							/* CO_ENDPOINT_H */
