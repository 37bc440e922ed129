/*-------------------------------------------------------------------------
 * catalog.h
 *		Where the extension's objects are.
 *
 * Never through search_path: a function knows its own namespace, and a worker
 * looks the extension up in its catalog row.  What was found
 * is kept until any relation's entry changes, since ALTER EXTENSION ... SET
 * SCHEMA may come in between.
 *-------------------------------------------------------------------------
 */
#ifndef CO_CATALOG_H
#define CO_CATALOG_H

#include "fmgr.h"

typedef struct CoCatalog
{
	Oid			schema;
	Oid			results;
	Oid			spill;
	Oid			queue;
	Oid			control;
	Oid			pauses;
	Oid			handlers;
	Oid			outbox;
	Oid			people;
	Oid			lookups;
	Oid			lookup_spill;
	Oid			budgets;
	Oid			usage;
	Oid			jobs;			/* and with it clearout_parts, clearout_spool */
	Oid			forgotten;
} CoCatalog;

/* From the function that is being called.  Errors out if a table is missing. */
extern void co_catalog_of_function(FunctionCallInfo fcinfo, CoCatalog *catalog);

/* Schema of the extension, from pg_extension; InvalidOid if not installed. */
extern Oid	co_catalog_schema(void);

/* Likewise with the tables; errors out if one of these is missing. */
extern bool co_catalog_of_extension(CoCatalog *catalog);

#endif							/* CO_CATALOG_H */
