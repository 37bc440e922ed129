/*-------------------------------------------------------------------------
 * watch.c
 *		Tables of users whose status column is kept true.
 *
 *		row comes or its address changes
 *			BEFORE trigger: status from a fresh stored answer, else reset
 *			AFTER trigger: a row of the outbox that asks
 *		   at commit, the reactor, as the role of the watch:
 *			asks, and no fresh answer is stored --> clearout_enqueue()
 *			else, and with each answer that is stored --> UPDATE of the table
 *
 * The trigger does nothing that depends on the role's rights but to read an
 * answer, and calls nobody: whatever becomes of the role, whoever writes to
 * the table can go on.  As it is after the commit that one looks whether an
 * answer is there, none is missed that comes between a look and a commit.
 *
 * The columns are those that the trigger is for (UPDATE OF ...): PostgreSQL
 * follows when they are renamed, and dump and restore carry them.  A trigger
 * of ours on a table that is not the one of the watch does nothing, or anybody
 * who may create triggers could spend on somebody else's account.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "parser/parse_coerce.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

#include "arguments.h"
#include "compat.h"
#include "lookup.h"
#include "queue.h"
#include "transaction.h"
#include "watch.h"

PG_FUNCTION_INFO_V1(clearout_watch);
PG_FUNCTION_INFO_V1(clearout_unwatch);
PG_FUNCTION_INFO_V1(clearout_watch_note);

#define TRIGGER_NAME	"clearout_watch_" INT64_FORMAT

/* The longest status; others are possible, but hardly longer ones. */
#define STATUS_LENGTH	32

/* Addresses that are read from the table at once when a watch is set up. */
#define READ_AT_ONCE	10000

/* Is a stored answer r fresh?  By these parameters, as in lookup.c. */
#define FRESH_VERDICT(verdict, unknown, catch_all) \
	"(greatest(r.verified_at, r.asked_at) >=" \
	" CASE r.status WHEN 'unknown' THEN " unknown \
	" WHEN 'catch_all' THEN " catch_all " ELSE " verdict " END)"
#define FRESH_ATTEMPT(unknown) \
	"(r.attempt_status IS NOT NULL AND r.attempted_at >= " unknown ")"

static const Oid load_types[] = {TEXTARRAYOID, BOOLARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID};
static CoStatement load_statuses =
{CO_TABLE_RESULTS, "SELECT a.place, CASE WHEN NOT a.asks OR " FRESH_VERDICT("$3", "$4", "$5")
	" THEN r.status ELSE r.attempt_status END"
	" FROM unnest($1, $2) WITH ORDINALITY AS a (email, asks, place)"
	" JOIN %s.clearout_results AS r ON r.email = a.email COLLATE \"C\""
	" WHERE NOT a.asks OR " FRESH_VERDICT("$3", "$4", "$5") " OR " FRESH_ATTEMPT("$4"),
5, load_types, NULL, ""};

static const Oid add_types[] = {NAMEOID, NAMEOID, OIDOID, NAMEOID, NAMEOID, NAMEOID, NAMEOID};
static CoStatement add_watch =
{CO_TABLE_HANDLERS, "INSERT INTO %s.clearout_handlers"
	" (schema_name, table_name, table_oid, email_column, status_column, owner_name, role_name)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id",
7, add_types, NULL, ""};

static const Oid int8_type[] = {INT8OID};
static CoStatement find_watch =
{CO_TABLE_HANDLERS, "SELECT role_name, origin, coalesce(table_oid, 0), schema_name, table_name"
	" FROM %s.clearout_handlers WHERE id = $1 AND ended_at IS NULL AND table_name IS NOT NULL",
1, int8_type, NULL, ""};

static const Oid ask_types[] = {INT8OID, TEXTARRAYOID};
static CoStatement put_asking =
{CO_TABLE_OUTBOX, "INSERT INTO %s.clearout_outbox (handler, email, asks) SELECT $1, unnest($2), true",
2, ask_types, NULL, ""};

static const Oid rename_types[] = {INT8OID, NAMEOID, NAMEOID, OIDOID};
static CoStatement rename_watch =
{CO_TABLE_HANDLERS, "UPDATE %s.clearout_handlers SET schema_name = $2, table_name = $3, table_oid = $4"
	" WHERE id = $1", 4, rename_types, NULL, ""};

static Oid
own_function(const CoCatalog *catalog, const char *name, const Oid *types, int count)
{
	Oid			function = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
										   CStringGetDatum(name),
										   PointerGetDatum(buildoidvector(types, count)),
										   ObjectIdGetDatum(catalog->schema));

	if (!OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function \"%s\" of the extension \"clearout\" is missing", name)));
	return function;
}

static Oid
enqueue_function(const CoCatalog *catalog)
{
	static const Oid types[] = {TEXTARRAYOID, INT4OID};

	return own_function(catalog, "clearout_enqueue", types, lengthof(types));
}

static Oid
normalize_function(const CoCatalog *catalog)
{
	static const Oid types[] = {TEXTOID};

	return own_function(catalog, "clearout_normalize", types, lengthof(types));
}

static Datum
name_datum(const char *name)
{
	return DirectFunctionCall1(namein, CStringGetDatum(name));
}

/* The values must not be toasted, nor have short headers. */
static Datum
text_array(const Datum *values, int count)
{
	return PointerGetDatum(construct_array((Datum *) values, count, TEXTOID,
										   -1, false, TYPALIGN_INT));
}

/* ---------- for the reactor ---------- */

/* The BEFORE trigger of this watch on that table; sets the columns. */
static bool
find_trigger(const CoCatalog *catalog, int64 id, Oid table,
			 AttrNumber *email_column, AttrNumber *status_column)
{
	Oid			function = own_function(catalog, "clearout_watch_note", NULL, 0);
	char		name[NAMEDATALEN];
	Relation	triggers;
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	snprintf(name, sizeof(name), TRIGGER_NAME, id);
	triggers = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyInit(&key[0], Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(table));
	ScanKeyInit(&key[1], Anum_pg_trigger_tgname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum(name));
	scan = systable_beginscan(triggers, TriggerRelidNameIndexId, true, NULL, 2, key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);

		if (form->tgfoid == function && form->tgattr.dim1 == 2)
		{
			*email_column = form->tgattr.values[0];
			*status_column = form->tgattr.values[1];
			found = true;
		}
	}
	systable_endscan(scan);
	table_close(triggers, AccessShareLock);
	return found;
}

/*
 * What writes to a table writes to its partitions and children too, and fires
 * their triggers.  Whose they are must not be able to run code as the role,
 * unless he is it anyway.
 */
static void
check_parts(Oid table, Oid owner, Oid role, const char *name)
{
	List	   *parts;
	ListCell   *cell;

	if (!has_subclass(table))
		return;
	parts = find_all_inheritors(table, NoLock, NULL);
	foreach(cell, parts)
	{
		HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(lfirst_oid(cell)));
		Form_pg_class form;

		if (!HeapTupleIsValid(tuple))
			continue;			/* dropped meanwhile */
		form = (Form_pg_class) GETSTRUCT(tuple);
		if (form->relowner != owner && !has_privs_of_role(form->relowner, role))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("table %s is a part of %s, but belongs to another role",
							quote_qualified_identifier(get_namespace_name(form->relnamespace),
													   NameStr(form->relname)), name),
					 errdetail("Its triggers would run as the role of the watch, \"%s\".",
							   GetUserNameFromId(role, false)),
					 errhint("ALTER TABLE ... OWNER TO %s.",
							 quote_identifier(GetUserNameFromId(owner, false)))));
		ReleaseSysCache(tuple);
	}
	list_free(parts);
}

void
co_watch_resolve(const CoCatalog *catalog, const CoHandler *handler,
				 CoHandlerCall *call)
{
	HeapTuple	tuple;
	Form_pg_class form;
	char	   *name;

	call->table = handler->table;
	if (!OidIsValid(call->table))
	{
		Oid			schema = get_namespace_oid(handler->schema_name, true);

		call->table = !OidIsValid(schema) ? InvalidOid :
			get_relname_relid(handler->table_name, schema);
	}
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(call->table));
	if (!HeapTupleIsValid(tuple) ||
		!find_trigger(catalog, handler->id, call->table,
					  &call->email_column, &call->status_column))
	{
		if (HeapTupleIsValid(tuple))
			ReleaseSysCache(tuple);
		call->gone = true;
		return;
	}
	form = (Form_pg_class) GETSTRUCT(tuple);
	name = quote_qualified_identifier(get_namespace_name(form->relnamespace),
									  NameStr(form->relname));
	call->role = co_handler_role(catalog, handler);
	co_handler_check_owner(handler, call->role, form->relowner, "table", name);
	check_parts(call->table, form->relowner, call->role, name);

	/* After a restore or a change of name, for the next look and the next dump. */
	if (!OidIsValid(handler->table) ||
		strcmp(NameStr(form->relname), handler->table_name) != 0 ||
		strcmp(get_namespace_name(form->relnamespace), handler->schema_name) != 0)
	{
		Datum		values[4];

		values[0] = Int64GetDatum(handler->id);
		values[1] = name_datum(get_namespace_name(form->relnamespace));
		values[2] = NameGetDatum(&form->relname);
		values[3] = ObjectIdGetDatum(call->table);
		(void) co_execute(catalog, &rename_watch, values, "    ");
	}
	ReleaseSysCache(tuple);

	if (!co_may_execute(enqueue_function(catalog), call->role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not have addresses verified", handler->role_name),
				 errhint("A superuser can let it: SELECT clearout_grant('%s', 'enqueue').",
						 quote_identifier(handler->role_name))));
}

void
co_watch_load(const CoCatalog *catalog, int count, const Datum *emails,
			  const bool *asks, Datum *statuses, MemoryContext context)
{
	CoFreshness accepts = co_accepted_ages(NULL);
	Datum	   *asks_datums = palloc(count * sizeof(Datum));
	Datum		values[5];
	uint64		found;

	for (int i = 0; i < count; i++)
		asks_datums[i] = BoolGetDatum(asks[i]);
	values[0] = text_array(emails, count);
	values[1] = PointerGetDatum(construct_array(asks_datums, count, BOOLOID, 1, true, TYPALIGN_CHAR));
	values[2] = TimestampTzGetDatum(accepts.verdict);
	values[3] = TimestampTzGetDatum(accepts.unknown);
	values[4] = TimestampTzGetDatum(accepts.catch_all);
	found = co_execute(catalog, &load_statuses, values, "     ");
	for (uint64 i = 0; i < found; i++)
	{
		bool		isnull;
		Datum		place = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);
		Datum		status = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull);
		MemoryContext old;

		if (isnull || SPI_gettypeid(SPI_tuptable->tupdesc, 2) != TEXTOID)
			continue;
		old = MemoryContextSwitchTo(context);
		statuses[DatumGetInt64(place) - 1] = PointerGetDatum(PG_DETOAST_DATUM_COPY(status));
		MemoryContextSwitchTo(old);
	}
}

/* What statements on a watched table consist of, quoted. */
typedef struct Names
{
	char	   *table;
	char	   *email;
	char	   *status;
	char	   *normal;			/* the address in normal form, of the table t */
	char	   *normalize;
	char	   *results;
} Names;

static Names
names_of(const CoCatalog *catalog, const CoHandlerCall *call)
{
	Names		names;
	char	   *schema = get_namespace_name(get_rel_namespace(call->table));
	char	   *table = get_rel_name(call->table);
	char	   *own_schema = get_namespace_name(catalog->schema);

	if (schema == NULL || table == NULL || own_schema == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the watched table is gone")));
	names.table = quote_qualified_identifier(schema, table);
	names.email = pstrdup(quote_identifier(get_attname(call->table, call->email_column, false)));
	names.status = pstrdup(quote_identifier(get_attname(call->table, call->status_column, false)));
	names.normalize = quote_qualified_identifier(own_schema, "clearout_normalize");
	names.results = quote_qualified_identifier(own_schema, "clearout_results");
	/* a function of that name for the column's own type would be another */
	names.normal = psprintf("%s(t.%s::text)", names.normalize, names.email);
	return names;
}

static void
execute(const char *sql, int count, const Oid *types, Datum *values)
{
	int			result = SPI_execute_with_args(sql, count, (Oid *) types, values, NULL, false, 0);

	if (result < 0)
		elog(ERROR, "a statement failed: %s", SPI_result_code_string(result));
}

void
co_watch_apply(const CoCatalog *catalog, const CoHandlerCall *call,
			   int count, const Datum *emails, const bool *asks,
			   const Datum *statuses)
{
	static const Oid types[] = {TEXTARRAYOID, TEXTARRAYOID};
	Datum	   *asked = palloc(count * sizeof(Datum));
	Datum	   *known = palloc(count * sizeof(Datum));
	Datum	   *known_status = palloc(count * sizeof(Datum));
	int			asked_count = 0;
	int			known_count = 0;

	for (int i = 0; i < count; i++)
	{
		bool		later = false;

		/* Of two statuses for one address, the later row of the outbox has it. */
		for (int j = i + 1; j < count && !later; j++)
			later = (statuses[j] == (Datum) 0) == (statuses[i] == (Datum) 0) &&
				datumIsEqual(emails[i], emails[j], false, -1);
		if (later)
			continue;
		if (statuses[i] != (Datum) 0)
		{
			known[known_count] = emails[i];
			known_status[known_count++] = statuses[i];
		}
		else if (asks[i])
			asked[asked_count++] = emails[i];
	}

	/* By key, however large the tables are. */
	(void) set_config_option("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	if (asked_count > 0)
		(void) OidFunctionCall2(enqueue_function(catalog), text_array(asked, asked_count),
								Int32GetDatum(0));
	if (known_count > 0)
	{
		Names		names = names_of(catalog, call);
		Datum		values[2];

		values[0] = text_array(known, known_count);
		values[1] = text_array(known_status, known_count);
		execute(psprintf("UPDATE %s AS t SET %s = v.status FROM unnest($1, $2) AS v (email, status)"
						 " WHERE %s OPERATOR(pg_catalog.=) v.email"
						 " AND t.%s IS DISTINCT FROM v.status",
						 names.table, names.status, names.normal, names.status),
				2, types, values);
	}
}

/* ---------- the trigger ---------- */

/* What a statement's trigger knows of its watch. */
typedef struct Watch
{
	CoCatalog	catalog;
	int64		id;
	bool		active;			/* this table is the watched one */
	bool		may_read;		/* the watch's role may */
} Watch;

/* Is this table, or that which it is a partition of, the one with this name? */
static bool
has_name(Oid table, const char *schema, const char *name)
{
	char	   *relname = get_rel_name(table);
	char	   *nspname = get_namespace_name(get_rel_namespace(table));

	return relname != NULL && nspname != NULL &&
		strcmp(relname, name) == 0 && strcmp(nspname, schema) == 0;
}

static Oid
root_of(Relation relation)
{
	if (relation->rd_rel->relispartition)
	{
		List	   *ancestors = get_partition_ancestors(RelationGetRelid(relation));

		if (ancestors != NIL)
			return llast_oid(ancestors);
	}
	return RelationGetRelid(relation);
}

static void
read_watch(Watch *watch, const TriggerData *data)
{
	Datum		value = Int64GetDatum(watch->id);
	int			level = co_begin_own();

	if (co_execute(&watch->catalog, &find_watch, &value, " ") > 0)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	columns = SPI_tuptable->tupdesc;
		Oid			root = root_of(data->tg_relation);
		bool		isnull;
		Oid			role = get_role_oid(SPI_getvalue(row, columns, 1), true);
		int64		origin = DatumGetInt64(SPI_getbinval(row, columns, 2, &isnull));
		Oid			table = DatumGetObjectId(SPI_getbinval(row, columns, 3, &isnull));

		watch->active = OidIsValid(table) && origin == co_queue_origin() ? root == table :
			has_name(root, SPI_getvalue(row, columns, 4), SPI_getvalue(row, columns, 5));
		watch->may_read = OidIsValid(role) &&
			pg_class_aclcheck(watch->catalog.results, role, ACL_SELECT) == ACLCHECK_OK;
	}
	co_end_own(level);
}

static bool
holds_addresses(Form_pg_attribute column)
{
	return IsBinaryCoercible(getBaseType(column->atttypid), TEXTOID);
}

static bool
holds_statuses(Form_pg_attribute column)
{
	return column->atttypid == TEXTOID ||
		(column->atttypid == VARCHAROID &&
		 (column->atttypmod < 0 || column->atttypmod >= STATUS_LENGTH + (int32) VARHDRSZ));
}

/*
 * Whoever may execute the trigger's function can create a trigger with it by
 * hand, for columns of any type; a number must not be taken for a pointer.
 */
static void
require_columns(const TriggerData *data)
{
	TupleDesc	columns = RelationGetDescr(data->tg_relation);
	const int16 *column = data->tg_trigger->tgattr;

	if (!holds_addresses(TupleDescAttr(columns, column[0] - 1)) ||
		!holds_statuses(TupleDescAttr(columns, column[1] - 1)))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("trigger \"%s\" is not for columns that hold addresses and statuses",
						data->tg_trigger->tgname),
				 errhint("Drop it, and use clearout_watch().")));
}

static Watch *
watch_of(FunctionCallInfo fcinfo, const TriggerData *data)
{
	Watch	   *watch = fcinfo->flinfo->fn_extra;

	if (watch == NULL)
	{
		watch = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(Watch));
		co_catalog_of_function(fcinfo, &watch->catalog);
		watch->id = pg_strtoint64(data->tg_trigger->tgargs[0]);
		read_watch(watch, data);
		if (watch->active)
			require_columns(data);
		fcinfo->flinfo->fn_extra = watch;
	}
	return watch;
}

/* The address of a row in normal form; NULL if it has none, or it is malformed. */
static char *
address_of(HeapTuple row, TupleDesc columns, AttrNumber column, bool *isnull)
{
	Datum		value = heap_getattr(row, column, columns, isnull);
	CoAddressError error;

	return *isnull ? NULL : co_normalize_argument(DatumGetTextPP(value), &error);
}

/* What is to be in the status column of a row that has this address newly. */
static HeapTuple
set_status(const Watch *watch, const TriggerData *data, HeapTuple row,
		   const char *key, bool has_address)
{
	TupleDesc	columns = RelationGetDescr(data->tg_relation);
	int			column = data->tg_trigger->tgattr[1];
	CoFreshness accepts = co_accepted_ages(NULL);
	CoRow		answer;
	Datum		status = (Datum) 0;
	bool		isnull = true;

	if (key != NULL && watch->may_read &&
		co_lookup(&watch->catalog, key, &accepts, &answer, NULL))
	{
		status = answer.value[CO_COL_STATUS];
		isnull = answer.isnull[CO_COL_STATUS];
	}
	else if (key == NULL && has_address)
	{
		/* malformed: the verdict is known, as clearout_verify() has it */
		status = CStringGetTextDatum("invalid");
		isnull = false;
	}
	else if (TRIGGER_FIRED_BY_INSERT(data->tg_event))
		return row;				/* what was inserted stays for the time being */
	return heap_modify_tuple_by_cols(row, columns, 1, &column, &status, &isnull);
}

static void
put_question(const Watch *watch, const char *key)
{
	Datum		email = CStringGetTextDatum(key);
	Datum		values[2];
	int			level = co_begin_own();

	values[0] = Int64GetDatum(watch->id);
	values[1] = text_array(&email, 1);
	(void) co_execute(&watch->catalog, &put_asking, values, "  ");
	co_end_own(level);
	co_handlers_note();
}

Datum
clearout_watch_note(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	Watch	   *watch;
	bool		update;
	HeapTuple	row;
	TupleDesc	columns;
	AttrNumber	column;
	char	   *key;
	char	   *old_key = NULL;
	bool		isnull;
	bool		was_null = true;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(data->tg_event) ||
		TRIGGER_FIRED_BY_DELETE(data->tg_event) || data->tg_trigger->tgnattr != 2 ||
		data->tg_trigger->tgnargs != 1)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("clearout_watch_note() is for triggers that clearout_watch() creates")));
	update = TRIGGER_FIRED_BY_UPDATE(data->tg_event);
	row = update ? data->tg_newtuple : data->tg_trigtuple;
	columns = RelationGetDescr(data->tg_relation);
	column = data->tg_trigger->tgattr[0];

	watch = watch_of(fcinfo, data);
	if (!watch->active)
		return PointerGetDatum(row);
	key = address_of(row, columns, column, &isnull);
	if (update)
		old_key = address_of(data->tg_trigtuple, columns, column, &was_null);
	if (update && isnull == was_null &&
		(key == NULL ? old_key == NULL : old_key != NULL && strcmp(key, old_key) == 0))
		return PointerGetDatum(row);	/* the same address as before */

	if (TRIGGER_FIRED_BEFORE(data->tg_event))
		row = set_status(watch, data, row, key, !isnull);
	else if (key != NULL)
		put_question(watch, key);
	return PointerGetDatum(row);
}

/* ---------- setting it up ---------- */

static void
refuse_column(const char *name, const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"%s\" %s", name, what),
			 errhint("%s", hint)));
}

static AttrNumber
find_column(Relation relation, const char *name)
{
	AttrNumber	column = get_attnum(RelationGetRelid(relation), name);

	if (column == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of table \"%s\" does not exist", name,
						RelationGetRelationName(relation))));
	if (column < 0 || TupleDescAttr(RelationGetDescr(relation), column - 1)->attgenerated)
		refuse_column(name, "is generated by the server", "Name an ordinary column.");
	return column;
}

static void
check_columns(Relation relation, const char *email, const char *status, CoHandlerCall *call)
{
	Form_pg_attribute form;

	call->email_column = find_column(relation, email);
	call->status_column = find_column(relation, status);
	if (call->email_column == call->status_column)
		refuse_column(status, "cannot hold both address and status", "Name two columns.");

	form = TupleDescAttr(RelationGetDescr(relation), call->email_column - 1);
	if (!holds_addresses(form))
		refuse_column(email, "is of a type that holds no addresses",
					  "Use text, varchar or citext.");
	form = TupleDescAttr(RelationGetDescr(relation), call->status_column - 1);
	if (!holds_statuses(form))
		refuse_column(status, "is of a type that holds no statuses",
					  psprintf("Use text, or varchar without a limit or with one of %d or more.", STATUS_LENGTH));
	if (form->attnotnull)
		refuse_column(status, "is NOT NULL", "It is null until there is an answer.");
}

/* Before a lock is taken: nobody may lock what is not his. */
static void
require_owner(Oid table)
{
	char	   *name = get_rel_name(table);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table with OID %u does not exist", table)));
	if (!co_owns_table(table, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, name);
}

static void
check_table(Relation relation)
{
	if (relation->rd_rel->relkind != RELKIND_RELATION &&
		relation->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table", RelationGetRelationName(relation))));
	if (relation->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a temporary table cannot be watched")));
	if (relation->rd_rel->relispartition)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is a partition", RelationGetRelationName(relation)),
				 errhint("Watch the table that it is a partition of.")));
	require_owner(RelationGetRelid(relation));	/* it may have changed hands */
}

/* Is the key of this index clearout_normalize(email), for every row? */
static bool
is_address_index(Relation index, Oid normalize, AttrNumber column)
{
	List	   *expressions;
	FuncExpr   *call;
	Node	   *argument;

	if (!index->rd_index->indisvalid || index->rd_index->indkey.values[0] != 0 ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
		return false;
	expressions = RelationGetIndexExpressions(index);
	if (expressions == NIL || !IsA(linitial(expressions), FuncExpr))
		return false;
	call = linitial(expressions);
	if (call->funcid != normalize || list_length(call->args) != 1)
		return false;
	argument = linitial(call->args);
	while (IsA(argument, RelabelType))
		argument = (Node *) ((RelabelType *) argument)->arg;
	return IsA(argument, Var) && ((Var *) argument)->varattno == column;
}

static bool
has_address_index(Relation relation, Oid normalize, AttrNumber column)
{
	List	   *indexes = RelationGetIndexList(relation);
	bool		found = false;
	ListCell   *cell;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		found = found || is_address_index(index, normalize, column);
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return found;
}

/* The watches of a table, by their triggers. */
typedef struct Watches
{
	int			count;
	int64	   *id;
	char	  **status_column;
} Watches;

static Watches
find_watches(const CoCatalog *catalog, Relation relation)
{
	Watches		watches = {0};
	Oid			function = own_function(catalog, "clearout_watch_note", NULL, 0);
	TriggerDesc *triggers = relation->trigdesc;

	if (triggers == NULL)
		return watches;
	watches.id = palloc(triggers->numtriggers * sizeof(int64));
	watches.status_column = palloc(triggers->numtriggers * sizeof(char *));
	for (int i = 0; i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (trigger->tgfoid != function || !TRIGGER_FOR_BEFORE(trigger->tgtype) ||
			trigger->tgnattr != 2 || trigger->tgnargs != 1)
			continue;
		watches.id[watches.count] = pg_strtoint64(trigger->tgargs[0]);
		watches.status_column[watches.count++] =
			get_attname(RelationGetRelid(relation), trigger->tgattr[1], false);
	}
	return watches;
}

static int64
insert_watch(const CoCatalog *catalog, Relation relation, const char *email,
			 const char *status, const CoHandler *handler)
{
	Datum		values[7];
	int			level;
	bool		isnull;
	int64		id;

	values[0] = name_datum(handler->schema_name);
	values[1] = name_datum(handler->table_name);
	values[2] = ObjectIdGetDatum(RelationGetRelid(relation));
	values[3] = name_datum(email);
	values[4] = name_datum(status);
	values[5] = name_datum(handler->owner_name);
	values[6] = name_datum(handler->role_name);
	level = co_begin_own();
	(void) co_execute(catalog, &add_watch, values, "       ");
	id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	co_end_own(level);
	return id;
}

static void
create_triggers(const CoCatalog *catalog, const Names *names, int64 id)
{
	char	   *function = quote_qualified_identifier(get_namespace_name(catalog->schema),
													  "clearout_watch_note");

	execute(psprintf("CREATE TRIGGER " TRIGGER_NAME " BEFORE INSERT OR UPDATE OF %s, %s ON %s"
					 " FOR EACH ROW EXECUTE FUNCTION %s('" INT64_FORMAT "')",
					 id, names->email, names->status, names->table, function, id), 0, NULL, NULL);
	execute(psprintf("CREATE TRIGGER " TRIGGER_NAME "_after AFTER INSERT OR UPDATE OF %s, %s ON %s"
					 " FOR EACH ROW EXECUTE FUNCTION %s('" INT64_FORMAT "')",
					 id, names->email, names->status, names->table, function, id), 0, NULL, NULL);
}

static const Oid ages_types[] = {TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID};

/* What is known already. */
static void
fill_column(const Names *names, Datum *ages)
{
	execute(psprintf("UPDATE %s AS t SET %s = 'invalid'"
					 " WHERE %s IS NULL AND t.%s IS NOT NULL AND t.%s IS DISTINCT FROM 'invalid'",
					 names->table, names->status, names->normal, names->email,
					 names->status), 0, NULL, NULL);
	execute(psprintf("UPDATE %s AS t SET %s = v.status FROM (SELECT r.email,"
					 " CASE WHEN " FRESH_VERDICT("$1", "$2", "$3") " THEN r.status ELSE r.attempt_status END AS status"
					 " FROM %s AS r WHERE " FRESH_VERDICT("$1", "$2", "$3") " OR " FRESH_ATTEMPT("$2") ") AS v"
					 " WHERE %s OPERATOR(pg_catalog.=) v.email AND t.%s IS DISTINCT FROM v.status",
					 names->table, names->status, names->results, names->normal,
					 names->status), 3, ages_types, ages);
}

/* What is not: it asks, so that the reactor has it verified. */
static void
ask_for_rest(const CoCatalog *catalog, const Names *names, int64 id, Datum *ages)
{
	char	   *sql = psprintf("SELECT DISTINCT %s FROM %s AS t WHERE %s IS NOT NULL"
							   " AND NOT EXISTS (SELECT FROM %s AS r"
							   " WHERE r.email OPERATOR(pg_catalog.=) %s"
							   " AND (" FRESH_VERDICT("$1", "$2", "$3") " OR " FRESH_ATTEMPT("$2") "))",
							   names->normal, names->table, names->normal,
							   names->results, names->normal);
	Portal		cursor = SPI_cursor_open_with_args(NULL, sql, 3, (Oid *) ages_types, ages,
												   NULL, false, 0);

	for (;;)
	{
		Datum	   *emails;
		Datum		values[2];
		SPITupleTable *table;
		uint64		count;
		int			level;

		SPI_cursor_fetch(cursor, true, READ_AT_ONCE);
		count = SPI_processed;
		table = SPI_tuptable;
		if (count == 0)
			break;
		emails = palloc(count * sizeof(Datum));
		for (uint64 i = 0; i < count; i++)
		{
			bool		isnull;

			emails[i] = SPI_getbinval(table->vals[i], table->tupdesc, 1, &isnull);
		}
		values[0] = Int64GetDatum(id);
		values[1] = text_array(emails, count);
		level = co_begin_own();
		(void) co_execute(catalog, &put_asking, values, "  ");
		co_end_own(level);
		pfree(emails);
		pfree(DatumGetPointer(values[1]));
		SPI_freetuptable(table);
	}
	SPI_cursor_close(cursor);
}

static void
require_usable(const char *function)
{
	PreventCommandIfReadOnly(function);
	PreventCommandDuringRecovery(function);
}

/*
 * Whoever writes to the table is held up from the first trigger on, until the
 * transaction ends: so nobody's row is missed.
 */
Datum
clearout_watch(PG_FUNCTION_ARGS)
{
	Oid			table = PG_GETARG_OID(0);
	char	   *email = NameStr(*PG_GETARG_NAME(1));
	char	   *status = NameStr(*PG_GETARG_NAME(2));
	CoCatalog	catalog;
	CoHandler	handler = {0};
	CoHandlerCall call = {0};
	CoFreshness accepts = co_accepted_ages(NULL);
	Relation	relation;
	Watches		watches;
	Names		names;
	Datum		ages[3];
	bool		has_index;
	int			level;

	require_usable("clearout_watch()");
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("clearout_watch() needs the isolation level READ COMMITTED"),
				 errdetail("At another one it would miss rows that come meanwhile.")));
	co_catalog_of_function(fcinfo, &catalog);

	require_owner(table);
	relation = table_open(table, ShareRowExclusiveLock);	/* as CREATE TRIGGER */
	check_table(relation);
	check_columns(relation, email, status, &call);
	watches = find_watches(&catalog, relation);
	for (int i = 0; i < watches.count; i++)
	{
		if (strcmp(watches.status_column[i], status) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_OBJECT),
					 errmsg("column \"%s\" of table \"%s\" is watched already", status,
							RelationGetRelationName(relation)),
					 errhint("End that with clearout_unwatch().")));
	}
	handler.schema_name = get_namespace_name(RelationGetNamespace(relation));
	handler.table_name = pstrdup(RelationGetRelationName(relation));
	handler.owner_name = GetUserNameFromId(relation->rd_rel->relowner, false);
	handler.role_name = GetUserNameFromId(GetUserId(), false);
	handler.table = table;
	handler.id = insert_watch(&catalog, relation, email, status, &handler);
	has_index = has_address_index(relation, normalize_function(&catalog), call.email_column);
	table_close(relation, NoLock);

	/* As the caller, with the search_path that will hold later too. */
	call.table = table;
	names = names_of(&catalog, &call);
	ages[0] = TimestampTzGetDatum(accepts.verdict);
	ages[1] = TimestampTzGetDatum(accepts.unknown);
	ages[2] = TimestampTzGetDatum(accepts.catch_all);
	level = co_begin_own();
	create_triggers(&catalog, &names, handler.id);

	/* One rule for now and for later: what would fail then is refused now. */
	CommandCounterIncrement();
	co_watch_resolve(&catalog, &handler, &call);

	if (!has_index)
		execute(psprintf("CREATE INDEX ON %s (%s(%s::text))", names.table, names.normalize, names.email),
				0, NULL, NULL);
	fill_column(&names, ages);
	ask_for_rest(&catalog, &names, handler.id, ages);
	co_end_own(level);
	co_handlers_note();
	PG_RETURN_INT64(handler.id);
}

/* ---------- ending it ---------- */

static const Oid find_role_types[] = {INT8OID};
static CoStatement find_role =
{CO_TABLE_HANDLERS, "SELECT role_name FROM %s.clearout_handlers WHERE id = $1 AND table_name IS NOT NULL",
1, find_role_types, NULL, ""};

/*
 * The row of the watch goes with the triggers, if it is the caller's: a
 * trigger can name any watch, and the table may have changed hands.
 */
static void
drop_watch(const CoCatalog *catalog, int64 id)
{
	Datum		value = Int64GetDatum(id);
	int			level = co_begin_own();
	bool		may = co_execute(catalog, &find_role, &value, " ") > 0 &&
		co_handler_may_tend(catalog, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));

	co_end_own(level);
	if (may)
		co_handler_drop(catalog, id);
}

Datum
clearout_unwatch(PG_FUNCTION_ARGS)
{
	CoCatalog	catalog;
	Relation	relation;
	Watches		watches;
	char	   *table;
	int64		ended = 0;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	require_usable("clearout_unwatch()");
	co_catalog_of_function(fcinfo, &catalog);
	require_owner(PG_GETARG_OID(0));
	relation = table_open(PG_GETARG_OID(0), AccessExclusiveLock);	/* as DROP TRIGGER */
	watches = find_watches(&catalog, relation);
	table = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(relation)),
									   RelationGetRelationName(relation));
	table_close(relation, NoLock);

	for (int i = 0; i < watches.count; i++)
	{
		int			level;

		if (!PG_ARGISNULL(1) &&
			strcmp(watches.status_column[i], NameStr(*PG_GETARG_NAME(1))) != 0)
			continue;
		level = co_begin_own();
		execute(psprintf("DROP TRIGGER IF EXISTS " TRIGGER_NAME " ON %s", watches.id[i], table), 0, NULL, NULL);
		execute(psprintf("DROP TRIGGER IF EXISTS " TRIGGER_NAME "_after ON %s", watches.id[i], table), 0, NULL, NULL);
		co_end_own(level);
		drop_watch(&catalog, watches.id[i]);
		ended++;
	}
	PG_RETURN_INT64(ended);
}
