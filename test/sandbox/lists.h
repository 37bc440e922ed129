/*-------------------------------------------------------------------------
 * lists.h
 *		Uploaded lists, and what becomes of them.
 *
 *		waiting -> running -> completed
 *		   |          |
 *		   \----------+-----> cancelling -> cancelled
 *
 * Beside its state a list may have expired (its result is gone) or have been
 * removed (nobody finds it any more, only the counters do).
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_LISTS_H
#define SANDBOX_LISTS_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "account.h"
#include "csv.h"
#include "loop.h"
#include "seen.h"
#include "spool.h"
#include "text.h"
#include "upload.h"

#define LIST_ID_SIZE 25			/* 24 hexadecimal digits */
#define LIST_COLUMNS 5

typedef enum ListKind
{
	LIST_VERIFY,
	LIST_FIND
} ListKind;

typedef enum ListState
{
	LIST_WAITING,
	LIST_RUNNING,
	LIST_CANCELLING,			/* the rows that are left are not processed */
	LIST_COMPLETED,
	LIST_CANCELLED
} ListState;

typedef struct List
{
	struct List *next;			/* older ones follow */
	int64_t		number;			/* never used twice */
	char		id[LIST_ID_SIZE];
	ListKind	kind;
	char	   *name;			/* of the file */
	Account    *account;
	int64_t		created;		/* wall clock, ms */
	int64_t		size;			/* of the file */
	int64_t		rows;
	int			columns[LIST_COLUMNS];	/* see result.c */

	ListState	state;
	bool		expired;
	bool		removed;
	char	   *say;			/* word of progress_status in place of the true one */
	int64_t		percent;		/* likewise, -1 = the true one */
	Timer		timer;
	int64_t		began;			/* clock_ms() when it began to run */
	int64_t		ended;			/* and when its result was complete */
	int64_t		unlock;			/* of LIST_CANCELLING: when it ends */

	int			file;			/* what was uploaded; -1 = gone */
	CsvReader	reader;
	int64_t		processed;
	int64_t		charged;
	Seen		seen;
	Spool		result;
	int64_t		result_header;	/* length of its first line */
	uint64_t	secret;			/* signs the URLs of the result */

	int64_t		polled;			/* progress_status */
	int64_t		urls;			/* URLs given out */
	int64_t		downloads;		/* sent to their end */
} List;

extern List *lists;				/* the youngest is first */

/* Takes the file out of the upload.  It begins to run by itself. */
extern List *list_add(Account *account, ListKind kind, Upload *upload, const int columns[LIST_COLUMNS]);

/* By its id, unless removed; NULL if there is none. */
extern List *list_find(const char *id, ListKind kind);

/* The name of a list of any kind, or the id itself if there is none. */
extern const char *list_subject(const char *id);

/* Its result was sent to the end; the list may be gone. */
extern void list_downloaded(int64_t number);

/* A list of the same name and size that is still there. */
extern bool list_duplicate(const Account *account, ListKind kind, const char *name, int64_t size);

/* How many of them are not at their end. */
extern int	lists_running(const Account *account, ListKind kind);

extern bool list_over(const List *list);
extern const char *list_state(const List *list);
extern int	list_percent(const List *list);

/* Can its result be asked for?  It takes result_delay beyond the end. */
extern bool list_ready(const List *list);

extern void list_cancel(List *list);
extern void list_finish(List *list);	/* all rows at once */
extern void list_say(List *list, const char *word);	/* NULL = the true one */
extern void list_expire(List *list);
extern void list_remove(List *list);

extern json_t *list_json(const List *list);
extern void lists_reset(void);

#endif							/* SANDBOX_LISTS_H */
