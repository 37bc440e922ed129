/*-------------------------------------------------------------------------
 * keyscan.c
 *		Read the rows of one key, around the executor.
 *
 * One index scan with a snapshot of its own: so the lock is released at once,
 * which SPI does not do, and no privilege on the table is needed by whoever
 * may ask about the key that he names.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_index.h"
#include "catalog/pg_opfamily.h"
#include "executor/tuptable.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "keyscan.h"

/*
 * Will this index do: a plain btree on the key's columns alone, in their own
 * order?
 *
 * Whatever the table's owner has put into an index (a predicate, an
 * expression, an operator class) must not run here: we may be a superuser.
 * So nothing of it is loaded, only whether it is there.
 */
static bool
is_key_index(Relation index, const CoShape *shape)
{
	if (index->rd_rel->relam != BTREE_AM_OID ||
		!index->rd_index->indisvalid ||
		index->rd_index->indnkeyatts != shape->keys ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
		return false;
	for (int i = 0; i < shape->keys; i++)
	{
		if (index->rd_index->indkey.values[i] != i + 1 ||
			index->rd_opfamily[i] != TEXT_BTREE_FAM_OID ||
			index->rd_indcollation[i] != C_COLLATION_OID)
			return false;
	}
	return true;
}

/* Open the index to use; NULL if somebody has it locked against readers. */
static Relation
open_key_index(Relation table, const CoShape *shape)
{
	List	   *indexes = RelationGetIndexList(table);
	Relation	found = NULL;
	bool		locked = false;
	ListCell   *cell;

	foreach(cell, indexes)
	{
		Oid			id = lfirst_oid(cell);
		Relation	index;

		if (!ConditionalLockRelationOid(id, AccessShareLock))
		{
			locked = true;
			continue;
		}
		index = index_open(id, NoLock);
		if (is_key_index(index, shape))
		{
			found = index;
			break;
		}
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	if (found == NULL && !locked)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("table \"%s\" has no btree index on the columns of its key alone",
						RelationGetRelationName(table)),
				 errhint("Create one, with the columns' own collation.")));
	return found;
}

/*
 * Are the columns of the types that we read them as?  The table's owner may
 * have changed that, and a number must not be taken for a pointer.
 */
static void
require_columns(Relation table, const CoShape *shape)
{
	TupleDesc	columns = RelationGetDescr(table);

	for (int i = 0; i < shape->columns; i++)
	{
		if (i >= columns->natts ||
			TupleDescAttr(columns, i)->atttypid != shape->types[i])
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table \"%s\" does not fit the library of the extension \"clearout\"",
							RelationGetRelationName(table)),
					 errhint("Run ALTER EXTENSION clearout UPDATE, or give its columns back the types that they had.")));
	}
}

static void
scan(Relation table, Relation index, const CoShape *shape, const char *const *key,
	 void (*visit) (const Datum *, const bool *, void *), void *argument)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(table, NULL);
	ScanKeyData keys[INDEX_MAX_KEYS];
	IndexScanDesc descriptor;

	for (int i = 0; i < shape->keys; i++)
	{
		ScanKeyInit(&keys[i], i + 1, BTEqualStrategyNumber, F_TEXTEQ,
					CStringGetTextDatum(key[i]));
		keys[i].sk_collation = C_COLLATION_OID;
	}
	descriptor = co_index_beginscan(table, index, snapshot, shape->keys);
	index_rescan(descriptor, keys, shape->keys, NULL, 0);
	while (index_getnext_slot(descriptor, ForwardScanDirection, slot))
	{
		/* A copy: it must outlive the buffer pin. */
		HeapTuple	tuple = ExecCopySlotHeapTuple(slot);
		Datum		values[CO_SCAN_COLUMNS_MAX];
		bool		nulls[CO_SCAN_COLUMNS_MAX];

		for (int column = 0; column < shape->columns; column++)
			values[column] = heap_getattr(tuple, column + 1, table->rd_att, &nulls[column]);
		visit(values, nulls, argument);
	}
	index_endscan(descriptor);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
}

void
co_key_scan(Oid table_id, const CoShape *shape, const char *const *key,
			void (*visit) (const Datum *, const bool *, void *), void *argument,
			bool *locked)
{
	Relation	table;

	/* The lock is taken before the table is opened, so that the relcache is
	 * as new as the lock. */
	if (!ConditionalLockRelationOid(table_id, AccessShareLock))
	{
		*locked = true;
		return;
	}
	table = table_open(table_id, NoLock);
	require_columns(table, shape);

	/* An empty file has no need for a look into its index. */
	if (RelationGetNumberOfBlocks(table) > 0)
	{
		Relation	index = open_key_index(table, shape);

		if (index == NULL)
			*locked = true;
		else
		{
			scan(table, index, shape, key, visit, argument);
			index_close(index, AccessShareLock);
		}
	}
	table_close(table, AccessShareLock);
}
