/*-------------------------------------------------------------------------
 * hooks.c
 *		What the extension has to notice of other people's commands.
 *
 *		CREATE EXTENSION		at commit: this database wants a worker
 *		DROP EXTENSION			at commit: its worker looks, and leaves
 *		ALTER EXTENSION			at commit: it looks whether all is there
 *		ALTER DATABASE ... SET	at commit: its worker makes room for one that
 *								has the new settings
 *		COMMIT PREPARED			the extension may be there now, or not any more
 *
 * object_access_hook sees these whatever way they come (DROP SCHEMA CASCADE,
 * DROP OWNED).  What may happen only at commit is noted in a flag and done by
 * callbacks, which are registered once per backend: when the transaction's
 * locks are gone.  By then its messages have told everybody to forget what
 * their caches hold; a transaction callback comes before these, and who is
 * woken by it could look, find what was there before, and not look again.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_db_role_setting.h"
#include "catalog/pg_extension.h"
#include "miscadmin.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "hooks.h"
#include "reactor.h"
#include "slots.h"

static object_access_hook_type previous_object_access_hook = NULL;

/* Noted in this transaction, for its commit. */
static bool extension_created = false;
static bool extension_changed = false;	/* or dropped */
static bool all_settings_changed = false;	/* of a role, in all databases */
static Oid	settings_changed = InvalidOid;	/* of this database */
static bool committed = false;	/* and now these are to be told */

static void
forget(void)
{
	committed = false;
	extension_created = false;
	extension_changed = false;
	all_settings_changed = false;
	settings_changed = InvalidOid;
}

static void
at_commit(void)
{
	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	if (extension_created || extension_changed)
	{
		int			index = co_database_entry(MyDatabaseId, extension_created);

		if (index >= 0)
		{
			CoDatabase *database = &co_shared->database[index];

			/* Any extension counts: the worker looks which one it was. */
			if (database->state == CO_DATABASE_ABSENT)
			{
				database->state = CO_DATABASE_WANTED;
				database->start_at = 0;
			}
			database->recheck = true;
			co_worker_wake(database);
			co_reactor_wake(database);
			co_launcher_wake();
		}
	}
	for (int i = 0; i < co_shared->databases_high; i++)
	{
		CoDatabase *database = &co_shared->database[i];

		if (all_settings_changed ||
			(OidIsValid(settings_changed) && database->dbid == settings_changed))
			co_database_replace_worker(i);
	}
	LWLockRelease(co_shared->lock);
}

/*
 * The session that prepared the transaction has forgotten what it did, and may
 * be gone.  So compare what is there with what is known.
 */
void
co_hooks_after_commit_prepared(void)
{
	bool		installed = OidIsValid(co_catalog_schema());
	int			index;

	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	index = co_database_entry(MyDatabaseId, installed);
	if (index >= 0)
	{
		CoDatabase *database = &co_shared->database[index];

		if (!installed || database->condition == CO_CONDITION_OUTDATED)
		{
			database->recheck = true;
			co_worker_wake(database);
			co_reactor_wake(database);
		}
		if (installed && database->state == CO_DATABASE_ABSENT)
		{
			database->state = CO_DATABASE_WANTED;
			database->start_at = 0;
		}
		if (database->state == CO_DATABASE_WANTED)
			co_launcher_wake();
	}

	/* Whose settings these were is not known any more. */
	if (co_shared->settings_prepared)
	{
		co_shared->settings_prepared = false;
		for (int i = 0; i < co_shared->databases_high; i++)
			co_database_replace_worker(i);
	}
	LWLockRelease(co_shared->lock);
}

static void
transaction_callback(XactEvent event, void *argument)
{
	(void) argument;
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			committed = extension_created || extension_changed || all_settings_changed ||
				OidIsValid(settings_changed);
			break;
		case XACT_EVENT_PREPARE:
			if (all_settings_changed || OidIsValid(settings_changed))
			{
				LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
				co_shared->settings_prepared = true;
				LWLockRelease(co_shared->lock);
			}
			forget();
			break;
		case XACT_EVENT_ABORT:
			forget();
			break;
		default:
			break;
	}
}

static void
release_callback(ResourceReleasePhase phase, bool commit, bool top_level, void *argument)
{
	(void) argument;
	if (!committed || !commit || !top_level || phase != RESOURCE_RELEASE_AFTER_LOCKS)
		return;
	at_commit();
	forget();
}

static void
note(bool *flag)
{
	static bool registered = false;

	if (!registered)
	{
		RegisterXactCallback(transaction_callback, NULL);
		RegisterResourceReleaseCallback(release_callback, NULL);
		registered = true;
	}
	*flag = true;
}

static void
object_access(ObjectAccessType access, Oid class_id, Oid object_id,
			  int sub_id, void *argument)
{
	if (previous_object_access_hook)
		previous_object_access_hook(access, class_id, object_id, sub_id, argument);

	if (co_shared == NULL || !IsUnderPostmaster)
		return;
	if (class_id == ExtensionRelationId && access == OAT_POST_CREATE)
		note(&extension_created);
	else if (class_id == ExtensionRelationId && (access == OAT_DROP || access == OAT_POST_ALTER))
		note(&extension_changed);
	else if (class_id == DbRoleSettingRelationId && access == OAT_POST_ALTER)
	{
		Oid			role = ((ObjectAccessPostAlter *) argument)->auxiliary_id;
		bool		unused;

		/* Workers are the bootstrap superuser; nobody else's settings count. */
		if (OidIsValid(role) && role != BOOTSTRAP_SUPERUSERID)
			return;

		/* Two databases in one transaction: replacing all is right as well. */
		note(&unused);
		if (!OidIsValid(object_id) ||
			(OidIsValid(settings_changed) && settings_changed != object_id))
			all_settings_changed = true;
		else
			settings_changed = object_id;
	}
}

void
co_hooks_init(void)
{
	previous_object_access_hook = object_access_hook;
	object_access_hook = object_access;
}
