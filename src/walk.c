/*-------------------------------------------------------------------------
 * walk.c
 *		Find the rows of addresses by an index on them.
 *
 * One key is looked up.  Of many, which come in order, the scan goes to the
 * first entry that is no lower and stays there: up to that one no key has a
 * row, and none is looked up.  What is compared is the index's own entry, so
 * that no row is read but those of the keys.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/itup.h"
#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_index.h"
#include "catalog/pg_opfamily.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "compat.h"
#include "walk.h"

#define STEPS 4

/*
 * Will this index do: a plain btree on the address alone, in its own order?
 *
 * Whatever the table's owner has put into an index (a predicate, an
 * expression, an operator class) must not run here: we may be a superuser.
 * So nothing of it is loaded, only whether it is there.
 */
bool
co_is_email_index(Relation index, AttrNumber email)
{
	return index->rd_rel->relam == BTREE_AM_OID &&
		index->rd_index->indisvalid &&
		index->rd_index->indnkeyatts == 1 &&
		index->rd_index->indkey.values[0] == email &&
		index->rd_opfamily[0] == TEXT_BTREE_FAM_OID &&
		index->rd_indcollation[0] == C_COLLATION_OID &&
		heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);
}

void
co_walk_begin(CoWalk *walk, Relation table, Relation index, Snapshot snapshot, bool many)
{
	memset(walk, 0, sizeof(*walk));
	walk->table = table;
	walk->context = CurrentMemoryContext;
	walk->many = many && (index->rd_indoption[0] & INDOPTION_DESC) == 0;
	walk->scan = co_index_beginscan(table, index, snapshot, 1);
	walk->scan->xs_want_itup = walk->many;
}

/* To the next entry. */
static void
advance(CoWalk *walk)
{
	MemoryContext old = MemoryContextSwitchTo(walk->context);

	walk->ended = index_getnext_tid(walk->scan, ForwardScanDirection) == NULL;
	MemoryContextSwitchTo(old);
}

/* How does the entry compare to the key? */
static int
compare_entry(const CoWalk *walk, text *key)
{
	bool		isnull;
	Datum		value;
	text	   *entry;
	int			length;
	int			key_length = VARSIZE_ANY_EXHDR(key);
	int			result;

	if (!walk->many)
		return 0;				/* no other is met */
	value = index_getattr(walk->scan->xs_itup, 1, walk->scan->xs_itupdesc, &isnull);
	entry = DatumGetTextPP(value);
	length = VARSIZE_ANY_EXHDR(entry);
	result = memcmp(VARDATA_ANY(entry), VARDATA_ANY(key), Min(length, key_length));
	if ((Pointer) entry != DatumGetPointer(value))
		pfree(entry);
	return result != 0 ? result : length - key_length;
}

/* Is there a row that we may see, from the entry on?  The heap may have more
 * than one for it, under a snapshot that sees what is going on now. */
static bool
find_row(CoWalk *walk, text *key)
{
	MemoryContext old = MemoryContextSwitchTo(walk->context);
	bool		found = false;

	while (!found && !walk->ended && compare_entry(walk, key) == 0)
	{
		if (walk->slot == NULL)
			walk->slot = table_slot_create(walk->table, NULL);
		walk->fetched = true;
		do
		{
			found = index_fetch_heap(walk->scan, walk->slot);
		} while (!found && walk->scan->xs_heap_continue);
		if (!found)
			advance(walk);
	}
	MemoryContextSwitchTo(old);
	return found;
}

static void
look_up(CoWalk *walk, text *key)
{
	ScanKeyData scankey;

	if (walk->many)
		ScanKeyInit(&scankey, 1, BTGreaterEqualStrategyNumber, F_TEXT_GE, PointerGetDatum(key));
	else
		ScanKeyInit(&scankey, 1, BTEqualStrategyNumber, F_TEXTEQ, PointerGetDatum(key));
	scankey.sk_collation = C_COLLATION_OID;
	index_rescan(walk->scan, &scankey, 1, NULL, 0);
	advance(walk);
	walk->begun = walk->many;
}

bool
co_walk_to(CoWalk *walk, text *key)
{
	/* Perhaps it is not far: a few steps cost less than to come from the root. */
	for (int i = 0; i < STEPS && walk->begun && !walk->ended && compare_entry(walk, key) < 0; i++)
		advance(walk);
	if (!walk->begun || (!walk->ended && compare_entry(walk, key) < 0))
		look_up(walk, key);
	return find_row(walk, key);
}

bool
co_walk_on(CoWalk *walk, text *key)
{
	while (walk->scan->xs_heap_continue)
	{
		if (index_fetch_heap(walk->scan, walk->slot))
			return true;
	}
	advance(walk);
	return find_row(walk, key);
}

void
co_walk_rest(CoWalk *walk)
{
	if (!walk->fetched)
		return;					/* without an entry there is no page either */
	ExecClearTuple(walk->slot);
	index_rescan(walk->scan, NULL, 1, NULL, 0);
	walk->fetched = walk->begun = false;
}

void
co_walk_end(CoWalk *walk)
{
	index_endscan(walk->scan);
	if (walk->slot != NULL)
		ExecDropSingleTupleTableSlot(walk->slot);
}
