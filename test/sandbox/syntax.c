/*-------------------------------------------------------------------------
 * syntax.c
 *		Whether a string looks like an e-mail address.
 *
 * Dot-atoms and quoted local parts of RFC 5322, the lengths of RFC 5321, and
 * any character beyond ASCII.  No comments, no address literals: the service
 * has no mail server to ask for these.
 *-------------------------------------------------------------------------
 */
#include <ctype.h>
#include <string.h>

#include "syntax.h"

static bool
local_ok(const char *p, size_t len)
{
	if (len == 0 || len > 64)
		return false;
	if (*p == '"')
	{
		if (len < 3 || p[len - 1] != '"')
			return false;
		for (size_t i = 1; i < len - 1; i++)
		{
			if (p[i] == '\\' && i + 1 < len - 1)
				i++;
			else if (p[i] == '"' || p[i] == '\\')
				return false;
			if ((unsigned char) p[i] < 0x20 || p[i] == 0x7f)
				return false;
		}
		return true;
	}
	for (size_t i = 0; i < len; i++)
	{
		unsigned char c = (unsigned char) p[i];

		if (c == '.')
		{
			if (i == 0 || i == len - 1 || p[i - 1] == '.')
				return false;
		}
		else if (c < 0x80 && !isalnum(c) && strchr("!#$%&'*+/=?^_`{|}~-", c) == NULL)
			return false;
	}
	return true;
}

static bool
domain_ok(const char *p)
{
	size_t		len = strlen(p);
	size_t		label = 0;
	bool		dotted = false;

	if (len > 253)
		return false;
	for (size_t i = 0; i <= len; i++)
	{
		unsigned char c = (unsigned char) p[i];

		if (c == '.' || c == '\0')
		{
			if (label == 0 || label > 63 || p[i - 1] == '-')
				return false;
			dotted |= c == '.';
			label = 0;
		}
		else if (c == '-' ? label == 0 : c < 0x80 && !isalnum(c))
			return false;
		else
			label++;
	}
	return dotted;
}

bool
syntax_ok(const char *email)
{
	const char *at = strrchr(email, '@');

	return at && strlen(email) <= 254 &&
		local_ok(email, (size_t) (at - email)) && domain_ok(at + 1);
}
