/*-------------------------------------------------------------------------
 * handlers.c
 *		Functions of users that are called with stored answers: to register
 *		them, and who may.
 *
 * A handler runs as the role that has registered it, long after that role has
 * left.  So its rights are looked at again before each call (reactor.c), and
 * what is stored are names, which dump and restore carry: of the function, of
 * its owner, of the role.  The owner is kept because a function of that name
 * may be dropped, and made anew by somebody whom the role never trusted.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "handlers.h"
#include "queue.h"
#include "reactor.h"
#include "transaction.h"
#include "watch.h"

PG_FUNCTION_INFO_V1(clearout_add_handler);
PG_FUNCTION_INFO_V1(clearout_drop_handler);
PG_FUNCTION_INFO_V1(clearout_drop_handler_by_id);
PG_FUNCTION_INFO_V1(clearout_retry_handlers);

/* ---------- telling the reactor ---------- */

static bool noted = false;		/* in this transaction */

static void
transaction_callback(XactEvent event, void *argument)
{
	(void) argument;
	if (event == XACT_EVENT_COMMIT && noted)
		co_reactor_news(MyDatabaseId);
	else if (event == XACT_EVENT_PREPARE && noted)
	{
		int			index;

		LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
		index = co_database_entry(MyDatabaseId, true);
		if (index >= 0)
			co_shared->database[index].reactor.prepared = true;
		LWLockRelease(co_shared->lock);
	}
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
		event == XACT_EVENT_PREPARE)
		noted = false;
}

void
co_handlers_note(void)
{
	static bool registered = false;

	if (co_shared == NULL || !IsUnderPostmaster)
		return;
	if (!registered)
	{
		RegisterXactCallback(transaction_callback, NULL);
		registered = true;
	}
	noted = true;
}

/* The flag stays, since there may be more of them. */
void
co_handlers_after_commit_prepared(void)
{
	int			index;
	bool		prepared = false;

	LWLockAcquire(co_shared->lock, LW_SHARED);
	index = co_database_entry(MyDatabaseId, false);
	if (index >= 0)
		prepared = co_shared->database[index].reactor.prepared;
	LWLockRelease(co_shared->lock);
	if (prepared)
		co_reactor_news(MyDatabaseId);
}

/* ---------- what a handler is ---------- */

static Oid
result_type(const CoCatalog *catalog)
{
	Oid			type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
									   CStringGetDatum("clearout_result"),
									   ObjectIdGetDatum(catalog->schema));

	if (!OidIsValid(type))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("type \"clearout_result\" of the extension \"clearout\" is missing")));
	return type;
}

/* May it be called with answers, and if so, with one or an array of them? */
static bool
is_handler(Form_pg_proc form, Oid type, bool *takes_array)
{
	Oid			argument = form->pronargs == 1 ? form->proargtypes.values[0] : InvalidOid;

	*takes_array = OidIsValid(argument) && argument == get_array_type(type);
	return form->prokind == PROKIND_FUNCTION && !form->proretset &&
		(argument == type || *takes_array);
}

Oid
co_handler_role(const CoCatalog *catalog, const CoHandler *handler)
{
	Oid			table_owner = co_table_owner(co_catalog_need(catalog, &catalog->handlers));
	Oid			role = get_role_oid(handler->role_name, true);

	if (!OidIsValid(role))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\" does not exist", handler->role_name)));

	/* Whoever owns the table may have written any role into it. */
	if (!superuser_arg(table_owner) && !is_member_of_role(table_owner, role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the owner of the table \"clearout_handlers\" is no member of the role \"%s\"",
						handler->role_name)));
	if (pg_class_aclcheck(catalog->results, role, ACL_SELECT) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not read clearout_results", handler->role_name)));
	return role;
}

/*
 * Whoever owns a function can replace it, and whoever owns a table can put
 * triggers on it: both would run as the role.
 */
void
co_handler_check_owner(const CoHandler *handler, Oid role, Oid owner,
					   const char *kind, const char *name)
{
	char	   *owner_name = GetUserNameFromId(owner, true);

	if (owner_name == NULL || strcmp(owner_name, handler->owner_name) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("%s %s belongs to another role than when it was registered", kind, name)));
	if (superuser_arg(role) && !superuser_arg(owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("%s %s does not belong to a superuser, and would run code as one", kind, name),
				 errhint("Register it as its owner: SET ROLE %s.", quote_identifier(owner_name))));
}

void
co_handler_resolve(const CoCatalog *catalog, const CoHandler *handler,
				   CoHandlerCall *call)
{
	Oid			schema;
	Oid			argument;
	HeapTuple	tuple;
	Form_pg_proc form;
	bool		takes_array;
	char	   *name;

	if (handler->function_name == NULL)
	{
		co_watch_resolve(catalog, handler, call);
		return;
	}
	name = quote_qualified_identifier(handler->schema_name, handler->function_name);
	call->role = co_handler_role(catalog, handler);
	call->element_type = result_type(catalog);
	argument = handler->takes_array ? get_array_type(call->element_type) : call->element_type;
	schema = get_namespace_oid(handler->schema_name, true);
	tuple = !OidIsValid(schema) ? NULL :
		SearchSysCache3(PROCNAMEARGSNSP,
						CStringGetDatum(handler->function_name),
						PointerGetDatum(buildoidvector(&argument, 1)),
						ObjectIdGetDatum(schema));
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function %s(clearout_result%s) does not exist",
						name, handler->takes_array ? "[]" : "")));
	form = (Form_pg_proc) GETSTRUCT(tuple);
	call->function = form->oid;
	if (!is_handler(form, call->element_type, &takes_array))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("function %s can be no handler any more", name)));
	co_handler_check_owner(handler, call->role, form->proowner, "function", name);
	ReleaseSysCache(tuple);

	if (!co_may_use_schema(schema, call->role) || !co_may_execute(call->function, call->role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not execute the function %s", handler->role_name, name)));
}

/* ---------- statements ---------- */

static const Oid add_types[] = {NAMEOID, NAMEOID, BOOLOID, NAMEOID, NAMEOID};
static CoStatement add_handler =
{CO_TABLE_HANDLERS, "INSERT INTO %s.clearout_handlers"
	" (schema_name, function_name, takes_array, owner_name, role_name)"
	" VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING RETURNING id",
5, add_types, NULL, ""};

static CoStatement find_by_name =
{CO_TABLE_HANDLERS, "SELECT id, role_name FROM %s.clearout_handlers"
	" WHERE schema_name = $1 AND function_name = $2 AND takes_array = $3"
	" ORDER BY role_name <> $4",
4, add_types, NULL, ""};

static const Oid id_types[] = {INT8OID};
static CoStatement find_by_id =
{CO_TABLE_HANDLERS, "SELECT id, role_name FROM %s.clearout_handlers WHERE id = $1",
1, id_types, NULL, ""};

static CoStatement drop_handler =
{CO_TABLE_HANDLERS, "DELETE FROM %s.clearout_handlers WHERE id = $1",
1, id_types, NULL, ""};

static CoStatement drop_rows =
{CO_TABLE_OUTBOX, "DELETE FROM %s.clearout_outbox WHERE handler = $1",
1, id_types, NULL, ""};

static CoStatement find_all =
{CO_TABLE_HANDLERS, "SELECT id, role_name FROM %s.clearout_handlers ORDER BY id",
0, NULL, NULL, ""};

static CoStatement retry_handler =
{CO_TABLE_HANDLERS, "UPDATE %s.clearout_handlers SET failures = 0, retry_at = NULL"
	" WHERE id = $1 AND failures > 0", 1, id_types, NULL, ""};

static CoStatement retry_rows =
{CO_TABLE_OUTBOX, "UPDATE %s.clearout_outbox SET failed_at = NULL, attempts = 0,"
	" next_attempt_at = now() WHERE handler = $1 AND next_attempt_at IS NOT NULL",
1, id_types, NULL, ""};

static CoStatement adopt_handlers =
{CO_TABLE_HANDLERS, "UPDATE %s.clearout_handlers SET origin = $1, table_oid = NULL WHERE origin <> $1",
1, id_types, NULL, ""};

static CoStatement adopt_rows =
{CO_TABLE_OUTBOX, "UPDATE %s.clearout_outbox SET origin = $1 WHERE origin <> $1",
1, id_types, NULL, ""};

int
co_begin_own(void)
{
	int			level = NewGUCNestLevel();

	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	SPI_connect();
	return level;
}

void
co_end_own(int level)
{
	SPI_finish();
	AtEOXact_GUC(false, level);
}

static Datum
name_datum(const char *name)
{
	return DirectFunctionCall1(namein, CStringGetDatum(name));
}

static void
require_writable(const char *function)
{
	PreventCommandIfReadOnly(function);
	PreventCommandDuringRecovery(function);
}

/* ---------- registering ---------- */

Datum
clearout_add_handler(PG_FUNCTION_ARGS)
{
	Oid			function = PG_GETARG_OID(0);
	CoCatalog	catalog;
	CoHandler	handler = {0};
	CoHandlerCall call;
	HeapTuple	tuple;
	Form_pg_proc form;
	Datum		values[5];
	Datum		id;
	int			level;
	bool		isnull;
	uint64		added;

	require_writable("clearout_add_handler()");
	co_catalog_of_function(fcinfo, &catalog);
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function with OID %u does not exist", function)));
	form = (Form_pg_proc) GETSTRUCT(tuple);
	if (!is_handler(form, result_type(&catalog), &handler.takes_array))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("function %s can be no handler", format_procedure(function)),
				 errdetail("A handler is a function that takes one argument, of type clearout_result or clearout_result[], and returns no set.")));
	handler.schema_name = get_namespace_name(form->pronamespace);
	handler.function_name = pstrdup(NameStr(form->proname));
	handler.owner_name = GetUserNameFromId(form->proowner, false);
	handler.role_name = GetUserNameFromId(GetUserId(), false);
	ReleaseSysCache(tuple);

	/* One rule for now and for later: what would fail then is refused now. */
	co_handler_resolve(&catalog, &handler, &call);

	values[0] = name_datum(handler.schema_name);
	values[1] = name_datum(handler.function_name);
	values[2] = BoolGetDatum(handler.takes_array);
	values[3] = name_datum(handler.owner_name);
	values[4] = name_datum(handler.role_name);
	level = co_begin_own();
	added = co_execute(&catalog, &add_handler, values, "     ");
	id = added == 0 ? (Datum) 0 :
		SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (added > 0)
		id = Int64GetDatum(DatumGetInt64(id));
	co_end_own(level);
	if (added == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("function %s is a handler of the role \"%s\" already",
						format_procedure(function), handler.role_name)));
	PG_RETURN_DATUM(id);
}

bool
co_handler_may_tend(const CoCatalog *catalog, const char *role_name)
{
	Oid			role = get_role_oid(role_name, true);

	return (OidIsValid(role) && has_privs_of_role(GetUserId(), role)) ||
		pg_class_aclcheck(co_catalog_need(catalog, &catalog->handlers), GetUserId(), ACL_DELETE) == ACLCHECK_OK;
}

typedef struct Found
{
	int64		id;
	char	   *role_name;
} Found;

/* The handlers that a statement finds, in the caller's memory context. */
static Found *
find(const CoCatalog *catalog, CoStatement *statement, Datum *values,
	 const char *nulls, int *count)
{
	MemoryContext context = CurrentMemoryContext;
	int			level = co_begin_own();
	Found	   *found;

	*count = (int) co_execute(catalog, statement, values, nulls);
	found = MemoryContextAlloc(context, Max(*count, 1) * sizeof(Found));
	for (int i = 0; i < *count; i++)
	{
		bool		isnull;

		found[i].id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i],
												  SPI_tuptable->tupdesc, 1, &isnull));
		found[i].role_name = MemoryContextStrdup(context,
												 SPI_getvalue(SPI_tuptable->vals[i],
															  SPI_tuptable->tupdesc, 2));
	}
	co_end_own(level);
	return found;
}

void
co_handler_drop(const CoCatalog *catalog, int64 id)
{
	Datum		value = Int64GetDatum(id);
	int			level = co_begin_own();

	(void) co_execute(catalog, &drop_handler, &value, " ");
	(void) co_execute(catalog, &drop_rows, &value, " ");
	co_end_own(level);
}

static void
refuse(const char *role_name)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("the handler belongs to the role \"%s\"", role_name)));
}

Datum
clearout_drop_handler(PG_FUNCTION_ARGS)
{
	Oid			function = PG_GETARG_OID(0);
	CoCatalog	catalog;
	HeapTuple	tuple;
	Form_pg_proc form;
	bool		takes_array;
	Datum		values[4];
	Found	   *found;
	int			count;

	require_writable("clearout_drop_handler()");
	co_catalog_of_function(fcinfo, &catalog);
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function with OID %u does not exist", function)));
	form = (Form_pg_proc) GETSTRUCT(tuple);
	(void) is_handler(form, result_type(&catalog), &takes_array);
	values[0] = name_datum(get_namespace_name(form->pronamespace));
	values[1] = name_datum(NameStr(form->proname));
	values[2] = BoolGetDatum(takes_array);
	values[3] = name_datum(GetUserNameFromId(GetUserId(), false));
	ReleaseSysCache(tuple);

	/* The caller's own first. */
	found = find(&catalog, &find_by_name, values, "    ", &count);
	if (count == 0)
		PG_RETURN_BOOL(false);
	for (int i = 0; i < count; i++)
	{
		if (co_handler_may_tend(&catalog, found[i].role_name))
		{
			co_handler_drop(&catalog, found[i].id);
			PG_RETURN_BOOL(true);
		}
	}
	refuse(found[0].role_name);
	PG_RETURN_NULL();			/* keep the compiler quiet */
}

/* For one whose function is gone. */
Datum
clearout_drop_handler_by_id(PG_FUNCTION_ARGS)
{
	Datum		id = PG_GETARG_DATUM(0);
	CoCatalog	catalog;
	Found	   *found;
	int			count;

	require_writable("clearout_drop_handler()");
	co_catalog_of_function(fcinfo, &catalog);
	found = find(&catalog, &find_by_id, &id, " ", &count);
	if (count == 0)
		PG_RETURN_BOOL(false);
	if (!co_handler_may_tend(&catalog, found->role_name))
		refuse(found->role_name);
	co_handler_drop(&catalog, found->id);
	PG_RETURN_BOOL(true);
}

/* ---------- tending ---------- */

Datum
clearout_retry_handlers(PG_FUNCTION_ARGS)
{
	CoCatalog	catalog;
	Found	   *found;
	int			count;
	int64		rows = 0;

	require_writable("clearout_retry_handlers()");
	co_catalog_of_function(fcinfo, &catalog);
	found = find(&catalog, &find_all, NULL, NULL, &count);
	for (int i = 0; i < count; i++)
	{
		Datum		id = Int64GetDatum(found[i].id);
		int			level;

		if (!co_handler_may_tend(&catalog, found[i].role_name))
			continue;
		level = co_begin_own();
		(void) co_execute(&catalog, &retry_handler, &id, " ");
		rows += (int64) co_execute(&catalog, &retry_rows, &id, " ");
		co_end_own(level);
	}
	co_handlers_note();
	PG_RETURN_INT64(rows);
}

void
co_handlers_adopt(const CoCatalog *catalog)
{
	Datum		origin = Int64GetDatum(co_queue_origin());
	int			level = co_begin_own();

	(void) co_execute(catalog, &adopt_handlers, &origin, " ");
	(void) co_execute(catalog, &adopt_rows, &origin, " ");
	co_end_own(level);
	co_handlers_note();
}
