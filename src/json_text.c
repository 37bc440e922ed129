/*-------------------------------------------------------------------------
 * json_text.c
 *		Write a text as JSON.
 *
 * RFC 8259: quotation mark, backslash and the control characters below U+0020
 * are escaped; everything else is written as it is.
 *
 * Pure.
 *-------------------------------------------------------------------------
 */
#include "json_text.h"

#include <string.h>

#include "utf8.h"

/* Those with an escape of one letter, and that letter. */
static const char short_escapes[] = "\"\"\\\\\bb\ff\nn\rr\tt";

static char *
escape(char *to, char c)
{
	static const char digits[] = "0123456789ABCDEF";

	*to++ = '\\';
	for (const char *e = short_escapes; *e != '\0'; e += 2)
	{
		if (e[0] == c)
		{
			*to++ = e[1];
			return to;
		}
	}
	memcpy(to, "u00", 3);
	to[3] = digits[(unsigned char) c >> 4];
	to[4] = digits[(unsigned char) c & 15];
	return to + 5;
}

char *
co_json_text(char *to, const char *text, size_t length)
{
	*to++ = '"';
	for (size_t i = 0; i < length;)
	{
		unsigned char c = (unsigned char) text[i];
		size_t		bytes;

		if (c < 0x20 || c == '"' || c == '\\')
		{
			to = escape(to, text[i++]);
			continue;
		}
		bytes = co_utf8_length((const unsigned char *) text + i, length - i);
		if (bytes == 0)
			return NULL;
		memcpy(to, text + i, bytes);
		to += bytes;
		i += bytes;
	}
	*to++ = '"';
	return to;
}
