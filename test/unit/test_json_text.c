/*-------------------------------------------------------------------------
 * test_json_text.c
 *		Texts as JSON: by hand, and beside what jansson writes.
 *-------------------------------------------------------------------------
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "json_text.h"

#define TEXTS	20000
#define LENGTH	12

/* What it becomes; NULL: it is refused.  To be freed. */
static char *
written(const char *text, size_t length)
{
	/* not a byte more than is promised: the sanitizer looks */
	char	   *block = malloc(CO_JSON_TEXT_MAX(length));
	char	   *end = co_json_text(block, text, length);
	char	   *result = end == NULL ? NULL : strndup(block, end - block);

	free(block);
	return result;
}

static void
expect(const char *text, const char *wanted)
{
	char	   *result = written(text, strlen(text));

	CHECK(result != NULL && strcmp(result, wanted) == 0, "%s became %s", wanted,
		  result == NULL ? "NULL" : result);
	free(result);
}

/* Is it what jansson makes of it? */
static bool
is_as_jansson(const char *text, size_t length)
{
	char	   *result = written(text, length);
	json_t	   *value = json_stringn(text, length);
	char	   *wanted = value == NULL ? NULL :
		json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
	bool		same = result == NULL || wanted == NULL ? result == wanted :
		strcmp(result, wanted) == 0;

	if (!same)
		printf("%s in place of %s\n", result == NULL ? "NULL" : result,
			   wanted == NULL ? "NULL" : wanted);
	json_decref(value);
	free(result);
	free(wanted);
	return same;
}

/* A character, or what UTF-8 would be of what is none. */
static size_t
put_character(char *to, unsigned int c)
{
	if (c < 0x80)
	{
		to[0] = (char) c;
		return 1;
	}
	if (c < 0x800)
	{
		to[0] = (char) (0xC0 | c >> 6);
		to[1] = (char) (0x80 | (c & 0x3F));
		return 2;
	}
	if (c < 0x10000)
	{
		to[0] = (char) (0xE0 | c >> 12);
		to[1] = (char) (0x80 | (c >> 6 & 0x3F));
		to[2] = (char) (0x80 | (c & 0x3F));
		return 3;
	}
	to[0] = (char) (0xF0 | c >> 18);
	to[1] = (char) (0x80 | (c >> 12 & 0x3F));
	to[2] = (char) (0x80 | (c >> 6 & 0x3F));
	to[3] = (char) (0x80 | (c & 0x3F));
	return 4;
}

int
main(void)
{
	char		text[4 * LENGTH];
	long		different = 0;

	expect("", "\"\"");
	expect("a@b.example", "\"a@b.example\"");
	expect("\"a\\b\"", "\"\\\"a\\\\b\\\"\"");
	expect("\b\f\n\r\t/", "\"\\b\\f\\n\\r\\t/\"");
	expect("\x01\x1F\x7F", "\"\\u0001\\u001F\x7F\"");
	expect("d\xC3\xB6rte", "\"d\xC3\xB6rte\"");

	/* every character, and what lies between and beyond them */
	for (unsigned int c = 0; c < 0x120000; c++)
		different += !is_as_jansson(text, put_character(text, c));
	CHECK(different == 0, "%ld characters", different);

	/* bytes, mostly no text */
	srandom(1);
	for (int i = 0; i < TEXTS; i++)
	{
		size_t		length = (size_t) random() % LENGTH;

		for (size_t k = 0; k < length; k++)
			text[k] = (char) random();
		different += !is_as_jansson(text, length);
	}
	CHECK(different == 0, "%ld of random bytes", different);

	/* texts with much that is escaped */
	for (int i = 0; i < TEXTS; i++)
	{
		size_t		length = 0;

		for (int k = 0; k < LENGTH; k++)
		{
			static const unsigned int below[] = {0x20, 0x80, 0x800, 0x10000, 0x110000};

			length += put_character(text + length, (unsigned int) random() % below[random() % 5]);
		}
		different += !is_as_jansson(text, length);
	}
	CHECK(different == 0, "%ld of random characters", different);
	return check_done();
}
