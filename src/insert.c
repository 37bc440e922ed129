/*-------------------------------------------------------------------------
 * insert.c
 *		Insert new rows into a table of ours, without a statement for each.
 *
 * To start and end the executor for one row of some twenty parameters takes
 * several times as long as to insert it.  So the worker does what the apply
 * worker of logical replication does: it opens the table and its indexes once
 * for all rows of a group, and uses the executor's own routine for one row,
 * with whatever CHECK constraints and indexes the table's owner has added.
 *
 * Of many rows, those of a page are written together, with one record in the
 * write-ahead log, as COPY does it.
 *
 * It runs as that owner, as a statement would (see co_execute()).
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_class.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "rewrite/rewriteHandler.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "insert.h"

/* Rows that are written together. */
#define GROUP 500

struct CoInserter
{
	Relation	table;
	EState	   *estate;
	ResultRelInfo *result;
	TupleTableSlot *slot;
	TupleDesc	descriptor;		/* for co_insert_new_rows(); its slots ... */
	TupleTableSlot *group[GROUP];
	int			slots;			/* ... made so far */
	int			count;			/* columns that the caller fills */
	ExprState **fill;			/* by column: its default; NULL: null */
};

/* Whose code an index or a constraint may run. */
typedef struct Identity
{
	Oid			user;
	int			context;
} Identity;

static Identity
become_owner(Relation table)
{
	Identity	before;

	GetUserIdAndSecContext(&before.user, &before.context);
	SetUserIdAndSecContext(table->rd_rel->relowner,
						   before.context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	return before;
}

/* Would INSERT do no more than what we do? */
static bool
is_plain(Relation table, const Oid *types, int count)
{
	TupleDesc	row = RelationGetDescr(table);
	const TriggerDesc *triggers = table->trigdesc;

	if (table->rd_rel->relkind != RELKIND_RELATION || table->rd_rules != NULL ||
		table->rd_rel->relrowsecurity || row->natts < count)
		return false;
	if (triggers != NULL &&
		(triggers->trig_insert_before_row || triggers->trig_insert_after_row ||
		 triggers->trig_insert_instead_row || triggers->trig_insert_before_statement ||
		 triggers->trig_insert_after_statement || triggers->trig_insert_new_table))
		return false;
	for (int i = 0; i < row->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(row, i);

		if (i < count && (column->attisdropped || column->atttypid != types[i] ||
						  column->atttypmod != -1))
			return false;
		if (!column->attisdropped &&
			(column->attgenerated != '\0' || getBaseType(column->atttypid) != column->atttypid))
			return false;
	}
	return true;
}

CoInserter *
co_insert_begin(Oid table_id, const Oid *types, int count)
{
	CoInserter *inserter;
	Relation	table = table_open(table_id, NoLock);
	Identity	before;

	if (!is_plain(table, types, count))
	{
		table_close(table, NoLock);
		return NULL;
	}
	before = become_owner(table);
	inserter = palloc0(sizeof(CoInserter));
	inserter->table = table;
	inserter->count = count;
	inserter->estate = CreateExecutorState();
	inserter->result = makeNode(ResultRelInfo);
	InitResultRelInfo(inserter->result, table, 0, NULL, 0);
	/* speculative: as ON CONFLICT needs it, to be told of a conflict */
	ExecOpenIndices(inserter->result, true);
	inserter->slot = table_slot_create(table, NULL);
	inserter->fill = palloc0(RelationGetNumberOfAttributes(table) * sizeof(ExprState *));
	for (int i = count; i < RelationGetNumberOfAttributes(table); i++)
	{
		Expr	   *value = NULL;

		if (!TupleDescAttr(RelationGetDescr(table), i)->attisdropped)
			value = (Expr *) build_column_default(table, i + 1);
		if (value != NULL)
			inserter->fill[i] = ExecPrepareExpr(value, inserter->estate);
	}
	SetUserIdAndSecContext(before.user, before.context);
	return inserter;
}

/* A row for the table from what the caller fills; lives in the current context. */
static void
fill_slot(CoInserter *inserter, TupleTableSlot *slot, const Datum *values,
		  const char *nulls, const bool *isnull)
{
	ExecClearTuple(slot);
	for (int i = 0; i < slot->tts_tupleDescriptor->natts; i++)
	{
		slot->tts_values[i] = (Datum) 0;
		slot->tts_isnull[i] = true;
		if (i < inserter->count && (nulls ? nulls[i] != 'n' : !isnull[i]))
		{
			slot->tts_values[i] = values[i];
			slot->tts_isnull[i] = false;
		}
		else if (inserter->fill[i] != NULL)
			slot->tts_values[i] = ExecEvalExprSwitchContext(inserter->fill[i],
															GetPerTupleExprContext(inserter->estate),
															&slot->tts_isnull[i]);
	}
	ExecStoreVirtualTuple(slot);
}

bool
co_insert_row(CoInserter *inserter, const Datum *values, const char *nulls)
{
	EState	   *estate = inserter->estate;
	TupleTableSlot *slot = inserter->slot;
	Identity	before = become_owner(inserter->table);
	bool		is_new;

	fill_slot(inserter, slot, values, nulls, NULL);
	is_new = co_check_indexes(inserter->result, slot, estate);
	if (is_new)
		ExecSimpleRelationInsert(inserter->result, estate, slot);
	ExecClearTuple(slot);
	ResetPerTupleExprContext(estate);
	SetUserIdAndSecContext(before.user, before.context);
	return is_new;
}

/* ---------- many ---------- */

static void
write_group(CoInserter *inserter, int count)
{
	EState	   *estate = inserter->estate;
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(estate));

	if (count == 1)
		table_tuple_insert(inserter->table, inserter->group[0], GetCurrentCommandId(true), 0, NULL);
	else if (count > 1)
		table_multi_insert(inserter->table, inserter->group, count, GetCurrentCommandId(true), 0, NULL);
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(estate);
	for (int i = 0; i < count; i++)
	{
		co_insert_index_entries(inserter->result, inserter->group[i], estate);
		ExecClearTuple(inserter->group[i]);
		ResetPerTupleExprContext(estate);
	}
}

void
co_insert_new_rows(CoInserter *inserter, Datum *const *values, bool *const *isnull,
				   int count, bool *is_new)
{
	EState	   *estate = inserter->estate;
	ResultRelInfo *result = inserter->result;
	Identity	before = become_owner(inserter->table);
	int			waiting = 0;

	/* a copy is not counted: hundreds of references make each look-up of
	 * another one slow */
	if (inserter->descriptor == NULL)
		inserter->descriptor = CreateTupleDescCopy(RelationGetDescr(inserter->table));
	for (int i = 0; i < count; i++)
	{
		TupleTableSlot *slot;

		if (waiting == inserter->slots)
			inserter->group[inserter->slots++] =
				MakeSingleTupleTableSlot(inserter->descriptor, table_slot_callbacks(inserter->table));
		slot = inserter->group[waiting];
		fill_slot(inserter, slot, values[i], NULL, isnull[i]);
		is_new[i] = co_check_indexes(result, slot, estate);
		if (is_new[i])
		{
			/* defaults are in a context that does not last */
			ExecMaterializeSlot(slot);
			if (RelationGetDescr(inserter->table)->constr != NULL)
				ExecConstraints(result, slot, estate);
			if (inserter->table->rd_rel->relispartition)
				ExecPartitionCheck(result, slot, estate, true);
			waiting++;
		}
		else
			ExecClearTuple(slot);
		ResetPerTupleExprContext(estate);
		if (waiting == GROUP)
		{
			write_group(inserter, waiting);
			waiting = 0;
		}
	}
	write_group(inserter, waiting);
	SetUserIdAndSecContext(before.user, before.context);
}

void
co_insert_end(CoInserter *inserter)
{
	ExecCloseIndices(inserter->result);
	ExecDropSingleTupleTableSlot(inserter->slot);
	for (int i = 0; i < inserter->slots; i++)
		ExecDropSingleTupleTableSlot(inserter->group[i]);
	FreeExecutorState(inserter->estate);
	table_close(inserter->table, NoLock);
	pfree(inserter);
}
