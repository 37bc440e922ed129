/*-------------------------------------------------------------------------
 * json_plain.c
 *		Read and write JSON as it nearly always is, quickly.
 *
 * Pure.  jansson's lexer takes more than a hundred instructions per byte, which
 * made reading and writing JSON a third of what an answer costs.  This knows
 * less: whatever is not plain is left to jansson, and of what is plain jansson
 * makes the same.
 *-------------------------------------------------------------------------
 */
#include "json_plain.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Real answers are three levels deep; beyond this jansson may count. */
#define DEPTH_MAX	16
#define DIGITS_MAX	18
#define NAME_MAX_LENGTH 63

typedef struct Reader
{
	const char *next;
	const char *end;
	int			depth;
} Reader;

static json_t *read_value(Reader *reader);

/* May it stand in a string as it is?  DEL may, but who sends that. */
static bool
is_plain(char c)
{
	return c >= ' ' && c <= '~' && c != '"' && c != '\\';
}

static void
skip_blanks(Reader *reader)
{
	while (reader->next < reader->end &&
		   (*reader->next == ' ' || *reader->next == '\n' ||
			*reader->next == '\r' || *reader->next == '\t'))
		reader->next++;
}

/* Take this character, after blanks. */
static bool
take(Reader *reader, char c)
{
	skip_blanks(reader);
	if (reader->next == reader->end || *reader->next != c)
		return false;
	reader->next++;
	return true;
}

/* What stands between two quotes. */
static bool
read_string(Reader *reader, const char **text, size_t *length)
{
	const char *c;

	if (!take(reader, '"'))
		return false;
	for (c = reader->next; c < reader->end; c++)
	{
		if (*c == '"')
		{
			*text = reader->next;
			*length = c - reader->next;
			reader->next = c + 1;
			return true;
		}
		if (!is_plain(*c))
			return false;
	}
	return false;
}

static json_t *
read_object(Reader *reader)
{
	json_t	   *object = json_pack("{}");

	if (take(reader, '}'))
		return object;
	do
	{
		char		name[NAME_MAX_LENGTH + 1];
		const char *text;
		size_t		length;
		json_t	   *value;

		if (!read_string(reader, &text, &length) || length > NAME_MAX_LENGTH ||
			!take(reader, ':') || (value = read_value(reader)) == NULL)
			return NULL;
		memcpy(name, text, length);
		name[length] = '\0';
		if (json_object_set_new_nocheck(object, name, value) != 0)
			return NULL;
	} while (take(reader, ','));
	return take(reader, '}') ? object : NULL;
}

static json_t *
read_array(Reader *reader)
{
	json_t	   *array = json_array();

	if (take(reader, ']'))
		return array;
	do
	{
		json_t	   *value = read_value(reader);

		if (value == NULL || json_array_append_new(array, value) != 0)
			return NULL;
	} while (take(reader, ','));
	return take(reader, ']') ? array : NULL;
}

static bool
is_digit(const Reader *reader)
{
	return reader->next < reader->end && *reader->next >= '0' && *reader->next <= '9';
}

static json_t *
read_integer(Reader *reader)
{
	bool		negative = *reader->next == '-';
	const char *first;
	int64_t		value = 0;

	reader->next += negative;
	first = reader->next;
	while (is_digit(reader) && reader->next - first < DIGITS_MAX)
		value = value * 10 + (*reader->next++ - '0');
	if (reader->next == first || (*first == '0' && reader->next - first > 1) ||
		(negative && value == 0))
		return NULL;
	/* what may follow an integer; a point or an E makes it a real */
	if (is_digit(reader) ||
		(reader->next < reader->end && memchr(".eE", *reader->next, 3) != NULL))
		return NULL;
	return json_integer(negative ? -value : value);
}

static json_t *
read_word(Reader *reader, const char *word, json_t *value)
{
	size_t		length = strlen(word);

	if ((size_t) (reader->end - reader->next) < length ||
		memcmp(reader->next, word, length) != 0)
		return NULL;
	reader->next += length;
	return value;
}

static json_t *
read_value(Reader *reader)
{
	json_t	   *value = NULL;
	const char *text;
	size_t		length;

	skip_blanks(reader);
	if (reader->next == reader->end)
		return NULL;
	switch (*reader->next)
	{
		case '"':
			return read_string(reader, &text, &length) ?
				json_stringn_nocheck(text, length) : NULL;
		case '{':
		case '[':
			if (++reader->depth > DEPTH_MAX)
				return NULL;
			value = *reader->next++ == '{' ? read_object(reader) : read_array(reader);
			reader->depth--;
			return value;
		case 't':
			return read_word(reader, "true", json_true());
		case 'f':
			return read_word(reader, "false", json_false());
		case 'n':
			return read_word(reader, "null", json_null());
		default:
			return *reader->next == '-' || is_digit(reader) ? read_integer(reader) : NULL;
	}
}

json_t *
co_json_plain(const char *text, size_t length)
{
	Reader		reader = {text, text + length, 0};
	json_t	   *value;

	skip_blanks(&reader);
	if (reader.next == reader.end || (*reader.next != '{' && *reader.next != '['))
		return NULL;
	value = read_value(&reader);
	skip_blanks(&reader);
	return reader.next == reader.end ? value : NULL;
}

/* ---------- writing ---------- */

typedef struct Writer
{
	char	   *next;
	char	   *end;
} Writer;

static bool
write_bytes(Writer *writer, const char *text, size_t length)
{
	if ((size_t) (writer->end - writer->next) < length)
		return false;
	memcpy(writer->next, text, length);
	writer->next += length;
	return true;
}

static bool
write_string(Writer *writer, const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
	{
		if (!is_plain(text[i]))
			return false;
	}
	return write_bytes(writer, "\"", 1) && write_bytes(writer, text, length) &&
		write_bytes(writer, "\"", 1);
}

static bool
write_integer(Writer *writer, json_int_t value)
{
	char		digits[24];
	char	   *first = digits + sizeof(digits);
	bool		negative = value < 0;

	/* beyond any number that was read here; and -INT64_MIN is no number */
	if (value > INT64_C(999999999999999999) || value < -INT64_C(999999999999999999))
		return false;
	if (negative)
		value = -value;
	do
		*--first = '0' + value % 10;
	while ((value /= 10) > 0);
	if (negative)
		*--first = '-';
	return write_bytes(writer, first, digits + sizeof(digits) - first);
}

static bool
write_value(Writer *writer, const json_t *value, int depth)
{
	bool		first = true;

	if (depth > DEPTH_MAX)
		return false;
	switch (json_typeof(value))
	{
		case JSON_OBJECT:
			{
				json_t	   *object = (json_t *) value;	/* iterators want it so */

				if (!write_bytes(writer, "{", 1))
					return false;
				for (void *at = json_object_iter(object); at != NULL;
					 at = json_object_iter_next(object, at))
				{
					const char *name = json_object_iter_key(at);

					if ((!first && !write_bytes(writer, ",", 1)) ||
						!write_string(writer, name, strlen(name)) ||
						!write_bytes(writer, ":", 1) ||
						!write_value(writer, json_object_iter_value(at), depth + 1))
						return false;
					first = false;
				}
				return write_bytes(writer, "}", 1);
			}
		case JSON_ARRAY:
			if (!write_bytes(writer, "[", 1))
				return false;
			for (size_t i = 0; i < json_array_size(value); i++)
			{
				if ((i > 0 && !write_bytes(writer, ",", 1)) ||
					!write_value(writer, json_array_get(value, i), depth + 1))
					return false;
			}
			return write_bytes(writer, "]", 1);
		case JSON_STRING:
			return write_string(writer, json_string_value(value), json_string_length(value));
		case JSON_INTEGER:
			return write_integer(writer, json_integer_value(value));
		case JSON_TRUE:
			return write_bytes(writer, "true", 4);
		case JSON_FALSE:
			return write_bytes(writer, "false", 5);
		case JSON_NULL:
			return write_bytes(writer, "null", 4);
		default:
			return false;
	}
}

size_t
co_json_plain_dump(const json_t *value, char *out, size_t size)
{
	Writer		writer = {out, out + size};

	return write_value(&writer, value, 0) ? (size_t) (writer.next - out) : 0;
}
