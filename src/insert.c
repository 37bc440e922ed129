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
 * Rows are gathered, so that those of a page are written together, with one
 * record in the write-ahead log, as COPY does it.
 *
 * It runs as that owner, as a statement would (see co_execute()).
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_class.h"
#include "executor/executor.h"
#include "utils/expandeddatum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "defaults.h"
#include "insert.h"
#include "owner.h"

/* Rows that are written together. */
#define GROUP 500

struct CoInserter
{
	Relation	table;
	EState	   *estate;
	ResultRelInfo *result;
	TupleDesc	descriptor;		/* of the slots */
	TupleTableSlot *group[GROUP];	/* rows that are not written yet */
	int			waiting;		/* so many */
	int			slots;			/* made so far */
	int			count;			/* columns that the caller fills */
	ExprState **fill;			/* by column: its default; NULL: null, or what
								 * the caller says */
};

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

		if (i < count && OidIsValid(types[i]) &&
			(column->attisdropped || column->atttypid != types[i] || column->atttypmod != -1))
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
	CoUser		before;
	Expr	  **defaults;

	if (!is_plain(table, types, count))
	{
		table_close(table, NoLock);
		return NULL;
	}
	before = co_become_owner(table);
	inserter = palloc0(sizeof(CoInserter));
	inserter->table = table;
	inserter->count = count;
	inserter->estate = CreateExecutorState();
	inserter->result = makeNode(ResultRelInfo);
	InitResultRelInfo(inserter->result, table, 0, NULL, 0);
	/* speculative: as ON CONFLICT needs it, to be told of a conflict */
	ExecOpenIndices(inserter->result, true);
	/* a copy is not counted: hundreds of references make each look-up of
	 * another one slow */
	inserter->descriptor = CreateTupleDescCopy(RelationGetDescr(table));
	defaults = co_defaults(table);
	inserter->fill = palloc0(RelationGetNumberOfAttributes(table) * sizeof(ExprState *));
	for (int i = 0; i < RelationGetNumberOfAttributes(table); i++)
	{
		if ((i >= count || !OidIsValid(types[i])) && defaults[i] != NULL)
			inserter->fill[i] = ExecPrepareExpr(defaults[i], inserter->estate);
	}
	co_become(before);
	return inserter;
}

/* ---------- rows ---------- */

/*
 * A row for the table from what the caller fills (nulls: 'n' is null, as SPI
 * has it; or isnull); lives in the current context.
 */
static void
fill_slot(CoInserter *inserter, TupleTableSlot *slot, const Datum *values,
		  const char *nulls, const bool *isnull)
{
	ExecClearTuple(slot);
	for (int i = 0; i < slot->tts_tupleDescriptor->natts; i++)
	{
		slot->tts_values[i] = (Datum) 0;
		slot->tts_isnull[i] = true;
		if (inserter->fill[i] != NULL)
		{
			slot->tts_values[i] = ExecEvalExprSwitchContext(inserter->fill[i],
															GetPerTupleExprContext(inserter->estate),
															&slot->tts_isnull[i]);
			/* what looks at it must not change it: a constraint, an index */
			slot->tts_values[i] = MakeExpandedObjectReadOnly(slot->tts_values[i], slot->tts_isnull[i],
															 TupleDescAttr(slot->tts_tupleDescriptor, i)->attlen);
		}
		else if (i < inserter->count && (nulls ? nulls[i] != 'n' : !isnull[i]))
		{
			slot->tts_values[i] = values[i];
			slot->tts_isnull[i] = false;
		}
	}
	ExecStoreVirtualTuple(slot);
}

/* Write what is gathered, as the owner. */
static void
write_group(CoInserter *inserter)
{
	EState	   *estate = inserter->estate;
	CommandId	command = GetCurrentCommandId(true);
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(estate));

	if (inserter->waiting == 1)
		table_tuple_insert(inserter->table, inserter->group[0], command, 0, NULL);
	else if (inserter->waiting > 1)
		table_multi_insert(inserter->table, inserter->group, inserter->waiting, command, 0, NULL);
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(estate);
	for (int i = 0; i < inserter->waiting; i++)
	{
		co_insert_index_entries(inserter->result, inserter->group[i], estate);
		ExecClearTuple(inserter->group[i]);
		ResetPerTupleExprContext(estate);
	}
	inserter->waiting = 0;
}

/* Gather one row, as the owner.  known: to be new. */
static bool
add(CoInserter *inserter, const Datum *values, const char *nulls, const bool *isnull,
	bool known)
{
	EState	   *estate = inserter->estate;
	ResultRelInfo *result = inserter->result;
	TupleTableSlot *slot;
	bool		is_new;

	if (inserter->waiting == GROUP)
		write_group(inserter);
	if (inserter->waiting == inserter->slots)
		inserter->group[inserter->slots++] =
			MakeSingleTupleTableSlot(inserter->descriptor, table_slot_callbacks(inserter->table));
	slot = inserter->group[inserter->waiting];
	fill_slot(inserter, slot, values, nulls, isnull);
	is_new = known || co_check_indexes(result, slot, estate);
	if (is_new)
	{
		/* before the row is formed, which would have to be taken apart again */
		if (RelationGetDescr(inserter->table)->constr != NULL)
			ExecConstraints(result, slot, estate);
		if (inserter->table->rd_rel->relispartition)
			ExecPartitionCheck(result, slot, estate, true);
		/* defaults are in a context that does not last */
		ExecMaterializeSlot(slot);
		inserter->waiting++;
	}
	else
		ExecClearTuple(slot);
	ResetPerTupleExprContext(estate);
	return is_new;
}

bool
co_insert_add(CoInserter *inserter, const Datum *values, const char *nulls, bool known)
{
	CoUser		before = co_become_owner(inserter->table);
	bool		is_new = add(inserter, values, nulls, NULL, known);

	co_become(before);
	return is_new;
}

void
co_insert_write(CoInserter *inserter)
{
	CoUser		before = co_become_owner(inserter->table);

	write_group(inserter);
	co_become(before);
}

void
co_insert_new_rows(CoInserter *inserter, Datum *const *values, bool *const *isnull,
				   int count, bool *is_new)
{
	CoUser		before = co_become_owner(inserter->table);

	for (int i = 0; i < count; i++)
		is_new[i] = add(inserter, values[i], NULL, isnull[i], false);
	write_group(inserter);
	co_become(before);
}

void
co_insert_end(CoInserter *inserter)
{
	Assert(inserter->waiting == 0);
	ExecCloseIndices(inserter->result);
	for (int i = 0; i < inserter->slots; i++)
		ExecDropSingleTupleTableSlot(inserter->group[i]);
	FreeExecutorState(inserter->estate);
	table_close(inserter->table, NoLock);
	pfree(inserter);
}
