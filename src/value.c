/*-------------------------------------------------------------------------
 * value.c
 *		A value of an answer, whoever has parsed the JSON that it comes from.
 *
 * Pure.
 *-------------------------------------------------------------------------
 */
#include "value.h"

#include <string.h>

#include "address.h"
#include "timestamp.h"

/* No time that the API writes comes near. */
#define TIME_MAX 100

/* Case-insensitive in ASCII, whatever the server's locale thinks of an i. */
static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
}

bool
co_value_is_word(const CoValue *value, const char *word)
{
	if (value->kind != CO_VALUE_TEXT)
		return false;
	for (size_t i = 0; i < value->length; i++)
	{
		if (word[i] == '\0' || lower(value->text[i]) != lower(word[i]))
			return false;
	}
	return word[value->length] == '\0';
}

bool
co_value_is_address(const CoValue *value, const char *email)
{
	char		theirs[CO_ADDRESS_MAX + 1];
	char		ours[CO_ADDRESS_MAX + 1];

	if (value->kind != CO_VALUE_TEXT)
		return false;
	if (co_value_is_word(value, email))
		return true;
	return co_address_normalize(value->text, value->length,
								theirs, sizeof(theirs)) == CO_ADDRESS_OK &&
		co_address_normalize(email, strlen(email),
							 ours, sizeof(ours)) == CO_ADDRESS_OK &&
		strcmp(theirs, ours) == 0;
}

bool
co_value_whole(const CoValue *value, int64_t max, int64_t *result)
{
	int64_t		number = 0;

	if (value->kind == CO_VALUE_INTEGER)
		number = value->number;
	else if (value->kind != CO_VALUE_TEXT || value->length == 0)
		return false;
	for (size_t i = 0; value->kind == CO_VALUE_TEXT && i < value->length; i++)
	{
		int			digit = value->text[i] - '0';

		if (digit < 0 || digit > 9 || number > (max - digit) / 10)
			return false;
		number = number * 10 + digit;
	}
	if (number < 0 || number > max)
		return false;
	*result = number;
	return true;
}

CoTernary
co_value_ternary(const CoValue *value)
{
	if (value->kind == CO_VALUE_TRUE || co_value_is_word(value, "yes"))
		return CO_TRUE;
	if (value->kind == CO_VALUE_FALSE || co_value_is_word(value, "no"))
		return CO_FALSE;
	return CO_NULL;
}

int64_t
co_value_time(const CoValue *value)
{
	char		text[TIME_MAX + 1];
	int64_t		time;

	if (value->kind != CO_VALUE_TEXT || value->length > TIME_MAX)
		return CO_NO_TIME;
	memcpy(text, value->text, value->length);
	text[value->length] = '\0';
	return co_timestamp_parse(text, &time) ? time : CO_NO_TIME;
}

size_t
co_value_fold_word(const CoValue *value, char word[CO_WORD_MAX + 1])
{
	size_t		length = 0;
	bool		gap = false;

	if (value->kind != CO_VALUE_TEXT)
		return 0;
	for (size_t i = 0; i < value->length; i++)
	{
		char		c = value->text[i];

		if (c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '-' || c == '_')
		{
			gap = length > 0;
			continue;
		}
		if (length + (gap ? 1 : 0) >= CO_WORD_MAX)
			return 0;
		if (gap)
			word[length++] = '_';
		gap = false;
		word[length++] = lower(c);
	}
	word[length] = '\0';
	return length;
}
