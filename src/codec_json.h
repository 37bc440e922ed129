/*-------------------------------------------------------------------------
 * codec_json.h
 *		JSON as the service writes it: parse, mend, envelope, fields.
 *
 * For the codec alone; nothing else includes jansson.h.
 *
 * jansson's json_object() must not be called: inside the server the name is
 * taken, and the call would land there.  Hence the #define below, which turns
 * a stray use into an undefined symbol, and json_pack() for what we build.
 *-------------------------------------------------------------------------
 */
#ifndef CO_CODEC_JSON_H
#define CO_CODEC_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define json_object jansson_json_object_off_limits
#include <jansson.h>
#undef json_object

#include "codec.h"
#include "outcome.h"
#include "value.h"

/* What the data of a success may be. */
typedef enum CoDataShape
{
	CO_DATA_OBJECT,
	CO_DATA_FIRST,				/* or an array, of envelopes or of data, whose
								 * first element counts */
	CO_DATA_LIST				/* an array */
} CoDataShape;

/*
 * Parse a body and look at its envelope.  Returns the data of a success, NULL
 * with outcome filled otherwise; *error (may be NULL) is then the error object
 * of a failure envelope, if there was one.  All of it lives until
 * co_json_end(), with which the caller ends in any case.
 */
extern const json_t *co_json_open(int http_status, const char *body, size_t length,
								  CoDataShape shape, CoOutcome *outcome,
								  const json_t **error);

/* What stands in the envelope beside the data; NULL: nothing of that name. */
extern const json_t *co_json_beside(const char *name);

/* Parse what was written by co_json_store(); NULL if there is no memory. */
extern const json_t *co_json_open_raw(const char *raw);

extern void co_json_end(void);

extern void co_json_set_fault(CoOutcome *outcome, CoFault fault, const char *message);

/* Equal but for ASCII case? */
extern bool co_json_equal_words(const char *a, const char *b);

/* The same as value.h has them. */
extern CoValue co_json_value(const json_t *json);
extern bool co_json_same_address(const json_t *json, const char *email);
extern bool co_json_whole(const json_t *json, int64_t max, int64_t *result);
extern CoTernary co_json_ternary(const json_t *json);
extern int64_t co_json_time(const json_t *json);
extern size_t co_json_fold_word(const json_t *json, char word[CO_WORD_MAX + 1]);

/* Compact JSON in a new block with room for more bytes behind it. */
extern char *co_json_dump(const json_t *data, size_t guess, size_t more, size_t *used);

/* The same and nothing behind it. */
extern bool co_json_store(const json_t *data, size_t guess, char **raw);

#endif							/* CO_CODEC_JSON_H */
