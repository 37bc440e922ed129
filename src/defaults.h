/*-------------------------------------------------------------------------
 * defaults.h
 *		The defaults of a table's columns.
 *-------------------------------------------------------------------------
 */
#ifndef CO_DEFAULTS_H
#define CO_DEFAULTS_H

#include "postgres.h"

#include "nodes/primnodes.h"
#include "utils/relcache.h"

/*
 * By column, counted from 0: what a new row gets where nothing is said; NULL:
 * null.  A copy of the caller's, in the current context.  The table must be
 * locked for writing.
 */
extern Expr **co_defaults(Relation table);

#endif							/* CO_DEFAULTS_H */
