/*-------------------------------------------------------------------------
 * remove.c
 *		Remove rows of clearout_queue without the executor.
 *
 * Every answer removes its row, and the DELETE for that cost more than to
 * store the answer: a join of the keys with the table, once to lock what
 * nobody else has locked, once to delete it.  Here it is a look where the row
 * was when it was taken, or else into the primary key, and a delete that waits
 * for nobody.
 *
 * No code of anybody's runs here but a trigger's, and where there is one for
 * DELETE the executor has to do it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "storage/bufmgr.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "queuekey.h"
#include "remove.h"

static bool
is_plain(Relation queue)
{
	const TriggerDesc *triggers = queue->trigdesc;

	return queue->rd_rel->relkind == RELKIND_RELATION && queue->rd_rules == NULL &&
		!queue->rd_rel->relrowsecurity &&
		(triggers == NULL ||
		 !(triggers->trig_delete_before_row || triggers->trig_delete_after_row ||
		   triggers->trig_delete_instead_row || triggers->trig_delete_before_statement ||
		   triggers->trig_delete_after_statement || triggers->trig_delete_old_table));
}

/* What it takes to find a row. */
typedef struct Finder
{
	Relation	queue;
	AttrNumber	priority;
	AttrNumber	id;
	BlockNumber blocks;			/* of a heap; 0: places are not looked at */
	Snapshot	snapshot;
	IndexScanDesc scan;
	TupleTableSlot *slot;		/* what was found */
} Finder;

/* Is it where it was?  Since then the place may have gone, or be another's. */
static bool
find_in_place(Finder *finder, const CoQueueRow *row)
{
	ItemPointerData place = row->place;
	bool		isnull;

	return ItemPointerIsValid(&place) && ItemPointerGetBlockNumber(&place) < finder->blocks &&
		table_tuple_fetch_row_version(finder->queue, &place, finder->snapshot, finder->slot) &&
		DatumGetInt64(slot_getattr(finder->slot, finder->id, &isnull)) == row->id &&
		DatumGetInt32(slot_getattr(finder->slot, finder->priority, &isnull)) == row->priority;
}

static bool
find_by_key(Finder *finder, const CoQueueRow *row)
{
	ScanKeyData key[2];

	ScanKeyInit(&key[0], 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(row->priority));
	ScanKeyInit(&key[1], 2, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(row->id));
	index_rescan(finder->scan, key, 2, NULL, 0);
	return index_getnext_slot(finder->scan, ForwardScanDirection, finder->slot);
}

int
co_remove(Oid queue_id, const CoQueueRow *rows, int count)
{
	Relation	queue = table_open(queue_id, NoLock);
	bool		locked = false;
	Finder		finder = {queue, get_attnum(queue_id, "priority"), get_attnum(queue_id, "id")};
	Relation	index = is_plain(queue) ?
		co_queue_key_index(queue, finder.priority, finder.id, &locked) : NULL;
	CommandId	command;
	int			removed = 0;

	if (index == NULL)
	{
		table_close(queue, NoLock);
		return locked ? 0 : -1;
	}
	CheckCmdReplicaIdentity(queue, CMD_DELETE);
	command = GetCurrentCommandId(true);
	if (queue->rd_tableam == GetHeapamTableAmRoutine())
		finder.blocks = RelationGetNumberOfBlocks(queue);
	finder.snapshot = GetActiveSnapshot();
	finder.slot = table_slot_create(queue, NULL);
	finder.scan = co_index_beginscan(queue, index, finder.snapshot, 2);
	for (int i = 0; i < count; i++)
	{
		TM_FailureData failure;

		if ((find_in_place(&finder, &rows[i]) || find_by_key(&finder, &rows[i])) &&
			table_tuple_delete(queue, &finder.slot->tts_tid, command, finder.snapshot,
							   InvalidSnapshot, false, &failure, false) == TM_Ok)
			removed++;
	}
	index_endscan(finder.scan);
	ExecDropSingleTupleTableSlot(finder.slot);
	index_close(index, NoLock);
	table_close(queue, NoLock);
	return removed;
}
