/*-------------------------------------------------------------------------
 * spill.c
 *		Move answers that were put aside to where they belong.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "catalog.h"
#include "clock.h"
#include "session.h"
#include "store_kinds.h"

typedef struct Merge
{
	CoSpill    *spill;
	int64		only;			/* this one alone; 0: those behind spill->after */
	int			moved;
	int			count;			/* what was read */
	int64		ids[CO_SPILL_BATCH];
	const char *error;			/* why "only" was refused */
	bool		any;			/* is anything there ... */
	bool		some_wait;		/* ... that is not refused? */
} Merge;

/* Read what there is to move; palloc'd, and its ids. */
static CoSpilled *
read_rows(CoCatalog *catalog, Merge *merge)
{
	CoSpill    *spill = merge->spill;
	Datum		parameter = Int64GetDatum(merge->only != 0 ? merge->only : spill->after);
	CoSpilled  *rows;
	uint64		count;

	count = co_execute(catalog, merge->only != 0 ? spill->read_row : spill->read_rows,
					   &parameter, " ");
	count = Min(count, CO_SPILL_BATCH);

	/* The table's owner may have changed its columns. */
	for (int column = 0; column <= spill->columns; column++)
	{
		if (SPI_gettypeid(SPI_tuptable->tupdesc, column + 1) !=
			(column < spill->columns ? spill->types[column] : INT8OID))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table \"%s\" does not fit the library of the extension \"clearout\"",
							spill->name)));
	}
	merge->count = 0;
	merge->moved = 0;
	rows = palloc(Max(count, 1) * sizeof(CoSpilled));
	for (uint64 i = 0; i < count; i++)
	{
		bool		isnull;

		for (int column = 0; column < spill->columns; column++)
		{
			rows[i].values[column] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
												   column + 1, &isnull);
			rows[i].nulls[column] = isnull ? 'n' : ' ';
		}
		rows[i].id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
												 spill->columns + 1, &isnull));
		merge->ids[merge->count++] = rows[i].id;
	}
	return rows;
}

static void
read_step(CoCatalog *catalog, void *argument)
{
	(void) read_rows(catalog, argument);
}

static void
look_step(CoCatalog *catalog, void *argument)
{
	Merge	   *merge = argument;
	Datum		nothing = Int64GetDatum(0);
	bool		isnull;
	Datum		some_wait;

	(void) co_execute(catalog, merge->spill->look, &nothing, " ");
	some_wait = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	merge->any = !isnull;
	merge->some_wait = !isnull && DatumGetBool(some_wait);
}

static void
refuse_step(CoCatalog *catalog, void *argument)
{
	Merge	   *merge = argument;
	Datum		values[2];

	values[0] = Int64GetDatum(merge->only);
	values[1] = CStringGetTextDatum(merge->error);
	(void) co_execute(catalog, merge->spill->refuse_row, values, "  ");
}

static void
merge_step(CoCatalog *catalog, void *argument)
{
	Merge	   *merge = argument;
	CoSpilled  *rows;

	merge->spill->require(catalog);
	rows = read_rows(catalog, merge);
	merge->spill->write(catalog, rows, merge->count);
	for (int i = 0; i < merge->count; i++)
	{
		Datum		id = Int64GetDatum(merge->ids[i]);

		(void) co_execute(catalog, merge->spill->delete_row, &id, " ");
	}
	merge->moved = merge->count;
}

/* Row by row, as long as the time allows. */
static void
merge_one_by_one(Merge *merge, const int64 *ids, int count, int *moved)
{
	int64		budget_end = co_clock() + CO_ROW_LOCK_BUDGET;
	CoTrouble	trouble;

	for (int i = 0; i < count; i++)
	{
		if (co_clock() >= budget_end)
			return;
		merge->only = ids[i];
		merge->spill->after = Max(merge->spill->after, ids[i]);
		if (co_run(merge_step, merge, &trouble))
			*moved += merge->moved;
		else if (!co_is_lock_trouble(&trouble))
		{
			char		reason[CO_REASON_SIZE];
			CoTrouble	unused;

			strlcpy(reason, trouble.message, sizeof(reason));
			merge->error = reason;
			(void) co_run(refuse_step, merge, &unused);
		}
	}
}

static int
compare_ids(const void *a, const void *b)
{
	int64		first = *(const int64 *) a;
	int64		second = *(const int64 *) b;

	return first < second ? -1 : first > second;
}

void
co_spill_merge(CoSpill *spill, int *moved, bool *left, bool *refused)
{
	Merge	   *merge = palloc0(sizeof(Merge));
	CoTrouble	trouble;

	*moved = 0;
	*refused = false;
	merge->spill = spill;
	co_session_set_lock_timeout(CO_ROW_LOCK_TIMEOUT);
	if (co_run(merge_step, merge, &trouble))
	{
		*moved = merge->moved;
		spill->after = 0;
	}
	else if (trouble.sqlstate != ERRCODE_OBJECT_IN_USE &&
			 co_run(read_step, merge, &trouble))
	{
		int			count = merge->count;
		int64	   *ids = palloc(CO_SPILL_BATCH * sizeof(int64));

		memcpy(ids, merge->ids, CO_SPILL_BATCH * sizeof(int64));
		qsort(ids, count, sizeof(int64), compare_ids);
		if (count == 0)
			spill->after = 0;	/* at the end: from the beginning again */
		merge_one_by_one(merge, ids, count, moved);
	}
	if (co_run(look_step, merge, &trouble))
	{
		*left = merge->any;
		*refused = merge->any && !merge->some_wait;
		spill->complained = false;
	}
	else if (co_is_lock_trouble(&trouble))
		*left = true;			/* that will soon be over */
	else
	{
		*left = *refused = true;
		if (!spill->complained)
			ereport(LOG, (errmsg("clearout: %s cannot be read: %s", spill->name, trouble.message)));
		spill->complained = true;
	}
	if (*left && merge->count == 0)
		spill->after = 0;
	co_session_set_lock_timeout(CO_LOCK_TIMEOUT);
	pfree(merge);
}
