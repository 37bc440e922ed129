/*-------------------------------------------------------------------------
 * trigger.c
 *		clearout_verify_trigger(): tables that have their addresses verified.
 *
 *		enqueue		puts an address that is new to the row into the queue
 *		cached		the same, but rejects what is known to be bad
 *		wait		verifies it, and rejects what is bad
 *
 * Only the last of them asks the service, and waits for it; the others read
 * what is stored, take no lock that the worker may need, and write to the
 * queue in the transaction of the row.
 *
 * PostgreSQL checks the right to execute a trigger's function when the trigger
 * is made, against whoever makes it, and never again.  But it is the table's
 * owner who lets others write there, and who pays.  So each time that the
 * trigger fires it looks whether the owner may do what is to be done, and
 * does it as him.  Whoever writes to the table needs no right of ours and
 * gets none: he learns what a rejection tells him, and no more.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"

#include "arguments.h"
#include "compat.h"
#include "convert.h"
#include "enqueue.h"
#include "guc.h"
#include "lookup.h"
#include "row_by_row.h"
#include "triggeroptions.h"
#include "verify.h"
#include "worker.h"

PG_FUNCTION_INFO_V1(clearout_verify_trigger);

/* Addresses of a statement that are put into the queue together; what bounds
 * the memory that a load of any size takes. */
#define STATEMENT_GROUP 100000
#define STATEMENT_MEMORY (64 * 1024 * 1024)	/* if the column holds long texts */

/* What the trigger is about to do. */
typedef struct Firing
{
	const CoTriggerOptions *options;
	const Trigger *trigger;
	Relation	table;
	CoCatalog	catalog;
	Oid			owner;
	CoFreshness accepts;
} Firing;

/* ---------- rights ---------- */

/* May this role execute clearout_NAME(types)? */
static bool
may_execute(const Firing *firing, const char *name, const Oid *types, int count)
{
	oidvector  *arguments = buildoidvector(types, count);
	Oid			function = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
										   CStringGetDatum(name), PointerGetDatum(arguments),
										   ObjectIdGetDatum(firing->catalog.schema));

	pfree(arguments);
	return OidIsValid(function) && co_may_execute(function, firing->owner);
}

static void
refuse_owner(const Firing *firing, const char *what, const char *word)
{
	char	   *owner = GetUserNameFromId(firing->owner, false);

	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for trigger \"%s\" of table \"%s\"",
					firing->trigger->tgname, RelationGetRelationName(firing->table)),
			 errdetail("The owner of the table, \"%s\", may not %s.", owner, what),
			 errhint("A superuser can let him: SELECT clearout_grant('%s', '%s').",
					 quote_identifier(owner), word)));
}

static void
require_enqueue(const Firing *firing)
{
	static const Oid types[] = {TEXTOID, INT4OID};

	if (!may_execute(firing, "clearout_enqueue", types, lengthof(types)))
		refuse_owner(firing, "have addresses verified", "enqueue");
}

/* To learn what is stored about an address takes the right to ask about it. */
static void
require_verify(const Firing *firing)
{
	static const Oid types[] = {TEXTOID, INTERVALOID, INTERVALOID, TEXTOID};

	if (!may_execute(firing, "clearout_verify", types, lengthof(types)))
		refuse_owner(firing, "verify addresses", "verify");
}

/* ---------- rejecting ---------- */

/* The option "message", with {status} replaced. */
static char *
own_message(const char *message, const char *status)
{
	static const char mark[] = "{status}";
	StringInfoData text;
	const char *found;

	initStringInfo(&text);
	while ((found = strstr(message, mark)) != NULL)
	{
		appendBinaryStringInfo(&text, message, found - message);
		appendStringInfoString(&text, status);
		message = found + strlen(mark);
	}
	appendStringInfoString(&text, message);
	return text.data;
}

static void
reject(const Firing *firing, const char *status, const char *detail)
{
	if (firing->options->message != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("%s", own_message(firing->options->message, status)),
				 errtablecol(firing->table, firing->options->email)));
	ereport(ERROR,
			(errcode(ERRCODE_CHECK_VIOLATION),
			 errmsg("e-mail address is not accepted"),
			 errdetail("%s", detail),
			 errtablecol(firing->table, firing->options->email)));
}

static void
reject_null(const Firing *firing)
{
	if (firing->options->reject_null)
		reject(firing, "null", "There is none.");
}

static void
reject_malformed(const Firing *firing, CoAddressError error)
{
	if (firing->options->reject_malformed)
		reject(firing, "invalid", psprintf("It is malformed: %s.", co_address_error_text(error)));
}

static void
reject_known(const Firing *firing, const CoRow *row)
{
	static const struct
	{
		CoColumn	column;
		const char *detail;
	}			flags[CO_REJECT_FLAGS] = {
		{CO_COL_DISPOSABLE, "It is of a disposable address service."},
		{CO_COL_FREE, "It is of a free provider."},
		{CO_COL_ROLE, "It belongs to a role or group."},
		{CO_COL_GIBBERISH, "It looks made up."}
	};
	const CoTriggerOptions *options = firing->options;
	char	   *status = TextDatumGetCString(row->value[CO_COL_STATUS]);

	for (int i = 0; i < options->reject_count; i++)
	{
		if (strcmp(status, options->reject[i]) == 0)
			reject(firing, status, psprintf("Its status is \"%s\".", status));
	}
	for (int i = 0; i < CO_REJECT_FLAGS; i++)
	{
		if (options->reject_flag[i] && !row->isnull[flags[i].column] &&
			DatumGetBool(row->value[flags[i].column]))
			reject(firing, status, flags[i].detail);
	}
}

/* ---------- one address ---------- */

/* The address as it stands in the row; NULL if there is none. */
static text *
email_of(const CoTriggerOptions *options, Datum value, bool isnull)
{
	if (isnull)
		return NULL;
	if (options->email_is_text)
		return DatumGetTextPP(value);
	return cstring_to_text(OutputFunctionCall((FmgrInfo *) &options->email_output, value));
}

static bool
is_same_text(const text *a, const text *b)
{
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

/* Do both mean the same address? */
static bool
is_unchanged(text *old, text *new)
{
	CoAddressError error;
	char	   *old_key;
	char	   *new_key;

	if (old == NULL || new == NULL)
		return old == new;
	if (is_same_text(old, new))
		return true;
	old_key = co_key_argument(old, &error);
	new_key = co_key_argument(new, &error);
	return old_key != NULL && new_key != NULL && strcmp(old_key, new_key) == 0;
}

static void
begin_firing(Firing *firing, FunctionCallInfo fcinfo)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	firing->table = data->tg_relation;
	firing->trigger = data->tg_trigger;
	firing->options = co_trigger_options(firing->table, firing->trigger);
	firing->owner = firing->table->rd_rel->relowner;
}

/* The rest of it, which takes longer: an address is to be looked at. */
static void
prepare(Firing *firing, FunctionCallInfo fcinfo)
{
	co_catalog_of_function(fcinfo, &firing->catalog);
	firing->accepts = co_accepted_ages(firing->options->max_age);
	if (firing->options->mode != CO_TRIGGER_ENQUEUE || firing->options->status != 0)
		require_verify(firing);
	if (firing->options->mode != CO_TRIGGER_WAIT || !firing->options->fail_closed)
		require_enqueue(firing);
}

static CoEnqueue
enqueue_of(const Firing *firing)
{
	CoEnqueue	enqueue = {firing->owner, firing->options->priority, firing->accepts};

	return enqueue;
}

/* Verify it now.  False: no answer, and the row may pass all the same. */
static bool
wait_for_answer(const Firing *firing, const char *key, CoRow *row)
{
	int64		timeout = firing->options->timeout;
	CoFailure  *failure;

	/* A worker would wait for itself. */
	if (co_am_worker)
	{
		if (!firing->options->fail_closed)
			return false;
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("trigger \"%s\" cannot wait inside a Clearout worker",
						firing->trigger->tgname)));
	}
	failure = co_verify_key(&firing->catalog, key,
							timeout < 0 ? (int64) co_wait_timeout * 1000 : timeout,
							&firing->accepts, row);
	if (failure == NULL)
		return true;
	if (firing->options->fail_closed)
		co_failure_raise(failure);
	return false;
}

/*
 * Look at an address that is new to its row.  Returns its status, as far as
 * it is known and asked for; NULL if not.
 */
static char *
take_address(const Firing *firing, const char *key)
{
	const CoTriggerOptions *options = firing->options;
	CoEnqueue	enqueue = enqueue_of(firing);
	CoRow		row;
	bool		known;
	bool		put;

	/* Nobody asks what is stored, if anything is. */
	if (options->mode == CO_TRIGGER_ENQUEUE && options->status == 0 &&
		co_row_by_row_enqueue(&firing->catalog, key, &enqueue, &put))
		return NULL;

	if (options->mode == CO_TRIGGER_WAIT)
		known = wait_for_answer(firing, key, &row);
	else
	{
		co_enqueue_before_lookup(&firing->catalog);
		known = co_lookup(&firing->catalog, key, &firing->accepts, &row, NULL);
	}
	if (!known)
	{
		(void) co_enqueue_unanswered(&firing->catalog, key, &enqueue);
		return NULL;
	}
	if (options->mode != CO_TRIGGER_ENQUEUE)
		reject_known(firing, &row);
	return options->status == 0 ? NULL : TextDatumGetCString(row.value[CO_COL_STATUS]);
}

/* ---------- for each row ---------- */

static HeapTuple
with_status(const Firing *firing, HeapTuple tuple, char *status)
{
	const CoTriggerOptions *options = firing->options;
	int			column = options->status;
	bool		isnull = status == NULL;
	Datum		value;

	if (column == 0)
		return tuple;

	/* A null too: a domain may refuse it. */
	value = InputFunctionCall((FmgrInfo *) &options->status_input, status,
							  options->status_ioparam, options->status_typmod);
	return heap_modify_tuple_by_cols(tuple, RelationGetDescr(firing->table), 1,
									 &column, &value, &isnull);
}

static HeapTuple
for_row(Firing *firing, FunctionCallInfo fcinfo)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	TupleDesc	columns = RelationGetDescr(firing->table);
	const CoTriggerOptions *options = firing->options;
	bool		update = TRIGGER_FIRED_BY_UPDATE(data->tg_event);
	HeapTuple	tuple = update ? data->tg_newtuple : data->tg_trigtuple;
	CoAddressError error;
	Datum		value;
	bool		isnull;
	text	   *email;
	char	   *key;
	char	   *status;
	Oid			user;
	int			context;

	value = heap_getattr(tuple, options->email, columns, &isnull);
	email = email_of(options, value, isnull);
	if (update)
	{
		value = heap_getattr(data->tg_trigtuple, options->email, columns, &isnull);
		if (is_unchanged(email_of(options, value, isnull), email))
			return tuple;
	}
	if (email == NULL)
	{
		reject_null(firing);
		return with_status(firing, tuple, NULL);
	}
	key = co_key_argument(email, &error);
	if (key == NULL)
	{
		reject_malformed(firing, error);
		return with_status(firing, tuple, "invalid");
	}

	/* An error puts the user back as well. */
	prepare(firing, fcinfo);
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(firing->owner, context | SECURITY_LOCAL_USERID_CHANGE);
	status = take_address(firing, key);
	SetUserIdAndSecContext(user, context);
	return with_status(firing, tuple, status);
}

/* ---------- for each statement ---------- */

/* A reader of its own: others may be reading the same rows. */
static void
begin_reading(Tuplestorestate *store, int *reader)
{
	*reader = tuplestore_alloc_read_pointer(store, EXEC_FLAG_REWIND);
	tuplestore_select_read_pointer(store, *reader);
	tuplestore_rescan(store);
}

/* The next row's address, NULL if it has none; false: there is no more. */
static bool
next_email(const CoTriggerOptions *options, Tuplestorestate *store, int reader,
		   TupleTableSlot *slot, text **email)
{
	MemoryContext old = MemoryContextSwitchTo(slot->tts_mcxt);
	Datum		value;
	bool		isnull;
	bool		found;

	/* The slot frees a tuple that comes from disk: it must live as long. */
	tuplestore_select_read_pointer(store, reader);
	found = tuplestore_gettupleslot(store, true, false, slot);
	MemoryContextSwitchTo(old);
	if (!found)
		return false;
	value = slot_getattr(slot, options->email, &isnull);
	*email = email_of(options, value, isnull);
	return true;
}

/* Addresses on their way into the queue. */
typedef struct Addresses
{
	MemoryContext context;		/* of what reading them takes */
	int			rows;			/* looked at */
	CoKeys	   *keys;			/* to be put in */
} Addresses;

static void
enqueue_group(const Firing *firing, Addresses *group)
{
	CoEnqueue	enqueue = enqueue_of(firing);
	Oid			user;
	int			context;

	if (group->keys->count > 0)
	{
		GetUserIdAndSecContext(&user, &context);
		SetUserIdAndSecContext(firing->owner, context | SECURITY_LOCAL_USERID_CHANGE);
		(void) co_enqueue_keys(&firing->catalog, group->keys, &enqueue);
		SetUserIdAndSecContext(user, context);
	}
	co_keys_reset(group->keys);
	MemoryContextReset(group->context);
	group->rows = 0;
}

/* One address that is new to its row. */
static void
add_to_group(const Firing *firing, Addresses *group, text *email)
{
	CoAddressError error;

	if (email == NULL)
		reject_null(firing);
	else if (!co_keys_add(group->keys, email, &error))
		reject_malformed(firing, error);
}

/* Is it time to put them in? */
static bool
is_full(const Addresses *group)
{
	return group->rows == STATEMENT_GROUP ||
		co_keys_size(group->keys) + MemoryContextMemAllocated(group->context, false) > STATEMENT_MEMORY;
}

/*
 * An UPDATE hands over its rows as they were and as they are, in one order.
 * Should that ever be another: an address that is passed over here as
 * unchanged was in the table before in any case.
 */
static void
for_statement(Firing *firing, FunctionCallInfo fcinfo)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	const CoTriggerOptions *options = firing->options;
	TupleDesc	columns = RelationGetDescr(firing->table);
	bool		update = TRIGGER_FIRED_BY_UPDATE(data->tg_event);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(columns, &TTSOpsMinimalTuple);
	TupleTableSlot *old_slot = MakeSingleTupleTableSlot(columns, &TTSOpsMinimalTuple);
	int			reader;
	int			old_reader = 0;
	Addresses	group = {0};
	MemoryContext outside;
	text	   *email;
	text	   *old_email;

	prepare(firing, fcinfo);
	begin_reading(data->tg_newtable, &reader);
	if (update)
		begin_reading(data->tg_oldtable, &old_reader);
	group.keys = co_keys_create();
	group.context = AllocSetContextCreate(CurrentMemoryContext, "clearout trigger rows",
										  ALLOCSET_DEFAULT_SIZES);
	outside = MemoryContextSwitchTo(group.context);
	while (next_email(options, data->tg_newtable, reader, slot, &email))
	{
		CHECK_FOR_INTERRUPTS();
		if (!update ||
			!next_email(options, data->tg_oldtable, old_reader, old_slot, &old_email) ||
			!is_unchanged(old_email, email))
			add_to_group(firing, &group, email);
		group.rows++;
		if (is_full(&group))
			enqueue_group(firing, &group);
	}
	enqueue_group(firing, &group);
	MemoryContextSwitchTo(outside);
	MemoryContextDelete(group.context);
	ExecDropSingleTupleTableSlot(slot);
	ExecDropSingleTupleTableSlot(old_slot);
}

Datum
clearout_verify_trigger(PG_FUNCTION_ARGS)
{
	Firing		firing;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("clearout_verify_trigger() must be called by a trigger")));
	begin_firing(&firing, fcinfo);
	if (TRIGGER_FIRED_FOR_ROW(((TriggerData *) fcinfo->context)->tg_event))
		PG_RETURN_POINTER(for_row(&firing, fcinfo));
	for_statement(&firing, fcinfo);
	PG_RETURN_POINTER(NULL);
}
