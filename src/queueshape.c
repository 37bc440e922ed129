/*-------------------------------------------------------------------------
 * queueshape.c
 *		Is clearout_queue as the extension makes it?
 *
 * Rows are put into it without the executor (put.c), which is right as long as
 * nothing but columns, defaults and indexes that we know is to be heeded.  The
 * table's owner may have added triggers, rules, constraints, or indexes on
 * expressions; whatever is not known here is left to the executor.
 *
 * To find that out takes longer than to put a row in.  So what was found holds
 * until something about table, indexes or sequence changes.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "catalog/pg_am.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_sequence.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "nodes/pg_list.h"
#include "nodes/primnodes.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "queueshape.h"
#include "walk.h"

static const struct
{
	const char *name;
	Oid			type;
}			known_columns[CO_QUEUE_COLUMNS] = {
	{"priority", INT4OID},
	{"id", INT8OID},
	{"email", TEXTOID},
	{"accepts_since", TIMESTAMPTZOID},
	{"requested_by", TEXTOID},
	{"enqueued_at", TIMESTAMPTZOID},
	{"origin", INT8OID},
	{"attempts", INT4OID},
	{"next_attempt_at", TIMESTAMPTZOID},
	{"maybe_paid", BOOLOID},
	{"failed_at", TIMESTAMPTZOID},
	{"last_error", TEXTOID},
	{"name", TEXTOID},
	{"domain", TEXTOID},
	{"queue_id", TEXTOID},
	{"sought_since", TIMESTAMPTZOID}
};

/* Nothing is known of it yet when a row comes. */
bool
co_queue_is_left_null(CoQueueColumn column)
{
	return column == CO_QUEUE_NEXT_ATTEMPT_AT || column >= CO_QUEUE_FAILED_AT;
}

/* ---------- the table ---------- */

bool
co_queue_has_known_columns(Relation queue)
{
	TupleDesc	columns = RelationGetDescr(queue);

	if (columns->natts != CO_QUEUE_COLUMNS)
		return false;
	for (int i = 0; i < CO_QUEUE_COLUMNS; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(columns, i);

		if (attribute->atttypid != known_columns[i].type || attribute->atttypmod != -1 ||
			attribute->attgenerated != '\0' ||
			(attribute->attnotnull && co_queue_is_left_null(i)) ||
			(i == CO_QUEUE_EMAIL && attribute->attstorage == TYPSTORAGE_PLAIN) ||
			strcmp(NameStr(attribute->attname), known_columns[i].name) != 0)
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

/* The statement trigger that notes rows; put.c does that itself. */
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

static bool
is_known_table(Relation queue)
{
	return queue->rd_rel->relkind == RELKIND_RELATION && queue->rd_rules == NULL &&
		queue->rd_tableam == GetHeapamTableAmRoutine() &&
		!queue->rd_rel->relrowsecurity && !queue->rd_rel->relispartition &&
		co_queue_has_known_columns(queue) && has_known_triggers(queue);
}

/* ---------- its indexes ---------- */

typedef enum Answer
{
	NO,
	YES,
	WHO_KNOWS
} Answer;

static Answer holds(Node *condition);

/* All of them, or one of them, if "which" is NO or YES. */
static Answer
combine(List *conditions, Answer which)
{
	Answer		answer = which == NO ? YES : NO;
	ListCell   *cell;

	foreach(cell, conditions)
	{
		Answer		one = holds(lfirst(cell));

		if (one == which)
			return which;
		if (one == WHO_KNOWS)
			answer = WHO_KNOWS;
	}
	return answer;
}

/*
 * Does this part of an index's predicate hold for a new row of an address?
 * Anything but tests for null may be somebody's function.
 */
static Answer
holds(Node *condition)
{
	if (IsA(condition, BoolExpr))
	{
		BoolExpr   *expression = (BoolExpr *) condition;
		Answer		inner;

		if (expression->boolop == AND_EXPR)
			return combine(expression->args, NO);
		if (expression->boolop == OR_EXPR)
			return combine(expression->args, YES);
		inner = holds(linitial(expression->args));
		return inner == WHO_KNOWS ? WHO_KNOWS : inner == YES ? NO : YES;
	}
	if (IsA(condition, NullTest))
	{
		NullTest   *test = (NullTest *) condition;
		Var		   *column = (Var *) test->arg;

		if (IsA(column, Var) && column->varattno > 0 && column->varattno <= CO_QUEUE_COLUMNS)
			return co_queue_is_left_null(column->varattno - 1) == (test->nulltesttype == IS_NULL)
				? YES : NO;
	}
	return WHO_KNOWS;
}

/* Put it down if it takes our rows; false: it is none that we know. */
static bool
add_index(CoQueueShape *shape, Relation index)
{
	Form_pg_index form = index->rd_index;
	CoQueueIndex *entry = &shape->index[shape->indexes];

	if (!form->indisready)
		return true;			/* it takes none from anybody yet */
	switch (combine(RelationGetIndexPredicate(index), NO))
	{
		case NO:
			return true;
		case YES:
			break;
		case WHO_KNOWS:
			return false;
	}
	if (index->rd_rel->relam != BTREE_AM_OID || !form->indimmediate || form->indisexclusion ||
		shape->indexes == CO_QUEUE_INDEXES || form->indnatts > CO_QUEUE_COLUMNS)
		return false;

	entry->id = RelationGetRelid(index);
	entry->unique = form->indisunique;
	entry->columns = form->indnatts;
	for (int i = 0; i < form->indnatts; i++)
	{
		int			column = form->indkey.values[i];

		if (column <= 0 || column > CO_QUEUE_COLUMNS)
			return false;		/* an expression */
		entry->column[i] = column - 1;
	}
	if (shape->email_index < 0 && co_is_email_index(index, CO_QUEUE_EMAIL + 1))
		shape->email_index = shape->indexes;
	shape->indexes++;
	return true;
}

static bool
read_indexes(CoQueueShape *shape, Relation queue)
{
	List	   *indexes = RelationGetIndexList(queue);
	ListCell   *cell;
	bool		known = true;

	shape->indexes = 0;
	shape->email_index = -1;
	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), RowExclusiveLock);

		known = known && add_index(shape, index);
		index_close(index, RowExclusiveLock);
	}
	list_free(indexes);
	return known && shape->email_index >= 0;
}

/* ---------- its numbers ---------- */

static bool
read_sequence(CoQueueShape *shape, Relation queue)
{
	HeapTuple	tuple;

	shape->sequence = get_relname_relid("clearout_queue_id_seq", RelationGetNamespace(queue));
	if (!OidIsValid(shape->sequence))
		return false;
	tuple = SearchSysCache1(SEQRELID, ObjectIdGetDatum(shape->sequence));
	if (!HeapTupleIsValid(tuple))
		return false;
	shape->increment = ((Form_pg_sequence) GETSTRUCT(tuple))->seqincrement;
	ReleaseSysCache(tuple);
	return true;
}

/* ---------- keeping ---------- */

static CoQueueShape kept;		/* queue InvalidOid: nothing */
static uint64 changes = 0;

static void
forget(void)
{
	kept.queue = InvalidOid;
	changes++;
}

static void
relation_changed(Datum argument, Oid relation)
{
	(void) argument;
	if (relation == InvalidOid || relation == kept.queue || relation == kept.sequence)
		forget();
	for (int i = 0; i < kept.indexes; i++)
	{
		if (relation == kept.index[i].id)
			forget();
	}
}

/* The sequence has another increment or another name. */
static void
catalog_changed(Datum argument, int cache, uint32 hash)
{
	(void) argument;
	(void) cache;
	(void) hash;
	forget();
}

const CoQueueShape *
co_queue_shape(Relation queue)
{
	static bool registered = false;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(SEQRELID, catalog_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(RELNAMENSP, catalog_changed, (Datum) 0);
		registered = true;
	}
	if (kept.queue != RelationGetRelid(queue))
	{
		CoQueueShape shape;
		uint64		before = changes;

		memset(&shape, 0, sizeof(shape));
		shape.queue = RelationGetRelid(queue);
		shape.version = before;
		shape.known = is_known_table(queue) && read_indexes(&shape, queue) &&
			read_sequence(&shape, queue);

		/* What has changed while we looked is looked at again the next time. */
		kept = shape;
		if (before != changes)
			kept.queue = InvalidOid;
	}
	return &kept;
}

bool
co_queue_shape_stands(const CoQueueShape *shape)
{
	return kept.queue == shape->queue && kept.version == shape->version;
}
