/*-------------------------------------------------------------------------
 * route.c
 *		The routing table: one row and one function for each endpoint.
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "serve.h"

#define BASE "/v2"

Route		routes[] = {
	{"verify", "POST", BASE "/email_verify/instant", SERVICE_VERIFY, BODY_JSON, true, serve_verify, 0},
	{"credits", "GET", BASE "/email_verify/getcredits", SERVICE_OTHER, BODY_NONE, false, serve_credits, 0},
	{0}
};

Route *
route_find(const char *method, const char *path)
{
	for (Route *route = routes; route->name; route++)
		if (strcmp(route->path, path) == 0 && strcmp(route->method, method) == 0)
			return route;
	return NULL;
}
