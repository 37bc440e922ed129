/*-------------------------------------------------------------------------
 * bulk_table.h
 *		The worker's transactions on bulk jobs.
 *
 * Each commits, and never throws: false, and *trouble says why.
 *-------------------------------------------------------------------------
 */
#ifndef CO_BULK_TABLE_H
#define CO_BULK_TABLE_H

#include "bulk_codec.h"
#include "bulk_import.h"
#include "queue.h"

/* The life of a part; see bulk.c.  In the order of the words in SQL. */
typedef enum CoPartState
{
	CO_PART_SPOOLED,
	CO_PART_UPLOADING,
	CO_PART_RUNNING,
	CO_PART_DOWNLOADING,
	CO_PART_STORED,
	CO_PART_DONE,
	CO_PART_FAILED,
	CO_PART_CANCELLED
} CoPartState;

static inline bool
co_part_is_final(CoPartState state)
{
	return state >= CO_PART_DONE;
}

/* A row of clearout_parts, with what its job says. */
typedef struct CoPart
{
	int64		job;
	int			part;

	CoPartState state;
	int			rows;
	char		file_name[CO_BULK_NAME_MAX + 1];
	char		list_id[CO_BULK_ID_MAX + 1];
	bool		list_removed;
	bool		held;
	bool		cancel_sent;
	TimestampTz uploaded_at;	/* 0: never */
	int			percent;
	int64		file_bytes;		/* 0: not known */
	int64		bytes_stored;
	int64		rows_read;
	int64		rows_answered;
	int64		rows_undone;
	int64		rows_broken;
	char		broken[CO_REASON_SIZE];
	int			rows_cleared;
	int			rows_unanswered;
	int64		credits;
	int			attempts;
	char		error[CO_REASON_SIZE];

	/* of the job */
	CoBulkKind	kind;
	char		role[NAMEDATALEN];	/* who ordered it */
	char		optimize[32];
	bool		remove_list;
	bool		from_queue;
	bool		cancelled;
	TimestampTz created_at;
} CoPart;

/*
 * Parts that are not finished, of this database and not held; palloc'd.  First
 * those that have begun, then the oldest, of all kinds and roles in turn.
 */
extern bool co_bulk_load(int max, CoPart **parts, int *count, CoTrouble *trouble);

/* Write a part down; its job is finished when all its parts are. */
extern bool co_bulk_save(const CoPart *part, CoTrouble *trouble);

/*
 * A stretch of positions before the upload: what was answered since the job
 * was made leaves the spool, and *removed says how many did.
 */
extern bool co_bulk_prune(const CoPart *part, int from, int to, int *removed,
						  CoTrouble *trouble);

/*
 * The next rows of the spool behind *position as text for the file, in UTF-8,
 * appended to csv; *count: how many.
 */
extern bool co_bulk_read(const CoPart *part, int *position, StringInfo csv,
						 int *count, CoTrouble *trouble);

/*
 * Compare a stretch of positions, in which so many rows are left, with the
 * answers: what is answered leaves
 * the spool, and rows of the queue that have waited for that are due.  Of a
 * job that was made from the queue, what is not answered goes back there.
 * Saves the part, as it is then.  *due: rows of the queue can be taken now.
 */
extern bool co_bulk_clear(CoPart *part, int to, int rows, bool *due,
						  CoTrouble *trouble);

/* Store a batch of answers, and the part as it is then. */
extern bool co_bulk_store(CoImport *import, int from, int to, const CoPart *part,
						  bool spill, const char *note, CoTrouble *trouble);

extern bool co_bulk_parse(CoImport *import, CoTrouble *trouble);
extern bool co_bulk_check(CoImport *import, int record, CoTrouble *trouble);

/*
 * What clearout_bulk_remove() and the retention have left to do: a list to be
 * removed at the service (*part is filled), or else some rows are deleted.
 * *busy: there is more to do.
 */
extern bool co_bulk_removals(CoPart *part, bool *list, bool *busy, CoTrouble *trouble);

/* That list is gone, or cannot be removed. */
extern bool co_bulk_list_removed(const CoPart *part, CoTrouble *trouble);

/* Mark as removed what is older than the retention; *next: when the oldest of
 * the others will be, DT_NOEND: never. */
extern bool co_bulk_retire(TimestampTz *next, CoTrouble *trouble);

/*
 * Which of these rows of the queue, all of this kind, wait in a part that is
 * not finished?  They are set back until then, or until their list is finished.
 */
extern bool co_bulk_set_back(CoQueueKind kind, const CoQueueRow *rows, int count,
							 TimestampTz until, bool *waits, CoTrouble *trouble);

/* How many rows of the queue are due, counted up to a limit? */
extern bool co_bulk_backlog(int limit, int *count, CoTrouble *trouble);

/* Move rows of the queue into a part of a job of this role; *job is 0 for a
 * new one, and says which it was then. */
extern bool co_bulk_move(const CoQueueRow *rows, int count, const char *role, int64 *job,
						 int *rows_moved, CoTrouble *trouble);

#endif							/* CO_BULK_TABLE_H */
