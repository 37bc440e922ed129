/*-------------------------------------------------------------------------
 * codec_json.c
 *		JSON as the service writes it: parse, mend, envelope, fields.
 *
 * Pure; one thread at a time.
 *
 * A document is parsed once, strictly.  Only if that fails is it mended and
 * parsed again: see mend().  Where a name occurs twice in an object the last
 * one counts, as in jsonb.
 *-------------------------------------------------------------------------
 */
#include "codec_json.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"

/*
 * Deeper nesting is refused: jansson recurses, and so does the server when it
 * reads the text as jsonb.  A real answer is three levels deep.
 */
#define DEPTH_MAX 1000

/* Enough of a message to fill CoOutcome.message even if it shrinks by half. */
#define MESSAGE_BUFFER (2 * CO_MESSAGE_SIZE + 8)

#define REPLACEMENT "\xEF\xBF\xBD"	/* U+FFFD in UTF-8 */

/*
 * Where jansson puts a document while we look at it.
 *
 * jansson's lexer takes no notice when its buffer cannot grow: the character
 * is lost and the parse goes on, to a wrong value or, if it was a closing
 * quote, past the end of the buffer (seen with 2.14).  So it must never be
 * told that memory has run out: while it parses it draws on an arena of ours,
 * which jumps out of the parse instead.  The arena is released as a whole, so
 * nothing is lost by that, and no value needs to be freed one by one.
 *
 * The functions in force before, which may be somebody else's, are back in
 * their place whenever we return.
 */
#define FIRST_CHUNK_SIZE	(32 * 1024) /* several times an ordinary answer */
#define CHUNK_SIZE			(256 * 1024)

typedef union Chunk
{
	union Chunk *next;
	max_align_t align;
} Chunk;

static struct
{
	Chunk	   *chunks;			/* beyond the first; newest first */
	char	   *free;			/* unused room of the newest one ... */
	char	   *end;			/* ... and its end */
	jmp_buf		no_memory;
} arena;

static max_align_t first_chunk[FIRST_CHUNK_SIZE / sizeof(max_align_t)];
static bool allocation_failed;

/* What co_json_open() has opened; in the arena. */
static const json_t *opened = NULL;

/* Forget the last document. */
void
co_json_end(void)
{
	opened = NULL;
	while (arena.chunks != NULL)
	{
		Chunk	   *next = arena.chunks->next;

		free(arena.chunks);
		arena.chunks = next;
	}
	arena.free = (char *) first_chunk;
	arena.end = arena.free + sizeof(first_chunk);
}

static void *
arena_malloc(size_t size)
{
	const size_t unit = sizeof(max_align_t);
	void	   *memory;

	if (size > SIZE_MAX / 2)
		longjmp(arena.no_memory, 1);
	size = (size + unit - 1) / unit * unit;
	if (size > (size_t) (arena.end - arena.free))
	{
		size_t		room = size > CHUNK_SIZE ? size : CHUNK_SIZE;
		Chunk	   *chunk = malloc(sizeof(Chunk) + room);

		if (chunk == NULL)
			longjmp(arena.no_memory, 1);
		chunk->next = arena.chunks;
		arena.chunks = chunk;
		arena.free = (char *) (chunk + 1);
		arena.end = arena.free + room;
	}
	memory = arena.free;
	arena.free += size;
	return memory;
}

static void
arena_free(void *memory)
{
	(void) memory;				/* co_json_end() does it */
}

/* The document lives until the next co_json_end(): no json_decref(). */
static const json_t *
load(const char *text, size_t length, json_error_t *error)
{
	static json_malloc_t jansson_malloc;	/* static: they outlive a jump */
	static json_free_t jansson_free;

	co_json_end();
	json_get_alloc_funcs(&jansson_malloc, &jansson_free);
	json_set_alloc_funcs(arena_malloc, arena_free);
	if (setjmp(arena.no_memory) == 0)
	{
		const json_t *loaded = json_loadb(text, length, 0, error);

		json_set_alloc_funcs(jansson_malloc, jansson_free);
		return loaded;
	}
	json_set_alloc_funcs(jansson_malloc, jansson_free);
	allocation_failed = true;
	return NULL;
}

/* Case-insensitive in ASCII, whatever the server's locale thinks of an i. */
static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
}

bool
co_json_equal_words(const char *a, const char *b)
{
	for (; lower(*a) == lower(*b); a++, b++)
	{
		if (*a == '\0')
			return true;
	}
	return false;
}

/*
 * Is a document nested deeper than DEPTH_MAX?  Asked before the parse.  Exact
 * for valid JSON; of anything else the parse takes care.
 */
static bool
is_too_deep(const char *text, size_t length)
{
	int			depth = 0;

	for (size_t i = 0; i < length; i++)
	{
		switch (text[i])
		{
			case '"':
				for (i++; i < length && text[i] != '"'; i++)
				{
					if (text[i] == '\\')
						i++;
				}
				break;
			case '[':
			case '{':
				if (++depth > DEPTH_MAX)
					return true;
				break;
			case ']':
			case '}':
				depth--;
				break;
		}
	}
	return false;
}

/* The value of four hex digits, -1 if they are not. */
static int
hex4(const char *text, const char *end)
{
	int			value = 0;

	if (end - text < 4)
		return -1;
	for (int i = 0; i < 4; i++)
	{
		char		c = lower(text[i]);

		if (c >= '0' && c <= '9')
			value = value * 16 + (c - '0');
		else if (c >= 'a' && c <= 'f')
			value = value * 16 + (c - 'a' + 10);
		else
			return -1;
	}
	return value;
}

/* The value of a \uXXXX escape at text, -1 if there is none. */
static int
unicode_escape(const char *text, const char *end)
{
	if (end - text < 6 || text[0] != '\\' || text[1] != 'u')
		return -1;
	return hex4(text + 2, end);
}

/*
 * Write a document again without what is legal or nearly so but refused by
 * jansson, or cannot be kept in a jsonb: a stray byte in a text that nobody
 * looks at must not cost a paid answer.
 *
 *	 in strings, U+0000 and surrogates without their other half, both
 *	 written as escapes				become	\ufffd
 *	 in strings, invalid UTF-8		becomes U+FFFD, byte by byte
 *	 in strings, control characters become	blanks
 *	 integers beyond 64 bits		become	reals ("e0" is appended)
 *	 reals beyond a double's range	become	strings
 *
 * Everything else is copied, errors in the grammar included, for jansson to
 * refuse.  No input byte becomes more than three: the caller's buffer is
 * that large, and one byte more.  Returns the length.
 */
static size_t
mend(const char *text, size_t length, char *out)
{
	const char *p = text;
	const char *end = text + length;
	char	   *to = out;
	bool		in_string = false;

	while (p < end)
	{
		if (in_string)
		{
			int			escape = unicode_escape(p, end);
			size_t		bytes;

			if (escape >= 0xD800 && escape <= 0xDBFF)
			{
				int			other = unicode_escape(p + 6, end);

				if (other >= 0xDC00 && other <= 0xDFFF)
				{
					memcpy(to, p, 12);
					to += 12;
					p += 12;
					continue;
				}
			}
			if (escape == 0 || (escape >= 0xD800 && escape <= 0xDFFF))
			{
				memcpy(to, "\\ufffd", 6);
				to += 6;
				p += 6;
			}
			else if (*p == '\\' && p + 1 < end &&
					 (p[1] == '"' || p[1] == '\\'))
			{
				*to++ = *p++;
				*to++ = *p++;
			}
			else if ((unsigned char) *p < 0x20)
			{
				*to++ = ' ';
				p++;
			}
			else if ((bytes = co_utf8_length((const unsigned char *) p, end - p)) == 0)
			{
				memcpy(to, REPLACEMENT, 3);
				to += 3;
				p++;
			}
			else
			{
				in_string = *p != '"';
				memcpy(to, p, bytes);
				to += bytes;
				p += bytes;
			}
		}
		else if (*p == '-' || (*p >= '0' && *p <= '9'))
		{
			char	   *number = to;
			char	   *number_end;
			bool		integer = true;

			while (p < end && strchr("+-.eE0123456789", *p) != NULL && *p != '\0')
			{
				if (*p == '.' || *p == 'e' || *p == 'E')
					integer = false;
				*to++ = *p++;
			}

			/* the shortest numbers that need it have 19 and 5 characters */
			*to = '\0';
			if (isinf(strtod(number, &number_end)) && number_end == to)
			{
				memmove(number + 1, number, to - number);
				*number = '"';
				to++;
				*to++ = '"';
			}
			else if (integer && to - number >= 19)
			{
				errno = 0;
				(void) strtoll(number, NULL, 10);
				if (errno == ERANGE)
				{
					*to++ = 'e';
					*to++ = '0';
				}
			}
		}
		else
		{
			in_string = *p == '"';
			*to++ = *p++;
		}
	}
	return to - out;
}

/*
 * Parse a body.  NULL with a word on why if it is no JSON document;
 * allocation_failed tells whether memory is to blame.
 */
static const json_t *
parse(const char *body, size_t length, char *why, size_t why_size)
{
	const json_t *document;
	json_error_t error;
	char	   *mended;
	size_t		mended_length;

	allocation_failed = false;

	/* a byte order mark is not JSON, but harmless (RFC 8259 8.1) */
	if (length >= 3 && memcmp(body, "\xEF\xBB\xBF", 3) == 0)
	{
		body += 3;
		length -= 3;
	}
	if (length == 0)
	{
		snprintf(why, why_size, "the answer is empty");
		return NULL;
	}
	if (is_too_deep(body, length))
	{
		snprintf(why, why_size, "the answer is nested too deeply");
		return NULL;
	}

	document = load(body, length, &error);
	if (document != NULL || allocation_failed)
		return document;

	if (length > (SIZE_MAX - 1) / 3 ||
		(mended = malloc(3 * length + 1)) == NULL)
	{
		allocation_failed = true;
		return NULL;
	}
	mended_length = mend(body, length, mended);
	if (mended_length != length || memcmp(mended, body, length) != 0)
		document = load(mended, mended_length, &error);
	free(mended);
	if (document == NULL && !allocation_failed)
		snprintf(why, why_size, "the answer is not JSON: %s", error.text);
	return document;
}

void
co_json_set_fault(CoOutcome *outcome, CoFault fault, const char *message)
{
	outcome->fault = fault;
	co_message_set(outcome->message, sizeof(outcome->message), message,
				   strlen(message));
}

CoValue
co_json_value(const json_t *json)
{
	CoValue		value = {CO_VALUE_OTHER, NULL, 0, 0};

	if (json == NULL)
		value.kind = CO_VALUE_ABSENT;
	else if (json_is_string(json))
	{
		value.kind = CO_VALUE_TEXT;
		value.text = json_string_value(json);
		value.length = json_string_length(json);
	}
	else if (json_is_integer(json))
	{
		value.kind = CO_VALUE_INTEGER;
		value.number = json_integer_value(json);
	}
	else if (json_is_boolean(json))
		value.kind = json_is_true(json) ? CO_VALUE_TRUE : CO_VALUE_FALSE;
	return value;
}

bool
co_json_whole(const json_t *json, int64_t max, int64_t *result)
{
	CoValue		value = co_json_value(json);

	return co_value_whole(&value, max, result);
}

/* Append to a buffer for as long as there is room. */
static void
append(char *buffer, size_t size, size_t *used, const char *text, size_t length)
{
	if (length > size - *used)
		length = size - *used;
	memcpy(buffer + *used, text, length);
	*used += length;
}

/* What a failure envelope says.  Any part of it may be missing. */
static void
read_failure(const json_t *envelope, CoOutcome *outcome)
{
	const json_t *error = json_object_get(envelope, "error");
	const json_t *message = json_object_get(error, "message");
	char		text[MESSAGE_BUFFER];
	size_t		used = 0;
	int64_t		code;

	outcome->fault = CO_FAULT_SERVICE;
	if (co_json_whole(json_object_get(error, "code"), INT_MAX, &code))
		outcome->code = (int) code;

	if (json_is_string(error))
		message = error;
	if (json_is_string(message))
		append(text, sizeof(text), &used, json_string_value(message),
			   json_string_length(message));

	/* "Validation failed" alone says little: the reasons name the field */
	if (outcome->http_status == 400)
	{
		const json_t *reasons = json_object_get(error, "reasons");

		for (size_t i = 0; i < json_array_size(reasons); i++)
		{
			const json_t *messages =
				json_object_get(json_array_get(reasons, i), "messages");

			for (size_t j = 0; j < json_array_size(messages); j++)
			{
				const json_t *detail = json_array_get(messages, j);

				if (!json_is_string(detail) || used == sizeof(text))
					continue;
				if (used > 0)
					append(text, sizeof(text), &used, "; ", 2);
				append(text, sizeof(text), &used, json_string_value(detail),
					   json_string_length(detail));
			}
		}
	}
	co_message_set(outcome->message, sizeof(outcome->message), text, used);
}

/*
 * Parse a body and look at its envelope.  Returns the data of a success, NULL
 * with outcome filled otherwise.  The caller ends with co_json_end() in any
 * case.
 */
const json_t *
co_json_open(int http_status, const char *body, size_t length,
			 CoDataShape shape, CoOutcome *outcome, const json_t **error)
{
	bool		good_status = http_status >= 200 && http_status <= 299;
	char		why[MESSAGE_BUFFER];
	const json_t *envelope;
	const json_t *data;
	const char *word;

	if (error != NULL)
		*error = NULL;
	outcome->fault = CO_FAULT_NONE;
	outcome->http_status = http_status;
	outcome->code = 0;
	outcome->message[0] = '\0';

	if (http_status >= 300 && http_status <= 399)
	{
		outcome->fault = CO_FAULT_REDIRECT;
		return NULL;
	}

	envelope = parse(body, length, why, sizeof(why));
	if (envelope == NULL)
	{
		if (allocation_failed)
			co_json_set_fault(outcome, CO_FAULT_LOCAL, "out of memory");
		else if (good_status)
			co_json_set_fault(outcome, CO_FAULT_MALFORMED, why);
		else
			outcome->fault = CO_FAULT_SERVICE;	/* HTML or nothing, by and by */
		return NULL;
	}

	if (shape == CO_DATA_FIRST && json_is_array(envelope))
		envelope = json_array_get(envelope, 0);
	opened = envelope;
	if (error != NULL)
		*error = json_object_get(envelope, "error");

	if (!good_status)
	{
		read_failure(envelope, outcome);
		return NULL;
	}
	if (!json_is_object(envelope))
	{
		co_json_set_fault(outcome, CO_FAULT_MALFORMED, "the answer is not a JSON object");
		return NULL;
	}

	word = json_string_value(json_object_get(envelope, "status"));
	if (word == NULL || !co_json_equal_words(word, "success"))
	{
		if ((word != NULL && co_json_equal_words(word, "failed")) ||
			json_is_object(json_object_get(envelope, "error")))
			read_failure(envelope, outcome);
		else
			co_json_set_fault(outcome, CO_FAULT_MALFORMED,
							  "the answer reports neither success nor failure");
		return NULL;
	}

	data = json_object_get(envelope, "data");
	if (shape == CO_DATA_FIRST && json_is_array(data))
		data = json_array_get(data, 0);
	if (shape == CO_DATA_LIST ? !json_is_array(data) : !json_is_object(data))
	{
		co_json_set_fault(outcome, CO_FAULT_MALFORMED, "the answer has no data");
		return NULL;
	}
	return data;
}

const json_t *
co_json_beside(const char *name)
{
	return json_object_get(opened, name);
}

const json_t *
co_json_open_raw(const char *raw)
{
	char		why[MESSAGE_BUFFER];

	return parse(raw, strlen(raw), why, sizeof(why));
}

size_t
co_json_fold_word(const json_t *json, char word[CO_WORD_MAX + 1])
{
	CoValue		value = co_json_value(json);

	return co_value_fold_word(&value, word);
}

CoTernary
co_json_ternary(const json_t *json)
{
	CoValue		value = co_json_value(json);

	return co_value_ternary(&value);
}

int64_t
co_json_time(const json_t *json)
{
	CoValue		value = co_json_value(json);

	return co_value_time(&value);
}

/*
 * Write data as compact JSON, zero-terminated, into a new block with room for
 * so many bytes more behind it.  *used is what the text has taken.  guess is
 * how long the text may be: as long as its source, unless reals take more
 * digits than they came with.
 */
char *
co_json_dump(const json_t *data, size_t guess, size_t more, size_t *used)
{
	/*
	 * Fifteen digits give every decimal of up to fifteen digits back as it
	 * was written: 0.1 with seventeen would be 0.10000000000000001.
	 */
	size_t		flags = JSON_COMPACT | JSON_REAL_PRECISION(15);

	for (;;)
	{
		char	   *block;
		size_t		length;

		if (guess > SIZE_MAX - more - 1 ||
			(block = malloc(guess + more + 1)) == NULL)
			return NULL;
		length = json_dumpb(data, block, guess, flags);
		if (length > 0 && length <= guess)
		{
			/*
			 * At the very end of a double's range fifteen digits may round to
			 * a number beyond it.
			 */
			if (flags != JSON_COMPACT && memmem(block, length, "e308", 4) != NULL)
				flags = JSON_COMPACT;
			else
			{
				block[length] = '\0';
				*used = length + 1;
				return block;
			}
		}
		free(block);
		if (length == 0)
			return NULL;		/* out of memory */
		if (length > guess)
			guess = length;
	}
}

bool
co_json_store(const json_t *data, size_t guess, char **raw)
{
	size_t		used;

	*raw = co_json_dump(data, guess, 0, &used);
	return *raw != NULL;
}

bool
co_json_same_address(const json_t *json, const char *email)
{
	CoValue		value = co_json_value(json);

	return co_value_is_address(&value, email);
}
