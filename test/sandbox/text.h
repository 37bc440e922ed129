/*-------------------------------------------------------------------------
 * text.h
 *		A growing string, and JSON written into it.
 *
 * Answers are written by hand rather than built as jansson objects and then
 * dumped: that was the largest part of the time of a request.
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_TEXT_H
#define SANDBOX_TEXT_H

#include <stddef.h>

typedef struct Text
{
	char	   *data;			/* always ends in NUL once something was added */
	size_t		len;
	size_t		size;
} Text;

/* These end the program if there is no memory: a sandbox has no plan B. */
extern void *need(size_t size);
extern void *need_more(void *old, size_t size);
extern char *need_copy(const char *string);

extern void text_clear(Text *text); /* empties; a large buffer is given back */
extern void text_free(Text *text);
extern void text_add(Text *text, const char *data, size_t len);
extern void text_string(Text *text, const char *string);
extern void text_fill(Text *text, char c, size_t count);
extern void text_printf(Text *text, const char *format,...)
			__attribute__((format(printf, 2, 3)));

/* A JSON string with its quotes. */
extern void text_json(Text *text, const char *string);

#endif							/* SANDBOX_TEXT_H */
