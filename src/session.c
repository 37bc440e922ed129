/*-------------------------------------------------------------------------
 * session.c
 *		The worker's own session settings.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/guc.h"

#include "session.h"

/*
 * ALTER DATABASE ... SET and ALTER ROLE ... SET reach background workers too.
 * None of that may keep an answer from being stored.
 *
 * session_replication_role: a trigger of the user's on these tables would run
 * with the rights of the tables' owner, and could drop an answer that was
 * paid for by returning NULL.  So ordinary triggers do not fire here.
 *
 * synchronous_commit: at "local", a commit waits for the disk, and for no
 * standby, which is somebody else's outage.
 */
void
co_session_init(void)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"session_replication_role", "replica"},
		{"synchronous_commit", "local"},
		{"role", "none"},
		{"row_security", "off"},
		{"statement_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"idle_session_timeout", "0"},
#if PG_VERSION_NUM >= 170000
		{"transaction_timeout", "0"},
#endif
		{"lock_timeout", CO_LOCK_TIMEOUT},
		{"default_tablespace", ""},
		{"client_min_messages", "error"},
		{"exit_on_error", "off"},
		{"jit", "off"},
		{"max_parallel_workers_per_gather", "0"},
		/* every statement here is by key; the plan must stay so */
		{"plan_cache_mode", "force_generic_plan"},
		{"enable_seqscan", "off"},
		{"enable_bitmapscan", "off"},
		{"enable_sort", "off"},
		{"enable_hashjoin", "off"},
		{"enable_mergejoin", "off"}
	};

	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_SESSION);
}

void
co_session_set_lock_timeout(const char *value)
{
	SetConfigOption("lock_timeout", value, PGC_USERSET, PGC_S_SESSION);
}
