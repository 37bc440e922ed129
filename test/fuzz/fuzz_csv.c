/*-------------------------------------------------------------------------
 * fuzz_csv.c
 *		Any file falls into records, each byte in one, whatever the pieces it
 *		comes in; and any record makes an answer or says why it does not.
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "csv.h"
#include "utf8.h"

extern int	LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

#define FIELDS_MAX 40

/* Take a record apart, roughly: only to have fields. */
static int
fields_of(char *text, char **fields)
{
	int			count = 0;

	fields[count++] = text;
	for (; *text != '\0' && count < FIELDS_MAX; text++)
	{
		if (*text == ',')
		{
			*text = '\0';
			fields[count++] = text + 1;
		}
	}
	return count;
}

static void
check_word(const char *word)
{
	if (memchr(word, '\0', CO_CSV_WORD_MAX + 1) == NULL)
		abort();
	for (; *word != '\0'; word++)
	{
		if (*word >= 'A' && *word <= 'Z')
			abort();
	}
}

/* Of a name, nothing is lost between its two parts. */
static void
check_first_name(const char *name)
{
	size_t		first = co_csv_first_name(name);

	if (first > strlen(name) || (name[first] != '\0' && name[first] != ' '))
		abort();
}

static void
check_person(const CoCsvMap *map, char *const *fields, int count)
{
	CoCsvPerson person;
	CoCsvVerdict verdict = co_csv_person(map, fields, count, &person);

	if (co_csv_verdict_text(verdict) == NULL)
		abort();
	if (verdict != CO_CSV_ANSWER)
		return;
	if ((person.asked_first == NULL && person.asked_last == NULL) ||
		(person.asked_domain == NULL && person.asked_company == NULL) ||
		(person.found && person.email == NULL))
		abort();
	if (person.asked_first != NULL)
		check_first_name(person.asked_first);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	size_t		piece;
	size_t		from = 0;
	size_t		have;
	int			expected;
	CoCsvMap	map;
	CoCsvMap	find_map;
	bool		mapped = false;
	bool		find_mapped = false;

	if (size < 2)
		return 0;
	piece = bytes[0] + 1;
	expected = bytes[1] % 20;
	bytes += 2;
	size -= 2;
	have = piece < size ? piece : size;

	while (from < size)
	{
		size_t		text;
		size_t		whole;
		bool		last = have == size;
		char	   *copy = malloc(have - from);
		CoCsvRecord record;

		memcpy(copy, bytes + from, have - from);
		record = co_csv_record(copy, have - from, last, ',', expected, &text, &whole);
		if (record == CO_CSV_NOT_WHOLE)
		{
			free(copy);
			if (last)
				abort();
			have = have + piece < size ? have + piece : size;
			continue;
		}
		if (whole == 0 || whole > have - from || text > whole || whole - text > 2)
			abort();
		if (record == CO_CSV_RECORD)
		{
			char	   *mended = malloc(3 * text + 1);
			size_t		length = co_csv_mend(copy, text, mended);
			char	   *fields[FIELDS_MAX];
			int			count;
			CoCsvAnswer answer;

			for (size_t i = 0; i < length;)
			{
				size_t		sequence = co_utf8_length((unsigned char *) mended + i, length - i);

				if (sequence == 0 || mended[i] == '\0')
					abort();
				i += sequence;
			}
			mended[length] = '\0';
			count = fields_of(mended, fields);
			if (!mapped)
				mapped = co_csv_map(fields, count, &map) == NULL;
			else
			{
				CoCsvVerdict verdict = co_csv_answer(&map, fields, count, &answer);

				if (co_csv_verdict_text(verdict) == NULL)
					abort();
				if (verdict == CO_CSV_ANSWER)
				{
					check_word(answer.status);
					check_word(answer.safe_to_send);
					check_word(answer.bounce_type);
					if (answer.status[0] == '\0')
						abort();
				}
			}
			if (!find_mapped)
				find_mapped = co_csv_find_map(fields, count, &find_map) == NULL;
			else
				check_person(&find_map, fields, count);
			free(mended);
		}
		free(copy);
		from += whole;
	}
	return 0;
}
