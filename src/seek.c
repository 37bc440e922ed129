/*-------------------------------------------------------------------------
 * seek.c
 *		Searches that the service goes on with after the call has ended.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "codec.h"
#include "seek.h"
#include "transaction.h"
#include "usage.h"

static const Oid update_types[] = {
	INT4OID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, NAMEOID
};
/* The key as we write it, so that it is found by that.  A row that somebody
 * has locked is left. */
static CoStatement update_row =
{CO_TABLE_QUEUE, "UPDATE %s.clearout_queue SET name = $3, domain = $4, queue_id = $5,"
	" sought_since = $6, next_attempt_at = $7, requested_by = $8, last_error = NULL"
	" WHERE (priority, id) IN (SELECT q.priority, q.id FROM %s.clearout_queue AS q"
	" WHERE q.priority = $1 AND q.id = $2 FOR UPDATE SKIP LOCKED)",
8, update_types, NULL, ""};

static const Oid insert_types[] = {
	TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, NAMEOID
};
static CoStatement insert_row =
{CO_TABLE_QUEUE, "INSERT INTO %s.clearout_queue"
	" (name, domain, queue_id, sought_since, accepts_since, next_attempt_at, requested_by)"
	" VALUES ($1, $2, $3, $4, $4, $5, $6) RETURNING priority, id",
6, insert_types, NULL, ""};

/* Name and domain of what the finder is asked, palloc'd. */
static void
split_key(CoFlight *flight, char **name, char **domain)
{
	char	   *separator;

	*name = pstrdup(co_flight_key(flight));
	separator = strchr(*name, CO_FIND_SEPARATOR);
	Assert(separator != NULL);
	*separator = '\0';
	*domain = separator + 1;
}

typedef struct Remembering
{
	CoFlight   *flight;
	TimestampTz next_look;
	bool		left;			/* a row that asks for it does not know */
	CoQueueRow	row;			/* the one that was written */
} Remembering;

static void
insert_step(CoCatalog *catalog, Remembering *remembering)
{
	CoFlight   *flight = remembering->flight;
	char	   *name;
	char	   *domain;
	Datum		values[6];
	bool		isnull;

	split_key(flight, &name, &domain);
	values[0] = CStringGetTextDatum(name);
	values[1] = CStringGetTextDatum(domain);
	values[2] = CStringGetTextDatum(flight->search);
	values[3] = TimestampTzGetDatum(flight->sought_since);
	values[4] = TimestampTzGetDatum(remembering->next_look);
	values[5] = DirectFunctionCall1(namein, CStringGetDatum(flight->payer));
	if (co_execute(catalog, &insert_row, values, "      ") != 1)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("a trigger of the table \"clearout_queue\" dropped the row")));
	remembering->row.priority = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	remembering->row.id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
}

static void
require_queue(CoCatalog *catalog)
{
	if (!ConditionalLockRelationOid(catalog->queue, RowExclusiveLock))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("table \"clearout_queue\" is locked")));
}

static void
remember_step(CoCatalog *catalog, void *argument)
{
	Remembering *remembering = argument;
	CoFlight   *flight = remembering->flight;
	char	   *name;
	char	   *domain;
	Datum		values[8];
	uint64		updated = 0;

	require_queue(catalog);
	split_key(flight, &name, &domain);
	for (int i = 0; i < flight->row_count; i++)
	{
		values[0] = Int32GetDatum(flight->row[i].priority);
		values[1] = Int64GetDatum(flight->row[i].id);
		values[2] = CStringGetTextDatum(name);
		values[3] = CStringGetTextDatum(domain);
		values[4] = CStringGetTextDatum(flight->search);
		values[5] = TimestampTzGetDatum(flight->sought_since);
		values[6] = TimestampTzGetDatum(remembering->next_look);
		/* what it costs is told to the next worker with the row alone */
		values[7] = DirectFunctionCall1(namein, CStringGetDatum(flight->payer));
		updated += co_execute(catalog, &update_row, values, "        ");
	}

	/*
	 * Somebody may have locked or deleted all of them; what was paid for is
	 * sought on.
	 */
	remembering->left = updated < flight->row_count;
	if (updated == 0)
		insert_step(catalog, remembering);
	/* whoever reads the row counts on it that its price is in the usage */
	co_usage_write(catalog);
}

/* A search that is known to us alone is not to be lost. */
static void
remember_unwritten(CoFlight *flight)
{
	bool		left;

	if (flight->search == NULL || flight->row_count > 0)
		return;
	AbortOutOfAnyTransaction();
	(void) co_seek_remember(flight, GetCurrentTimestamp(), &left);
}

bool
co_seek_remember(CoFlight *flight, TimestampTz next_look, bool *left)
{
	Remembering remembering = {flight, next_look};
	CoTrouble	trouble;

	*left = false;
	if (!co_run(remember_step, &remembering, &trouble))
	{
		ereport(LOG, (errmsg("clearout: a search could not be written into the queue: %s",
							 trouble.message)));
		co_usage_write_apart();
		return false;
	}
	co_usage_written();
	*left = remembering.left;
	if (remembering.row.id != 0)
	{
		remembering.row.kind = CO_QUEUE_FIND;
		remembering.row.queue_id = flight->search;
		remembering.row.sought_since = flight->sought_since;
		remembering.row.accepts_since = flight->sought_since;
		remembering.row.enqueued_at = GetCurrentTimestamp();
		co_queue_hold(&remembering.row);
		co_flight_add_row(flight, &remembering.row);
	}
	return true;
}

void
co_seek_leave(void)
{
	static const CoFlightState states[] = {CO_FLIGHT_WAITING, CO_FLIGHT_QUEUED};
	dlist_iter	iter;

	dlist_foreach(iter, co_flights(CO_FLIGHT_BACKOFF))
		remember_unwritten(dlist_container(CoFlight, node, iter.cur));
	for (int i = 0; i < lengthof(states); i++)
	{
		dlist_foreach(iter, co_flights_of(states[i], CO_SERVICE_FIND))
			remember_unwritten(dlist_container(CoFlight, node, iter.cur));
	}
}

void
co_seek_attach(bool *locked)
{
	dlist_iter	iter;

	*locked = false;
	if (co_flight_count_of(CO_FLIGHT_NEW, CO_SERVICE_FIND) == 0)
		return;
	dlist_foreach(iter, co_flights(CO_FLIGHT_NEW))
	{
		CoFlight   *flight = dlist_container(CoFlight, node, iter.cur);
		CoQueueRow *rows;
		CoTrouble	trouble;
		char	   *name;
		char	   *domain;
		int			count;

		if (flight->endpoint != CO_ENDPOINT_FIND || flight->search != NULL)
			continue;
		split_key(flight, &name, &domain);
		rows = co_queue_take_searches(name, domain, &count, &trouble);
		if (trouble.sqlstate != 0)
		{
			if (!co_is_lock_trouble(&trouble))
				ereport(LOG, (errmsg("clearout: the queue could not be read: %s", trouble.message)));
			*locked = true;
		}
		for (int i = 0; i < count; i++)
			co_flight_add_row(flight, &rows[i]);
		if (count > 0)
			co_flight_set_progress(flight, CO_PROGRESS_SOUGHT);
	}
}
