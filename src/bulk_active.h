/*-------------------------------------------------------------------------
 * bulk_active.h
 *		Parts of bulk jobs at work, and the steps that carry them along.
 *
 * Within the worker, between the files that bulk.h names.  A step either begins
 * something on the wire, or takes in what that has brought; in between the part
 * is in nobody's hands but the table's.
 *-------------------------------------------------------------------------
 */
#ifndef CO_BULK_ACTIVE_H
#define CO_BULK_ACTIVE_H

#include "bulk.h"
#include "bulk_table.h"
#include "spending.h"

#define CO_SECOND		INT64CONST(1000000)
#define CO_RETRY_FIRST	CO_SECOND
#define CO_RETRY_LAST	(300 * CO_SECOND)

/* Of a file, ms; who stalls is cut off before the first. */
#define CO_FILE_TIMEOUT	(4 * 3600 * 1000)
#define CO_FILE_STALL	120000

#define CO_RESULT_ATTEMPTS	20	/* the result is not there, or not to be had */

/*
 * A part that is worked on.  What of it is in the table is as it was committed
 * last; all the rest is gone with the process.
 */
typedef struct CoActive
{
	CoPart		part;
	int64		due;			/* go on then; co_clock() */
	bool		removal;		/* its list is to be removed, and nothing else */

	/* on the wire */
	CoBulkCall	call;
	CoHttpTransfer *transfer;	/* NULL: nothing */
	bool		counted;		/* co_active_call() has counted it ... */
	bool		costs;
	CoTicket	ticket;

	CoCharge	charge;			/* what the list may cost, once it is sent */

	/* the upload */
	bool		measured;		/* its length is known */
	int			position;		/* in the spool: measured, or sent, up to there */
	uint64		length;			/* of the CSV text */
	uint64		sent;			/* of head, text and tail */
	char	   *head;			/* malloc'd, with tail */
	char	   *tail;

	/* the search for a list */
	int64		look_at;		/* not before; 0: not yet set */
	char		cursor[CO_BULK_ID_MAX + 1];

	/* STORED */
	bool		cleared;		/* all of the spool is compared */
	bool		keep_list;		/* it cannot be removed at the service */

	/* the result */
	char	   *url;			/* malloc'd; to be fetched at once */
	CoImport   *import;
	bool		complete;		/* the whole file has come */
	bool		pending;		/* there may be rows in what has come */
	bool		enough;			/* however few rows it has */
	bool		unstored;		/* a batch waits to be stored */
	bool		parsed;			/* ... and is parsed */
	int64		locked_since;
	bool		complained;		/* the log knows why it does not go on */
} CoActive;

/* ---------- bulk_active.c: what the steps have in common ---------- */

extern CoActive *co_active_make(const CoPart *part);

/* The worker has nothing more to do with it. */
extern void co_active_end(const CoBulkHost *host, CoActive *a);

/* The list is sent, and may cost so much; it is over, and has cost so much, as
 * far as we can tell. */
extern void co_active_begin_charge(CoActive *a);
extern void co_active_end_charge(CoActive *a);

extern void co_active_end_transfer(CoHttp *http, CoActive *a);
extern void co_active_end_import(CoActive *a);

/* Whoever reads headers says when a call that is given up has ended: now. */
extern void co_active_uncount(const CoBulkHost *host, CoActive *a);

/* Commit a part as it is to be; false: later. */
extern bool co_active_save(CoActive *a, const CoPart *next);

/* The order in which a step changes its state. */
extern bool co_active_enter(CoActive *a, CoPartState state);

/*
 * It cannot go on.  What has been answered so far is stored, and what the
 * spool has left is still to be accounted for, which STORED does.
 */
extern void co_active_fail(CoActive *a, const char *reason);

/* Note why a step did not succeed, and try it again some time. */
extern void co_active_try_again(CoActive *a, const char *reason, bool counts, int64 delay);

/* The same where it could not be committed. */
extern void co_active_retry_table(CoActive *a, const CoTrouble *trouble);

extern int64 co_active_backoff(int attempts);

extern char *co_active_url(const CoActive *a, CoBulkCall call, const char *query);

/*
 * Begin a call with this body, or a GET with this query; takes the text, which
 * is malloc'd, NULL where there was no memory for it.
 */
extern void co_active_call(const CoBulkHost *host, CoActive *a, CoBulkCall call, char *text);

/* ---------- bulk_upload.c: SPOOLED, UPLOADING ---------- */

extern void co_upload_measure(CoActive *a);
extern void co_upload_begin(const CoBulkHost *host, CoActive *a);
extern void co_upload_feed(const CoBulkHost *host, CoActive *a);
extern void co_upload_landed(CoActive *a, const CoBulkAnswer *answer,
							 const CoOutcome *outcome, const char *text);

/* Is there a list of its name? */
extern void co_upload_look_for_list(const CoBulkHost *host, CoActive *a);
extern void co_upload_lists_landed(CoActive *a, const CoBulkAnswer *answer,
								   const CoOutcome *outcome, const char *text);

/* ---------- bulk_progress.c: RUNNING ---------- */

extern void co_progress_landed(CoActive *a, const CoBulkAnswer *answer,
							   const CoOutcome *outcome, const char *text);
extern void co_progress_cancel_landed(CoActive *a, const CoOutcome *outcome, const char *text);

/* ---------- bulk_download.c: DOWNLOADING ---------- */

extern void co_download_result_landed(CoActive *a, const CoBulkAnswer *answer,
									  const CoOutcome *outcome, const char *text);
extern void co_download_begin(const CoBulkHost *host, CoActive *a);
extern void co_download_landed(CoActive *a, CoHttpDone *done, const char *text);

/* Take in what has come, a batch at a time. */
extern void co_download_import(const CoBulkHost *host, CoActive *a);

/* ---------- bulk_rows.c: rows of the queue ---------- */

/* Is there a part that is not finished, so that rows may wait for it? */
extern void co_bulk_rows_may_wait(bool any_open);

/* Rows of this kind that have waited can be taken. */
extern void co_bulk_rows_are_due(CoQueueKind kind);

#endif							/* CO_BULK_ACTIVE_H */
