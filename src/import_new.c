/*-------------------------------------------------------------------------
 * import_new.c
 *		Those rows of a result file whose key is new.
 *
 * INSERT ... ON CONFLICT writes each row, and confirms it, with a record of its
 * own in the write-ahead log.  Most rows of most files are new, so they are
 * looked for in the index and written a page at a time, as COPY does it; the
 * statements are left to rows that are there already.
 *
 * Between the look and the insert, somebody may commit the same key.  That is
 * a unique violation.  The worker stores a batch in a transaction of its own,
 * and begins again with half of it.  A user's transaction must not fail of it:
 * there the insert is a subtransaction, and if that fails the statements do all
 * of the batch; they wait for whoever came between, and look at his row.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "import_kinds.h"
#include "insert.h"
#include "worker.h"

static int
insert_new(Oid table, const CoImport *import, CoImportRow **rows, int count)
{
	CoInserter *inserter = co_insert_begin(table, import->kind->types, import->kind->columns);
	Datum	  **values;
	bool	  **isnull;
	bool	   *is_new;
	int			left = 0;

	if (inserter == NULL)
		return count;
	values = palloc(count * sizeof(Datum *));
	isnull = palloc(count * sizeof(bool *));
	is_new = palloc(count * sizeof(bool));
	for (int i = 0; i < count; i++)
	{
		values[i] = rows[i]->value;
		isnull[i] = rows[i]->isnull;
	}
	co_insert_new_rows(inserter, values, isnull, count, is_new);
	co_insert_end(inserter);
	for (int i = 0; i < count; i++)
	{
		if (!is_new[i])
			rows[left++] = rows[i];
	}
	return left;
}

/* rows is as it was if that fails. */
static int
insert_new_apart(Oid table, const CoImport *import, CoImportRow **rows, int count)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile int left = count;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		left = insert_new(table, import, rows, count);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION)
			ReThrowError(error);
		FreeErrorData(error);
	}
	PG_END_TRY();
	return left;
}

int
co_import_insert_new(Oid table, CoImport *import, int from, int to, CoImportRow **others)
{
	MemoryContext old = MemoryContextSwitchTo(import->batch);
	int			count = 0;
	int			left;

	for (int i = from; i < to; i++)
	{
		if (!import->row[i].unasked)
			others[count++] = &import->row[i];
	}
	if (count == 0)
		left = 0;
	else if (co_am_worker)
		left = insert_new(table, import, others, count);
	else
		left = insert_new_apart(table, import, others, count);
	MemoryContextSwitchTo(old);
	return left;
}
