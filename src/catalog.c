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
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "catalog.h"

/* Every table that the library works on, and where its OID is kept. */
static const struct
{
	const char *name;
	size_t		offset;
}			tables[] = {
	{"clearout_results", offsetof(CoCatalog, results)},
	{"clearout_spill", offsetof(CoCatalog, spill)},
	{"clearout_queue", offsetof(CoCatalog, queue)},
	{"clearout_control", offsetof(CoCatalog, control)},
	{"clearout_pauses", offsetof(CoCatalog, pauses)},
	{"clearout_handlers", offsetof(CoCatalog, handlers)},
	{"clearout_outbox", offsetof(CoCatalog, outbox)},
	{"clearout_people", offsetof(CoCatalog, people)},
	{"clearout_lookups", offsetof(CoCatalog, lookups)},
	{"clearout_lookup_spill", offsetof(CoCatalog, lookup_spill)},
	{"clearout_budgets", offsetof(CoCatalog, budgets)},
	{"clearout_usage_parts", offsetof(CoCatalog, usage)},
	{"clearout_jobs_data", offsetof(CoCatalog, jobs)},
	{"clearout_forgotten", offsetof(CoCatalog, forgotten)}
};

static Oid *
place_of(CoCatalog *catalog, int i)
{
	return (Oid *) ((char *) catalog + tables[i].offset);
}

/* The name of a table that is not there; NULL if all are. */
static const char *
missing_table(CoCatalog *catalog)
{
	for (int i = 0; i < lengthof(tables); i++)
	{
		if (!OidIsValid(*place_of(catalog, i)))
			return tables[i].name;
	}
	return NULL;
}

static bool
is_complete(CoCatalog *catalog)
{
	return missing_table(catalog) == NULL;
}

/*
 * What was found last.  It holds until a relation's entry in the catalogs
 * changes: then we are told at the same moment as the caches that it is from.
 */
static CoCatalog known;			/* schema InvalidOid: nothing */
static bool known_of_extension = false; /* by its row in pg_extension */
static uint64 changes = 0;

static void
forget_known(Datum argument, int cache, uint32 hash)
{
	(void) argument;
	(void) cache;
	(void) hash;
	known.schema = InvalidOid;
	known_of_extension = false;
	changes++;
}

static void
fill(Oid schema, CoCatalog *catalog)
{
	static bool registered = false;
	uint64		before;

	if (!registered)
	{
		CacheRegisterSyscacheCallback(RELNAMENSP, forget_known, (Datum) 0);
		registered = true;
	}
	if (OidIsValid(schema) && known.schema == schema)
	{
		*catalog = known;
		return;
	}
	before = changes;
	catalog->schema = schema;
	for (int i = 0; i < lengthof(tables); i++)
		*place_of(catalog, i) = get_relname_relid(tables[i].name, schema);
	if (before == changes && is_complete(catalog))
	{
		known = *catalog;
		known_of_extension = false;
	}
}

static void report_missing(const char *table) __attribute__((noreturn));

static void
report_missing(const char *table)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("table \"%s\" of the extension \"clearout\" is missing", table),
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
	(void) co_catalog_need(catalog, &catalog->results);
}

Oid
co_catalog_need(const CoCatalog *catalog, const Oid *place)
{
	if (!OidIsValid(*place))
	{
		for (int i = 0; i < lengthof(tables); i++)
		{
			if (tables[i].offset == (const char *) place - (const char *) catalog)
				report_missing(tables[i].name);
		}
	}
	return *place;
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

/*
 * What there is of it; false if it is not installed.  To drop or to move the
 * extension is to drop or to move its tables: as long as these are where they
 * were, so is the extension, and need not be looked for.
 */
static bool
find_extension(CoCatalog *catalog)
{
	Oid			schema;

	if (known_of_extension)
	{
		*catalog = known;
		return true;
	}
	schema = co_catalog_schema();
	if (!OidIsValid(schema))
		return false;
	fill(schema, catalog);
	known_of_extension = known.schema == schema;
	if (!is_complete(catalog))
	{
		schema = co_catalog_schema();
		if (!OidIsValid(schema))
			return false;
		fill(schema, catalog);
	}
	return true;
}

bool
co_catalog_of_extension(CoCatalog *catalog)
{
	if (!find_extension(catalog))
		return false;
	if (!is_complete(catalog))
		report_missing(missing_table(catalog));
	return true;
}

const char *
co_catalog_missing(void)
{
	CoCatalog	catalog;

	return find_extension(&catalog) ? missing_table(&catalog) : NULL;
}
