/*-------------------------------------------------------------------------
 * csv_field.c
 *		Columns of result files, and the words and numbers in their fields.
 *
 * Pure.
 *-------------------------------------------------------------------------
 */
#include "csv_field.h"

#include <string.h>

#include "timestamp.h"

#define NAME_MAX_LENGTH 64

/* ---------- columns ---------- */

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
}

static bool
is_alphanumeric(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Letters and digits of a header's name; "" if it is longer than any known. */
static void
fold_name(const char *text, char name[NAME_MAX_LENGTH + 1])
{
	size_t		length = 0;

	for (; *text != '\0'; text++)
	{
		char		c = lower(*text);

		if ((unsigned char) c >= 0x80 && co_csv_mark(text, strlen(text)) == 0)
		{
			/* another alphabet: none of ours */
			length = 0;
			break;
		}
		if (!is_alphanumeric(c))
			continue;
		if (length == NAME_MAX_LENGTH)
		{
			length = 0;
			break;
		}
		name[length++] = c;
	}
	name[length] = '\0';
}

void
co_csv_find_columns(char *const *header, int count, const CoCsvName *names,
					int name_count, CoCsvMap *map)
{
	map->fields = count;
	for (int i = 0; i < CO_CSV_COLUMNS_MAX; i++)
		map->at[i] = -1;
	for (int i = 0; i < count; i++)
	{
		char		name[NAME_MAX_LENGTH + 1];
		const char *text = header[i];

		if (text == NULL)
			continue;
		fold_name(text + co_csv_mark(text, strlen(text)), name);
		for (int j = 0; j < name_count; j++)
		{
			if (strcmp(name, names[j].name) == 0)
			{
				if (map->at[names[j].column] < 0 || !names[j].ours)
					map->at[names[j].column] = i;
				break;
			}
		}
	}
}

/* ---------- fields ---------- */

const char *
co_csv_field(const CoCsvMap *map, char *const *fields, int count, int column)
{
	int			at = map->at[column];
	const char *text = at >= 0 && at < count ? fields[at] : NULL;

	return text != NULL && text[strspn(text, " \t\r\n")] != '\0' ? text : NULL;
}

void
co_csv_fold_word(const char *text, char word[CO_CSV_WORD_MAX + 1])
{
	size_t		length = 0;
	bool		gap = false;

	word[0] = '\0';
	if (text == NULL)
		return;
	for (; *text != '\0'; text++)
	{
		if (strchr(" \t\r\n-_", *text) != NULL)
		{
			gap = length > 0;
			continue;
		}
		if (length + (gap ? 1 : 0) >= CO_CSV_WORD_MAX)
		{
			word[0] = '\0';
			return;
		}
		if (gap)
			word[length++] = '_';
		gap = false;
		word[length++] = lower(*text);
	}
	word[length] = '\0';
}

CoTernary
co_csv_ternary(const char *text)
{
	char		word[CO_CSV_WORD_MAX + 1];

	co_csv_fold_word(text, word);
	if (strcmp(word, "yes") == 0 || strcmp(word, "true") == 0)
		return CO_TRUE;
	if (strcmp(word, "no") == 0 || strcmp(word, "false") == 0)
		return CO_FALSE;
	return CO_NULL;
}

int64_t
co_csv_whole(const char *text, int64_t max)
{
	int64_t		value = 0;
	bool		any = false;

	if (text == NULL)
		return -1;
	while (*text == ' ')
		text++;
	for (; *text >= '0' && *text <= '9'; text++)
	{
		if (value > (max - (*text - '0')) / 10)
			return -1;
		value = value * 10 + (*text - '0');
		any = true;
	}
	while (*text == ' ')
		text++;
	return any && *text == '\0' ? value : -1;
}

int64_t
co_csv_utc_time(const char *text)
{
	char		copy[64];
	size_t		length;
	int64_t		result;

	if (text == NULL)
		return CO_NO_TIME;
	while (*text == ' ')
		text++;
	length = strlen(text);
	while (length > 0 && text[length - 1] == ' ')
		length--;
	if (length >= sizeof(copy) - sizeof(" 00:00:00"))
		return CO_NO_TIME;
	memcpy(copy, text, length);
	copy[length] = '\0';
	if (length > 4 && (strcmp(copy + length - 4, " UTC") == 0 || strcmp(copy + length - 4, " GMT") == 0))
		copy[length -= 4] = '\0';
	if (length == 10)
		strcat(copy, " 00:00:00");
	else if (length == 16 && copy[13] == ':')
		strcat(copy, ":00");
	return co_timestamp_parse(copy, &result) ? result : CO_NO_TIME;
}

bool
co_csv_is_cancelled(const char *reason)
{
	char		word[CO_CSV_WORD_MAX + 1];

	co_csv_fold_word(reason, word);
	return strcmp(word, "request_cancelled") == 0 || strcmp(word, "request_canceled") == 0;
}

const char *
co_csv_verdict_text(CoCsvVerdict verdict)
{
	switch (verdict)
	{
		case CO_CSV_ANSWER:
			break;
		case CO_CSV_UNDONE:
			return "not verified, the list was cancelled";
		case CO_CSV_FEW_FIELDS:
			return "too few fields";
		case CO_CSV_NO_ADDRESS:
			return "no address";
		case CO_CSV_NO_STATUS:
			return "no status";
		case CO_CSV_ODD_STATUS:
			return "a status that is not understood";
		case CO_CSV_NO_NAME:
			return "no name, or no domain or company";
	}
	return "answered";
}
