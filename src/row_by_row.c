/*-------------------------------------------------------------------------
 * row_by_row.c
 *		Put addresses into the queue one by one, and many of them.
 *
 * SELECT clearout_enqueue(email) FROM customer, or a trigger for each row of a
 * load: a third of what a row costs is to open tables and indexes, and to begin
 * to scan them, only to close them again.  So a transaction that has put in
 * some keeps them open for those that follow.
 *
 * A function is not told of the end of a statement, so that is not waited for.
 * They are closed at the end of the transaction, when a subtransaction fails,
 * and before any command that is not a plain query, for it might be one on these
 * tables (TRUNCATE, ALTER, DROP), which wants them unused.  An apply worker of
 * logical replication truncates without a command, so it keeps nothing open.
 *
 * What is open belongs to a resource owner of its own, below that of the
 * transaction: it outlives the statement, and whatever an error leaves behind,
 * down to the pin on a page, goes with it at once.  But for its locks: they go
 * to the transaction, whose rows they protect.
 *
 * The queue is locked first, as the common way has done before, and then the
 * results, for which nobody waits.  The former lasts to the end of the
 * transaction, the latter until they are closed, or as long if that is because
 * a subtransaction fails.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "lookup.h"
#include "put.h"
#include "row_by_row.h"
#include "slots.h"

/*
 * So many rows of a transaction go in the common way first, and again whenever
 * something had to be closed: who does that for each row shall not pay for the
 * opening as well.
 */
#define ROWS_UNTIL_KEPT 16

static struct
{
	ResourceOwner owner;		/* NULL: nothing is open */
	MemoryContext context;
	Oid			queue;
	Oid			results;
	CoPutter   *putter;
	CoLooker   *looker;

	/* A row is being put in, since this subtransaction; or none is. */
	SubTransactionId busy;
}			kept;

static bool barred = false;		/* within a command that may want the tables unused */
static int	common = 0;			/* rows that went the common way since */

/* ---------- closing ---------- */

static void
forget(void)
{
	kept.owner = NULL;
	kept.busy = InvalidSubTransactionId;
	common = 0;
}

static void
let_go(bool orderly)
{
	ResourceOwner owner = kept.owner;

	forget();
	ResourceOwnerRelease(owner, RESOURCE_RELEASE_BEFORE_LOCKS, orderly, false);
	/* as if it were orderly: then the transaction gets them */
	ResourceOwnerRelease(owner, RESOURCE_RELEASE_LOCKS, true, false);
	ResourceOwnerRelease(owner, RESOURCE_RELEASE_AFTER_LOCKS, orderly, false);
	ResourceOwnerDelete(owner);
	MemoryContextDelete(kept.context);
}

static void
close_tables(void)
{
	ResourceOwner before = CurrentResourceOwner;

	if (kept.owner == NULL || kept.busy != InvalidSubTransactionId)
		return;
	CurrentResourceOwner = kept.owner;
	if (kept.putter != NULL)
		co_putter_end(kept.putter);
	if (kept.looker != NULL)
		co_looker_end(kept.looker);
	CurrentResourceOwner = before;
	let_go(true);
}

static void
transaction_callback(XactEvent event, void *argument)
{
	(void) argument;
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			close_tables();
			break;
		case XACT_EVENT_COMMIT:
			close_tables();		/* somebody may have put in more since */
			forget();
			break;
		case XACT_EVENT_PREPARE:	/* the locks are not ours any more */
		case XACT_EVENT_ABORT:
			forget();			/* it goes with the transaction's */
			break;
		default:
			break;
	}
}

/* It may have failed amidst our work; or within what our work has called. */
static void
subtransaction_callback(SubXactEvent event, SubTransactionId mine, SubTransactionId parent,
						void *argument)
{
	(void) parent;
	(void) argument;
	if (event == SUBXACT_EVENT_ABORT_SUB && kept.owner != NULL &&
		(kept.busy == InvalidSubTransactionId || kept.busy >= mine))
		let_go(false);
}

static void
register_callbacks(void)
{
	static bool registered = false;

	if (registered)
		return;
	RegisterXactCallback(transaction_callback, NULL);
	RegisterSubXactCallback(subtransaction_callback, NULL);
	registered = true;
}

/* ---------- commands ---------- */

/* Does it nothing itself but run queries, and commands that we are told of? */
static bool
only_runs_queries(Node *command)
{
	switch (nodeTag(command))
	{
		case T_CallStmt:
		case T_CopyStmt:
		case T_CreateTableAsStmt:
		case T_DeclareCursorStmt:
		case T_DoStmt:
		case T_ExecuteStmt:
		case T_ExplainStmt:
		case T_FetchStmt:
			return true;
		default:
			return false;
	}
}

bool
co_row_by_row_begin_command(Node *command)
{
	bool		before = barred;

	close_tables();
	if (!only_runs_queries(command))
		barred = true;
	return before;
}

void
co_row_by_row_end_command(bool before)
{
	barred = before;
}

/* ---------- opening ---------- */

/* False if a table is locked against us, or is not as the extension made it. */
static bool
open_tables(const CoCatalog *catalog, const CoEnqueue *enqueue)
{
	ResourceOwner before = CurrentResourceOwner;
	MemoryContext context = CurrentMemoryContext;
	bool		complete;

	kept.context = AllocSetContextCreate(TopTransactionContext, "clearout row by row",
										 ALLOCSET_SMALL_SIZES);
	kept.putter = NULL;
	kept.looker = NULL;
	kept.owner = ResourceOwnerCreate(TopTransactionResourceOwner, "clearout row by row");

	kept.queue = catalog->queue;
	kept.results = catalog->results;
	kept.busy = GetCurrentSubTransactionId();
	CurrentResourceOwner = kept.owner;
	MemoryContextSwitchTo(kept.context);
	kept.putter = co_putter_begin(catalog, enqueue);
	if (kept.putter != NULL)
		kept.looker = co_looker_begin_lasting(catalog);
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = before;
	kept.busy = InvalidSubTransactionId;

	complete = kept.looker != NULL && !co_looker_is_blind(kept.looker);
	if (!complete)
		close_tables();
	return complete;
}

/*
 * The results need no watch: whoever changes them so that it matters waits for
 * our lock, or is this session, and then it was closed.
 */
static bool
is_open_for(const CoCatalog *catalog)
{
	return kept.queue == catalog->queue &&
		kept.results == catalog->results && co_putter_stands(kept.putter);
}

/* ---------- a row ---------- */

void
co_row_by_row_note(void)
{
	register_callbacks();
	common = Min(common + 1, ROWS_UNTIL_KEPT);
}

bool
co_row_by_row_enqueue(const CoCatalog *catalog, const char *key, const CoEnqueue *enqueue,
					  bool *put)
{
	ResourceOwner before = CurrentResourceOwner;
	text	   *text_key;

	if (kept.busy != InvalidSubTransactionId)
		return false;
	if (kept.owner != NULL && !is_open_for(catalog))
		close_tables();
	if (kept.owner == NULL)
	{
		/* Without our library preloaded, nothing tells us to close. */
		if (common < ROWS_UNTIL_KEPT || barred || co_shared == NULL || !IsUnderPostmaster ||
			IsLogicalWorker() || !open_tables(catalog, enqueue))
			return false;
	}

	text_key = co_key_text(key);
	kept.busy = GetCurrentSubTransactionId();
	CurrentResourceOwner = kept.owner;
	*put = !co_looker_finds(kept.looker, text_key, &enqueue->accepts) &&
		co_putter_put(kept.putter, text_key, enqueue);
	co_looker_rest(kept.looker);
	CurrentResourceOwner = before;
	kept.busy = InvalidSubTransactionId;
	pfree(text_key);
	return true;
}
