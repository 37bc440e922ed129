/*-------------------------------------------------------------------------
 * json_text.h
 *		Write a text as JSON.
 *
 * Pure.
 *-------------------------------------------------------------------------
 */
#ifndef CO_JSON_TEXT_H
#define CO_JSON_TEXT_H

#include <stddef.h>

/* So many bytes at most. */
#define CO_JSON_TEXT_MAX(length) (6 * (length) + 2)

/*
 * Write it with its quotes, and no zero behind them.  Returns the end of what
 * was written; NULL: the text is no valid UTF-8, which JSON cannot carry.
 */
extern char *co_json_text(char *to, const char *text, size_t length);

#endif							/* CO_JSON_TEXT_H */
