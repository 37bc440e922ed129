/*-------------------------------------------------------------------------
 * import_kinds.h
 *		What the rows of a result file become.
 *
 * For bulk_import.c and the kinds alone.
 *-------------------------------------------------------------------------
 */
#ifndef CO_IMPORT_KINDS_H
#define CO_IMPORT_KINDS_H

#include "utils/queryenvironment.h"

#include "bulk_import.h"

/* What became of a row of the file. */
typedef enum CoRowFate
{
	CO_ROW_ANSWER,
	CO_ROW_UNDONE,				/* its list was cancelled before it */
	CO_ROW_BROKEN
} CoRowFate;

struct CoImportKind
{
	/* of the table, as far as an answer fills them; the first are its key */
	int			columns;
	const char *const *names;
	const Oid  *types;
	int			key_columns;

	/* Where are the columns of the file?  A phrase on what is missing, or NULL. */
	const char *(*map) (char *const *header, int count, CoCsvMap *map);

	/* Make a row of a record's fields; *why: a constant on what is broken. */
	CoRowFate	(*fill) (const CoImport *import, char **fields, int count,
						 TimestampTz now, CoImportRow *row, const char **why);

	/* See co_import_store() and co_import_spill(). */
	void		(*store) (CoCatalog *catalog, CoImport *import, int from, int to);
	void		(*spill) (CoCatalog *catalog, CoImport *import, int from, int to,
						  const char *note);
};

/* ---------- for the kinds ---------- */

/* NULL for what there is not: "", CO_NULL, 0. */
extern void co_import_set_text(CoImportRow *row, int column, const char *text);
extern void co_import_set_ternary(CoImportRow *row, int column, CoTernary ternary);
extern void co_import_set_time(CoImportRow *row, int column, TimestampTz time);

/*
 * When the service has answered, by its word or else by that of whoever
 * imports; never in the future of our clock.  0: nobody tells.
 */
extern TimestampTz co_import_time(const CoImport *import, int64 told, TimestampTz now);

/*
 * Insert those of the rows from..to whose key is not in the table.  Returns how
 * many are left to the kind's statements, and which, in others (there is room
 * for all); in a table that is not as the extension has made it, all of them.
 */
extern int	co_import_insert_new(Oid table, CoImport *import, int from, int to,
								 CoImportRow **others);

/* Let statements see these rows, or those from..to, under this name. */
#define CO_IMPORT_ROWS_NAME "clearout_import_rows"

extern EphemeralNamedRelation co_import_show(const CoImport *import,
											 CoImportRow *const *rows, int count);
extern EphemeralNamedRelation co_import_show_rows(CoImport *import, int from, int to);
extern void co_import_hide_rows(EphemeralNamedRelation relation);

#endif							/* CO_IMPORT_KINDS_H */
