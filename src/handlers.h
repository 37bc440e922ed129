/*-------------------------------------------------------------------------
 * handlers.h
 *		Functions of users that are called with stored answers.
 *-------------------------------------------------------------------------
 */
#ifndef CO_HANDLERS_H
#define CO_HANDLERS_H

#include "catalog.h"
#include "datatype/timestamp.h"

/* A row of clearout_handlers. */
typedef struct CoHandler
{
	int64		id;
	char	   *schema_name;
	char	   *function_name;
	bool		takes_array;	/* of answers, else one at a time */
	char	   *function_owner; /* when it was registered */
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
} CoHandlerCall;

/*
 * Find function and role, and check that the role still may do this; throws
 * where it may not.
 */
extern void co_handler_resolve(const CoCatalog *catalog, const CoHandler *handler,
							   CoHandlerCall *call);

/* clearout_resume(): handlers and rows that came by copy are this database's. */
extern void co_handlers_adopt(const CoCatalog *catalog);

/* COMMIT PREPARED has run: what it brought is not known here. */
extern void co_handlers_after_commit_prepared(void);

#endif							/* CO_HANDLERS_H */
