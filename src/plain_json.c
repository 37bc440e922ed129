/*-------------------------------------------------------------------------
 * plain_json.c
 *		Read JSON that is plainly written, where it lies.
 *
 * Pure.  The grammar is that of RFC 8259, less what plain_json.h leaves out.
 *-------------------------------------------------------------------------
 */
#include "plain_json.h"

#include <string.h>

typedef struct Reading
{
	const char *at;
	const char *end;
	CoPlainNode *node;
	int			count;
	int			depth;
} Reading;

static bool read_value(Reading *reading);

static void
skip_blanks(Reading *reading)
{
	while (reading->at < reading->end &&
		   (*reading->at == ' ' || *reading->at == '\n' || *reading->at == '\r' || *reading->at == '\t'))
		reading->at++;
}

/* Go past this character if it is the next one that is no blank. */
static bool
take(Reading *reading, char c)
{
	skip_blanks(reading);
	if (reading->at >= reading->end || *reading->at != c)
		return false;
	reading->at++;
	return true;
}

static CoPlainNode *
add(Reading *reading, CoPlainKind kind, const char *text, int length)
{
	CoPlainNode *node;

	if (reading->count == CO_PLAIN_NODES)
		return NULL;
	node = &reading->node[reading->count++];
	node->kind = kind;
	node->next = 1;
	node->count = 0;
	node->text = text;
	node->length = length;
	return node;
}

/* Behind its first quote. */
static bool
read_text(Reading *reading)
{
	const char *from = reading->at;
	const char *p = from;

	while (p < reading->end && *p != '"' && *p != '\\' && (unsigned char) *p >= ' ')
		p++;
	if (p >= reading->end || *p != '"')
		return false;
	reading->at = p + 1;
	return add(reading, CO_PLAIN_TEXT, from, p - from) != NULL;
}

/* Go past digits.  Returns how many. */
static int
skip_digits(Reading *reading)
{
	const char *from = reading->at;

	while (reading->at < reading->end && *reading->at >= '0' && *reading->at <= '9')
		reading->at++;
	return reading->at - from;
}

static bool
read_number(Reading *reading)
{
	const char *from = reading->at;
	CoPlainKind kind = CO_PLAIN_INTEGER;
	const char *digits;
	int			count;

	if (*reading->at == '-')
		reading->at++;
	digits = reading->at;
	count = skip_digits(reading);
	if (count == 0 || (count > 1 && *digits == '0'))
		return false;
	if (reading->at < reading->end && *reading->at == '.')
	{
		reading->at++;
		if (skip_digits(reading) == 0)
			return false;
		kind = CO_PLAIN_REAL;
	}
	/* An exponent is left standing: nothing that may follow begins so. */
	return reading->at - from <= CO_PLAIN_NUMBER &&
		add(reading, kind, from, reading->at - from) != NULL;
}

static bool
read_word(Reading *reading, const char *word, CoPlainKind kind)
{
	size_t		length = strlen(word);

	if ((size_t) (reading->end - reading->at) < length || memcmp(reading->at, word, length) != 0)
		return false;
	reading->at += length;
	return add(reading, kind, NULL, 0) != NULL;
}

/* Behind its bracket: its parts, up to the other bracket. */
static bool
read_parts(Reading *reading, CoPlainKind kind)
{
	char		close = kind == CO_PLAIN_OBJECT ? '}' : ']';
	CoPlainNode *whole = add(reading, kind, NULL, 0);

	if (whole == NULL || ++reading->depth > CO_PLAIN_DEPTH)
		return false;
	if (!take(reading, close))
	{
		do
		{
			if (kind == CO_PLAIN_OBJECT &&
				!(take(reading, '"') && read_text(reading) && take(reading, ':')))
				return false;
			if (!read_value(reading))
				return false;
			whole->count++;
		} while (take(reading, ','));
		if (!take(reading, close))
			return false;
	}
	reading->depth--;
	whole->next = &reading->node[reading->count] - whole;
	return true;
}

static bool
read_value(Reading *reading)
{
	skip_blanks(reading);
	if (reading->at >= reading->end)
		return false;
	switch (*reading->at)
	{
		case '"':
			reading->at++;
			return read_text(reading);
		case '{':
			reading->at++;
			return read_parts(reading, CO_PLAIN_OBJECT);
		case '[':
			reading->at++;
			return read_parts(reading, CO_PLAIN_ARRAY);
		case 't':
			return read_word(reading, "true", CO_PLAIN_TRUE);
		case 'f':
			return read_word(reading, "false", CO_PLAIN_FALSE);
		case 'n':
			return read_word(reading, "null", CO_PLAIN_NULL);
		default:
			return read_number(reading);
	}
}

bool
co_plain_read(const char *text, size_t length, CoPlainNode node[CO_PLAIN_NODES])
{
	Reading		reading = {text, text + length, node, 0, 0};

	if (length > CO_PLAIN_SIZE || !read_value(&reading))
		return false;
	skip_blanks(&reading);
	return reading.at == reading.end;
}

const CoPlainNode *
co_plain_member(const CoPlainNode *object, const char *key)
{
	int			length = strlen(key);
	const CoPlainNode *name = object + 1;
	const CoPlainNode *found = NULL;

	if (object->kind != CO_PLAIN_OBJECT)
		return NULL;
	for (int i = 0; i < object->count; i++)
	{
		const CoPlainNode *value = name + 1;

		if (name->length == length && memcmp(name->text, key, length) == 0)
			found = value;
		name = value + value->next;
	}
	return found;
}
