/*-------------------------------------------------------------------------
 * bulk_import.h
 *		Result files into answers, a batch of rows at a time.
 *-------------------------------------------------------------------------
 */
#ifndef CO_BULK_IMPORT_H
#define CO_BULK_IMPORT_H

#include "lib/stringinfo.h"

#include "catalog.h"
#include "csv.h"
#include "row.h"
#include "transaction.h"

/* So many rows are stored at once: some 20 ms of work. */
#define CO_IMPORT_ROWS 2000

/* What the rows of the file become; see import_kinds.h. */
typedef struct CoImportKind CoImportKind;

extern const CoImportKind co_results_import;	/* rows of clearout_results */
extern const CoImportKind co_people_import; /* rows of clearout_people */

typedef struct CoImportRow
{
	char	   *key;			/* what was asked, in normal form */
	Datum		value[CO_WRITTEN_COLUMNS];	/* of the table's columns */
	bool		isnull[CO_WRITTEN_COLUMNS];
	TimestampTz time;			/* when the service has answered */
	bool		weak;			/* any other answer in the file is better */
	int			credits;		/* what it costs */
	bool		unasked;		/* it is none that the list has; not stored */
} CoImportRow;

typedef struct CoImport
{
	/* what all rows have in common */
	const CoImportKind *kind;
	const char *source;			/* column "source" */
	TimestampTz asked_at;		/* of a list: when it was uploaded; 0: never
								 * asked for by us */
	TimestampTz told_at;		/* time of rows that do not tell; 0: they are
								 * broken */
	int64		job;			/* the list that it is of; 0: of none */
	int			part;

	/* the file */
	MemoryContext context;		/* of all this */
	StringInfoData data;		/* bytes not yet read */
	int			at;				/* place in them */
	int64		offset;			/* place in the file */
	int64		skip;			/* read before: up to there rows are passed over */
	bool		header_read;
	char		delimiter;
	CoCsvMap	map;
	const char *unfit;			/* why the file cannot be read; NULL: it can */

	/* the batch */
	MemoryContext batch;
	StringInfoData text;		/* its records, valid and in the database's
								 * encoding, a line each */
	int			records;
	int		   *ends;			/* where in text each of them ends */
	bool	   *bad;			/* COPY did not like it */
	bool		one_by_one;		/* something in it makes COPY throw */
	CoImportRow *row;			/* its answers, in the order of their keys */
	int			count;
	int			broken;			/* rows of the batch that were not understood ... */
	int			unsplit;		/* ... of these, that are no record at all */
	int			undone;
	const char *why_broken;		/* the first of them, a constant; NULL: none */
	int			read;			/* all rows of the batch */
	int64		credits;		/* what its answers cost */
} CoImport;

extern CoImport *co_import_begin(const CoImportKind *kind, const char *source,
								 TimestampTz asked_at, TimestampTz told_at, int64 skip);
extern void co_import_end(CoImport *import);

/* More of the file has come. */
extern void co_import_feed(CoImport *import, const char *data, size_t length);

/*
 * Take the next records out of what has come: makes a batch of them.  False:
 * there are none, or (unfit is set) never will be.  last: nothing more comes.
 */
extern bool co_import_next(CoImport *import, bool last);

/* Where the file has been read to, the batch included. */
static inline int64
co_import_place(const CoImport *import)
{
	return import->offset + import->at;
}

/*
 * Make answers of the batch's records; within a transaction.  May throw where
 * COPY does: then run co_import_check() for each of them, in a transaction of
 * its own, mark as bad those that throw, and come back.
 */
extern void co_import_parse(CoCatalog *catalog, CoImport *import);
extern void co_import_check(CoCatalog *catalog, CoImport *import, int record);

/*
 * Store the answers from..to of the batch, with SPI connected, as store.c
 * does: never an older answer over a newer one, nor an unknown over a verdict.
 * Throws where a row is refused or locked.
 */
extern void co_import_store(CoCatalog *catalog, CoImport *import, int from, int to);

/* Or put them aside, into the spill of their table; note: why, or NULL. */
extern void co_import_spill(CoCatalog *catalog, CoImport *import, int from, int to,
							const char *note);

#endif							/* CO_BULK_IMPORT_H */
