/*-------------------------------------------------------------------------
 * csv_field.h
 *		Columns of result files, and the words and numbers in their fields.
 *
 * Pure.  For csv_verify.c and csv_find.c.
 *
 * The order of the columns is documented, but not promised, and users have
 * columns of their own around them; so names decide, compared by their
 * letters and digits alone: "Clearout Verified At (UTC)" and
 * "clearout_verified_at" are one.
 *-------------------------------------------------------------------------
 */
#ifndef CO_CSV_FIELD_H
#define CO_CSV_FIELD_H

#include "csv.h"

typedef struct CoCsvName
{
	const char *name;			/* letters and digits */
	int			column;
	/*
	 * A column of the upload: of several, the first, as a user may have
	 * uploaded an old result.  But the service appends its own: of those the
	 * last is the new one.
	 */
	bool		ours;
} CoCsvName;

extern void co_csv_find_columns(char *const *header, int count, const CoCsvName *names,
								int name_count, CoCsvMap *map);

/* The field in this column; NULL: there is none, or it is blank. */
extern const char *co_csv_field(const CoCsvMap *map, char *const *fields, int count,
								int column);

/*
 * Fold a word as the codec folds those of an instant answer: lower case, its
 * parts joined by underscores.  "" if there is none, or it is too long.
 */
extern void co_csv_fold_word(const char *text, char word[CO_CSV_WORD_MAX + 1]);

extern CoTernary co_csv_ternary(const char *text);

/* A whole number up to max, or -1. */
extern int64_t co_csv_whole(const char *text, int64_t max);

/*
 * A time in a column whose name says UTC.  Besides the spellings of the JSON
 * answers: with that word behind, without seconds, a day alone.
 */
extern int64_t co_csv_utc_time(const char *text);

/* Is this the reason of a row that its cancelled list has not come to? */
extern bool co_csv_is_cancelled(const char *reason);

#endif							/* CO_CSV_FIELD_H */
