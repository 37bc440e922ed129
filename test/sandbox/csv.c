/*-------------------------------------------------------------------------
 * csv.c
 *		CSV as the service takes and gives it.
 *
 * A record ends at a line end outside of quotes.  As a quote within quotes is
 * doubled, it is enough to count quotes.
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "csv.h"

#define HEADER_MAX 65536
#define BUFFER_SIZE 65536
#define RECORD_MAX (16 << 20)	/* a longer one is cut into pieces */

static bool
is_blank(const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (data[i] != ' ' && data[i] != '\t' && data[i] != '\r')
			return false;
	return true;
}

/* --- counting --- */

void
csv_count_begin(CsvCounter *counter)
{
	memset(counter, 0, sizeof(*counter));
	counter->in_header = true;
	counter->blank = true;
}

static void
record_ends(CsvCounter *counter)
{
	if (!counter->blank)
	{
		if (counter->in_header)
			counter->in_header = false;
		else
			counter->rows++;
	}
	else if (counter->in_header)
		text_clear(&counter->header);
	counter->blank = true;
}

void
csv_count(CsvCounter *counter, const char *data, size_t len)
{
	const char *end = data + len;

	while (data < end)
	{
		const char *stop = memchr(data, '\n', (size_t) (end - data));
		const char *piece_end = stop ? stop : end;
		const char *quote = data;

		while ((quote = memchr(quote, '"', (size_t) (piece_end - quote))) != NULL)
		{
			counter->in_quotes = !counter->in_quotes;
			quote++;
		}
		if (counter->blank && !is_blank(data, (size_t) (piece_end - data)))
			counter->blank = false;
		if (counter->in_header && counter->header.len < HEADER_MAX)
			text_add(&counter->header, data, (size_t) (piece_end - data));
		if (stop == NULL)
			return;
		if (!counter->in_quotes)
			record_ends(counter);
		else if (counter->in_header)
			text_add(&counter->header, "\n", 1);
		data = stop + 1;
	}
}

void
csv_count_end(CsvCounter *counter)
{
	record_ends(counter);
}

/* --- reading --- */

void
csv_open(CsvReader *reader, int fd)
{
	memset(reader, 0, sizeof(*reader));
	reader->fd = fd;
	reader->size = BUFFER_SIZE;
	reader->buffer = need(reader->size);
}

void
csv_close(CsvReader *reader)
{
	free(reader->buffer);
	memset(reader, 0, sizeof(*reader));
}

/* The line end of the record that begins at p, or NULL. */
static char *
record_end(char *p, const char *end)
{
	bool		in_quotes = false;

	while (p < end)
	{
		char	   *stop = memchr(p, '\n', (size_t) (end - p));
		const char *piece_end = stop ? stop : end;
		const char *quote = p;

		while ((quote = memchr(quote, '"', (size_t) (piece_end - quote))) != NULL)
		{
			in_quotes = !in_quotes;
			quote++;
		}
		if (stop == NULL || !in_quotes)
			return stop;
		p = stop + 1;
	}
	return NULL;
}

static void
fill(CsvReader *reader)
{
	ssize_t		got;

	memmove(reader->buffer, reader->buffer + reader->begin, reader->end - reader->begin);
	reader->end -= reader->begin;
	reader->begin = 0;
	if (reader->end == reader->size)
	{
		reader->size *= 2;
		reader->buffer = need_more(reader->buffer, reader->size);
	}
	do
		got = pread(reader->fd, reader->buffer + reader->end, reader->size - reader->end,
					reader->offset);
	while (got < 0 && errno == EINTR);
	if (got <= 0)
		reader->eof = true;
	else
	{
		reader->offset += got;
		reader->end += (size_t) got;
	}
}

bool
csv_next(CsvReader *reader, const char **record, size_t *len)
{
	for (;;)
	{
		char	   *begin = reader->buffer + reader->begin;
		char	   *stop = record_end(begin, reader->buffer + reader->end);
		size_t		rest = reader->end - reader->begin;

		if (stop == NULL && !reader->eof && rest < RECORD_MAX)
		{
			fill(reader);
			continue;
		}
		if (stop == NULL && rest == 0)
			return false;
		*record = begin;
		*len = stop ? (size_t) (stop - begin) : rest;
		reader->begin += stop ? *len + 1 : rest;
		if (*len > 0 && begin[*len - 1] == '\r')
			--*len;
		if (!is_blank(begin, *len))
			return true;
	}
}

bool
csv_field(const char *record, size_t len, int which, Text *value)
{
	const char *p = record;
	const char *end = record + len;

	for (;; which--)
	{
		text_clear(value);
		text_add(value, "", 0);
		if (p < end && *p == '"')
		{
			for (p++; p < end; p++)
			{
				const char *stop = memchr(p, '"', (size_t) (end - p));

				if (stop == NULL)
					stop = end;
				if (which == 0)
					text_add(value, p, (size_t) (stop - p));
				p = stop;
				if (p + 1 >= end || p[1] != '"')
				{
					p++;
					break;
				}
				if (which == 0)
					text_add(value, "\"", 1);
				p++;
			}
		}
		else
		{
			const char *stop = memchr(p, ',', (size_t) (end - p));

			if (stop == NULL)
				stop = end;
			if (which == 0)
				text_add(value, p, (size_t) (stop - p));
			p = stop;
		}
		if (which == 0)
			return true;
		p = p < end ? memchr(p, ',', (size_t) (end - p)) : NULL;
		if (p == NULL)
			return false;
		p++;
	}
}

/* --- writing --- */

void
csv_add(Text *out, const char *value)
{
	size_t		len = strcspn(value, ",\"\r\n");

	if (value[len] == '\0' && *value != ' ')
	{
		text_add(out, value, len);
		return;
	}
	text_add(out, "\"", 1);
	for (const char *p = value; *p; p += len)
	{
		len = strcspn(p, "\"");
		text_add(out, p, len);
		if (p[len] == '"')
		{
			text_add(out, "\"\"", 2);
			len++;
		}
	}
	text_add(out, "\"", 1);
}
