/*-------------------------------------------------------------------------
 * csv.c
 *		Files that go to the service and come from it: their records.
 *
 * Pure.
 *-------------------------------------------------------------------------
 */
#include "csv.h"

#include <string.h>

#include "utf8.h"

/* ---------- records ---------- */

static size_t
line_end(const char *data, size_t length, size_t at)
{
	if (data[at] == '\r' && at + 1 < length && data[at + 1] == '\n')
		return at + 2;
	return at + 1;
}

/* The first line is broken: what follows it may be good. */
static CoCsvRecord
broken_line(const char *data, size_t length, bool last, size_t *text, size_t *whole)
{
	size_t		at = 0;

	while (at < length && data[at] != '\n' && data[at] != '\r')
		at++;
	*text = at;
	if (at < length)
		*whole = line_end(data, length, at);
	else if (last || length > CO_CSV_RECORD_MAX)
		*whole = length;
	else
		return CO_CSV_NOT_WHOLE;
	return CO_CSV_BROKEN;
}

CoCsvRecord
co_csv_record(const char *data, size_t length, bool last, char delimiter,
			  int fields, size_t *text, size_t *whole)
{
	bool		quoted = false;
	bool		breaks = false;
	int			count = 1;

	*text = *whole = 0;
	for (size_t at = 0; at < length; at++)
	{
		char		c = data[at];

		/* as COPY reads it: a quote begins or ends quoting wherever it is */
		if (c == '"')
			quoted = !quoted;
		else if (c == delimiter)
			count += quoted ? 0 : 1;
		else if (c == '\n' || c == '\r')
		{
			if (quoted)
			{
				breaks = true;
				if (at > CO_CSV_RECORD_MAX)
					break;
				continue;
			}
			/* a second half of the line end may be on its way */
			if (c == '\r' && at + 1 == length && !last)
				return CO_CSV_NOT_WHOLE;
			if (breaks && fields > 0 && count != fields)
				return broken_line(data, length, last, text, whole);
			*text = at;
			*whole = line_end(data, length, at);
			if (at > CO_CSV_RECORD_MAX)
				return CO_CSV_BROKEN;
			return at == 0 ? CO_CSV_BLANK : CO_CSV_RECORD;
		}
	}
	if (length > CO_CSV_RECORD_MAX)
		return broken_line(data, length, last, text, whole);
	if (!last)
		return CO_CSV_NOT_WHOLE;
	if (quoted || (breaks && fields > 0 && count != fields))
		return broken_line(data, length, last, text, whole);
	*text = *whole = length;
	return length == 0 ? CO_CSV_BLANK : CO_CSV_RECORD;
}

char
co_csv_delimiter(const char *header, size_t length)
{
	static const char candidates[] = ",;\t";
	size_t		count[3] = {0};
	bool		quoted = false;
	int			best = 0;

	for (size_t i = 0; i < length; i++)
	{
		if (header[i] == '"')
			quoted = !quoted;
		for (int j = 0; j < 3 && !quoted; j++)
			count[j] += header[i] == candidates[j];
	}
	for (int j = 1; j < 3; j++)
	{
		if (count[j] > count[best])
			best = j;
	}
	return candidates[best];
}

const char *
co_csv_foreign(const char *data, size_t length)
{
	if (length >= 4 && memcmp(data, "PK\003\004", 4) == 0)
		return "it is a spreadsheet or an archive, not CSV";
	if (length >= 2 && (memcmp(data, "\xFF\xFE", 2) == 0 || memcmp(data, "\xFE\xFF", 2) == 0))
		return "it is UTF-16, not UTF-8";
	if (length >= 2 && memcmp(data, "\x1F\x8B", 2) == 0)
		return "it is compressed, not CSV";
	return NULL;
}

size_t
co_csv_mark(const char *data, size_t length)
{
	return length >= 3 && memcmp(data, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
}

size_t
co_csv_mend(const char *text, size_t length, char *out)
{
	size_t		at = 0;
	size_t		used = 0;

	while (at < length)
	{
		size_t		sequence;
		uint64_t	eight;

		/* plain ASCII, eight at a time: no bit 7, and no zero byte */
		if (length - at >= 8)
		{
			memcpy(&eight, text + at, 8);
			if ((eight & UINT64_C(0x8080808080808080)) == 0 &&
				((eight - UINT64_C(0x0101010101010101)) & UINT64_C(0x8080808080808080)) == 0)
			{
				memcpy(out + used, &eight, 8);
				at += 8;
				used += 8;
				continue;
			}
		}
		sequence = co_utf8_length((const unsigned char *) text + at, length - at);
		if (sequence == 0 || text[at] == '\0')
		{
			memcpy(out + used, "\xEF\xBF\xBD", 3);
			used += 3;
			at++;
			continue;
		}
		memcpy(out + used, text + at, sequence);
		used += sequence;
		at += sequence;
	}
	return used;
}

/* ---------- writing ---------- */

/* A blank at either end would be lost on a reader that trims. */
static bool
needs_quotes(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
	{
		if (strchr("\",;\t\r\n", text[i]) != NULL)
			return true;
	}
	return length > 0 && (text[0] == ' ' || text[length - 1] == ' ');
}

size_t
co_csv_quoted_length(const char *text, size_t length)
{
	size_t		result = length + 2;

	if (!needs_quotes(text, length))
		return length;
	for (size_t i = 0; i < length; i++)
		result += text[i] == '"';
	return result;
}

size_t
co_csv_quote(const char *text, size_t length, char *out)
{
	size_t		used = 0;

	if (!needs_quotes(text, length))
	{
		memcpy(out, text, length);
		return length;
	}
	out[used++] = '"';
	for (size_t i = 0; i < length; i++)
	{
		if (text[i] == '"')
			out[used++] = '"';
		out[used++] = text[i];
	}
	out[used++] = '"';
	return used;
}
