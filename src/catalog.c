/*-------------------------------------------------------------------------
 * catalog.c
 *		Where the extension's objects are.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_extension.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog.h"

static void
fill(Oid schema, CoCatalog *catalog)
{
	catalog->schema = schema;
	catalog->results = get_relname_relid("clearout_results", schema);
	catalog->spill = get_relname_relid("clearout_spill", schema);
	catalog->queue = get_relname_relid("clearout_queue", schema);
	catalog->control = get_relname_relid("clearout_control", schema);
	catalog->pauses = get_relname_relid("clearout_pauses", schema);
}

static bool
is_complete(const CoCatalog *catalog)
{
	return OidIsValid(catalog->results) && OidIsValid(catalog->spill) &&
		OidIsValid(catalog->queue) && OidIsValid(catalog->control) &&
		OidIsValid(catalog->pauses);
}

static void
require_complete(const CoCatalog *catalog)
{
	if (!is_complete(catalog))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"%s\" of the extension \"clearout\" is missing",
						!OidIsValid(catalog->results) ? "clearout_results" :
						!OidIsValid(catalog->spill) ? "clearout_spill" :
						!OidIsValid(catalog->queue) ? "clearout_queue" :
						!OidIsValid(catalog->control) ? "clearout_control" : "clearout_pauses"),
				 errhint("Run ALTER EXTENSION clearout UPDATE.")));
}

/*
 * An ALTER EXTENSION ... SET SCHEMA may become visible between the look at
 * the schema and that at the tables.  So what is missing is looked for twice.
 */
void
co_catalog_of_function(FunctionCallInfo fcinfo, CoCatalog *catalog)
{
	fill(get_func_namespace(fcinfo->flinfo->fn_oid), catalog);
	if (!is_complete(catalog))
		fill(get_func_namespace(fcinfo->flinfo->fn_oid), catalog);
	require_complete(catalog);
}

Oid
co_catalog_schema(void)
{
	Relation	extensions = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			schema = InvalidOid;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum("clearout"));
	scan = systable_beginscan(extensions, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		schema = ((Form_pg_extension) GETSTRUCT(tuple))->extnamespace;
	systable_endscan(scan);
	table_close(extensions, AccessShareLock);
	return schema;
}

bool
co_catalog_of_extension(CoCatalog *catalog)
{
	Oid			schema = co_catalog_schema();

	if (!OidIsValid(schema))
		return false;
	fill(schema, catalog);
	if (!is_complete(catalog))
	{
		schema = co_catalog_schema();
		if (!OidIsValid(schema))
			return false;
		fill(schema, catalog);
	}
	require_complete(catalog);
	return true;
}
