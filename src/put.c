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
 * That is right for the table as the extension makes it; queueshape.c tells.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "commands/sequence.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "owner.h"
#include "put.h"
#include "queue.h"
#include "queueshape.h"
#include "walk.h"

/* Rows that are written together. */
#define BATCH 500

/* ---------- numbers ---------- */

/*
 * The sequence counts in steps, so that the numbers in between are ours as
 * well.  They are used within the transaction and then let go: to the worker
 * it tells the first number that it got (see co_queue_note()), and that must
 * not be long ago when it commits, or the worker looks over much anew.
 */
static struct
{
	Oid			sequence;
	int64		next;
	int64		left;
}			numbers;

static void
forget_numbers_at_end(XactEvent event, void *argument)
{
	(void) argument;
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		numbers.left = 0;
}

/* It may have been set to begin anew (TRUNCATE ... RESTART IDENTITY). */
static void
forget_numbers_of(Datum argument, Oid relation)
{
	(void) argument;
	if (relation == InvalidOid || relation == numbers.sequence)
		numbers.left = 0;
}

static int64
take_number(const CoQueueShape *shape)
{
	static bool registered = false;

	if (!registered)
	{
		RegisterXactCallback(forget_numbers_at_end, NULL);
		CacheRegisterRelcacheCallback(forget_numbers_of, (Datum) 0);
		registered = true;
	}
	if (numbers.left == 0 || numbers.sequence != shape->sequence)
	{
		int64		first = nextval_internal(shape->sequence, false);

		co_queue_note(first);
		numbers.sequence = shape->sequence;
		numbers.next = first;
		numbers.left = shape->increment > 1 && first <= PG_INT64_MAX - shape->increment
			? shape->increment : 1;
	}
	numbers.left--;
	return numbers.next++;
}

/* ---------- a row ---------- */

typedef struct Row
{
	int64		id;
	text	   *key;
	ItemPointerData place;
} Row;

typedef struct Writer
{
	CoQueueShape shape;
	Relation	queue;
	Relation	index[CO_QUEUE_INDEXES];
	CommandId	command;
	Oid			requester;

	/* what all rows have in common, and one of them with an empty address */
	Datum		value[CO_QUEUE_COLUMNS];
	bool		isnull[CO_QUEUE_COLUMNS];
	HeapTuple	model;
} Writer;

/* Where things are in a row, counted from the end of its header; see its columns. */
#define ID_AT		TYPEALIGN(ALIGNOF_DOUBLE, sizeof(int32))
#define EMAIL_AT	(ID_AT + sizeof(int64))
#define REST_AT(end) TYPEALIGN(ALIGNOF_DOUBLE, end)

static void
make_model(Writer *writer, const CoEnqueue *enqueue)
{
	Datum	   *value = writer->value;
	text	   *empty = co_key_text("");
	char	   *name = GetUserNameFromId(enqueue->requester, false);

	writer->requester = enqueue->requester;
	for (int i = 0; i < CO_QUEUE_COLUMNS; i++)
		writer->isnull[i] = co_queue_is_left_null(i);
	value[CO_QUEUE_PRIORITY] = Int32GetDatum(enqueue->priority);
	value[CO_QUEUE_ID] = Int64GetDatum(0);
	value[CO_QUEUE_EMAIL] = PointerGetDatum(empty);
	value[CO_QUEUE_ACCEPTS_SINCE] = TimestampTzGetDatum(enqueue->accepts.verdict);
	value[CO_QUEUE_REQUESTED_BY] = CStringGetTextDatum(name);
	value[CO_QUEUE_ENQUEUED_AT] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	value[CO_QUEUE_ORIGIN] = Int64GetDatum(co_queue_origin());
	value[CO_QUEUE_ATTEMPTS] = Int32GetDatum(0);
	value[CO_QUEUE_MAYBE_PAID] = BoolGetDatum(false);
	writer->model = heap_form_tuple(RelationGetDescr(writer->queue), value, writer->isnull);
	pfree(empty);
	pfree(name);
}

static void
free_model(Writer *writer)
{
	heap_freetuple(writer->model);
	pfree(DatumGetPointer(writer->value[CO_QUEUE_REQUESTED_BY]));
}

/*
 * What heap_form_tuple() would make, at a fifth of its cost: all rows are alike
 * but for number and address.
 */
static HeapTuple
form_row(const Writer *writer, int64 id, const text *key)
{
	HeapTuple	model = writer->model;
	Size		header = model->t_data->t_hoff;
	Size		length = VARSIZE(key) - VARHDRSZ;
	bool		is_short = length + VARHDRSZ_SHORT <= VARATT_SHORT_MAX;
	Size		end = EMAIL_AT + length + (is_short ? VARHDRSZ_SHORT : VARHDRSZ);
	Size		rest = model->t_len - header - REST_AT(EMAIL_AT + VARHDRSZ_SHORT);
	Size		size = header + REST_AT(end) + rest;
	HeapTuple	row = palloc(HEAPTUPLESIZE + size);
	char	   *data = (char *) row + HEAPTUPLESIZE;

	row->t_len = size;
	ItemPointerSetInvalid(&row->t_self);
	row->t_tableOid = RelationGetRelid(writer->queue);
	row->t_data = (HeapTupleHeader) data;
	memcpy(data, model->t_data, header + EMAIL_AT);

	data += header;
	memcpy(data + ID_AT, &id, sizeof(id));
	if (is_short)
	{
		SET_VARSIZE_SHORT(data + EMAIL_AT, length + VARHDRSZ_SHORT);
		memcpy(data + EMAIL_AT + VARHDRSZ_SHORT, VARDATA(key), length);
	}
	else
		memcpy(data + EMAIL_AT, key, length + VARHDRSZ);
	memset(data + end, 0, REST_AT(end) - end);
	memcpy(data + REST_AT(end),
		   (char *) model->t_data + model->t_len - rest, rest);
	return row;
}

/* What may be another with each call: the first column, and the one right behind the address. */
static void
set_priority_and_time(Writer *writer, int32 priority, TimestampTz since)
{
	HeapTuple	model = writer->model;
	char	   *data = (char *) model->t_data + model->t_data->t_hoff;

	writer->value[CO_QUEUE_PRIORITY] = Int32GetDatum(priority);
	writer->value[CO_QUEUE_ACCEPTS_SINCE] = TimestampTzGetDatum(since);
	memcpy(data, &priority, sizeof(priority));
	memcpy(data + REST_AT(EMAIL_AT + VARHDRSZ_SHORT), &since, sizeof(since));
}

/* What index_insert() says, which depends on the check. */
static bool
write_entry(const Writer *writer, int number, const Row *row, IndexUniqueCheck check)
{
	const CoQueueIndex *index = &writer->shape.index[number];
	Datum		value[CO_QUEUE_COLUMNS];
	bool		isnull[CO_QUEUE_COLUMNS];

	for (int i = 0; i < index->columns; i++)
	{
		CoQueueColumn column = index->column[i];

		isnull[i] = writer->isnull[column];
		if (column == CO_QUEUE_ID)
			value[i] = Int64GetDatum(row->id);
		else if (column == CO_QUEUE_EMAIL)
			value[i] = PointerGetDatum(row->key);
		else
			value[i] = writer->value[column];
	}

	/* a btree makes no use of an IndexInfo */
	return index_insert(writer->index[number], value, isnull, (ItemPointer) &row->place,
						writer->queue, check, false, NULL);
}

static IndexUniqueCheck
check_of(const Writer *writer, int number)
{
	return writer->shape.index[number].unique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO;
}

/* ---------- does it wait already? ---------- */

/* Does the row that was found wait for an answer, to be paid by us? */
static bool
is_waiting(TupleTableSlot *slot, int64 origin)
{
	slot_getsomeattrs(slot, CO_QUEUE_FAILED_AT + 1);
	return slot->tts_isnull[CO_QUEUE_FAILED_AT] &&
		DatumGetInt64(slot->tts_values[CO_QUEUE_ORIGIN]) == origin;
}

/* Is there such a row, other than this one? */
static bool
waits(CoWalk *walk, text *key, int64 origin, ItemPointer other_than)
{
	bool		found = co_walk_to(walk, key);

	while (found && (!is_waiting(walk->slot, origin) ||
					 (other_than != NULL && ItemPointerEquals(&walk->slot->tts_tid, other_than))))
		found = co_walk_on(walk, key);
	return found;
}

/* ---------- one ---------- */

/*
 * To look first is to come twice from the root of the index to the same page.
 * So where many have been new, the next is written at once, and the btree is
 * asked to say whether there may be an equal entry: it does that for whoever
 * asks, and lets the entry in, be the index unique or not
 * (UNIQUE_CHECK_PARTIAL).  Then we look, and take the row out again if it
 * waits already.  That costs more than to have looked: a transaction id, a
 * number, perhaps a turn of the worker, and a dead row.  So first look at as
 * many again.
 */
#define NEW_UNTIL_WRITTEN_FIRST 32

static int	new_in_a_row = 0;

static Row
write_row(const Writer *writer, text *key)
{
	Row			row = {take_number(&writer->shape), key};
	HeapTuple	tuple = form_row(writer, row.id, key);

	heap_insert(writer->queue, tuple, writer->command, 0, NULL);
	row.place = tuple->t_self;
	pfree(tuple);
	return row;
}

static void
write_entries(const Writer *writer, const Row *row, int all_but)
{
	for (int i = 0; i < writer->shape.indexes; i++)
	{
		if (i != all_but)
			(void) write_entry(writer, i, row, check_of(writer, i));
	}
}

/*
 * What is written and taken out again is a write for others, where they look
 * at that: serializable transactions, and who reads the changes out of the
 * write-ahead log, perhaps all but the deletes.
 */
static bool
may_write_first(const Writer *writer)
{
	return new_in_a_row >= NEW_UNTIL_WRITTEN_FIRST &&
		check_of(writer, writer->shape.email_index) == UNIQUE_CHECK_NO &&
		!IsolationIsSerializable() && !RelationIsLogicallyLogged(writer->queue);
}

static bool
write_first(const Writer *writer, CoWalk *walk, text *key, int64 origin)
{
	int			first = writer->shape.email_index;
	Row			row = write_row(writer, key);

	if (!write_entry(writer, first, &row, UNIQUE_CHECK_PARTIAL) &&
		waits(walk, key, origin, &row.place))
	{
		/* who has just written it cannot delete it, nor is it gone for who
		 * has a snapshot of that moment */
		CommandCounterIncrement();
		simple_heap_delete(writer->queue, &row.place);
		CommandCounterIncrement();
		return false;
	}
	write_entries(writer, &row, first);
	return true;
}

static bool
look_first(const Writer *writer, CoWalk *walk, text *key, int64 origin)
{
	Row			row;

	if (waits(walk, key, origin, NULL))
		return false;
	row = write_row(writer, key);
	write_entries(writer, &row, -1);
	return true;
}

/* False if it waits already. */
static bool
write_key(const Writer *writer, CoWalk *walk, text *key)
{
	int64		origin = DatumGetInt64(writer->value[CO_QUEUE_ORIGIN]);
	bool		written;

	written = may_write_first(writer) ? write_first(writer, walk, key, origin)
		: look_first(writer, walk, key, origin);
	new_in_a_row = written ? Min(new_in_a_row + 1, NEW_UNTIL_WRITTEN_FIRST) : 0;
	return written;
}

/* ---------- many ---------- */

typedef struct Batch
{
	Row			row[BATCH];
	TupleTableSlot *slot[BATCH];
	int			slots;			/* made so far */
	int			count;			/* rows */
	TupleDesc	columns;
	BulkInsertState bulk;
} Batch;

static Batch *
begin_batch(Relation queue)
{
	Batch	   *batch = palloc(sizeof(Batch));

	batch->slots = batch->count = 0;
	batch->columns = CreateTupleDescCopy(RelationGetDescr(queue));
	batch->bulk = GetBulkInsertState();
	return batch;
}

/* Index by index, which keeps its pages at hand. */
static void
flush_batch(const Writer *writer, Batch *batch)
{
	if (batch->count == 0)
		return;
	heap_multi_insert(writer->queue, batch->slot, batch->count, writer->command, 0, batch->bulk);
	for (int i = 0; i < batch->count; i++)
	{
		batch->row[i].place = batch->slot[i]->tts_tid;
		ExecClearTuple(batch->slot[i]);
	}
	for (int i = 0; i < writer->shape.indexes; i++)
	{
		for (int k = 0; k < batch->count; k++)
			(void) write_entry(writer, i, &batch->row[k], check_of(writer, i));
	}
	batch->count = 0;
}

static void
add_to_batch(const Writer *writer, Batch *batch, text *key)
{
	Row		   *row = &batch->row[batch->count];

	if (batch->count == batch->slots)
		batch->slot[batch->slots++] = MakeSingleTupleTableSlot(batch->columns, &TTSOpsHeapTuple);
	row->id = take_number(&writer->shape);
	row->key = key;
	/* the slot frees it */
	ExecStoreHeapTuple(form_row(writer, row->id, key), batch->slot[batch->count], true);
	if (++batch->count == BATCH)
		flush_batch(writer, batch);
}

static void
end_batch(const Writer *writer, Batch *batch)
{
	flush_batch(writer, batch);
	for (int i = 0; i < batch->slots; i++)
		ExecDropSingleTupleTableSlot(batch->slot[i]);
	FreeBulkInsertState(batch->bulk);
	FreeTupleDesc(batch->columns);
	pfree(batch);
}

static uint64
write_keys(const Writer *writer, const CoKey *keys, int count)
{
	int64		origin = co_queue_origin();
	uint64		written = 0;
	Batch	   *batch = count > 1 ? begin_batch(writer->queue) : NULL;
	CoWalk		walk;

	/*
	 * What is committed now, and what we have written ourselves, this very
	 * command included: of equal addresses in one load, one row is enough.
	 */
	co_walk_begin(&walk, writer->queue, writer->index[writer->shape.email_index],
				  SnapshotSelf, count > 1);
	for (int i = 0; i < count; i++)
	{
		if (batch == NULL)
			written += write_key(writer, &walk, keys[i].text);
		else if (!waits(&walk, keys[i].text, origin, NULL))
		{
			add_to_batch(writer, batch, keys[i].text);
			written++;
		}
		CHECK_FOR_INTERRUPTS();
	}
	co_walk_end(&walk);
	if (batch != NULL)
		end_batch(writer, batch);
	return written;
}

/* ---------- opening and closing ---------- */

/*
 * The locks on the indexes stay until the end of the transaction, as that on
 * the table does: to give them back, and take them anew for the next row,
 * would cost more than to write it.
 */
static void
open_writer(Writer *writer, Relation queue, const CoQueueShape *shape, const CoEnqueue *enqueue)
{
	writer->shape = *shape;
	writer->queue = queue;
	writer->command = GetCurrentCommandId(true);
	make_model(writer, enqueue);
	for (int i = 0; i < writer->shape.indexes; i++)
		writer->index[i] = index_open(writer->shape.index[i].id, RowExclusiveLock);
}

static void
close_writer(Writer *writer)
{
	for (int i = 0; i < writer->shape.indexes; i++)
		index_close(writer->index[i], NoLock);
	free_model(writer);
}

bool
co_put(const CoCatalog *catalog, const CoKey *keys, int count,
	   const CoEnqueue *enqueue, uint64 *written)
{
	Relation	queue = table_open(co_catalog_need(catalog, &catalog->queue), RowExclusiveLock);
	CoUser		user = co_become_owner(queue);
	const CoQueueShape *shape = co_queue_shape(queue);
	bool		known = shape->known;

	if (known)
	{
		Writer		writer;

		open_writer(&writer, queue, shape, enqueue);
		*written = write_keys(&writer, keys, count);
		close_writer(&writer);
	}
	co_become(user);
	table_close(queue, NoLock);
	return known;
}

/* ---------- one after the other ---------- */

struct CoPutter
{
	Writer		writer;
	CoWalk		walk;
	MemoryContext context;		/* of these */
};

CoPutter *
co_putter_begin(const CoCatalog *catalog, const CoEnqueue *enqueue)
{
	Relation	queue = table_open(co_catalog_need(catalog, &catalog->queue), RowExclusiveLock);
	CoUser		user = co_become_owner(queue);
	const CoQueueShape *shape = co_queue_shape(queue);
	CoPutter   *putter = NULL;

	if (shape->known)
	{
		Writer	   *writer;

		putter = palloc(sizeof(CoPutter));
		putter->context = CurrentMemoryContext;
		writer = &putter->writer;
		open_writer(writer, queue, shape, enqueue);
		co_walk_begin(&putter->walk, queue, writer->index[writer->shape.email_index],
					  SnapshotSelf, false);
	}
	co_become(user);
	if (putter == NULL)
		table_close(queue, NoLock);
	return putter;
}

bool
co_putter_stands(const CoPutter *putter)
{
	return co_queue_shape_stands(&putter->writer.shape);
}

/* Whose row it is may change from one to the next as well. */
static void
adapt_model(CoPutter *putter, const CoEnqueue *enqueue)
{
	Writer	   *writer = &putter->writer;

	if (writer->requester != enqueue->requester)
	{
		MemoryContext old = MemoryContextSwitchTo(putter->context);

		free_model(writer);
		make_model(writer, enqueue);
		MemoryContextSwitchTo(old);
	}
	set_priority_and_time(writer, enqueue->priority, enqueue->accepts.verdict);
}

bool
co_putter_put(CoPutter *putter, text *key, const CoEnqueue *enqueue)
{
	Writer	   *writer = &putter->writer;
	CoUser		user = co_become_owner(writer->queue);
	bool		written;

	writer->command = GetCurrentCommandId(true);
	adapt_model(putter, enqueue);
	written = write_key(writer, &putter->walk, key);
	co_walk_rest(&putter->walk);
	co_become(user);
	return written;
}

void
co_putter_end(CoPutter *putter)
{
	Relation	queue = putter->writer.queue;

	co_walk_end(&putter->walk);
	close_writer(&putter->writer);
	table_close(queue, NoLock);
	pfree(putter);
}
