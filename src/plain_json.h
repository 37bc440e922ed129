/*-------------------------------------------------------------------------
 * plain_json.h
 *		Read JSON that is plainly written, where it lies.
 *
 * Pure.  Plain is what a service writes for another program to read: no
 * backslash in a text, no exponent, no very long number, not deep and not
 * large.  Then a value is a piece of the text, and nothing is to be copied or
 * allocated.  All else is for a parser that knows all of JSON.
 *-------------------------------------------------------------------------
 */
#ifndef CO_PLAIN_JSON_H
#define CO_PLAIN_JSON_H

#include <stdbool.h>
#include <stddef.h>

/* A real answer has some fifty values, keys among them, three levels deep. */
#define CO_PLAIN_NODES	256
#define CO_PLAIN_DEPTH	32
#define CO_PLAIN_SIZE	65536	/* bytes of the whole */
#define CO_PLAIN_NUMBER	100		/* characters of a number */

typedef enum CoPlainKind
{
	CO_PLAIN_OBJECT,
	CO_PLAIN_ARRAY,
	CO_PLAIN_TEXT,
	CO_PLAIN_INTEGER,
	CO_PLAIN_REAL,
	CO_PLAIN_TRUE,
	CO_PLAIN_FALSE,
	CO_PLAIN_NULL
} CoPlainKind;

/*
 * A value.  Of an object follow key and value of each member, of an array its
 * elements, each with what is within it; "next" is how far it is from here to
 * the value behind.
 */
typedef struct CoPlainNode
{
	CoPlainKind kind;
	int			next;
	int			count;			/* members, or elements */
	int			length;			/* of a text without its quotes, or a number */
	const char *text;
} CoPlainNode;

/*
 * Read what is to be a single value with blanks around it.  False: it is not
 * plain, or no JSON at all.  That texts are valid UTF-8 is for the caller to
 * know.  Of two members of the same key both are there.
 */
extern bool co_plain_read(const char *text, size_t length,
						  CoPlainNode node[CO_PLAIN_NODES]);

/* The value of that key in an object, the last one if there are several; NULL
 * if there is none. */
extern const CoPlainNode *co_plain_member(const CoPlainNode *object, const char *key);

#endif							/* CO_PLAIN_JSON_H */
