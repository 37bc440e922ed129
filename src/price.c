/*-------------------------------------------------------------------------
 * price.c
 *		What calls cost, in credits, as far as that is documented.
 *
 * Pure.  A verification costs a credit, and nothing if its outcome is
 * unknown.  A search costs 4, or 2 for an address of a role, or nothing if
 * nobody is found.  What the other calls cost is not documented, so they
 * count as one.
 *-------------------------------------------------------------------------
 */
#include "price.h"

#include <string.h>

int
co_price_most(CoEndpointId endpoint)
{
	const CoEndpoint *row = &co_endpoints[endpoint];

	if (!row->costs)
		return 0;
	return row->service == CO_SERVICE_FIND || row->service == CO_SERVICE_REVERSE ? 4 : 1;
}

int
co_price_least(CoService service)
{
	return service == CO_SERVICE_FIND || service == CO_SERVICE_REVERSE ? 2 : 1;
}

int
co_price_of_status(const char *status)
{
	return strcmp(status, "unknown") == 0 ? 0 : 1;
}

int
co_price_of_answer(CoEndpointId call, bool found, bool role, int charged)
{
	if (!found)
		return 0;
	if (charged >= 0)
		return charged;
	/* the search is charged when it has found somebody */
	if (call == CO_ENDPOINT_FIND || call == CO_ENDPOINT_FIND_STATUS)
		return role ? 2 : 4;
	return co_price_most(call);
}
