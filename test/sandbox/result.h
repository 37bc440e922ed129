/*-------------------------------------------------------------------------
 * result.h
 *		The result file of a list: the original columns, then Clearout's.
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_RESULT_H
#define SANDBOX_RESULT_H

#include "lists.h"

typedef enum RowFate
{
	ROW_PROCESSED,
	ROW_CANCELLED				/* not reached before the list was cancelled */
} RowFate;

/* Where the columns are that the rows need, -1 for none; false if that will not do. */
extern bool result_columns(ListKind kind, const Text *header, int columns[LIST_COLUMNS]);

/* The first line; reads the header of the upload. */
extern void result_begin(List *list);

/* One row, and what it costs. */
extern void result_row(List *list, const char *record, size_t len, RowFate fate);

/* What the file is called when it is downloaded. */
extern void result_name(const List *list, Text *name);

#endif							/* SANDBOX_RESULT_H */
