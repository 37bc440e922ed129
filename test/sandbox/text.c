/*-------------------------------------------------------------------------
 * text.c
 *		A growing string, and JSON written into it.
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

#define TEXT_KEEP 16384			/* a buffer up to this size is used again */

void *
need(size_t size)
{
	return need_more(NULL, size);
}

void *
need_more(void *old, size_t size)
{
	void	   *p = realloc(old, size);

	if (p == NULL)
	{
		fputs("clearout-sandbox: out of memory\n", stderr);
		exit(1);
	}
	return p;
}

char *
need_copy(const char *string)
{
	size_t		size = strlen(string) + 1;

	return memcpy(need(size), string, size);
}

static void
text_reserve(Text *text, size_t more)
{
	size_t		size = text->size ? text->size : 512;

	if (text->len + more + 1 <= text->size)
		return;
	while (size < text->len + more + 1)
		size *= 2;
	text->data = need_more(text->data, size);
	text->size = size;
}

void
text_clear(Text *text)
{
	if (text->size > TEXT_KEEP)
		text_free(text);
	text->len = 0;
}

void
text_free(Text *text)
{
	free(text->data);
	memset(text, 0, sizeof(*text));
}

void
text_add(Text *text, const char *data, size_t len)
{
	text_reserve(text, len);
	memcpy(text->data + text->len, data, len);
	text->len += len;
	text->data[text->len] = '\0';
}

void
text_string(Text *text, const char *string)
{
	text_add(text, string, strlen(string));
}

void
text_fill(Text *text, char c, size_t count)
{
	text_reserve(text, count);
	memset(text->data + text->len, c, count);
	text->len += count;
	text->data[text->len] = '\0';
}

void
text_printf(Text *text, const char *format,...)
{
	va_list		args;
	int			len;

	text_reserve(text, 128);
	va_start(args, format);
	len = vsnprintf(text->data + text->len, text->size - text->len, format, args);
	va_end(args);
	if ((size_t) len >= text->size - text->len)
	{
		text_reserve(text, (size_t) len);
		va_start(args, format);
		vsnprintf(text->data + text->len, text->size - text->len, format, args);
		va_end(args);
	}
	text->len += (size_t) len;
}

void
text_json(Text *text, const char *string)
{
	const char *done = string;
	const char *p;

	text_add(text, "\"", 1);
	for (p = string; *p; p++)
	{
		if (*p != '"' && *p != '\\' && (unsigned char) *p >= 0x20)
			continue;
		text_add(text, done, (size_t) (p - done));
		if (*p == '"' || *p == '\\')
			text_printf(text, "\\%c", *p);
		else
			text_printf(text, "\\u%04x", (unsigned char) *p);
		done = p + 1;
	}
	text_add(text, done, (size_t) (p - done));
	text_add(text, "\"", 1);
}
