/*-------------------------------------------------------------------------
 * queue.c
 *		The durable queue: rows of clearout_queue, as the worker sees them.
 *
 * A row stays where it is while it is worked on, and leaves the table in the
 * transaction that stores its answer: after a crash it is simply there.  What
 * the worker has taken is known to it alone.
 *
 * Rows are taken by key, from behind the last one taken of their priority.
 * So it costs the same whatever lies in front: dead rows that an old snapshot
 * keeps, rows that failed or wait, rows of another origin.  But ids do not
 * commit in order; whoever inserts tells at commit from which id on there may
 * be news (see enqueue.c), and we look again from there.  What is met twice
 * is known by its id.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "arguments.h"
#include "find.h"
#include "outbox.h"
#include "price.h"
#include "queue.h"
#include "queuescan.h"
#include "queueshape.h"
#include "remove.h"
#include "slots.h"
#include "spending.h"

#define PRIORITIES CO_PRIORITIES
StaticAssertDecl(PRIORITIES == CO_PRIORITY_MAX - CO_PRIORITY_MIN + 1,
				 "the number of priorities has changed");

/*
 * So many rows are looked at in a turn: there may be millions of a role whose
 * budget is used up, and others must not wait for that.
 */
#define SCAN_MAX 2000
#define PARKED_MAX 2000

/* Where to go on, by kind and priority. */
static struct
{
	int64		from;			/* lowest id not looked at */
	bool		exhausted;		/* nothing was left at the last look */
	int64		passed_over;	/* lowest id left for want of a budget; 0: none */
}			place[CO_QUEUE_KINDS][PRIORITIES];

/* Ids of the rows that are taken. */
static HTAB *taken_rows = NULL;

/*
 * The first rows that were left for want of a budget: if there is something
 * of it after all, they can be taken without a look at all the others.
 */
typedef struct Parked
{
	int			priority;
	int64		id;
} Parked;

static struct
{
	int			count;
	int			revisit;		/* the first so many are to be taken again */
	bool		more;			/* there are more than are noted here */
	Parked		row[PARKED_MAX];
}			parked[CO_QUEUE_KINDS];

/*
 * The table that all these are of.  DROP and CREATE EXTENSION at once make
 * another, with the same numbers for other rows.
 */
static Oid	known_table = InvalidOid;
static bool another_table = false;

/* Answered rows have been left in the table, because somebody has locked them. */
static bool rows_left = false;

int64
co_queue_origin(void)
{
	uint64		system = GetSystemIdentifier();

	return (int64) hash_combine64(hash_bytes_extended((const unsigned char *) &system,
													  sizeof(system), 0),
								  (uint64) MyDatabaseId);
}

void
co_queue_look_from(int64 id)
{
	for (int kind = 0; kind < CO_QUEUE_KINDS; kind++)
	{
		for (int i = 0; i < PRIORITIES; i++)
		{
			place[kind][i].from = Min(place[kind][i].from, id);
			place[kind][i].exhausted = false;
			if (id <= place[kind][i].passed_over)
				place[kind][i].passed_over = 0;
		}
		if (id == 0)
		{
			parked[kind].count = parked[kind].revisit = 0;
			parked[kind].more = false;
		}
	}
}

bool
co_queue_may_have_more(CoQueueKind kind)
{
	if (parked[kind].revisit > 0)
		return true;
	for (int i = 0; i < PRIORITIES; i++)
	{
		if (!place[kind][i].exhausted)
			return true;
	}
	return false;
}

/* Is this the table that we know rows of? */
static bool
is_known_table(const CoCatalog *catalog)
{
	if (!OidIsValid(known_table))
		known_table = catalog->queue;
	if (catalog->queue != known_table)
		another_table = true;
	return catalog->queue == known_table;
}

bool
co_queue_is_another(void)
{
	return another_table;
}

/* Is this row taken?  If not, it is now. */
static bool
take(int64 id)
{
	bool		found;

	if (taken_rows == NULL)
	{
		HASHCTL		control = {0};

		control.keysize = sizeof(int64);
		control.entrysize = sizeof(int64);
		control.hcxt = TopMemoryContext;
		taken_rows = hash_create("clearout rows taken", 1024, &control,
								 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	(void) hash_search(taken_rows, &id, HASH_ENTER, &found);
	return !found;
}

int
co_queue_held(void)
{
	return taken_rows == NULL ? 0 : (int) hash_get_num_entries(taken_rows);
}

void
co_queue_hold(const CoQueueRow *row)
{
	(void) take(row->id);
}

void
co_queue_forget(const CoQueueRow *row)
{
	(void) hash_search(taken_rows, &row->id, HASH_REMOVE, NULL);
}

void
co_queue_park(const CoQueueRow *row)
{
	int64	   *lowest = &place[row->kind][row->priority - CO_PRIORITY_MIN].passed_over;

	co_queue_forget(row);
	*lowest = *lowest == 0 ? row->id : Min(*lowest, row->id);
	if (parked[row->kind].count < PARKED_MAX)
	{
		Parked	   *place_for_it = &parked[row->kind].row[parked[row->kind].count++];

		place_for_it->priority = row->priority;
		place_for_it->id = row->id;
	}
	else
		parked[row->kind].more = true;
}

bool
co_queue_unpark(void)
{
	bool		all = true;

	for (int kind = 0; kind < CO_QUEUE_KINDS; kind++)
	{
		parked[kind].revisit = parked[kind].count;
		all &= !parked[kind].more;
	}
	return all;
}

/* People to be found are few: where none is left, none counts. */
int64
co_queue_from(int priority)
{
	int64		lowest = INT64_MAX;

	for (int kind = 0; kind < CO_QUEUE_KINDS; kind++)
	{
		int			i = priority - CO_PRIORITY_MIN;

		if (kind == CO_QUEUE_VERIFY || !place[kind][i].exhausted)
			lowest = Min(lowest, place[kind][i].from);
		if (place[kind][i].passed_over != 0)
			lowest = Min(lowest, place[kind][i].passed_over);
	}
	return lowest;
}

/* Columns of both kinds, and those of the finder alone. */
#define ROW_COLUMNS "priority, id, accepts_since, enqueued_at, attempts, requested_by, q.ctid"
#define VERIFY_COLUMNS ROW_COLUMNS ", email"
#define FIND_COLUMNS ROW_COLUMNS ", name, domain, queue_id, sought_since"

/* Their numbers, from 0. */
enum
{
	COLUMN_PRIORITY,
	COLUMN_ID,
	COLUMN_ACCEPTS_SINCE,
	COLUMN_ENQUEUED_AT,
	COLUMN_ATTEMPTS,
	COLUMN_REQUESTED_BY,
	COLUMN_PLACE,
	COLUMN_EMAIL,
	COLUMN_NAME = COLUMN_EMAIL,
	COLUMN_DOMAIN,
	COLUMN_QUEUE_ID,
	COLUMN_SOUGHT_SINCE,
	COLUMNS_MAX
};

/* Their types. */
#define ROW_TYPES INT4OID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID, TEXTOID, TIDOID
static const Oid column_types[CO_QUEUE_KINDS][COLUMNS_MAX] = {
	{ROW_TYPES, TEXTOID},
	{ROW_TYPES, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID}
};

static const Oid range_types[] = {INT4OID, INT8OID, INT8OID, INT4OID};
static const Oid due_types[] = {TIMESTAMPTZOID, INT8OID, INT4OID, NAMEARRAYOID};
static const Oid parked_types[] = {INT4ARRAYOID, INT8ARRAYOID, INT8OID};
static const Oid next_types[] = {TIMESTAMPTZOID, INT8OID};

#define RANGE(columns, priority, of_kind) \
	{CO_TABLE_QUEUE, "SELECT " columns " FROM %s.clearout_queue AS q" \
	" WHERE " priority " AND id >= $2 AND origin = $3" \
	" AND failed_at IS NULL AND next_attempt_at IS NULL AND " of_kind, \
	4, range_types, NULL, ""}
#define DUE(columns, of_kind, budget) \
	{CO_TABLE_QUEUE, "SELECT " columns " FROM %s.clearout_queue AS q" \
	" WHERE next_attempt_at IS NOT NULL AND failed_at IS NULL AND " of_kind \
	" AND next_attempt_at <= $1 AND origin = $2 AND " budget \
	" ORDER BY next_attempt_at LIMIT $3", \
	4, due_types, NULL, ""}
#define PARKED(columns, of_kind) \
	{CO_TABLE_QUEUE, "SELECT " columns " FROM unnest($1, $2) AS k (priority, id)" \
	" JOIN %s.clearout_queue AS q USING (priority, id)" \
	" WHERE origin = $3 AND failed_at IS NULL AND " of_kind, \
	3, parked_types, NULL, ""}
#define NEXT_DUE(of_kind) \
	{CO_TABLE_QUEUE, "SELECT next_attempt_at FROM %s.clearout_queue" \
	" WHERE next_attempt_at IS NOT NULL AND failed_at IS NULL AND " of_kind \
	" AND next_attempt_at > $1 AND origin = $2" \
	" ORDER BY next_attempt_at LIMIT 1", \
	2, next_types, NULL, ""}
#define ADDRESSES "email IS NOT NULL"
#define PEOPLE "email IS NULL"
#define WITHIN_BUDGET "requested_by <> ALL ($4)"

/* By the indexes that the two kinds have; see the extension's script. */
static CoStatement read_range[CO_QUEUE_KINDS] = {
	RANGE(VERIFY_COLUMNS, "priority = $1", ADDRESSES " ORDER BY priority, id LIMIT $4"),
	RANGE(FIND_COLUMNS, "(- priority) = (- $1)", PEOPLE " ORDER BY (- priority), id LIMIT $4")
};
static CoStatement read_due[CO_QUEUE_KINDS] = {
	DUE(VERIFY_COLUMNS, ADDRESSES, WITHIN_BUDGET),
	/* how far a search has come costs nothing */
	DUE(FIND_COLUMNS, PEOPLE, "(queue_id IS NOT NULL OR " WITHIN_BUDGET ")")
};
static CoStatement read_parked[CO_QUEUE_KINDS] = {
	PARKED(VERIFY_COLUMNS, ADDRESSES), PARKED(FIND_COLUMNS, PEOPLE)
};
static CoStatement read_next_due[CO_QUEUE_KINDS] = {
	NEXT_DUE(ADDRESSES), NEXT_DUE(PEOPLE)
};

static const Oid search_types[] = {TEXTOID, TEXTOID, INT8OID};
static CoStatement read_searches =
{CO_TABLE_QUEUE, "SELECT " FIND_COLUMNS " FROM %s.clearout_queue AS q"
	" WHERE email IS NULL AND name = $1 AND domain = $2 AND origin = $3"
	" AND failed_at IS NULL AND queue_id IS NOT NULL ORDER BY sought_since DESC LIMIT 10",
3, search_types, NULL, ""};

static const Oid key_array_types[] = {INT4ARRAYOID, INT8ARRAYOID};
static CoStatement delete_rows =
{CO_TABLE_QUEUE, "DELETE FROM %s.clearout_queue WHERE (priority, id) IN"
	" (SELECT q.priority, q.id FROM unnest($1, $2) AS k (priority, id)"
	" JOIN %s.clearout_queue AS q USING (priority, id)"
	" FOR UPDATE OF q SKIP LOCKED)",
2, key_array_types, NULL, ""};

static const Oid postpone_types[] = {INT4OID, INT8OID, INT4OID, TIMESTAMPTZOID, BOOLOID, TEXTOID};

/* Calls may fail by the hundred, and somebody may have all these rows locked:
 * none of them is waited for. */
#define NOT_LOCKED \
	" WHERE (priority, id) IN (SELECT k.priority, k.id FROM %s.clearout_queue AS k" \
	" WHERE k.priority = $1 AND k.id = $2 FOR UPDATE SKIP LOCKED)"

static CoStatement postpone_row =
{CO_TABLE_QUEUE, "UPDATE %s.clearout_queue SET attempts = $3, next_attempt_at = $4,"
	" maybe_paid = maybe_paid OR $5, last_error = $6" NOT_LOCKED,
6, postpone_types, NULL, ""};

static CoStatement fail_row =
{CO_TABLE_QUEUE, "UPDATE %s.clearout_queue SET attempts = $3, failed_at = $4,"
	" next_attempt_at = NULL, maybe_paid = maybe_paid OR $5, last_error = $6" NOT_LOCKED,
6, postpone_types, NULL, ""};

static CoStatement read_pause =
{CO_TABLE_CONTROL, "SELECT FROM %s.clearout_control WHERE paused", 0, postpone_types, NULL, ""};

/* ---------- taking ---------- */

typedef struct Taking
{
	CoQueueKind kind;
	const char *name;			/* for searches */
	const char *domain;
	MemoryContext context;
	int			count;
	int			found;
	int			scanned;
	int64	   *from;			/* of the priority that we are at */
	CoQueueRow *rows;
	TimestampTz next_due;
} Taking;

/* What was read of a row: the columns of its kind. */
typedef struct Columns
{
	Datum		value[COLUMNS_MAX];
	bool		isnull[COLUMNS_MAX];
} Columns;

/* The table's owner may have changed its columns. */
static void
require_type(int number, Oid type)
{
	if (SPI_gettypeid(SPI_tuptable->tupdesc, number + 1) != type)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"clearout_queue\" does not fit the library of the extension \"clearout\"")));
}

static Datum
column(const Columns *columns, int number)
{
	if (columns->isnull[number])
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("a column of \"clearout_queue\" is null")));
	return columns->value[number];
}

static void
read_address(const Columns *columns, CoQueueRow *row)
{
	CoAddressError error;

	row->key = co_key_argument(DatumGetTextPP(column(columns, COLUMN_EMAIL)), &error);
	if (row->key == NULL)
		row->fault = co_address_error_text(error);
}

static void
read_person(const Columns *columns, CoQueueRow *row)
{
	row->key = co_find_key(DatumGetTextPP(column(columns, COLUMN_NAME)),
						   DatumGetTextPP(column(columns, COLUMN_DOMAIN)));
	if (row->key == NULL)
		row->fault = "name or domain is empty";
	else if (strlen(row->key) >= CO_KEY_SIZE)
	{
		row->key = NULL;
		row->fault = "name and domain are too long";
	}
	if (!columns->isnull[COLUMN_QUEUE_ID])
	{
		row->queue_id = TextDatumGetCString(columns->value[COLUMN_QUEUE_ID]);
		row->sought_since = columns->isnull[COLUMN_SOUGHT_SINCE] ? row->enqueued_at
			: DatumGetTimestampTz(columns->value[COLUMN_SOUGHT_SINCE]);
	}
}

/* Has whoever put it here nothing left to pay for it? */
static bool
is_beyond_budget(const Columns *columns, const CoQueueRow *row)
{
	/* how far a search has come costs nothing */
	if (row->kind == CO_QUEUE_FIND && !columns->isnull[COLUMN_QUEUE_ID])
		return false;
	return !co_spending_allows(row->role, co_price_most(row->kind == CO_QUEUE_FIND ?
														CO_ENDPOINT_FIND : CO_ENDPOINT_VERIFY));
}

/* Keep what was read, unless it is taken already. */
static void
keep_row(Taking *taking, const Columns *columns)
{
	CoQueueRow *row = &taking->rows[taking->found];
	MemoryContext old;

	row->id = DatumGetInt64(column(columns, COLUMN_ID));
	if (!take(row->id))
		return;
	taking->found++;			/* if this fails, it is let go of */
	row->kind = taking->kind;
	row->priority = DatumGetInt32(column(columns, COLUMN_PRIORITY));
	text_to_cstring_buffer(DatumGetTextPP(column(columns, COLUMN_REQUESTED_BY)),
						   row->role, sizeof(row->role));
	if (is_beyond_budget(columns, row))
	{
		taking->found--;
		co_queue_park(row);
		return;
	}
	row->accepts_since = DatumGetTimestampTz(column(columns, COLUMN_ACCEPTS_SINCE));
	row->enqueued_at = DatumGetTimestampTz(column(columns, COLUMN_ENQUEUED_AT));
	row->place = *(ItemPointer) DatumGetPointer(column(columns, COLUMN_PLACE));
	row->attempts = DatumGetInt32(column(columns, COLUMN_ATTEMPTS));
	old = MemoryContextSwitchTo(taking->context);
	if (row->kind == CO_QUEUE_VERIFY)
		read_address(columns, row);
	else
		read_person(columns, row);
	MemoryContextSwitchTo(old);
}

/* Keep what SPI has read; returns the id of the last row, or 0. */
static int64
keep_rows(Taking *taking, uint64 count)
{
	Columns		columns;

	if (count == 0)
		return 0;
	for (int i = 0; i < SPI_tuptable->tupdesc->natts; i++)
		require_type(i, column_types[taking->kind][i]);
	for (uint64 i = 0; i < count; i++)
	{
		heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
						  columns.value, columns.isnull);
		if (taking->found < taking->count)
			keep_row(taking, &columns);
	}
	return DatumGetInt64(column(&columns, COLUMN_ID));
}

/* Two arrays by which rows are found. */
static void
make_arrays(Datum *priorities, Datum *ids, int count, Datum *values)
{
	values[0] = PointerGetDatum(construct_array(priorities, count, INT4OID,
												sizeof(int32), true, TYPALIGN_INT));
	values[1] = PointerGetDatum(construct_array(ids, count, INT8OID,
												sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* A row of the priority that we are at, where it is in the table. */
static bool
visit(TupleTableSlot *slot, void *argument)
{
	/* which of the table's columns they are */
	static const CoQueueColumn source[] = {
		[COLUMN_PRIORITY] = CO_QUEUE_PRIORITY,
		[COLUMN_ID] = CO_QUEUE_ID,
		[COLUMN_ACCEPTS_SINCE] = CO_QUEUE_ACCEPTS_SINCE,
		[COLUMN_ENQUEUED_AT] = CO_QUEUE_ENQUEUED_AT,
		[COLUMN_ATTEMPTS] = CO_QUEUE_ATTEMPTS,
		[COLUMN_REQUESTED_BY] = CO_QUEUE_REQUESTED_BY,
		[COLUMN_EMAIL] = CO_QUEUE_EMAIL
	};
	Taking	   *taking = argument;
	Columns		columns;

	for (int i = 0; i < lengthof(source); i++)
	{
		columns.value[i] = slot->tts_values[source[i]];
		columns.isnull[i] = slot->tts_isnull[source[i]];
	}
	columns.value[COLUMN_PLACE] = PointerGetDatum(&slot->tts_tid);
	columns.isnull[COLUMN_PLACE] = false;
	*taking->from = DatumGetInt64(column(&columns, COLUMN_ID)) + 1;
	taking->scanned++;
	keep_row(taking, &columns);
	return taking->found < taking->count && taking->scanned < SCAN_MAX;
}

/* The same by a statement, as often as it takes. */
static void
select_range(CoCatalog *catalog, Taking *taking, int i)
{
	while (taking->found < taking->count && taking->scanned < SCAN_MAX)
	{
		int			wanted = taking->count - taking->found;
		uint64		count;
		Datum		values[4];

		values[0] = Int32GetDatum(i + CO_PRIORITY_MIN);
		values[1] = Int64GetDatum(place[taking->kind][i].from);
		values[2] = Int64GetDatum(co_queue_origin());
		values[3] = Int32GetDatum(wanted);
		count = co_execute(catalog, &read_range[taking->kind], values, "    ");
		taking->scanned += count;
		if (count > 0)
			place[taking->kind][i].from = keep_rows(taking, count) + 1;
		if (count < wanted)
		{
			place[taking->kind][i].exhausted = true;
			break;
		}
	}
}

/* Go on with one priority; by key, from where we were. */
static void
take_range(CoCatalog *catalog, Taking *taking, int i)
{
	CoQueueScanned scanned = CO_QUEUE_SCAN_UNFIT;

	taking->from = &place[taking->kind][i].from;
	if (taking->kind == CO_QUEUE_VERIFY)
		scanned = co_queue_scan(catalog->queue, i + CO_PRIORITY_MIN, *taking->from,
								co_queue_origin(), visit, taking);
	if (scanned == CO_QUEUE_SCAN_UNFIT)
		select_range(catalog, taking, i);
	else if (scanned == CO_QUEUE_SCAN_ENDED)
		place[taking->kind][i].exhausted = true;
}

/* Rows that were let go for want of a budget. */
static void
take_parked(CoCatalog *catalog, Taking *taking)
{
	CoQueueKind kind = taking->kind;
	int			count = Min(parked[kind].revisit, taking->count - taking->found);
	Datum	   *priorities = palloc(Max(count, 1) * sizeof(Datum));
	Datum	   *ids = palloc(Max(count, 1) * sizeof(Datum));
	Datum		values[3];

	if (count == 0)
		return;
	for (int i = 0; i < count; i++)
	{
		priorities[i] = Int32GetDatum(parked[kind].row[i].priority);
		ids[i] = Int64GetDatum(parked[kind].row[i].id);
	}
	make_arrays(priorities, ids, count, values);
	values[2] = Int64GetDatum(co_queue_origin());
	parked[kind].count -= count;
	parked[kind].revisit -= count;
	memmove(parked[kind].row, parked[kind].row + count, parked[kind].count * sizeof(Parked));
	(void) keep_rows(taking, co_execute(catalog, &read_parked[kind], values, "   "));
}

static void
take_step(CoCatalog *catalog, void *argument)
{
	Taking	   *taking = argument;
	TimestampTz now = GetCurrentTimestamp();
	Datum		values[4];

	if (!is_known_table(catalog))
		return;

	/* Those whose time has come again.  Some of them may be taken already. */
	values[0] = TimestampTzGetDatum(now);
	values[1] = Int64GetDatum(co_queue_origin());
	values[2] = Int32GetDatum(taking->count + co_queue_held());
	values[3] = co_spending_used_up_roles();
	(void) keep_rows(taking, co_execute(catalog, &read_due[taking->kind], values, "    "));
	if (taking->found == taking->count)
		taking->next_due = now; /* there may be more */

	take_parked(catalog, taking);
	for (int i = PRIORITIES - 1;
		 i >= 0 && taking->found < taking->count && taking->scanned < SCAN_MAX; i--)
	{
		if (!place[taking->kind][i].exhausted)
			take_range(catalog, taking, i);
	}

	if (taking->next_due == DT_NOEND &&
		co_execute(catalog, &read_next_due[taking->kind], values, "  ") > 0)
	{
		bool		isnull;

		require_type(0, TIMESTAMPTZOID);
		taking->next_due = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[0],
															 SPI_tuptable->tupdesc, 1, &isnull));
	}
}

static void
searches_step(CoCatalog *catalog, void *argument)
{
	Taking	   *taking = argument;
	Datum		values[3];

	if (!is_known_table(catalog))
		return;

	/* Nobody is waited for here. */
	if (!ConditionalLockRelationOid(catalog->queue, AccessShareLock))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("table \"clearout_queue\" is locked")));
	values[0] = CStringGetTextDatum(taking->name);
	values[1] = CStringGetTextDatum(taking->domain);
	values[2] = Int64GetDatum(co_queue_origin());
	(void) keep_rows(taking, co_execute(catalog, &read_searches, values, "   "));
}

#define SEARCHES_MAX 10

CoQueueRow *
co_queue_take_searches(const char *name, const char *domain, int *taken, CoTrouble *trouble)
{
	Taking	   *taking = palloc0(sizeof(Taking));

	taking->kind = CO_QUEUE_FIND;
	taking->name = name;
	taking->domain = domain;
	taking->context = CurrentMemoryContext;
	taking->count = SEARCHES_MAX;
	taking->rows = palloc0(SEARCHES_MAX * sizeof(CoQueueRow));
	if (!co_run(searches_step, taking, trouble))
	{
		for (int i = 0; i < taking->found; i++)
			co_queue_forget(&taking->rows[i]);
		taking->found = 0;
	}
	*taken = taking->found;
	return taking->rows;
}

CoQueueRow *
co_queue_take(CoQueueKind kind, int count, int *taken, TimestampTz *next_due, CoTrouble *trouble)
{
	Taking	   *taking = palloc0(sizeof(Taking));
	int64		from[PRIORITIES];

	taking->kind = kind;
	for (int i = 0; i < PRIORITIES; i++)
		from[i] = place[taking->kind][i].from;

	taking->context = CurrentMemoryContext;
	taking->count = count;
	taking->rows = palloc0(count * sizeof(CoQueueRow));
	taking->next_due = DT_NOEND;
	if (!co_run(take_step, taking, trouble))
	{
		/* Nothing of it counts. */
		for (int i = 0; i < taking->found; i++)
			co_queue_forget(&taking->rows[i]);
		for (int i = 0; i < PRIORITIES; i++)
		{
			place[taking->kind][i].from = from[i];
			place[taking->kind][i].exhausted = false;
		}
		taking->found = 0;
	}
	*taken = taking->found;
	*next_due = taking->next_due;
	return taking->rows;
}

/* ---------- what becomes of a row ---------- */

typedef struct Change
{
	CoStatement *statement;
	const CoQueueRow *rows;
	int			count;
	int			attempts;
	TimestampTz when;
	bool		maybe_paid;
	const char *reason;
	bool		done;			/* the row was there, and not locked */
} Change;

void
co_queue_delete(CoCatalog *catalog, const CoQueueRow *rows, int count)
{
	Datum	   *priorities;
	Datum	   *ids;
	Datum		values[2];
	int			removed;

	if (count == 0 || !is_known_table(catalog))
		return;
	if (!ConditionalLockRelationOid(catalog->queue, RowExclusiveLock))
	{
		rows_left = true;
		return;
	}
	removed = co_remove(catalog->queue, rows, count);
	if (removed >= 0)
	{
		rows_left |= removed < count;
		return;
	}

	priorities = palloc(count * sizeof(Datum));
	ids = palloc(count * sizeof(Datum));
	for (int i = 0; i < count; i++)
	{
		priorities[i] = Int32GetDatum(rows[i].priority);
		ids[i] = Int64GetDatum(rows[i].id);
	}
	make_arrays(priorities, ids, count, values);
	if (co_execute(catalog, &delete_rows, values, "  ") < (uint64) count)
		rows_left = true;
}

bool
co_queue_rows_left(void)
{
	bool		left = rows_left;

	rows_left = false;
	return left;
}

static void
delete_step(CoCatalog *catalog, void *argument)
{
	Change	   *change = argument;
	Datum	   *keys = palloc(change->count * sizeof(Datum));
	int			count = 0;

	/*
	 * Whoever put them here may not have been told of that answer: it can
	 * have come before his commit.
	 */
	for (int i = 0; i < change->count; i++)
	{
		if (change->rows[i].kind == CO_QUEUE_VERIFY)
			keys[count++] = CStringGetTextDatum(change->rows[i].key);
	}
	co_outbox_put(catalog, keys, count);
	co_queue_delete(catalog, change->rows, change->count);
}

void
co_queue_remove(const CoQueueRow *rows, int count)
{
	Change		change = {NULL, rows, count, 0, 0, false, NULL, false};
	CoTrouble	trouble;

	if (!co_run(delete_step, &change, &trouble))
	{
		ereport(LOG, (errmsg("clearout: answered rows were not removed from the queue: %s",
							 trouble.message)));
		rows_left = true;
	}
}

static void
change_step(CoCatalog *catalog, void *argument)
{
	Change	   *change = argument;
	Datum		values[6];

	values[0] = Int32GetDatum(change->rows->priority);
	values[1] = Int64GetDatum(change->rows->id);
	values[2] = Int32GetDatum(change->attempts);
	values[3] = TimestampTzGetDatum(change->when);
	values[4] = BoolGetDatum(change->maybe_paid);
	values[5] = CStringGetTextDatum(change->reason);
	if (!is_known_table(catalog))
		return;
	if (!ConditionalLockRelationOid(catalog->queue, RowExclusiveLock))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("table \"clearout_queue\" is locked")));
	change->done = co_execute(catalog, change->statement, values, "      ") > 0;
}

static bool
change_row(Change *change)
{
	CoTrouble	trouble;

	if (co_run(change_step, change, &trouble))
		return change->done;
	ereport(LOG, (errmsg("clearout: the queue could not be updated: %s",
						 trouble.message)));
	return false;
}

bool
co_queue_postpone(const CoQueueRow *row, int attempts, TimestampTz retry_at,
				  bool maybe_paid, const char *reason)
{
	Change		change = {&postpone_row, row, 1, attempts, retry_at, maybe_paid, reason, false};

	return change_row(&change);
}

bool
co_queue_fail(const CoQueueRow *row, int attempts, bool maybe_paid,
			  const char *reason)
{
	Change		change = {&fail_row, row, 1, attempts, GetCurrentTimestamp(), maybe_paid, reason, false};

	return change_row(&change);
}

static void
pause_step(CoCatalog *catalog, void *argument)
{
	*(bool *) argument = co_execute(catalog, &read_pause, NULL, NULL) > 0;
}

bool
co_queue_is_paused(void)
{
	bool		paused = false;
	CoTrouble	trouble;

	/* Where it cannot be read, nothing is spent. */
	if (!co_run(pause_step, &paused, &trouble))
	{
		ereport(LOG,
				(errmsg("clearout: the queue stands still: clearout_control could not be read: %s",
						trouble.message)));
		return true;
	}
	return paused;
}
