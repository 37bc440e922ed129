/*-------------------------------------------------------------------------
 * clearout.c
 *		Module magic and _PG_init(): calls the inits of the subsystems.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "guc.h"
#include "hooks.h"
#include "launcher.h"
#include "makeway.h"
#include "slots.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	co_guc_init();

	/*
	 * Without preloading there is no shared memory and no worker.  What needs
	 * neither works all the same; the rest says what is missing.
	 */
	if (!process_shared_preload_libraries_in_progress)
		return;

	co_slots_init();
	co_hooks_init();
	co_makeway_init();
	co_launcher_init();
}
