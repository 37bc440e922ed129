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

	{"find", "POST", BASE "/email_finder/instant", TOKEN, FIND, BODY_JSON, "name", false, serve_find, 0},
	{"queue", "GET", BASE "/email_finder/instant/queue_status", TOKEN, FIND, BODY_NONE, "qid", false, serve_queue, 0},

	{"find_upload", "POST", BASE "/email_finder/bulk", TOKEN, FIND, BODY_FORM, NULL, false, serve_upload, 0},
	{"find_progress", "GET", BASE "/email_finder/bulk/progress_status", TOKEN, FIND, BODY_NONE, "list_id", false, serve_progress, 0},
	{"find_result", "POST", BASE "/email_finder/download/result", TOKEN, FIND, BODY_JSON, "list_id", false, serve_result, 0},
	{"find_cancel", "POST", BASE "/email_finder/list/cancel", TOKEN, FIND, BODY_JSON, "list_id", false, serve_cancel, 0},
	{"find_remove", "POST", BASE "/email_finder/list/remove", TOKEN, FIND, BODY_JSON, "list_id", false, serve_remove, 0},
	{"find_lists", "POST", BASE "/email_finder/list", TOKEN, FIND, BODY_JSON, NULL, false, serve_lists, 0},

	{"catchall", "POST", BASE "/email/verify/catchall", TOKEN, VERIFY, BODY_JSON, "email", true, serve_catchall, 0},
	{"disposable", "POST", BASE "/email/verify/disposable", TOKEN, VERIFY, BODY_JSON, "email", true, serve_disposable, 0},
	{"business", "POST", BASE "/email/verify/business", TOKEN, VERIFY, BODY_JSON, "email", true, serve_business, 0},
	{"free", "POST", BASE "/email/verify/free", TOKEN, VERIFY, BODY_JSON, "email", true, serve_free, 0},
	{"role", "POST", BASE "/email/verify/role", TOKEN, VERIFY, BODY_JSON, "email", true, serve_role, 0},
	{"gibberish", "POST", BASE "/email/verify/gibberish", TOKEN, VERIFY, BODY_JSON, "email", true, serve_gibberish, 0},

	{"reverse_email", "GET", BASE "/reverse_lookup/email", TOKEN, OTHER, BODY_NONE, "email_address", true, serve_reverse_email, 0},
	{"reverse_linkedin", "GET", BASE "/reverse_lookup/linkedin", TOKEN, OTHER, BODY_NONE, "url", false, serve_reverse_linkedin, 0},
	{"reverse_domain", "GET", BASE "/reverse_lookup/domain", TOKEN, OTHER, BODY_NONE, "name", false, serve_reverse_domain, 0},
	{"mx", "POST", BASE "/domain/resolve/mx", TOKEN, OTHER, BODY_JSON, "domain", false, serve_mx, 0},
	{"whois", "POST", BASE "/domain/resolve/whois", TOKEN, OTHER, BODY_JSON, "domain", false, serve_whois, 0},
	{"name", "POST", BASE "/name/validate", TOKEN, OTHER, BODY_JSON, "name", false, serve_name, 0},

	{"account_credits", "GET", BASE "/account/credits", TOKEN, OTHER, BODY_NONE, NULL, false, serve_account_credits, 0},
	{"account_limits", "GET", BASE "/account/limits", TOKEN, OTHER, BODY_NONE, NULL, false, serve_account_limits, 0},
	{"account_plan", "GET", BASE "/account/myplans", TOKEN, OTHER, BODY_NONE, NULL, false, serve_account_plan, 0},

	/* under two paths */
	{"autocomplete", "GET", "/public/companies/autocomplete", PUBLIC, OTHER, BODY_NONE, "query", false, serve_autocomplete, 0},
	{"autocomplete", "GET", BASE "/public/companies/autocomplete", PUBLIC, OTHER, BODY_NONE, "query", false, serve_autocomplete, 0},

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
