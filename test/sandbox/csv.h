/*-------------------------------------------------------------------------
 * csv.h
 *		CSV as the service takes and gives it: comma, double quotes, records
 *		that may contain line breaks within quotes.
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_CSV_H
#define SANDBOX_CSV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text.h"

/* Counts records in a file that comes in pieces, and keeps the first. */
typedef struct CsvCounter
{
	Text		header;
	int64_t		rows;			/* beside the header; blank lines do not count */
	bool		in_quotes;
	bool		in_header;
	bool		blank;			/* nothing but blanks in this record so far */
} CsvCounter;

extern void csv_count_begin(CsvCounter *counter);
extern void csv_count(CsvCounter *counter, const char *data, size_t len);
extern void csv_count_end(CsvCounter *counter);

/* Reads a file record by record, with memory for the longest record. */
typedef struct CsvReader
{
	int			fd;
	int64_t		offset;			/* of what is read next from the file */
	char	   *buffer;
	size_t		size;
	size_t		begin;			/* of what is not given out yet */
	size_t		end;
	bool		eof;
} CsvReader;

extern void csv_open(CsvReader *reader, int fd);
extern void csv_close(CsvReader *reader);	/* leaves the descriptor open */

/* The next record, without its line end; blank lines are left out. */
extern bool csv_next(CsvReader *reader, const char **record, size_t *len);

/* The n-th field (from 0) as it is meant, without its quotes. */
extern bool csv_field(const char *record, size_t len, int which, Text *value);

/* A field, quoted where that is needed. */
extern void csv_add(Text *out, const char *value);

#endif							/* SANDBOX_CSV_H */
