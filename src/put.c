/*-------------------------------------------------------------------------
 * put.c
 *		Write rows of clearout_queue without the executor.
 *
 * The queue is written in other people's transactions, by triggers for each
 * of their rows, so it has to cost little: no search_path to set, no plan to
 * start, no statement trigger to call.  What the executor would do for this
 * table is done here: a number from the sequence, the row, its index entries,
 * and the note to the worker.
 *
 * That is right for the table as the extension makes it.  Its owner may have
 * added triggers, rules, constraints or indexes on expressions; whatever is
 * not known here is left to the executor.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "lookup.h"
#include "put.h"
#include "queue.h"

/* Columns of clearout_queue, counted from 0. */
typedef enum Column
{
	COL_PRIORITY,
	COL_ID,
	COL_EMAIL,
	COL_ACCEPTS_SINCE,
	COL_REQUESTED_BY,
	COL_ENQUEUED_AT,
	COL_ORIGIN,
	COL_ATTEMPTS,
	COL_NEXT_ATTEMPT_AT,
	COL_MAYBE_PAID,
	COL_FAILED_AT,
	COL_LAST_ERROR,
	COL_NAME,
	COL_DOMAIN,
	COL_QUEUE_ID,
	COL_SOUGHT_SINCE,
	COLUMNS
} Column;

static const Oid column_types[COLUMNS] = {
	INT4OID, INT8OID, TEXTOID, TIMESTAMPTZOID, NAMEOID, TIMESTAMPTZOID,
	INT8OID, INT4OID, TIMESTAMPTZOID, BOOLOID, TIMESTAMPTZOID, TEXTOID,
	TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID
};
static const char *const column_names[COLUMNS] = {
	"priority", "id", "email", "accepts_since", "requested_by", "enqueued_at",
	"origin", "attempts", "next_attempt_at", "maybe_paid", "failed_at", "last_error",
	"name", "domain", "queue_id", "sought_since"
};

/* Rows that are written together. */
#define GROUP 500

/* ---------- is the table as we know it? ---------- */

/* Is nothing known of it yet when a row comes? */
static bool
is_left_null(Column column)
{
	return column == COL_NEXT_ATTEMPT_AT || column >= COL_FAILED_AT;
}

static bool
has_known_columns(Relation queue)
{
	TupleDesc	columns = RelationGetDescr(queue);

	if (columns->natts != COLUMNS)
		return false;
	for (int i = 0; i < COLUMNS; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(columns, i);

		if (attribute->atttypid != column_types[i] || attribute->atttypmod != -1 ||
			attribute->attgenerated != '\0' || (attribute->attnotnull && is_left_null(i)) ||
			strcmp(NameStr(attribute->attname), column_names[i]) != 0)
			return false;
	}
	for (int i = 0; columns->constr != NULL && i < columns->constr->num_check; i++)
	{
		const char *name = columns->constr->check[i].ccname;

		if (strcmp(name, "clearout_queue_priority_check") != 0 &&
			strcmp(name, "clearout_queue_kind_check") != 0)
			return false;
	}
	return true;
}

/* The statement trigger that notes rows; we do that ourselves. */
static bool
has_known_triggers(Relation queue)
{
	TriggerDesc *triggers = queue->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];

		if (TRIGGER_FOR_INSERT(trigger->tgtype) &&
			strcmp(trigger->tgname, "clearout_queue_note") != 0)
			return false;
	}
	return true;
}

/* Anything in a predicate but "column IS NULL" may be somebody's function. */
static bool
is_more_than_null_tests(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (!IsA(node, List) && !IsA(node, BoolExpr) && !IsA(node, NullTest) && !IsA(node, Var))
		return true;
	return expression_tree_walker(node, is_more_than_null_tests, context);
}

/* An index on rows without an address takes none of ours. */
static bool
is_of_people(const IndexInfo *info)
{
	ListCell   *cell;

	foreach(cell, info->ii_Predicate)
	{
		NullTest   *test = lfirst(cell);

		if (IsA(test, NullTest) && test->nulltesttype == IS_NULL && IsA(test->arg, Var) &&
			((Var *) test->arg)->varattno == COL_EMAIL + 1)
			return true;
	}
	return false;
}

static bool
has_known_indexes(const ResultRelInfo *target)
{
	for (int i = 0; i < target->ri_NumIndices; i++)
	{
		IndexInfo  *info = target->ri_IndexRelationInfo[i];

		if ((info->ii_Expressions != NIL && !is_of_people(info)) ||
			info->ii_ExclusionOps != NULL ||
			!target->ri_IndexRelationDescs[i]->rd_index->indimmediate ||
			is_more_than_null_tests((Node *) info->ii_Predicate, NULL))
			return false;
	}
	return true;
}

static bool
is_known(Relation queue)
{
	return queue->rd_rel->relkind == RELKIND_RELATION && queue->rd_rules == NULL &&
		!queue->rd_rel->relrowsecurity && !queue->rd_rel->relispartition &&
		has_known_columns(queue) && has_known_triggers(queue);
}

/* ---------- what waits already ---------- */

typedef struct Waiting
{
	IndexScanDesc scan;
	TupleTableSlot *slot;
	int64		origin;
	bool		many;			/* keys in order are asked about */
	bool		begun;			/* when many: the scan stands somewhere ... */
	bool		ended;			/* ... behind the last row, or on one in slot */
} Waiting;

/*
 * What is committed now, and what we have written ourselves, this very command
 * included: of equal addresses in one load, one row is enough.
 */
static void
begin_waiting(Waiting *waiting, Relation queue, Relation index, bool many)
{
	memset(waiting, 0, sizeof(*waiting));
	waiting->origin = co_queue_origin();
	waiting->many = many;
	waiting->slot = table_slot_create(queue, NULL);
	waiting->scan = co_index_beginscan(queue, index, SnapshotSelf, 1);
}

static void
next_waiting(Waiting *waiting)
{
	waiting->ended = !index_getnext_slot(waiting->scan, ForwardScanDirection, waiting->slot);
	if (!waiting->ended)
		slot_getallattrs(waiting->slot);
}

/* How does the row in the slot compare to the key? */
static int
compare_waiting(const Waiting *waiting, const char *key)
{
	text	   *email = DatumGetTextPP(waiting->slot->tts_values[COL_EMAIL]);
	int			length = strlen(key);
	int			result = memcmp(VARDATA_ANY(email), key,
								Min(VARSIZE_ANY_EXHDR(email), length));

	return result != 0 ? result : (int) VARSIZE_ANY_EXHDR(email) - length;
}

/*
 * One key is looked up.  Of many, the scan goes to the first row that is no
 * lower: up to that one, no key waits, and none is looked up.
 */
static void
find_waiting(Waiting *waiting, const char *key)
{
	ScanKeyData scankey;
	Datum		value;

	if (waiting->begun && (waiting->ended || compare_waiting(waiting, key) >= 0))
		return;
	value = CStringGetTextDatum(key);
	if (waiting->many)
		ScanKeyInit(&scankey, 1, BTGreaterEqualStrategyNumber, F_TEXT_GE, value);
	else
		ScanKeyInit(&scankey, 1, BTEqualStrategyNumber, F_TEXTEQ, value);
	scankey.sk_collation = C_COLLATION_OID;
	index_rescan(waiting->scan, &scankey, 1, NULL, 0);
	next_waiting(waiting);
	waiting->begun = waiting->many;
	pfree(DatumGetPointer(value));
}

static bool
is_waiting(Waiting *waiting, const char *key)
{
	find_waiting(waiting, key);
	while (!waiting->ended && compare_waiting(waiting, key) == 0)
	{
		if (waiting->slot->tts_isnull[COL_FAILED_AT] &&
			DatumGetInt64(waiting->slot->tts_values[COL_ORIGIN]) == waiting->origin)
			return true;
		next_waiting(waiting);
	}
	return false;
}

static void
end_waiting(Waiting *waiting)
{
	index_endscan(waiting->scan);
	ExecDropSingleTupleTableSlot(waiting->slot);
}

/* ---------- writing ---------- */

typedef struct Writer
{
	Relation	queue;
	Oid			sequence;
	EState	   *estate;
	ResultRelInfo *target;
	BulkInsertState bulk;		/* NULL for a single row */
	TupleTableSlot *slot[GROUP];
	int			slots;			/* made so far */
	int			count;			/* filled */
	MemoryContext context;		/* of their values */
	Datum		requester;
	const CoEnqueue *enqueue;
} Writer;

/*
 * Index by index, which keeps its pages at hand.  A partial one has only null
 * tests in its predicate (see has_known_indexes), and an EState to try them.
 */
static void
write_index(Writer *writer, Relation index, IndexInfo *info)
{
	ExprContext *econtext = GetPerTupleExprContext(writer->estate);
	IndexUniqueCheck check = index->rd_index->indisunique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO;
	Datum		values[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS];

	if (!info->ii_ReadyForInserts)
		return;
	if (info->ii_Predicate != NIL && info->ii_PredicateState == NULL)
		info->ii_PredicateState = ExecPrepareQual(info->ii_Predicate, writer->estate);
	for (int i = 0; i < writer->count; i++)
	{
		econtext->ecxt_scantuple = writer->slot[i];
		if (info->ii_Predicate != NIL && !ExecQual(info->ii_PredicateState, econtext))
			continue;
		FormIndexDatum(info, writer->slot[i], writer->estate, values, nulls);
		(void) index_insert(index, values, nulls, &writer->slot[i]->tts_tid, writer->queue,
							check, false, info);
		ResetPerTupleExprContext(writer->estate);
	}
}

static void
flush_rows(Writer *writer)
{
	MemoryContext old = MemoryContextSwitchTo(writer->context);

	if (writer->count == 1)
		table_tuple_insert(writer->queue, writer->slot[0], GetCurrentCommandId(true), 0,
						   writer->bulk);
	else if (writer->count > 1)
		table_multi_insert(writer->queue, writer->slot, writer->count,
						   GetCurrentCommandId(true), 0, writer->bulk);
	for (int i = 0; i < writer->target->ri_NumIndices; i++)
		write_index(writer, writer->target->ri_IndexRelationDescs[i],
					writer->target->ri_IndexRelationInfo[i]);
	for (int i = 0; i < writer->count; i++)
		ExecClearTuple(writer->slot[i]);
	writer->count = 0;
	MemoryContextSwitchTo(old);
	MemoryContextReset(writer->context);
}

static void
write_row(Writer *writer, const char *key)
{
	MemoryContext old = MemoryContextSwitchTo(writer->context);
	TupleTableSlot *slot;
	int64		id;

	if (writer->count == writer->slots)
	{
		MemoryContextSwitchTo(writer->estate->es_query_cxt);
		writer->slot[writer->slots++] = table_slot_create(writer->queue, NULL);
		MemoryContextSwitchTo(writer->context);
	}
	slot = writer->slot[writer->count];
	id = nextval_internal(writer->sequence, false);
	co_queue_note(id);

	for (int i = 0; i < COLUMNS; i++)
		slot->tts_isnull[i] = is_left_null(i);
	slot->tts_values[COL_PRIORITY] = Int32GetDatum(writer->enqueue->priority);
	slot->tts_values[COL_ID] = Int64GetDatum(id);
	slot->tts_values[COL_EMAIL] = CStringGetTextDatum(key);
	slot->tts_values[COL_ACCEPTS_SINCE] = TimestampTzGetDatum(writer->enqueue->accepts.verdict);
	slot->tts_values[COL_REQUESTED_BY] = writer->requester;
	slot->tts_values[COL_ENQUEUED_AT] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	slot->tts_values[COL_ORIGIN] = Int64GetDatum(co_queue_origin());
	slot->tts_values[COL_ATTEMPTS] = Int32GetDatum(0);
	slot->tts_values[COL_MAYBE_PAID] = BoolGetDatum(false);
	ExecStoreVirtualTuple(slot);
	slot->tts_tableOid = RelationGetRelid(writer->queue);
	writer->count++;
	MemoryContextSwitchTo(old);
	if (writer->count == GROUP)
		flush_rows(writer);
}

/* The index of the table on its addresses; NULL if its owner has removed it. */
static Relation
email_index(const ResultRelInfo *target)
{
	for (int i = 0; i < target->ri_NumIndices; i++)
	{
		if (co_is_email_index(target->ri_IndexRelationDescs[i], COL_EMAIL + 1))
			return target->ri_IndexRelationDescs[i];
	}
	return NULL;
}

static bool
begin_writing(Writer *writer, Relation queue, const CoEnqueue *enqueue)
{
	writer->queue = queue;
	writer->sequence = get_relname_relid("clearout_queue_id_seq", RelationGetNamespace(queue));
	if (!OidIsValid(writer->sequence))
		return false;
	writer->enqueue = enqueue;
	writer->requester = DirectFunctionCall1(namein,
											CStringGetDatum(GetUserNameFromId(enqueue->requester, false)));
	writer->estate = CreateExecutorState();
	writer->context = AllocSetContextCreate(writer->estate->es_query_cxt, "clearout queue rows",
											ALLOCSET_DEFAULT_SIZES);
	writer->target = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->target, queue, 0, NULL, 0);
	ExecOpenIndices(writer->target, false);
	return true;
}

static void
end_writing(Writer *writer)
{
	ExecCloseIndices(writer->target);
	for (int i = 0; i < writer->slots; i++)
		ExecDropSingleTupleTableSlot(writer->slot[i]);
	if (writer->bulk != NULL)
		FreeBulkInsertState(writer->bulk);
	FreeExecutorState(writer->estate);
}

/* Put in what does not wait; false: the indexes are not as we know them. */
static bool
write_keys(Relation queue, char **keys, int count, const CoEnqueue *enqueue,
		   uint64 *written)
{
	Writer	   *writer = palloc0(sizeof(Writer));
	Waiting		waiting;
	Relation	index;

	if (!begin_writing(writer, queue, enqueue))
		return false;
	index = email_index(writer->target);
	if (index == NULL || !has_known_indexes(writer->target))
	{
		end_writing(writer);
		return false;
	}
	if (count > 1)
		writer->bulk = GetBulkInsertState();

	begin_waiting(&waiting, queue, index, count > 1);
	for (int i = 0; i < count; i++)
	{
		if (!is_waiting(&waiting, keys[i]))
		{
			write_row(writer, keys[i]);
			(*written)++;
		}
		CHECK_FOR_INTERRUPTS();
	}
	end_waiting(&waiting);
	flush_rows(writer);
	end_writing(writer);
	pfree(writer);
	return true;
}

bool
co_put(const CoCatalog *catalog, char **keys, int count,
	   const CoEnqueue *enqueue, uint64 *written)
{
	Relation	queue = table_open(co_catalog_need(catalog, &catalog->queue), RowExclusiveLock);
	Oid			user;
	int			context;
	bool		done;

	*written = 0;
	if (!is_known(queue))
	{
		table_close(queue, NoLock);
		return false;
	}

	/* What an index may call runs as whoever owns it. */
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(queue->rd_rel->relowner,
						   context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	done = write_keys(queue, keys, count, enqueue, written);
	SetUserIdAndSecContext(user, context);
	table_close(queue, NoLock);
	return done;
}
