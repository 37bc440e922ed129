/*-------------------------------------------------------------------------
 * outbox.c
 *		Tell handlers and listeners of stored answers: the worker's part.
 *
 *		answer --same transaction--> clearout_outbox, a row per handler
 *		           after its commit: NOTIFY; the reactor is woken
 *
 * An answer that goes through clearout_spill is put here when it is merged:
 * a handler reads clearout_results, and is to find there what it is told of.
 *
 * The worker calls no code of users.  A row costs an insert; where there are
 * no handlers, one look at their table per transaction.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "guc.h"
#include "outbox.h"
#include "queue.h"
#include "reactor.h"
#include "session.h"
#include "transaction.h"

/* NOTIFY takes a lock that others may hold for the length of their commit. */
#define NOTIFY_LOCK_TIMEOUT	"20ms"

/* As many are told of in one transaction; what comes beyond is not. */
#define NOTIFIED_MAX		10000

static CoStatement read_handler_ids =
{CO_TABLE_HANDLERS, "SELECT id FROM %s.clearout_handlers WHERE ended_at IS NULL", 0, NULL, NULL, ""};

static const Oid put_types[] = {INT8ARRAYOID, TEXTARRAYOID};
static CoStatement put_rows =
{CO_TABLE_OUTBOX, "INSERT INTO %s.clearout_outbox (handler, email)"
	" SELECT h.id, a.email FROM unnest($2) AS a (email), unnest($1) AS h (id)",
2, put_types, NULL, ""};

static const Oid find_types[] = {INT8OID};
static CoStatement find_row =
{CO_TABLE_OUTBOX, "SELECT FROM %s.clearout_outbox WHERE origin = $1 AND failed_at IS NULL LIMIT 1",
1, find_types, NULL, ""};

static const Oid notify_types[] = {TEXTOID, TEXTARRAYOID};
static CoStatement notify_rows =
{CO_TABLE_RESULTS, "SELECT pg_notify($1, r.id::text) FROM unnest($2) AS a (email)"
	" JOIN %s.clearout_results AS r ON r.email = a.email COLLATE \"C\"",
2, notify_types, NULL, ""};

/* What the open transaction has put, and what committed ones have. */
static bool put_now = false;
static bool put = false;

/*
 * Addresses, in a context of their own.  Those of the open transaction are at
 * the end: its callback, which must not fail, allocates nothing.
 */
static List *notify = NIL;
static int	notify_committed = 0;
static MemoryContext notify_context = NULL;

static void
transaction_callback(XactEvent event, void *argument)
{
	(void) argument;
	if (event == XACT_EVENT_COMMIT)
	{
		put |= put_now;
		notify_committed = list_length(notify);
	}
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
	{
		put_now = false;
		notify = list_truncate(notify, notify_committed);
	}
}

static Datum
text_array(const Datum *values, int count)
{
	return PointerGetDatum(construct_array((Datum *) values, count, TEXTOID,
										   -1, false, TYPALIGN_INT));
}

static void
note_for_listeners(const Datum *emails, int count)
{
	MemoryContext old;

	if (co_notify_channel[0] == '\0')
		return;
	if (notify_context == NULL)
		notify_context = AllocSetContextCreate(TopMemoryContext, "clearout notifications",
											   ALLOCSET_DEFAULT_SIZES);
	if (notify == NIL)
		MemoryContextReset(notify_context);
	old = MemoryContextSwitchTo(notify_context);
	for (int i = 0; i < count && list_length(notify) < NOTIFIED_MAX; i++)
		notify = lappend(notify, text_to_cstring(DatumGetTextPP(emails[i])));
	MemoryContextSwitchTo(old);
}

/* Most databases have no handlers: then a statement is too much of a look. */
static bool
is_empty_file(Oid table)
{
	Relation	relation = table_open(table, NoLock);
	bool		empty = relation->rd_rel->relkind == RELKIND_RELATION &&
		RelationGetNumberOfBlocks(relation) == 0;

	table_close(relation, NoLock);
	return empty;
}

void
co_outbox_put(CoCatalog *catalog, const Datum *emails, int count)
{
	static bool registered = false;
	Datum		values[2];
	Datum	   *ids;
	int			handlers;

	if (count == 0)
		return;
	if (!registered)
	{
		RegisterXactCallback(transaction_callback, NULL);
		registered = true;
	}
	note_for_listeners(emails, count);

	if (!ConditionalLockRelationOid(catalog->handlers, AccessShareLock) ||
		!ConditionalLockRelationOid(catalog->outbox, RowExclusiveLock))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("table \"clearout_handlers\" or \"clearout_outbox\" is locked")));
	handlers = is_empty_file(catalog->handlers) ? 0 :
		(int) co_execute(catalog, &read_handler_ids, NULL, NULL);
	if (handlers == 0)
		return;

	ids = palloc(handlers * sizeof(Datum));
	for (int i = 0; i < handlers; i++)
	{
		bool		isnull;

		ids[i] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);
		if (isnull || SPI_gettypeid(SPI_tuptable->tupdesc, 1) != INT8OID)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table \"clearout_handlers\" does not fit the library of the extension \"clearout\"")));
		ids[i] = Int64GetDatum(DatumGetInt64(ids[i]));	/* a copy of its own */
	}
	values[0] = PointerGetDatum(construct_array(ids, handlers, INT8OID, sizeof(int64),
												FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	values[1] = text_array(emails, count);
	(void) co_execute(catalog, &put_rows, values, "  ");
	put_now = true;
}

/* ---------- after the commit ---------- */

static void
notify_step(CoCatalog *catalog, void *argument)
{
	Datum		values[2];
	Datum	   *emails = palloc(list_length(notify) * sizeof(Datum));
	int			count = 0;
	ListCell   *cell;

	(void) argument;
	foreach(cell, notify)
		emails[count++] = CStringGetTextDatum(lfirst(cell));
	values[0] = CStringGetTextDatum(co_notify_channel);
	values[1] = text_array(emails, count);
	(void) co_execute(catalog, &notify_rows, values, "  ");
}

/*
 * In a transaction of its own: a NOTIFY can fail at commit (its queue is
 * full), and the answers are safe by now.  What fails is not tried again, since
 * a listener who is away loses as much.
 */
static void
notify_listeners(void)
{
	CoTrouble	trouble;
	static bool complained = false;

	if (notify == NIL)
		return;
	co_session_set_lock_timeout(NOTIFY_LOCK_TIMEOUT);
	if (co_notify_channel[0] == '\0' || co_run(notify_step, NULL, &trouble))
		complained = false;
	else if (!complained)
	{
		ereport(LOG,
				(errmsg("clearout: stored answers could not be notified: %s", trouble.message)));
		complained = true;
	}
	co_session_set_lock_timeout(CO_LOCK_TIMEOUT);
	notify = NIL;				/* its memory is used again by the next one */
	notify_committed = 0;
}

void
co_outbox_tell(void)
{
	notify_listeners();
	if (put)
	{
		put = false;
		co_reactor_news(MyDatabaseId);
	}
}

static void
find_step(CoCatalog *catalog, void *argument)
{
	Datum		origin = Int64GetDatum(co_queue_origin());

	(void) argument;
	put = co_execute(catalog, &find_row, &origin, " ") > 0;
}

void
co_outbox_begin(void)
{
	CoTrouble	trouble;

	/* What cannot be read now: the reactor will say why. */
	if (!co_run(find_step, NULL, &trouble))
		put = true;
}
