/*-------------------------------------------------------------------------
 * fuzz_plain_json.c
 *		Whatever is plain, jansson reads as well, and as the same.
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "must.h"
#include "plain_json.h"
#include "utf8.h"

extern int	LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check_same(const CoPlainNode *node, const json_t *value);

/* What a later member of the same key replaces: its parts are where they are said to be. */
static void
check_whole(const CoPlainNode *node)
{
	const CoPlainNode *part = node + 1;
	int			parts = node->kind == CO_PLAIN_OBJECT ? 2 * node->count :
		node->kind == CO_PLAIN_ARRAY ? node->count : 0;

	MUST(node->kind <= CO_PLAIN_NULL);
	for (int i = 0; i < parts; i++)
	{
		check_whole(part);
		part += part->next;
	}
	MUST(part == node + node->next);
}

static void
check_object(const CoPlainNode *node, const json_t *value)
{
	const CoPlainNode *name = node + 1;

	MUST(json_is_object(value));
	for (int i = 0; i < node->count; i++)
	{
		char	   *key = strndup(name->text, name->length);
		const CoPlainNode *member = co_plain_member(node, key);

		MUST(name->kind == CO_PLAIN_TEXT && member != NULL);
		/* of two of that key both have the last one */
		MUST(member >= name + 1);
		if (member == name + 1)
			check_same(member, json_object_get(value, key));
		else
			check_whole(name + 1);
		free(key);
		name += 1 + name[1].next;
	}
	MUST(name == node + node->next);
	MUST((int) json_object_size(value) <= node->count);
}

static void
check_same(const CoPlainNode *node, const json_t *value)
{
	char		number[CO_PLAIN_NUMBER + 1];
	const CoPlainNode *part = node + 1;

	MUST(value != NULL && node->next >= 1);
	switch (node->kind)
	{
		case CO_PLAIN_OBJECT:
			check_object(node, value);
			break;
		case CO_PLAIN_ARRAY:
			MUST(json_is_array(value) && (int) json_array_size(value) == node->count);
			for (int i = 0; i < node->count; i++)
			{
				check_same(part, json_array_get(value, i));
				part += part->next;
			}
			MUST(part == node + node->next);
			break;
		case CO_PLAIN_TEXT:
			MUST(json_is_string(value) && (int) json_string_length(value) == node->length);
			MUST(memcmp(json_string_value(value), node->text, node->length) == 0);
			break;
		case CO_PLAIN_INTEGER:
		case CO_PLAIN_REAL:
			MUST(node->length > 0 && node->length <= CO_PLAIN_NUMBER);
			memcpy(number, node->text, node->length);
			number[node->length] = '\0';
			if (node->kind == CO_PLAIN_INTEGER)
				MUST(json_is_integer(value) && json_integer_value(value) == strtoll(number, NULL, 10));
			else
				MUST(json_is_real(value) && json_real_value(value) == strtod(number, NULL));
			break;
		case CO_PLAIN_TRUE:
			MUST(json_is_true(value));
			break;
		case CO_PLAIN_FALSE:
			MUST(json_is_false(value));
			break;
		case CO_PLAIN_NULL:
			MUST(json_is_null(value));
			break;
	}
}

/* The caller's part of it. */
static bool
is_utf8(const uint8_t *bytes, size_t size)
{
	size_t		length;

	for (size_t i = 0; i < size; i += length)
	{
		length = co_utf8_length(bytes + i, size - i);
		if (length == 0)
			return false;
	}
	return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	CoPlainNode *node = malloc(CO_PLAIN_NODES * sizeof(CoPlainNode));
	json_t	   *value;
	json_error_t error;

	if (co_plain_read((const char *) bytes, size, node) && is_utf8(bytes, size))
	{
		value = json_loadb((const char *) bytes, size, JSON_DECODE_ANY, &error);
		/* jansson has no integers of more than 64 bits */
		MUST(value != NULL || json_error_code(&error) == json_error_numeric_overflow);
		if (value != NULL)
			check_same(node, value);
		json_decref(value);
	}
	free(node);
	return 0;
}
