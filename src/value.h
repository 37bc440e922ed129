/*-------------------------------------------------------------------------
 * value.h
 *		A value of an answer, whoever has parsed the JSON that it comes from.
 *
 * Pure.
 *-------------------------------------------------------------------------
 */
#ifndef CO_VALUE_H
#define CO_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CO_WORD_MAX 64			/* a longer word is no status */

/* Yes or no, as the API knows them. */
typedef enum CoTernary
{
	CO_NULL = -1,				/* absent, null, or not a yes/no */
	CO_FALSE = 0,
	CO_TRUE = 1
} CoTernary;

#define CO_NO_TIME INT64_MIN	/* a time that the answer did not carry */

typedef enum CoValueKind
{
	CO_VALUE_ABSENT,
	CO_VALUE_TEXT,				/* UTF-8 without NUL */
	CO_VALUE_INTEGER,			/* one that fits */
	CO_VALUE_TRUE,
	CO_VALUE_FALSE,
	CO_VALUE_OTHER				/* null, a real, an object, an array */
} CoValueKind;

typedef struct CoValue
{
	CoValueKind	kind;
	const char *text;			/* of a text; with or without a NUL behind it */
	size_t		length;
	int64_t		number;			/* of an integer */
} CoValue;

/* A text that is this word but for ASCII case? */
extern bool co_value_is_word(const CoValue *value, const char *word);

/* Is this text the address that was asked for?  The service may have folded
 * it. */
extern bool co_value_is_address(const CoValue *value, const char *email);

/* A whole number from 0 to max, as an integer or as a text of digits. */
extern bool co_value_whole(const CoValue *value, int64_t max, int64_t *result);

/* Yes and no are texts in this API; booleans are taken too. */
extern CoTernary co_value_ternary(const CoValue *value);

extern int64_t co_value_time(const CoValue *value);

/*
 * Fold a word of an open vocabulary, so that "Catch-All" and "catch_all" are
 * one: ASCII to lower case, blanks, hyphens and underscores between its parts
 * to one underscore, none at the ends.  Returns the length, 0 if this is no
 * text, an empty one or one that is too long.
 */
extern size_t co_value_fold_word(const CoValue *value, char word[CO_WORD_MAX + 1]);

#endif							/* CO_VALUE_H */
