/*-------------------------------------------------------------------------
 * endpoint.c
 *		The table of API calls: one row each.
 *
 * Pure.  A path begins with a slash and is appended to clearout.base_url,
 * which ends without one.
 *-------------------------------------------------------------------------
 */
#include "endpoint.h"

#include <stddef.h>

const CoEndpoint co_endpoints[CO_ENDPOINT_COUNT] = {
	/* The reference gives 180000 as the largest timeout, 130000 by default. */
	[CO_ENDPOINT_VERIFY] = {
		"verify", true, "/email_verify/instant", CO_SERVICE_VERIFY, 180000
	},

	/*
	 * The plans ration verify and find calls only.  Which ration, if any, a
	 * balance enquiry is counted in is not documented, so it has its own.
	 */
	[CO_ENDPOINT_CREDITS] = {
		"credits", false, "/email_verify/getcredits", CO_SERVICE_OTHER, 0
	}
};

const char *
co_service_name(CoService service)
{
	switch (service)
	{
		case CO_SERVICE_VERIFY:
			return "verify";
		case CO_SERVICE_FIND:
			return "find";
		case CO_SERVICE_OTHER:
			break;
	}
	return "other";
}
