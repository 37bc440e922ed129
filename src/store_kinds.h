/*-------------------------------------------------------------------------
 * store_kinds.h
 *		How answers of one kind are written down, and merged later.
 *
 * For the store alone.  Everything in here throws; store.c and spill.c run it
 * in transactions of their own.
 *-------------------------------------------------------------------------
 */
#ifndef CO_STORE_KINDS_H
#define CO_STORE_KINDS_H

#include "store.h"
#include "transaction.h"

typedef enum CoWriting
{
	CO_WRITING_TRUSTING,		/* together; what was absent before its call is
								 * taken for new */
	CO_WRITING_LOOKING,			/* together; whether it is new is looked for */
	CO_WRITING_ALONE			/* what could not be written along with others */
} CoWriting;

typedef struct CoWriter
{
	/* Is the table there for us?  ERRCODE_OBJECT_IN_USE if it is locked. */
	void		(*require) (const CoCatalog *catalog);
	/* TRUSTING: a unique violation means that it takes LOOKING. */
	void		(*write) (CoCatalog *catalog, CoAnswer **answers, int count,
						  CoWriting writing);
	/* Put them aside; note says why, NULL: they are held up. */
	void		(*spill) (const CoCatalog *catalog, CoAnswer **answers, int count,
						  const char *note);
	/* Put one aside with as little as possible. */
	void		(*record) (const CoCatalog *catalog, const CoAnswer *answer,
						   const char *note);
} CoWriter;

extern const CoWriter co_results_writer;
extern const CoWriter co_lookups_writer;	/* clearout_people as well */

/* A row that was put aside, without the columns that say so. */
typedef struct CoSpilled
{
	int64		id;
	Datum		values[CO_PARAMETERS_MAX];
	char		nulls[CO_PARAMETERS_MAX];
} CoSpilled;

/*
 * A table of such rows.  The statements that read select its columns and then
 * the id, in the order of the keys; at most CO_SPILL_BATCH at a time, those
 * behind the id $1, or the one with it.
 */
#define CO_SPILL_BATCH 1000

typedef struct CoSpill
{
	const char *name;
	int			columns;
	const Oid  *types;
	CoStatement *read_rows;
	CoStatement *read_row;
	CoStatement *delete_row;
	CoStatement *refuse_row;	/* id, reason */
	CoStatement *look;			/* bool_or(error IS NULL); null: empty */
	void		(*require) (const CoCatalog *catalog);
	void		(*write) (CoCatalog *catalog, CoSpilled *rows, int count);

	/* set by spill.c */
	int64		after;			/* where the next look begins: what is held up
								 * must not hold up the others */
	bool		complained;
} CoSpill;

extern CoSpill co_results_spill;
extern CoSpill co_lookups_spill;

/* Move what lies there; see co_store_merge_spill(). */
extern void co_spill_merge(CoSpill *spill, int *moved, bool *left, bool *refused);

/* Time that may be spent on waiting for others' row locks. */
#define CO_ROW_LOCK_TIMEOUT	"20ms"
#define CO_ROW_LOCK_BUDGET	200000	/* microseconds */

#endif							/* CO_STORE_KINDS_H */
