/*-------------------------------------------------------------------------
 * triggeroptions.h
 *		The arguments of clearout_verify_trigger().
 *-------------------------------------------------------------------------
 */
#ifndef CO_TRIGGEROPTIONS_H
#define CO_TRIGGEROPTIONS_H

#include "commands/trigger.h"
#include "fmgr.h"
#include "utils/relcache.h"
#include "utils/timestamp.h"

typedef enum CoTriggerMode
{
	CO_TRIGGER_ENQUEUE,			/* have it verified later */
	CO_TRIGGER_CACHED,			/* the same, but reject what is known */
	CO_TRIGGER_WAIT				/* verify it now */
} CoTriggerMode;

/* What makes a row be rejected, beside the status. */
typedef enum CoTriggerFlag
{
	CO_REJECT_DISPOSABLE,
	CO_REJECT_FREE,
	CO_REJECT_ROLE,
	CO_REJECT_GIBBERISH,
	CO_REJECT_FLAGS
} CoTriggerFlag;

typedef struct CoTriggerOptions
{
	CoTriggerMode mode;
	AttrNumber	email;
	bool		email_is_text;	/* stored as text is; else it needs a function */
	FmgrInfo	email_output;	/* when not */
	AttrNumber	status;			/* 0: none */
	FmgrInfo	status_input;
	Oid			status_ioparam;
	int32		status_typmod;
	char	  **reject;			/* statuses */
	int			reject_count;
	bool		reject_flag[CO_REJECT_FLAGS];
	bool		reject_malformed;
	bool		reject_null;
	char	   *message;		/* NULL: ours */
	bool		fail_closed;
	int64		timeout;		/* microseconds; -1: clearout.wait_timeout */
	Interval   *max_age;		/* NULL: as the settings say */
	int			priority;
} CoTriggerOptions;

/*
 * The options of the trigger that fires.  They are read once per trigger and
 * session, and again when the table has changed; good until the end of the
 * transaction.  Errors out, with a hint, where they do not fit the trigger or
 * the table.
 */
extern const CoTriggerOptions *co_trigger_options(Relation table, const Trigger *trigger);

#endif							/* CO_TRIGGEROPTIONS_H */
