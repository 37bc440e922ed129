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

#include "json_text.h"
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

/* One more member of an object; to is NULL if there is none any more. */
static char *
put_text(char *to, const char *name, const char *text, size_t length)
{
	if (to == NULL)
		return NULL;
	if (to[-1] != '{')
		*to++ = ',';
	to = co_json_text(to, name, strlen(name));
	*to++ = ':';
	return co_json_text(to, text, length);
}

/* What the finder is asked: name and domain. */
static char *
put_person(char *to, const char *asked)
{
	const char *separator = strchr(asked, CO_FIND_SEPARATOR);
	size_t		length = separator == NULL ? strlen(asked) : (size_t) (separator - asked);
	const char *domain = separator == NULL ? "" : separator + 1;

	to = put_text(to, "name", asked, length);
	return put_text(to, "domain", domain, strlen(domain));
}

char *
co_encode_body(CoEndpointId id, const char *asked, int timeout_ms)
{
	const CoEndpoint *endpoint = &co_endpoints[id];
	bool		find = id == CO_ENDPOINT_FIND;
	char	   *body;
	char	   *to;

	if (!endpoint->post)
		return calloc(1, 1);

	/* what there is besides, names and numbers, takes less than 100 bytes */
	body = malloc(CO_JSON_TEXT_MAX(strlen(asked)) + 100);
	if (body == NULL)
		return NULL;
	to = body;
	*to++ = '{';
	to = find ? put_person(to, asked) :
		put_text(to, endpoint->field, asked, strlen(asked));
	if (to == NULL)
	{
		free(body);
		return NULL;
	}
	if (timeout_ms > 0 && (find || endpoint->timeout_max > 0))
		to += sprintf(to, ",\"timeout\":%d", timeout_ms);
	/* what is not found in time is sought on */
	strcpy(to, find ? ",\"queue\":true}" : "}");
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
