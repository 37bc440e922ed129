/*-------------------------------------------------------------------------
 * handlers.h
 *		Functions of users that are called with stored answers.
 *-------------------------------------------------------------------------
 */
#ifndef CO_HANDLERS_H
#define CO_HANDLERS_H

#include "catalog.h"
#include "datatype/timestamp.h"

/* A row of clearout_handlers: a function, or a watched table. */
typedef struct CoHandler
{
	int64		id;
	char	   *schema_name;
	char	   *function_name;	/* NULL: this is a watch */
	bool		takes_array;	/* of answers, else one at a time */
	char	   *table_name;		/* of a watch */
	Oid			table;			/* of a watch; InvalidOid: by its name */
	char	   *owner_name;		/* of function or table when it was registered */
	char	   *role_name;		/* who registered it, and whom it runs as */
	int			failures;		/* calls in a row that failed */
	TimestampTz retry_at;		/* do nothing before; DT_NOBEGIN: no need */
	bool		called;			/* a call has begun, and its end is not known ... */
	int64		called_row;		/* ... with this row of the outbox; 0: several */
} CoHandler;

/* What it means in the catalogs as they are now. */
typedef struct CoHandlerCall
{
	Oid			role;
	Oid			function;
	Oid			element_type;	/* clearout_result */

	/* of a watch */
	bool		gone;			/* its table, a column or its trigger */
	Oid			table;
	AttrNumber	email_column;
	AttrNumber	status_column;
} CoHandlerCall;

/*
 * Find function and role, and check that the role still may do this; throws
 * where it may not.
 */
extern void co_handler_resolve(const CoCatalog *catalog, const CoHandler *handler,
							   CoHandlerCall *call);

/*
 * The part of it that concerns the role: it exists, may read answers, and can
 * stand in this row; and things of this owner may run as it.
 */
extern Oid	co_handler_role(const CoCatalog *catalog, const CoHandler *handler);

/* Has the thing still the owner that it had when it was registered? */
extern void co_handler_check_owner(const CoHandler *handler, Oid role, Oid owner,
								   const char *kind, const char *name);

/* May the current user tend what belongs to this role? */
extern bool co_handler_may_tend(const CoCatalog *catalog, const char *role_name);

/*
 * Statements of ours in a backend, out of reach of the caller's search_path;
 * between begin and end, SPI is connected.  An error ends the transaction,
 * which puts all back.
 */
extern int	co_begin_own(void);
extern void co_end_own(int level);

/* Remove a handler or watch, with its rows. */
extern void co_handler_drop(const CoCatalog *catalog, int64 id);

/* At commit, the reactor is to look at the outbox. */
extern void co_handlers_note(void);

/* clearout_resume(): handlers and rows that came by copy are this database's. */
extern void co_handlers_adopt(const CoCatalog *catalog);

/* COMMIT PREPARED has run: what it brought is not known here. */
extern void co_handlers_after_commit_prepared(void);

#endif							/* CO_HANDLERS_H */
