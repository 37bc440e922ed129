/*-------------------------------------------------------------------------
 * codec_request.c
 *		What is sent: JSON bodies and query strings.
 *
 * Pure.
 *-------------------------------------------------------------------------
 */
#include "codec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec_json.h"
#include "utf8.h"

static bool
is_utf8(const char *text)
{
	size_t		length = strlen(text);

	for (size_t i = 0; i < length;)
	{
		size_t		bytes = co_utf8_length((const unsigned char *) text + i, length - i);

		if (bytes == 0)
			return false;
		i += bytes;
	}
	return true;
}

/* Is it text that JSON takes as it is? */
static bool
is_plain(const char *text)
{
	for (const char *c = text; *c != '\0'; c++)
	{
		if (*c < ' ' || *c > '~' || *c == '"' || *c == '\\')
			return false;
	}
	return true;
}

/*
 * One field and perhaps a time, which is all of most requests: jansson takes
 * five times as long for that.
 */
static char *
format_plain(const char *field, const char *asked, int timeout_ms)
{
	size_t		size = strlen(field) + strlen(asked) + 40;
	char	   *body = malloc(size);

	if (body != NULL && timeout_ms > 0)
		snprintf(body, size, "{\"%s\":\"%s\",\"timeout\":%d}", field, asked, timeout_ms);
	else if (body != NULL)
		snprintf(body, size, "{\"%s\":\"%s\"}", field, asked);
	return body;
}

/* The finder's request.  queue: what is not found in time is sought on. */
static json_t *
pack_find(const char *asked, int timeout_ms)
{
	const char *separator = strchr(asked, CO_FIND_SEPARATOR);
	size_t		length = separator == NULL ? strlen(asked) : (size_t) (separator - asked);
	const char *domain = separator == NULL ? "" : separator + 1;

	if (timeout_ms > 0)
		return json_pack("{s:s%,s:s,s:i,s:b}", "name", asked, length,
						 "domain", domain, "timeout", timeout_ms, "queue", 1);
	return json_pack("{s:s%,s:s,s:b}", "name", asked, length, "domain", domain,
					 "queue", 1);
}

char *
co_encode_body(CoEndpointId id, const char *asked, int timeout_ms)
{
	const CoEndpoint *endpoint = &co_endpoints[id];
	json_t	   *request;
	size_t		used;
	char	   *body;

	if (!endpoint->post)
		return calloc(1, 1);

	if (endpoint->timeout_max == 0)
		timeout_ms = 0;
	if (id != CO_ENDPOINT_FIND && is_plain(asked))
		return format_plain(endpoint->field, asked, timeout_ms);

	/* jansson checks the encoding; NULL is what it makes of bad UTF-8 */
	if (id == CO_ENDPOINT_FIND)
		request = pack_find(asked, timeout_ms);
	else if (timeout_ms > 0)
		request = json_pack("{s:s,s:i}", endpoint->field, asked, "timeout", timeout_ms);
	else
		request = json_pack("{s:s}", endpoint->field, asked);
	if (request == NULL)
		return NULL;
	body = co_json_dump(request, strlen(asked) + 80, 0, &used);
	json_decref(request);
	return body;
}

/* RFC 3986: what is not unreserved is written as %XX. */
static bool
is_unreserved(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		(c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
}

char *
co_encode_query(CoEndpointId id, const char *asked)
{
	static const char digits[] = "0123456789ABCDEF";
	const CoEndpoint *endpoint = &co_endpoints[id];
	char	   *query;
	char	   *to;

	if (endpoint->post || endpoint->field == NULL)
		return calloc(1, 1);
	if (!is_utf8(asked))
		return NULL;
	query = malloc(strlen(endpoint->field) + 3 * strlen(asked) + 3);
	if (query == NULL)
		return NULL;
	to = query;
	*to++ = '?';
	to = stpcpy(to, endpoint->field);
	*to++ = '=';
	for (const unsigned char *c = (const unsigned char *) asked; *c != '\0'; c++)
	{
		if (is_unreserved(*c))
			*to++ = (char) *c;
		else
		{
			*to++ = '%';
			*to++ = digits[*c >> 4];
			*to++ = digits[*c & 15];
		}
	}
	*to = '\0';
	return query;
}
