/*-------------------------------------------------------------------------
 * insert.h
 *		Insert new rows into a table of ours, without a statement for each.
 *-------------------------------------------------------------------------
 */
#ifndef CO_INSERT_H
#define CO_INSERT_H

#include "postgres.h"

typedef struct CoInserter CoInserter;

/*
 * Ready to insert rows whose first columns are of these types; the others get
 * their defaults, and so do those whose type is InvalidOid here.  The caller
 * has locked the table.  NULL if INSERT would do more than we do (triggers that
 * may fire, rules, row security, generated columns, ...), so that it takes an
 * INSERT.
 */
extern CoInserter *co_insert_begin(Oid table, const Oid *types, int count);

/*
 * Add a row; it is written along with others, at co_insert_write() at the
 * latest.  False: a unique index has such a row already, and nothing was done.
 * known: the caller has looked, and found none; then nobody looks again.
 *
 * Nothing else may be written to the table while rows wait for that, and no
 * two of them may have the same key.  Somebody may come between the look into
 * the index and the insert; then this throws a unique violation, and the
 * caller has to do something else.  Throws what INSERT throws.
 */
extern bool co_insert_add(CoInserter *inserter, const Datum *values, const char *nulls,
						  bool known);
extern void co_insert_write(CoInserter *inserter);

/* The same for many rows at a time: is_new says of each whether it was one. */
extern void co_insert_new_rows(CoInserter *inserter, Datum *const *values,
							   bool *const *isnull, int count, bool *is_new);

extern void co_insert_end(CoInserter *inserter);

#endif							/* CO_INSERT_H */
