/*-------------------------------------------------------------------------
 * route.c
 *		The routing table: one row and one function for each endpoint.
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "download.h"
#include "serve.h"

#define BASE "/v2"

#define TOKEN ACCESS_TOKEN
#define PUBLIC ACCESS_PUBLIC
#define VERIFY SERVICE_VERIFY
#define FIND SERVICE_FIND
#define OTHER SERVICE_OTHER

Route		routes[] = {
	{"verify", "POST", BASE "/email_verify/instant", TOKEN, VERIFY, BODY_JSON, "email", true, serve_verify, 0},
	{"credits", "GET", BASE "/email_verify/getcredits", TOKEN, OTHER, BODY_NONE, NULL, false, serve_credits, 0},

	{"upload", "POST", BASE "/email_verify/bulk", TOKEN, VERIFY, BODY_FORM, NULL, false, serve_upload, 0},
	{"progress", "GET", BASE "/email_verify/bulk/progress_status", TOKEN, VERIFY, BODY_NONE, "list_id", false, serve_progress, 0},
	{"result", "POST", BASE "/download/result", TOKEN, VERIFY, BODY_JSON, "list_id", false, serve_result, 0},
	{"cancel", "POST", BASE "/email_verify/list/cancel", TOKEN, VERIFY, BODY_JSON, "list_id", false, serve_cancel, 0},
	{"remove", "POST", BASE "/email_verify/list/remove", TOKEN, VERIFY, BODY_JSON, "list_id", false, serve_remove, 0},
	{"lists", "POST", BASE "/email_verify/list", TOKEN, VERIFY, BODY_JSON, NULL, false, serve_lists, 0},

	{"download", "GET", DOWNLOAD_PATH, PUBLIC, OTHER, BODY_NONE, NULL, false, serve_download, 0},
	{0}
};

static bool
path_fits(const Route *route, const char *path)
{
	size_t		len = strlen(route->path);

	if (route->path[len - 1] == '/')
		return strncmp(route->path, path, len) == 0;
	return strcmp(route->path, path) == 0;
}

Route *
route_find(const char *method, const char *path)
{
	for (Route *route = routes; route->name; route++)
		if (path_fits(route, path) && strcmp(route->method, method) == 0)
			return route;
	return NULL;
}
