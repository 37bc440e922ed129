/*-------------------------------------------------------------------------
 * queuescan.c
 *		Read rows of clearout_queue by key, without the executor.
 *
 * Each address of the queue is taken by this.  A statement copies every row
 * for the one that asks, who takes the copy apart again, and to start and end
 * it costs as much as to read some ten rows; here the row is read where it is.
 *
 * No code of anybody's runs here.  Where the table's owner has changed what a
 * SELECT would return (a rule, row security, a table that inherits), or the
 * columns, or the primary key, the executor has to do it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "queuekey.h"
#include "queuescan.h"
#include "queueshape.h"

static bool
is_plain(Relation queue)
{
	return queue->rd_rel->relkind == RELKIND_RELATION && queue->rd_rules == NULL &&
		!queue->rd_rel->relrowsecurity && !queue->rd_rel->relhassubclass &&
		co_queue_has_known_columns(queue);
}

/* Is it one of those that are to be taken? */
static bool
is_wanted(TupleTableSlot *slot, int64 origin)
{
	slot_getsomeattrs(slot, CO_QUEUE_FAILED_AT + 1);
	return slot->tts_isnull[CO_QUEUE_FAILED_AT] &&
		slot->tts_isnull[CO_QUEUE_NEXT_ATTEMPT_AT] &&
		!slot->tts_isnull[CO_QUEUE_EMAIL] && !slot->tts_isnull[CO_QUEUE_ORIGIN] &&
		DatumGetInt64(slot->tts_values[CO_QUEUE_ORIGIN]) == origin;
}

CoQueueScanned
co_queue_scan(Oid queue_id, int priority, int64 from, int64 origin,
			  CoQueueVisit visit, void *argument)
{
	Relation	queue = table_open(queue_id, AccessShareLock);
	bool		locked = false;
	Relation	index = is_plain(queue) ?
		co_queue_key_index(queue, CO_QUEUE_PRIORITY + 1, CO_QUEUE_ID + 1, &locked) : NULL;
	ScanKeyData key[2];
	IndexScanDesc scan;
	TupleTableSlot *slot;
	bool		more = true;

	if (index == NULL)
	{
		table_close(queue, NoLock);
		return CO_QUEUE_SCAN_UNFIT;
	}
	ScanKeyInit(&key[0], 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(priority));
	ScanKeyInit(&key[1], 2, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(from));
	slot = table_slot_create(queue, NULL);

	/*
	 * Taken with the table locked: to a snapshot from before, the rows of a
	 * table that somebody has rewritten meanwhile are not there.
	 */
	PushActiveSnapshot(GetTransactionSnapshot());
	scan = co_index_beginscan(queue, index, GetActiveSnapshot(), 2);
	index_rescan(scan, key, 2, NULL, 0);
	while (more && index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (is_wanted(slot, origin))
			more = visit(slot, argument);
	}
	index_endscan(scan);
	PopActiveSnapshot();
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, NoLock);
	table_close(queue, NoLock);
	return more ? CO_QUEUE_SCAN_ENDED : CO_QUEUE_SCAN_STOPPED;
}
