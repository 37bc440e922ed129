/*-------------------------------------------------------------------------
 * test_endpoint.c
 *		The table of API calls is complete and well-formed.
 *-------------------------------------------------------------------------
 */
#include <stddef.h>
#include <string.h>

#include "check.h"
#include "endpoint.h"

int
main(void)
{
	const CoEndpoint *verify = &co_endpoints[CO_ENDPOINT_VERIFY];
	const CoEndpoint *credits = &co_endpoints[CO_ENDPOINT_CREDITS];

	for (int i = 0; i < CO_ENDPOINT_COUNT; i++)
	{
		const CoEndpoint *endpoint = &co_endpoints[i];

		if (!CHECK(endpoint->name != NULL && endpoint->path != NULL,
				   "row %d is missing", i))
			continue;
		CHECK(endpoint->path[0] == '/' &&
			  endpoint->path[strlen(endpoint->path) - 1] != '/',
			  "path \"%s\"", endpoint->path);
		CHECK(endpoint->service >= 0 && endpoint->service < CO_SERVICE_COUNT,
			  "service of %s", endpoint->name);
		CHECK(endpoint->kind >= 0 && endpoint->kind < CO_KIND_COUNT,
			  "kind of %s", endpoint->name);
		CHECK(endpoint->timeout_max == 0 || (endpoint->post && endpoint->timeout_max >= CO_TIMEOUT_MIN),
			  "timeout of %s", endpoint->name);
		CHECK(!endpoint->post || endpoint->field != NULL, "%s sends nothing", endpoint->name);
		CHECK((endpoint->flag != NULL) == (endpoint->service == CO_SERVICE_CHECK),
			  "flag of %s", endpoint->name);
		for (int j = 0; j < i; j++)
			CHECK(strcmp(endpoint->path, co_endpoints[j].path) != 0 &&
				  (endpoint->flag == NULL || co_endpoints[j].flag == NULL ||
				   strcmp(endpoint->flag, co_endpoints[j].flag) != 0),
				  "%s and %s are the same", endpoint->name, co_endpoints[j].name);
		for (int j = 0; j < i; j++)
			CHECK(strcmp(endpoint->name, co_endpoints[j].name) != 0,
				  "two rows named %s", endpoint->name);
	}

	CHECK(verify->post && strcmp(verify->path, "/email_verify/instant") == 0,
		  "path %s", verify->path);
	CHECK(verify->service == CO_SERVICE_VERIFY && verify->timeout_max == 180000,
		  "timeout_max %d", verify->timeout_max);
	CHECK(!credits->post && strcmp(credits->path, "/email_verify/getcredits") == 0,
		  "path %s", credits->path);
	CHECK(credits->service == CO_SERVICE_OTHER && credits->timeout_max == 0,
		  "timeout_max %d", credits->timeout_max);

	CHECK(co_endpoints[CO_ENDPOINT_FIND].kind == CO_KIND_PERSON &&
		  co_endpoints[CO_ENDPOINT_FIND_STATUS].kind == CO_KIND_PERSON, "kind of find");
	CHECK(!co_endpoint_is_public(CO_ENDPOINT_CREDITS) &&
		  co_endpoint_is_public(CO_ENDPOINT_AUTOCOMPLETE), "public");

	for (int i = 0; i < CO_SERVICE_COUNT; i++)
	{
		for (int j = 0; j < i; j++)
			CHECK(strcmp(co_service_name(i), co_service_name(j)) != 0,
				  "two services named %s", co_service_name(i));
	}
	CHECK(strcmp(co_service_name(CO_SERVICE_VERIFY), "verify") == 0, "verify");
	CHECK(strcmp(co_service_name(CO_SERVICE_FIND), "find") == 0, "find");
	CHECK(strcmp(co_service_name(CO_SERVICE_OTHER), "other") == 0, "other");
	return check_done();
}
