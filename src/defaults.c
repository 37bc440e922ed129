/*-------------------------------------------------------------------------
 * defaults.c
 *		The defaults of a table's columns.
 *
 * To find the sequence of an identity column, the server looks through
 * pg_depend, which takes longer than to insert a row.  So what was found is
 * kept until the table's entry in the relcache changes; that of a column
 * changes it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "rewrite/rewriteHandler.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "defaults.h"

/* Those of the last so many tables; a process writes to few of them. */
#define TABLES 8

typedef struct Known
{
	Oid			table;			/* InvalidOid: none, or no longer */
	int			columns;
	Expr	  **value;			/* in the context */
	MemoryContext context;
} Known;

static Known known[TABLES];
static uint64 changes = 0;

static void
forget(Datum argument, Oid table)
{
	(void) argument;
	for (int i = 0; i < TABLES; i++)
	{
		if (table == InvalidOid || known[i].table == table)
			known[i].table = InvalidOid;
	}
	changes++;
}

static Known *
look_up(Oid table)
{
	for (int i = 0; i < TABLES; i++)
	{
		if (known[i].table == table)
			return &known[i];
	}
	return NULL;
}

static Expr **
build(Relation table)
{
	int			columns = RelationGetNumberOfAttributes(table);
	Expr	  **value = palloc0(columns * sizeof(Expr *));

	for (int i = 0; i < columns; i++)
	{
		if (!TupleDescAttr(RelationGetDescr(table), i)->attisdropped)
			value[i] = (Expr *) build_column_default(table, i + 1);
	}
	return value;
}

static Expr **
copy(Expr **from, int columns)
{
	Expr	  **to = palloc0(columns * sizeof(Expr *));

	for (int i = 0; i < columns; i++)
		to[i] = copyObject(from[i]);
	return to;
}

static void
remember(Relation table, Expr **value)
{
	static int	next = 0;
	Known	   *place = &known[next];
	MemoryContext old;

	next = (next + 1) % TABLES;
	place->table = InvalidOid;
	if (place->context == NULL)
		place->context = AllocSetContextCreate(TopMemoryContext, "clearout defaults",
											   ALLOCSET_SMALL_SIZES);
	MemoryContextReset(place->context);
	old = MemoryContextSwitchTo(place->context);
	place->columns = RelationGetNumberOfAttributes(table);
	place->value = copy(value, place->columns);
	place->table = RelationGetRelid(table);
	MemoryContextSwitchTo(old);
}

Expr **
co_defaults(Relation table)
{
	static bool registered = false;
	Known	   *found;
	uint64		before;
	Expr	  **value;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(forget, (Datum) 0);
		registered = true;
	}
	found = look_up(RelationGetRelid(table));
	if (found != NULL)
		return copy(found->value, found->columns);

	before = changes;
	value = build(table);
	if (before == changes)
		remember(table, value);
	return value;
}
