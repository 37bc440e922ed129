/*-------------------------------------------------------------------------
 * bulk.h
 *		Bulk jobs: lists that the service verifies, or finds people of, as files.
 *
 *	bulk_order.c	backends: order a job
 *	bulk_spool.c	... and spool what it asks
 *	bulk_tend.c		backends: cancel one, forget it, decide about it
 *	bulk_wait.c		backends: wait for one
 *	bulk.c			worker: carries the parts of all jobs along, by the steps in
 *	bulk_upload.c	... how a list gets to the service
 *	bulk_progress.c	... while it is worked on there
 *	bulk_download.c	... its result on its way into the tables
 *	bulk_active.c	... and what these have in common
 *	bulk_rows.c		worker: rows of the queue that wait in a list
 *	bulk_backlog.c	worker: rows of a long queue become lists
 *	bulk_table.c	worker: its transactions
 *	bulk_import.c	result files into answers, for the worker and for
 *					clearout_import()
 *	bulk_kind.c		what lists of the verifier and the finder do not share
 *	bulk_codec.c	pure: what is said to the service, and what it says
 *-------------------------------------------------------------------------
 */
#ifndef CO_BULK_H
#define CO_BULK_H

#include "http.h"
#include "queue.h"
#include "slots.h"

/* ---------- for backends ---------- */

/* clearout_resume(): jobs that came by copy or restore are this database's. */
extern void co_bulk_adopt(const CoCatalog *catalog);

/* Tell the worker at commit that something has changed in clearout_jobs. */
extern void co_bulk_note(void);

/* ---------- for the worker's loop ---------- */

/* What the worker lends. */
typedef struct CoBulkHost
{
	CoHttp	   *http;
	const char *authorization;
	bool		may_call;		/* configured, storing, not leaving */
	bool		may_begin;		/* the queue is not paused, so lists may be */

	/*
	 * May a call about a list of this service be made?  If so, it is counted;
	 * if not, *when to ask again.  costs: it is the upload.
	 */
	bool		(*begin_call) (CoService service, bool costs, CoTicket *ticket, int64 *when);
	void		(*end_call) (CoService service, bool costs, const CoTicket *ticket,
							 const CoOutcome *outcome, const CoRateHeaders *rate);
	/* So many answers were stored, or put into clearout_spill. */
	void		(*stored) (int answers, bool spilled);
} CoBulkHost;

/* Something may have changed in the tables. */
extern void co_bulk_news(void);

/* Do what can be done now, in bounded time. */
extern void co_bulk_step(const CoBulkHost *host);

/* Is this transfer one of ours?  Then it is taken care of. */
extern bool co_bulk_land(const CoBulkHost *host, CoHttpDone *done);

/* When there is something to do by the clock; INT64_MAX: nothing. */
extern int64 co_bulk_due(void);

/* Is a list of this service waiting for its upload, and only for that? */
extern bool co_bulk_waits(CoService service);

/* The worker is about to leave: give up what need not be heard of. */
extern void co_bulk_leave(const CoBulkHost *host);

/* Is an upload on the wire?  What it brings should be heard. */
extern bool co_bulk_uploading(void);

/* ---------- rows of the queue ---------- */

/*
 * Rows of the queue that have just been taken, all of this kind.  Those that
 * wait in a list are set back; while a backlog of addresses is moved into lists
 * (bulk_backlog.c), those of no urgency go there.  Returns how many are left,
 * at the front; -1: it cannot be told which of them wait in a list, so none may
 * be asked.  end: there are no more.
 */
extern int	co_bulk_take_over(CoQueueKind kind, CoQueueRow *rows, int count, bool end);

/* When rows of the queue are due by our doing; DT_NOEND: none. */
extern TimestampTz co_bulk_rows_due(CoQueueKind kind);

#endif							/* CO_BULK_H */
