/*-------------------------------------------------------------------------
 * outdated.c
 *		The library is newer than the extension in this database.
 *
 * A new package comes with a restart; ALTER EXTENSION ... UPDATE comes when
 * somebody runs it, in each database.  Until then stored answers are read as
 * ever, and the worker does nothing: a call whose spending, answer or
 * forgetting has no table to go to is not to be made.
 *
 * It looks again when the extension is altered, and whenever somebody asks;
 * otherwise it sleeps.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "catalog.h"
#include "compat.h"
#include "outdated.h"

/* How often a missing table is looked for, and how long after each other. */
#define LOOKS		6
#define LOOK_DELAY	20000L		/* microseconds */

static uint32 outdated_wait_event = 0;

static const char *
look_once(void)
{
	MemoryContext context = CurrentMemoryContext;
	const char *missing;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	missing = co_catalog_missing();
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return missing;
}

/*
 * ALTER EXTENSION ... SET SCHEMA moves table by table under our eyes, and what
 * we know of the catalogs may be older than where the extension is.  So what
 * is missing has to be missing for a while.
 */
const char *
co_outdated_table(void)
{
	const char *missing = look_once();

	for (int i = 1; missing != NULL && i < LOOKS; i++)
	{
		pg_usleep(LOOK_DELAY);
		missing = look_once();
	}
	return missing;
}

void
co_outdated_suspect(CoDatabase *mine)
{
	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	mine->recheck = true;
	LWLockRelease(co_shared->lock);
	SetLatch(MyLatch);
}

/* Is the worker to leave, for a new one or for a command? */
static bool
is_to_leave(CoDatabase *mine)
{
	bool		go;

	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	/* Whether there is an extension at all is seen by the next one. */
	go = mine->leave || mine->holds > 0 || mine->recheck;
	LWLockRelease(co_shared->lock);
	return go;
}

static void
show(CoDatabase *mine, CoCondition condition, const char *reason)
{
	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	mine->condition = condition;
	strlcpy(mine->reason, reason, sizeof(mine->reason));
	LWLockRelease(co_shared->lock);
}

static void
refuse_all(int database, const char *missing)
{
	CoSlotRef	ref;
	CoSlot	   *slot = palloc(sizeof(CoSlot));
	CoReply		reply;
	char		detail[CO_REASON_SIZE];

	snprintf(detail, sizeof(detail), "The table \"%s\" is missing.", missing);
	co_reply_refuse(&reply, CO_REFUSED_OUTDATED, detail);
	while (co_slot_take(database, &ref, slot))
		co_slot_answer(ref, &reply);
	pfree(slot);
}

bool
co_outdated_wait(int database)
{
	CoDatabase *mine = &co_shared->database[database];
	const char *shown = NULL;
	const char *missing;

	while ((missing = co_outdated_table()) != NULL)
	{
		if (missing != shown)
		{
			char		reason[CO_REASON_SIZE];

			ereport(LOG,
					(errmsg("clearout: the extension in this database is older than its library: table \"%s\" is missing",
							missing),
					 errhint("Run ALTER EXTENSION clearout UPDATE.")));
			snprintf(reason, sizeof(reason),
					 "The table \"%s\" is missing: run ALTER EXTENSION clearout UPDATE.", missing);
			show(mine, CO_CONDITION_OUTDATED, reason);
			shown = missing;
		}
		refuse_all(database, missing);
		if (is_to_leave(mine))
			return false;

		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, -1,
						 co_wait_event(&outdated_wait_event, "ClearoutOutdated"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ShutdownRequestPending)
			proc_exit(0);
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
	}
	if (shown != NULL)
		show(mine, CO_CONDITION_WORKING, "");
	return true;
}
