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

/*
 * From the function that is being called.  The library may be newer than the
 * extension in this database: what is stored is read all the same, so that a
 * table that is missing stays InvalidOid, except clearout_results.
 */
extern void co_catalog_of_function(FunctionCallInfo fcinfo, CoCatalog *catalog);

/* The OID at this place of the catalog; errors out if the table is missing. */
extern Oid	co_catalog_need(const CoCatalog *catalog, const Oid *place);

/* Schema of the extension, from pg_extension; InvalidOid if not installed. */
extern Oid	co_catalog_schema(void);

/* Likewise with the tables; errors out if one of these is missing. */
extern bool co_catalog_of_extension(CoCatalog *catalog);

/*
 * Which table does the extension not have yet?  NULL if it has all, or is not
 * installed.  In a transaction.  The name is a constant.
 */
extern const char *co_catalog_missing(void);

#endif							/* CO_CATALOG_H */
