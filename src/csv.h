/*-------------------------------------------------------------------------
 * csv.h
 *		Files that go to the service and come from it: records, columns, words.
 *
 * Pure.  csv.c splits a file into records, so that a broken one fails alone;
 * csv_verify.c and csv_find.c find columns by the names in the header,
 * whatever their order, and read the file's words as those of an instant
 * answer.  The fields themselves are taken apart by PostgreSQL's COPY (see
 * bulk_import.c).
 *-------------------------------------------------------------------------
 */
#ifndef CO_CSV_H
#define CO_CSV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec.h"

/* A record that is longer is broken. */
#define CO_CSV_RECORD_MAX (64 * 1024)

/* What a record is. */
typedef enum CoCsvRecord
{
	CO_CSV_NOT_WHOLE,			/* there is more of it to come */
	CO_CSV_BLANK,				/* an empty line, or the end of the data */
	CO_CSV_RECORD,
	CO_CSV_BROKEN				/* quotes that do not end, or too long */
} CoCsvRecord;

/*
 * Look at the record at the beginning of data.  *text is the length without
 * the line end, *whole with it.  A quoted field may contain line breaks; but
 * where such a record has other than the expected number of fields (0: any
 * will do), a quote was left open, and it is its first line that is broken.
 * last: nothing comes behind data.
 */
extern CoCsvRecord co_csv_record(const char *data, size_t length, bool last,
								 char delimiter, int fields, size_t *text,
								 size_t *whole);

/* The delimiter of a file, from its header: comma, semicolon or tab. */
extern char co_csv_delimiter(const char *header, size_t length);

/* Is this the beginning of something that is no CSV?  A phrase, or NULL. */
extern const char *co_csv_foreign(const char *data, size_t length);

/* Length of a byte order mark at the beginning of a file. */
extern size_t co_csv_mark(const char *data, size_t length);

/*
 * Copy text and make it valid UTF-8 without NUL: what is not becomes U+FFFD.
 * There is room for three times as many bytes.  Returns the length.
 */
extern size_t co_csv_mend(const char *text, size_t length, char *out);

/* Where the columns of a file are. */
#define CO_CSV_COLUMNS_MAX 18

typedef struct CoCsvMap
{
	int			at[CO_CSV_COLUMNS_MAX]; /* number of the field; -1: not there */
	int			fields;			/* in the header */
} CoCsvMap;

#define CO_CSV_WORD_MAX 64

typedef enum CoCsvVerdict
{
	CO_CSV_ANSWER,
	CO_CSV_UNDONE,				/* the list was cancelled before this row */
	CO_CSV_FEW_FIELDS,
	CO_CSV_NO_ADDRESS,
	CO_CSV_NO_STATUS,
	CO_CSV_ODD_STATUS,
	CO_CSV_NO_NAME
} CoCsvVerdict;

/* What is wrong with such a row, as a phrase without any of its content. */
extern const char *co_csv_verdict_text(CoCsvVerdict verdict);

/* ---------- of the verifier ---------- */

typedef enum CoCsvColumn
{
	CO_CSV_EMAIL,
	CO_CSV_SAFE_TO_SEND,
	CO_CSV_STATUS,
	CO_CSV_SUB_STATUS,
	CO_CSV_REASON,
	CO_CSV_SUGGESTED_EMAIL,
	CO_CSV_BOUNCE_TYPE,
	CO_CSV_DISPOSABLE,
	CO_CSV_FREE,
	CO_CSV_ROLE,
	CO_CSV_GIBBERISH,
	CO_CSV_ACCOUNT,
	CO_CSV_DOMAIN,
	CO_CSV_MX_RECORD,
	CO_CSV_SMTP_PROVIDER,
	CO_CSV_AI_VERDICT,
	CO_CSV_VERIFIED_AT,
	CO_CSV_TIME_TAKEN,
	CO_CSV_COLUMNS
} CoCsvColumn;

/* Find the columns in a header.  A phrase on what is missing, or NULL. */
extern const char *co_csv_map(char *const *header, int count, CoCsvMap *map);

/*
 * A row as an answer.  Texts are those of the fields, NULL where there is
 * none; words are folded as in an instant answer, "" where there is none.
 */
typedef struct CoCsvAnswer
{
	const char *email;			/* NULL: account and domain have to do */
	char		status[CO_CSV_WORD_MAX + 1];
	char		safe_to_send[CO_CSV_WORD_MAX + 1];
	char		bounce_type[CO_CSV_WORD_MAX + 1];
	int			sub_status;		/* -1: none */
	const char *reason;
	CoTernary	disposable;
	CoTernary	free;
	CoTernary	role;
	CoTernary	gibberish;
	const char *suggested_email;
	const char *account;
	const char *domain;
	const char *mx_record;
	const char *smtp_provider;
	const char *ai_verdict;
	int64_t		verified_on;	/* microseconds since 1970 UTC, or CO_NO_TIME */
	int64_t		time_taken;		/* milliseconds, or -1 */
} CoCsvAnswer;

extern CoCsvVerdict co_csv_answer(const CoCsvMap *map, char *const *fields,
								  int count, CoCsvAnswer *answer);

/* ---------- of the finder ---------- */

/* The columns of an upload; CSV, with its line end. */
#define CO_CSV_FIND_HEADER "First Name,Last Name,Company,Domain\n"

/*
 * What of a name in normal form is the first name: so many bytes of it.  A
 * blank and the last name follow, or nothing.
 */
extern size_t co_csv_first_name(const char *name);

typedef enum CoCsvFindColumn
{
	CO_CSV_ASKED_FIRST,			/* those of the upload */
	CO_CSV_ASKED_LAST,
	CO_CSV_ASKED_COMPANY,
	CO_CSV_ASKED_DOMAIN,
	CO_CSV_FOUND_FULL_NAME,		/* and those of the service */
	CO_CSV_FOUND_FIRST_NAME,
	CO_CSV_FOUND_LAST_NAME,
	CO_CSV_FOUND_DOMAIN,
	CO_CSV_FOUND_COMPANY,
	CO_CSV_FOUND_EMAIL,
	CO_CSV_FOUND_CONFIDENCE,
	CO_CSV_FOUND_BUSINESS,
	CO_CSV_FOUND_STATUS,
	CO_CSV_FOUND_REASON,
	CO_CSV_FOUND_AT,
	CO_CSV_FIND_COLUMNS
} CoCsvFindColumn;

/* As co_csv_map(). */
extern const char *co_csv_find_map(char *const *header, int count, CoCsvMap *map);

/* A row as an answer; pointers are to fields, NULL where there is none. */
typedef struct CoCsvPerson
{
	/* what was asked, as it was uploaded */
	const char *asked_first;
	const char *asked_last;
	const char *asked_company;
	const char *asked_domain;

	bool		found;
	const char *email;			/* never NULL if found */
	CoTernary	business;
	const char *first_name;
	const char *last_name;
	const char *full_name;
	const char *domain;
	const char *company;
	int			confidence_score;	/* -1: none */
	int64_t		found_on;		/* microseconds since 1970 UTC, or CO_NO_TIME */
} CoCsvPerson;

extern CoCsvVerdict co_csv_person(const CoCsvMap *map, char *const *fields,
								  int count, CoCsvPerson *person);

/* ---------- writing ---------- */

/* How many bytes a field takes in a file, and the field itself. */
extern size_t co_csv_quoted_length(const char *text, size_t length);
extern size_t co_csv_quote(const char *text, size_t length, char *out);

#endif							/* CO_CSV_H */
