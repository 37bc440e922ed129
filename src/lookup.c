/*-------------------------------------------------------------------------
 * lookup.c
 *		Look a stored answer up.
 *
 * This goes around the executor: one index scan with a snapshot of its own.
 * So the lock is released at once, which SPI does not do; no privilege on the
 * table is needed by whoever may ask about the address he names; and it is
 * fast.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "lookup.h"
#include "walk.h"

const Oid	co_column_types[CO_STORED_COLUMNS] = {
	TEXTOID, TEXTOID, TEXTOID, INT4OID, TEXTOID, TEXTOID,
	BOOLOID, BOOLOID, BOOLOID, BOOLOID,
	TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
	TIMESTAMPTZOID, INTERVALOID, TEXTOID, JSONBOID,
	TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, INT4OID, TEXTOID, JSONBOID
};

typedef enum Found
{
	FOUND_NOTHING,
	FOUND_VERDICT,				/* the row itself is fresh */
	FOUND_ATTEMPT				/* only its last attempt is */
} Found;

static TimestampTz
row_time(const CoRow *row, CoColumn column)
{
	return row->isnull[column] ? DT_NOBEGIN : DatumGetTimestampTz(row->value[column]);
}

bool
co_text_equals(Datum value, const char *word)
{
	text	   *text_value = DatumGetTextPP(value);
	size_t		length = strlen(word);

	return VARSIZE_ANY_EXHDR(text_value) == length &&
		memcmp(VARDATA_ANY(text_value), word, length) == 0;
}

/*
 * An answer is as old as the later of what the service says (verified_at)
 * and the start of the call that brought it (asked_at, by our clock): a
 * service whose clock is behind, or that answers from a cache of its own,
 * must not make us pay again and again.
 */
static Found
freshness(const CoRow *row, const CoFreshness *accepts)
{
	TimestampTz age = Max(row_time(row, CO_COL_VERIFIED_AT),
						  row_time(row, CO_COL_ASKED_AT));
	TimestampTz oldest = accepts->verdict;

	if (co_text_equals(row->value[CO_COL_STATUS], "unknown"))
		oldest = accepts->unknown;
	else if (co_text_equals(row->value[CO_COL_STATUS], "catch_all"))
		oldest = accepts->catch_all;

	if (age >= oldest)
		return FOUND_VERDICT;
	if (!row->isnull[CO_COL_ATTEMPT_STATUS] &&
		row_time(row, CO_COL_ATTEMPTED_AT) >= accepts->unknown)
		return FOUND_ATTEMPT;
	return FOUND_NOTHING;
}

/* Let the row speak of its last attempt instead of its last verdict. */
static void
show_attempt(CoRow *row)
{
	static const CoColumn source[][2] = {
		{CO_COL_STATUS, CO_COL_ATTEMPT_STATUS},
		{CO_COL_SUB_STATUS, CO_COL_ATTEMPT_SUB_STATUS},
		{CO_COL_REASON, CO_COL_ATTEMPT_REASON},
		{CO_COL_RAW, CO_COL_ATTEMPT_RAW},
		{CO_COL_SAFE_TO_SEND, CO_COL_ATTEMPT_STATUS},
		{CO_COL_VERIFIED_AT, CO_COL_ATTEMPTED_AT}
	};
	static const CoColumn unsaid[] = {
		CO_COL_BOUNCE_TYPE, CO_COL_DISPOSABLE, CO_COL_FREE, CO_COL_ROLE,
		CO_COL_GIBBERISH, CO_COL_SUGGESTED_EMAIL, CO_COL_MX_RECORD,
		CO_COL_SMTP_PROVIDER, CO_COL_AI_VERDICT, CO_COL_TIME_TAKEN
	};

	for (int i = 0; i < lengthof(source); i++)
	{
		row->value[source[i][0]] = row->value[source[i][1]];
		row->isnull[source[i][0]] = row->isnull[source[i][1]];
	}
	for (int i = 0; i < lengthof(unsaid); i++)
		row->isnull[unsaid[i]] = true;
}

/* Open the index to use; NULL if somebody has it locked against readers. */
static Relation
open_email_index(Relation table)
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
		if (co_is_email_index(index, CO_COL_EMAIL + 1))
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
				 errmsg("table \"%s\" has no btree index on its column \"email\" alone",
						RelationGetRelationName(table)),
				 errhint("Create one, with the column's own collation.")));
	return found;
}

/*
 * Are the columns of the types that we read them as?  The table's owner may
 * have changed that, and a number must not be taken for a pointer.
 */
static void
require_columns(Relation table)
{
	TupleDesc	columns = RelationGetDescr(table);

	for (int i = 0; i < CO_STORED_COLUMNS; i++)
	{
		if (i >= columns->natts ||
			TupleDescAttr(columns, i)->atttypid != co_column_types[i])
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table \"%s\" does not fit the library of the extension \"clearout\"",
							RelationGetRelationName(table)),
					 errhint("Run ALTER EXTENSION clearout UPDATE, or give its columns back the types that they had.")));
	}
}

/* One table, ready to be looked into for one key after the other. */
typedef struct Look
{
	Relation	table;			/* NULL: there is nothing to be found */
	Relation	index;			/* NULL: nothing so far */
	Snapshot	snapshot;		/* NULL: what is committed at each look */
	CoWalk		walk;
	MemoryContext context;		/* of these */
	int			unasked;		/* looks since it was asked whether it is empty */
} Look;

/* A system call costs more than the rest of a look into an empty table. */
#define LOOKS_UNTIL_ASKED 64

/* Its keys come ... */
typedef enum Pace
{
	ONE,						/* alone */
	MANY,						/* together */
	IN_ORDER,					/* and in their order */
	FROM_TIME_TO_TIME			/* within a transaction */
} Pace;

/* False if its index is locked against readers. */
static bool
open_index(Look *look, Pace pace)
{
	MemoryContext old;

	look->index = open_email_index(look->table);
	if (look->index == NULL)
		return false;
	old = MemoryContextSwitchTo(look->context);
	if (pace != FROM_TIME_TO_TIME)
		look->snapshot = RegisterSnapshot(GetLatestSnapshot());
	co_walk_begin(&look->walk, look->table, look->index,
				  look->snapshot != NULL ? look->snapshot : SnapshotSelf, pace == IN_ORDER);
	MemoryContextSwitchTo(old);
	return true;
}

/*
 * Make ready; the table must be locked.  *locked is set where its index is
 * locked against readers.
 */
static void
begin_look(Look *look, Oid table_id, bool mostly_empty, Pace pace, bool *locked)
{
	bool		empty;

	memset(look, 0, sizeof(*look));
	look->context = CurrentMemoryContext;
	look->table = table_open(table_id, NoLock);
	require_columns(look->table);

	/*
	 * An empty file has no need for a look into its index.  That is worth
	 * asking of a table that nearly always is.
	 */
	empty = mostly_empty && RelationGetNumberOfBlocks(look->table) == 0;
	if (empty && pace == FROM_TIME_TO_TIME)
		return;
	if (!empty && open_index(look, pace))
		return;
	*locked |= !empty;
	table_close(look->table, NoLock);
	look->table = NULL;
}

/* It was empty, in a transaction that may last; then its index is opened now. */
static bool
is_filled_by_now(Look *look)
{
	if (++look->unasked < LOOKS_UNTIL_ASKED)
		return false;
	look->unasked = 0;
	return RelationGetNumberOfBlocks(look->table) > 0 && open_index(look, FROM_TIME_TO_TIME);
}

static void
end_look(Look *look)
{
	if (look->table == NULL)
		return;
	if (look->index != NULL)
	{
		co_walk_end(&look->walk);
		index_close(look->index, AccessShareLock);
	}
	if (look->snapshot != NULL)
		UnregisterSnapshot(look->snapshot);
	table_close(look->table, NoLock);
}

/* A copy of the row that was found: it must outlive the buffer pin. */
static void
copy_row(Look *look, CoRow *row)
{
	int			columns = RelationGetNumberOfAttributes(look->table);
	Datum	   *value = palloc(columns * sizeof(Datum));
	bool	   *isnull = palloc(columns * sizeof(bool));

	heap_deform_tuple(ExecCopySlotHeapTuple(look->walk.slot), look->table->rd_att,
					  value, isnull);
	memcpy(row->value, value, sizeof(row->value));
	memcpy(row->isnull, isnull, sizeof(row->isnull));
	pfree(value);
	pfree(isnull);
}

/* The freshest acceptable row of the table, in the current memory context. */
static Found
look_for(Look *look, text *key, const CoFreshness *accepts, CoRow *best)
{
	Found		found = FOUND_NOTHING;
	TimestampTz found_age = DT_NOBEGIN;

	if (look->table == NULL)
		return FOUND_NOTHING;
	for (bool more = co_walk_to(&look->walk, key); more; more = co_walk_on(&look->walk, key))
	{
		CoRow		row;
		Found		fresh;
		TimestampTz age;

		copy_row(look, &row);
		fresh = freshness(&row, accepts);
		if (fresh == FOUND_NOTHING)
			continue;
		if (fresh == FOUND_ATTEMPT)
			show_attempt(&row);
		age = Max(row_time(&row, CO_COL_VERIFIED_AT), row_time(&row, CO_COL_ASKED_AT));
		if (found == FOUND_NOTHING || age > found_age)
		{
			found = fresh;
			found_age = age;
			*best = row;
		}
	}
	return found;
}

/* Has the table an acceptable row?  *met is set if it has any. */
static bool
has_fresh(Look *look, text *key, const CoFreshness *accepts, bool *met)
{
	if (look->table == NULL)
		return false;
	if (look->index == NULL && !is_filled_by_now(look))
		return false;
	for (bool more = co_walk_to(&look->walk, key); more; more = co_walk_on(&look->walk, key))
	{
		TupleTableSlot *slot = look->walk.slot;
		CoRow		row;

		*met = true;
		slot_getsomeattrs(slot, CO_STORED_COLUMNS);
		memcpy(row.value, slot->tts_values, sizeof(row.value));
		memcpy(row.isnull, slot->tts_isnull, sizeof(row.isnull));
		if (freshness(&row, accepts) != FOUND_NOTHING)
			return true;
	}
	return false;
}

bool
co_lookup(const CoCatalog *catalog, const char *key,
				const CoFreshness *accepts, CoRow *row, bool *locked)
{
	const Oid	tables[] = {catalog->results, catalog->spill};
	text	   *text_key = cstring_to_text(key);
	bool		any_locked = false;
	Found		found = FOUND_NOTHING;
	Look		look;

	for (int i = 0; i < lengthof(tables) && found == FOUND_NOTHING; i++)
	{
		if (!OidIsValid(tables[i]))
			continue;			/* an older extension has no such table */

		/* The lock is taken before the table is opened, so that the relcache
		 * is as new as the lock. */
		if (!ConditionalLockRelationOid(tables[i], AccessShareLock))
		{
			any_locked = true;
			continue;
		}
		begin_look(&look, tables[i], tables[i] == catalog->spill, ONE, &any_locked);
		found = look_for(&look, text_key, accepts, row);
		end_look(&look);
		UnlockRelationOid(tables[i], AccessShareLock);
	}
	if (locked)
		*locked = any_locked;
	return found != FOUND_NOTHING;
}

/* ---------- many ---------- */

#define LOOKER_TABLES 2

struct CoLooker
{
	Look		look[LOOKER_TABLES];
	Oid			held[LOOKER_TABLES];	/* InvalidOid: no lock */
	bool		blind;
	bool		met;			/* at the last look */
};

static CoLooker *
begin_looker(const CoCatalog *catalog, Pace pace)
{
	const Oid	tables[LOOKER_TABLES] = {catalog->results, catalog->spill};
	CoLooker   *looker = palloc0(sizeof(CoLooker));

	for (int i = 0; i < LOOKER_TABLES; i++)
	{
		if (!OidIsValid(tables[i]))
			continue;			/* an older extension has no such table */
		if (!ConditionalLockRelationOid(tables[i], AccessShareLock))
		{
			looker->blind = true;
			continue;
		}
		looker->held[i] = tables[i];
		begin_look(&looker->look[i], tables[i], true, pace, &looker->blind);
	}
	return looker;
}

CoLooker *
co_looker_begin(const CoCatalog *catalog, bool in_order)
{
	return begin_looker(catalog, in_order ? IN_ORDER : MANY);
}

CoLooker *
co_looker_begin_lasting(const CoCatalog *catalog)
{
	return begin_looker(catalog, FROM_TIME_TO_TIME);
}

bool
co_looker_finds(CoLooker *looker, text *key, const CoFreshness *accepts)
{
	looker->met = false;
	for (int i = 0; i < LOOKER_TABLES; i++)
	{
		if (has_fresh(&looker->look[i], key, accepts, &looker->met))
			return true;
	}
	return false;
}

void
co_looker_rest(CoLooker *looker)
{
	for (int i = 0; i < LOOKER_TABLES; i++)
	{
		if (looker->look[i].index != NULL)
			co_walk_rest(&looker->look[i].walk);
	}
}

bool
co_looker_met(const CoLooker *looker)
{
	return looker->met;
}

bool
co_looker_is_blind(const CoLooker *looker)
{
	return looker->blind;
}

void
co_looker_end(CoLooker *looker)
{
	for (int i = 0; i < LOOKER_TABLES; i++)
	{
		end_look(&looker->look[i]);
		if (OidIsValid(looker->held[i]))
			UnlockRelationOid(looker->held[i], AccessShareLock);
	}
	pfree(looker);
}

void
co_lookup_remove_fresh(const CoCatalog *catalog, CoKeys *keys, const CoFreshness *accepts)
{
	CoLooker   *looker = co_looker_begin(catalog, true);
	int			left = 0;

	for (int k = 0; k < keys->count; k++)
	{
		if (!co_looker_finds(looker, keys->key[k].text, accepts))
			keys->key[left++] = keys->key[k];
		CHECK_FOR_INTERRUPTS();
	}
	keys->count = left;
	co_looker_end(looker);
}

void
co_lookup_keep_locks(const CoCatalog *catalog)
{
	const Oid	tables[] = {catalog->results, catalog->spill};

	for (int i = 0; i < lengthof(tables); i++)
	{
		Relation	table;
		List	   *indexes;
		ListCell   *cell;

		if (!OidIsValid(tables[i]) || !ConditionalLockRelationOid(tables[i], AccessShareLock))
			continue;
		table = table_open(tables[i], NoLock);
		indexes = RelationGetIndexList(table);
		foreach(cell, indexes)
			(void) ConditionalLockRelationOid(lfirst_oid(cell), AccessShareLock);
		list_free(indexes);
		table_close(table, NoLock);
	}
}
