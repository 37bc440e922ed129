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

struct CoInserter
{
	Relation	table;
	EState	   *estate;
	ResultRelInfo *result;
	TupleTableSlot *slot;
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

bool
co_insert_row(CoInserter *inserter, const Datum *values, const char *nulls)
{
	EState	   *estate = inserter->estate;
	TupleTableSlot *slot = inserter->slot;
	Identity	before = become_owner(inserter->table);
	bool		is_new;

	ExecClearTuple(slot);
	for (int i = 0; i < slot->tts_tupleDescriptor->natts; i++)
	{
		slot->tts_values[i] = (Datum) 0;
		slot->tts_isnull[i] = true;
		if (i < inserter->count && nulls[i] != 'n')
		{
			slot->tts_values[i] = values[i];
			slot->tts_isnull[i] = false;
		}
		else if (inserter->fill[i] != NULL)
			slot->tts_values[i] = ExecEvalExprSwitchContext(inserter->fill[i],
															GetPerTupleExprContext(estate),
															&slot->tts_isnull[i]);
	}
	ExecStoreVirtualTuple(slot);

	is_new = co_check_indexes(inserter->result, slot, estate);
	if (is_new)
		ExecSimpleRelationInsert(inserter->result, estate, slot);
	ExecClearTuple(slot);
	ResetPerTupleExprContext(estate);
	SetUserIdAndSecContext(before.user, before.context);
	return is_new;
}

void
co_insert_end(CoInserter *inserter)
{
	ExecCloseIndices(inserter->result);
	ExecDropSingleTupleTableSlot(inserter->slot);
	FreeExecutorState(inserter->estate);
	table_close(inserter->table, NoLock);
	pfree(inserter);
}
