/*-------------------------------------------------------------------------
 * transaction.c
 *		The worker's transactions and statements.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "convert.h"
#include "transaction.h"

Oid
co_table_owner(Oid table)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table with OID %u is gone", table)));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

static void
begin(CoCatalog *catalog)
{
	SetCurrentStatementStartTimestamp();	/* for now(), in defaults too */
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (!co_catalog_of_extension(catalog))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"clearout\" is gone")));

	SPI_connect();
}

static void
commit(void)
{
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/*
 * An ALTER EXTENSION ... SET SCHEMA has been committed since the step looked
 * where the tables are: what it has missed is elsewhere.  Whoever did that was
 * in its way, as one who holds a lock, and has nothing against the rows.
 */
static bool
was_moved(const CoTrouble *trouble, Oid schema)
{
	MemoryContext context = CurrentMemoryContext;
	volatile Oid now = InvalidOid;

	if (!OidIsValid(schema) ||
		(trouble->sqlstate != ERRCODE_UNDEFINED_TABLE &&
		 trouble->sqlstate != ERRCODE_UNDEFINED_SCHEMA &&
		 trouble->sqlstate != ERRCODE_UNDEFINED_FUNCTION &&
		 trouble->sqlstate != ERRCODE_UNDEFINED_OBJECT))
		return false;
	PG_TRY();
	{
		StartTransactionCommand();
		PushActiveSnapshot(GetTransactionSnapshot());
		now = co_catalog_schema();
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
		AbortCurrentTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return OidIsValid(now) && now != schema;
}

/* Only the primary message is kept: details quote rows. */
bool
co_run(void (*step) (CoCatalog *, void *), void *argument, CoTrouble *trouble)
{
	MemoryContext context = CurrentMemoryContext;
	CoCatalog	catalog = {0};

	trouble->sqlstate = 0;
	trouble->message[0] = '\0';
	PG_TRY();
	{
		begin(&catalog);
		step(&catalog, argument);
		commit();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();	/* user and context come back by it too */
		MemoryContextSwitchTo(context);

		trouble->sqlstate = error->sqlerrcode;
		co_copy_text(trouble->message, error->message ? error->message : "unknown error",
					 sizeof(trouble->message));
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	if (trouble->sqlstate != 0 && was_moved(trouble, catalog.schema))
		trouble->sqlstate = ERRCODE_LOCK_NOT_AVAILABLE;
	return trouble->sqlstate == 0;
}

bool
co_is_lock_trouble(const CoTrouble *trouble)
{
	return trouble->sqlstate == ERRCODE_LOCK_NOT_AVAILABLE ||
		trouble->sqlstate == ERRCODE_OBJECT_IN_USE ||
		trouble->sqlstate == ERRCODE_T_R_DEADLOCK_DETECTED ||
		trouble->sqlstate == ERRCODE_T_R_SERIALIZATION_FAILURE;
}

bool
co_is_content_trouble(const CoTrouble *trouble)
{
	int			class = ERRCODE_TO_CATEGORY(trouble->sqlstate);

	return class == ERRCODE_TO_CATEGORY(ERRCODE_DATA_EXCEPTION) ||
		class == ERRCODE_TO_CATEGORY(ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION) ||
		class == ERRCODE_TO_CATEGORY(ERRCODE_PROGRAM_LIMIT_EXCEEDED) ||
		class == ERRCODE_TO_CATEGORY(ERRCODE_FEATURE_NOT_SUPPORTED) ||
		class == ERRCODE_TO_CATEGORY(ERRCODE_RAISE_EXCEPTION);
}

/* The text with the schema in it. */
static char *
statement_text(const CoStatement *statement, const char *schema)
{
	StringInfoData text;
	const char *from = statement->sql;
	const char *mark;

	initStringInfo(&text);
	while ((mark = strstr(from, "%s")) != NULL)
	{
		appendBinaryStringInfo(&text, from, mark - from);
		appendStringInfoString(&text, quote_identifier(schema));
		from = mark + 2;
	}
	appendStringInfoString(&text, from);
	return text.data;
}

static void
prepare(const CoCatalog *catalog, CoStatement *statement)
{
	char	   *schema = get_namespace_name(catalog->schema);
	Oid			types[CO_PARAMETERS_MAX];
	SPIPlanPtr	plan;

	if (schema == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_SCHEMA),
				 errmsg("the schema of the extension \"clearout\" is gone")));
	if (statement->plan != NULL && strcmp(schema, statement->schema) == 0)
		return;

	if (statement->plan != NULL)
		SPI_freeplan(statement->plan);
	statement->plan = NULL;

	Assert(statement->parameters <= CO_PARAMETERS_MAX);
	for (int i = 0; i < statement->parameters; i++)
		types[i] = statement->types[i];
	plan = SPI_prepare(statement_text(statement, schema), statement->parameters, types);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare \"%s\"", statement->sql);
	statement->plan = plan;
	strlcpy(statement->schema, schema, sizeof(statement->schema));
}

static const Oid *
place_of(const CoCatalog *catalog, CoTable table)
{
	switch (table)
	{
		case CO_TABLE_RESULTS:
			return &catalog->results;
		case CO_TABLE_SPILL:
			return &catalog->spill;
		case CO_TABLE_QUEUE:
			return &catalog->queue;
		case CO_TABLE_CONTROL:
			return &catalog->control;
		case CO_TABLE_PAUSES:
			return &catalog->pauses;
		case CO_TABLE_HANDLERS:
			return &catalog->handlers;
		case CO_TABLE_OUTBOX:
			return &catalog->outbox;
		case CO_TABLE_PEOPLE:
			return &catalog->people;
		case CO_TABLE_LOOKUPS:
			return &catalog->lookups;
		case CO_TABLE_LOOKUP_SPILL:
			return &catalog->lookup_spill;
		case CO_TABLE_BUDGETS:
			return &catalog->budgets;
		case CO_TABLE_USAGE:
			return &catalog->usage;
		case CO_TABLE_JOBS:
			return &catalog->jobs;
		case CO_TABLE_FORGOTTEN:
			return &catalog->forgotten;
	}
	return NULL;				/* keep the compiler quiet */
}

/*
 * Whoever owns the table has its triggers, defaults and constraints run with
 * his rights, not with ours.
 */
uint64
co_execute(const CoCatalog *catalog, CoStatement *statement, Datum *values,
		   const char *nulls)
{
	Oid			table = co_catalog_need(catalog, place_of(catalog, statement->table));
	Oid			user;
	int			context;
	int			result;

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(co_table_owner(table),
						   context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	prepare(catalog, statement);
	result = SPI_execute_plan(statement->plan, values, nulls, false, 0);
	if (result < 0)
		elog(ERROR, "a statement failed: %s", SPI_result_code_string(result));
	SetUserIdAndSecContext(user, context);
	return SPI_processed;
}
