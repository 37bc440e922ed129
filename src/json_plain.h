/*-------------------------------------------------------------------------
 * json_plain.h
 *		Read and write JSON as it nearly always is, quickly.
 *-------------------------------------------------------------------------
 */
#ifndef CO_JSON_PLAIN_H
#define CO_JSON_PLAIN_H

#include <stddef.h>

/* See codec_json.h. */
#define json_object jansson_json_object_off_limits
#include <jansson.h>
#undef json_object

/*
 * The document, with the memory that jansson is told to use, if it is plain:
 * strictly valid JSON whose strings are ASCII without escapes and whose numbers
 * are integers of up to 18 digits.  NULL of anything else, which is for
 * json_loadb() to judge.
 */
extern json_t *co_json_plain(const char *text, size_t length);

/*
 * Write what json_dumpb() with JSON_COMPACT would write, and return its length;
 * 0 if the value is not as plain as that, or there is not enough room.
 */
extern size_t co_json_plain_dump(const json_t *value, char *out, size_t size);

#endif							/* CO_JSON_PLAIN_H */
