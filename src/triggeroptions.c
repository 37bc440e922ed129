/*-------------------------------------------------------------------------
 * triggeroptions.c
 *		The arguments of clearout_verify_trigger(): read, checked, kept.
 *
 * A trigger's arguments are text, and its function is called for each row.  So
 * they are read once per session and kept by the trigger's OID.  Whatever may
 * change what they mean (CREATE OR REPLACE TRIGGER, a column renamed, dropped
 * or given another type) sends a relcache invalidation for the table; then
 * they are read again.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "arguments.h"
#include "enqueue.h"
#include "triggeroptions.h"

#define FUNCTION "clearout_verify_trigger()"

/* The options, by name. */
typedef enum Option
{
	OPTION_FAIL,
	OPTION_MALFORMED,
	OPTION_MAX_AGE,
	OPTION_MESSAGE,
	OPTION_MODE,
	OPTION_NULL,
	OPTION_PRIORITY,
	OPTION_REJECT,
	OPTION_STATUS_COLUMN,
	OPTION_TIMEOUT,
	OPTIONS
} Option;

static const char *const option_names[OPTIONS] = {
	"fail", "malformed", "max_age", "message", "mode", "null", "priority",
	"reject", "status_column", "timeout"
};
#define OPTION_LIST \
	"fail, malformed, max_age, message, mode, null, priority, reject, status_column, timeout"

static const char *const flag_names[CO_REJECT_FLAGS] = {
	"disposable", "free", "role", "gibberish"
};

/* What is being read. */
typedef struct Reading
{
	Relation	table;
	const Trigger *trigger;
	char	   *value[OPTIONS]; /* NULL: not given */
} Reading;

/* ---------- errors ---------- */

/* An option does not fit. */
static void
refuse(const Reading *reading, const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("trigger \"%s\" of table \"%s\": %s", reading->trigger->tgname,
					RelationGetRelationName(reading->table), what),
			 errhint("%s", hint)));
}

/* An option is given where it has no use. */
static void
refuse_option(const Reading *reading, Option option, const char *hint)
{
	if (reading->value[option] != NULL)
		refuse(reading, psprintf("option \"%s\" has no use here", option_names[option]), hint);
}

/* ---------- words ---------- */

/* Cut blanks off both ends; changes the text. */
static char *
trim(char *text)
{
	char	   *end = text + strlen(text);

	while (end > text && isspace((unsigned char) end[-1]))
		*--end = '\0';
	while (isspace((unsigned char) *text))
		text++;
	return text;
}

static void
split_options(Reading *reading)
{
	for (int i = 1; i < reading->trigger->tgnargs; i++)
	{
		char	   *text = pstrdup(reading->trigger->tgargs[i]);
		char	   *equals = strchr(text, '=');
		char	   *name;
		int			option = 0;

		if (equals == NULL)
			refuse(reading, psprintf("argument \"%s\" is no option", text),
				   "After the column, write options as 'name=value'.");
		*equals = '\0';
		name = trim(text);
		while (option < OPTIONS && strcmp(name, option_names[option]) != 0)
			option++;
		if (option == OPTIONS)
			refuse(reading, psprintf("unknown option \"%s\"", name),
				   "The options are: " OPTION_LIST ".");
		if (reading->value[option] != NULL)
			refuse(reading, psprintf("option \"%s\" is given twice", name),
				   "Write each option once.");
		reading->value[option] = trim(equals + 1);
	}
}

/* Which of these words is the option's value?  The first if it is not given. */
static int
word_of(const Reading *reading, Option option, const char *const *words, int count)
{
	const char *value = reading->value[option];
	StringInfoData list;

	if (value == NULL)
		return 0;
	for (int i = 0; i < count; i++)
	{
		if (strcmp(value, words[i]) == 0)
			return i;
	}
	initStringInfo(&list);
	for (int i = 0; i < count; i++)
		appendStringInfo(&list, "%s\"%s\"", i == 0 ? "" : i == count - 1 ? " or " : ", ", words[i]);
	refuse(reading, psprintf("invalid value for option \"%s\": \"%s\"", option_names[option], value),
		   psprintf("Use %s.", list.data));
	return 0;					/* keep the compiler quiet */
}

static Interval *
interval_of(const Reading *reading, Option option)
{
	Interval   *interval;

	if (reading->value[option] == NULL)
		return NULL;
	interval = DatumGetIntervalP(DirectFunctionCall3(interval_in,
													 CStringGetDatum(reading->value[option]),
													 ObjectIdGetDatum(InvalidOid),
													 Int32GetDatum(-1)));
	(void) co_interval_argument(interval, option_names[option]);
	return interval;
}

/* ---------- columns ---------- */

static AttrNumber
find_column(const Reading *reading, const char *name)
{
	TupleDesc	columns = RelationGetDescr(reading->table);

	for (int i = 0; i < columns->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(columns, i);

		if (!attribute->attisdropped && strcmp(NameStr(attribute->attname), name) == 0)
			return i + 1;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("trigger \"%s\": column \"%s\" of table \"%s\" does not exist",
					reading->trigger->tgname, name, RelationGetRelationName(reading->table)),
			 errhint("A trigger's arguments do not follow a column that is renamed or dropped: create the trigger anew. Write the name as the catalog has it, without quotes.")));
}

/* Of a type that can hold text, and known when the trigger fires. */
static void
read_email_column(const Reading *reading, CoTriggerOptions *options)
{
	Form_pg_attribute attribute;
	Oid			type;
	char		category;
	bool		preferred;
	const char *name = reading->trigger->tgargs[0];

	options->email = find_column(reading, name);
	attribute = TupleDescAttr(RelationGetDescr(reading->table), options->email - 1);
	type = getBaseType(attribute->atttypid);
	get_type_category_preferred(type, &category, &preferred);
	if (category != TYPCATEGORY_STRING)
		refuse(reading, psprintf("column \"%s\" is of type %s", name,
								 format_type_be(attribute->atttypid)),
			   "Name a column of type text, or of another type for strings.");

	options->email_is_text = IsBinaryCoercible(type, TEXTOID);
	if (!options->email_is_text)
	{
		Oid			function;
		bool		varlena;

		getTypeOutputInfo(type, &function, &varlena);
		fmgr_info_cxt(function, &options->email_output, CurrentMemoryContext);
	}

	if (attribute->attgenerated == ATTRIBUTE_GENERATED_STORED)
	{
		if (TRIGGER_FOR_BEFORE(reading->trigger->tgtype))
			refuse(reading, psprintf("generated column \"%s\" is not computed yet", name),
				   "Use AFTER in place of BEFORE.");
	}
	else if (attribute->attgenerated != '\0')
		refuse(reading, psprintf("virtual generated column \"%s\" is not computed for triggers", name),
			   "Name the column that it is computed from, or make it STORED.");
}

static void
read_status_column(const Reading *reading, CoTriggerOptions *options)
{
	const char *name = reading->value[OPTION_STATUS_COLUMN];
	Form_pg_attribute attribute;
	Oid			function;

	if (name == NULL)
		return;
	options->status = find_column(reading, name);
	attribute = TupleDescAttr(RelationGetDescr(reading->table), options->status - 1);
	if (attribute->attgenerated != '\0')
		refuse(reading, psprintf("column \"%s\" is generated", name),
			   "Name a column that can be written to.");
	if (options->status == options->email)
		refuse(reading, "the status would be written over the address",
			   "Name two columns.");
	getTypeInputInfo(attribute->atttypid, &function, &options->status_ioparam);
	fmgr_info_cxt(function, &options->status_input, CurrentMemoryContext);
	options->status_typmod = attribute->atttypmod;
}

/* ---------- what belongs together ---------- */

static void
check_trigger(const Reading *reading)
{
	int16		type = reading->trigger->tgtype;

	if (TRIGGER_FOR_INSTEAD(type))
		refuse(reading, FUNCTION " cannot take the place of a command",
			   "Create it on the table, BEFORE or AFTER.");
	if (TRIGGER_FOR_DELETE(type) || TRIGGER_FOR_TRUNCATE(type))
		refuse(reading, FUNCTION " has nothing to do when rows go",
			   "Create it for INSERT, UPDATE or both.");
	if (TRIGGER_FOR_ROW(type))
		return;
	if (!TRIGGER_FOR_AFTER(type))
		refuse(reading, "a statement's rows are not known before it",
			   "Use AFTER, with REFERENCING NEW TABLE; or FOR EACH ROW.");
	if (reading->trigger->tgnewtable == NULL)
		refuse(reading, "the statement's rows are not passed on",
			   "Add REFERENCING NEW TABLE AS new_rows; or use FOR EACH ROW.");
	if (TRIGGER_FOR_UPDATE(type) && reading->trigger->tgoldtable == NULL)
		refuse(reading, "it cannot be told which addresses have changed",
			   "Add OLD TABLE AS old_rows to the trigger's REFERENCING; or use FOR EACH ROW.");
}

static void
check_options(const Reading *reading, const CoTriggerOptions *options)
{
	int16		type = reading->trigger->tgtype;

	if (!TRIGGER_FOR_ROW(type))
	{
		if (options->mode != CO_TRIGGER_ENQUEUE)
			refuse(reading, psprintf("mode \"%s\" needs each row", reading->value[OPTION_MODE]),
				   "Use FOR EACH ROW, or mode=enqueue.");
		refuse_option(reading, OPTION_STATUS_COLUMN,
					  "To write to a row takes BEFORE and FOR EACH ROW.");
	}
	if (options->status != 0 && !TRIGGER_FOR_BEFORE(type))
		refuse_option(reading, OPTION_STATUS_COLUMN,
					  "To write to a row takes BEFORE and FOR EACH ROW.");
	if (options->mode == CO_TRIGGER_ENQUEUE)
		refuse_option(reading, OPTION_REJECT,
					  "To reject by status takes mode=cached or mode=wait; malformed=reject works in any mode.");
	if (options->mode != CO_TRIGGER_WAIT)
	{
		refuse_option(reading, OPTION_TIMEOUT, "Only mode=wait waits.");
		refuse_option(reading, OPTION_FAIL, "Only mode=wait can be let down by the service.");
	}
	if (options->mode == CO_TRIGGER_ENQUEUE && !options->reject_malformed && !options->reject_null)
		refuse_option(reading, OPTION_MESSAGE,
					  "Nothing is rejected here; see the options mode, reject, malformed and null.");
}

/* ---------- reading ---------- */

static void
read_reject(const Reading *reading, CoTriggerOptions *options)
{
	char	   *list = pstrdup(reading->value[OPTION_REJECT] ? reading->value[OPTION_REJECT]
							   : options->mode == CO_TRIGGER_ENQUEUE ? "" : "invalid");
	char	   *rest = NULL;

	options->reject = palloc((strlen(list) / 2 + 1) * sizeof(char *));
	for (char *word = strtok_r(list, ",", &rest); word; word = strtok_r(NULL, ",", &rest))
	{
		int			flag = 0;

		word = trim(word);
		if (*word == '\0')
			continue;
		while (flag < CO_REJECT_FLAGS && strcmp(word, flag_names[flag]) != 0)
			flag++;
		if (flag < CO_REJECT_FLAGS)
			options->reject_flag[flag] = true;
		else
			options->reject[options->reject_count++] = word;
		if (strcmp(word, "invalid") == 0)
			options->reject_malformed = true;
	}
}

static CoTriggerOptions *
read_options(Relation table, const Trigger *trigger)
{
	static const char *const modes[] = {"enqueue", "cached", "wait"};
	static const char *const outcomes[] = {"accept", "reject"};
	static const char *const fails[] = {"open", "closed"};
	Reading		reading = {table, trigger};
	CoTriggerOptions *options = palloc0(sizeof(CoTriggerOptions));
	Interval   *timeout;

	check_trigger(&reading);
	if (trigger->tgnargs < 1)
		refuse(&reading, "the column with the address is not named",
			   "Write " FUNCTION " with its name: clearout_verify_trigger('email').");
	split_options(&reading);

	options->mode = word_of(&reading, OPTION_MODE, modes, lengthof(modes));
	options->fail_closed = word_of(&reading, OPTION_FAIL, fails, lengthof(fails)) != 0;
	options->reject_null = word_of(&reading, OPTION_NULL, outcomes, lengthof(outcomes)) != 0;
	read_reject(&reading, options);
	if (reading.value[OPTION_MALFORMED] != NULL)
		options->reject_malformed =
			word_of(&reading, OPTION_MALFORMED, outcomes, lengthof(outcomes)) != 0;
	if (reading.value[OPTION_PRIORITY] != NULL)
		options->priority = pg_strtoint32(reading.value[OPTION_PRIORITY]);
	co_require_priority(options->priority);
	options->message = reading.value[OPTION_MESSAGE];
	options->max_age = interval_of(&reading, OPTION_MAX_AGE);
	timeout = interval_of(&reading, OPTION_TIMEOUT);
	options->timeout = timeout == NULL ? -1
		: Min(co_interval_argument(timeout, "timeout"), USECS_PER_DAY);
	read_email_column(&reading, options);
	read_status_column(&reading, options);
	check_options(&reading, options);
	return options;
}

/* ---------- keeping ---------- */

typedef struct Kept
{
	Oid			trigger;		/* hash key */
	Oid			table;
	bool		valid;
	MemoryContext context;		/* of the options */
	CoTriggerOptions *options;
} Kept;

static HTAB *kept = NULL;

static void
table_changed(Datum argument, Oid table)
{
	HASH_SEQ_STATUS status;
	Kept	   *entry;

	hash_seq_init(&status, kept);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (table == InvalidOid || entry->table == table)
			entry->valid = false;
	}
}

/*
 * Let go of what has become invalid, dropped triggers among it.  Somebody
 * further up the stack may still use it: it goes at the end of the
 * transaction.
 */
static void
let_go(void)
{
	HASH_SEQ_STATUS status;
	Kept	   *entry;

	hash_seq_init(&status, kept);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (!entry->valid)
		{
			MemoryContextSetParent(entry->context, TopTransactionContext);
			(void) hash_search(kept, &entry->trigger, HASH_REMOVE, NULL);
		}
	}
}

static void
make_table(void)
{
	HASHCTL		control = {0};

	control.keysize = sizeof(Oid);
	control.entrysize = sizeof(Kept);
	control.hcxt = TopMemoryContext;
	kept = hash_create("clearout triggers", 16, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterRelcacheCallback(table_changed, (Datum) 0);
}

const CoTriggerOptions *
co_trigger_options(Relation table, const Trigger *trigger)
{
	Kept	   *entry;
	MemoryContext context;
	MemoryContext old;
	CoTriggerOptions *options;
	bool		found;

	if (kept == NULL)
		make_table();
	entry = hash_search(kept, &trigger->tgoid, HASH_FIND, NULL);
	if (entry != NULL && entry->valid)
		return entry->options;

	/* Nothing is kept before all of it is read: that may throw. */
	let_go();
	context = AllocSetContextCreate(CurrentMemoryContext, "clearout trigger",
									ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	options = read_options(table, trigger);
	MemoryContextSwitchTo(old);

	entry = hash_search(kept, &trigger->tgoid, HASH_ENTER, &found);
	Assert(!found);
	entry->table = RelationGetRelid(table);
	entry->context = context;
	entry->options = options;
	entry->valid = true;
	MemoryContextSetParent(context, TopMemoryContext);
	return options;
}
