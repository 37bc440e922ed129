/*-------------------------------------------------------------------------
 * bulk_codec.h
 *		What is said to the service about lists, and what it says.
 *
 * Pure.  As in codec.h: whatever bytes come in, there is a typed answer or a
 * typed fault.
 *-------------------------------------------------------------------------
 */
#ifndef CO_BULK_CODEC_H
#define CO_BULK_CODEC_H

#include "outcome.h"

#include <stddef.h>
#include <stdint.h>

typedef enum CoBulkCall
{
	CO_BULK_UPLOAD,
	CO_BULK_PROGRESS,
	CO_BULK_RESULT,				/* where the result file is */
	CO_BULK_CANCEL,
	CO_BULK_REMOVE,
	CO_BULK_LISTS,				/* the account's list of lists */
	CO_BULK_DOWNLOAD			/* the result file itself; no call of the API */
} CoBulkCall;

/* verify, find */
typedef enum CoBulkKind
{
	CO_BULK_VERIFY,
	CO_BULK_FIND
} CoBulkKind;

/* Relative to the base URL. */
extern const char *co_bulk_path(CoBulkKind kind, CoBulkCall call);

#define CO_BULK_ID_MAX 100
#define CO_BULK_NAME_MAX 100
#define CO_BULK_URL_MAX 8000

/*
 * Body of a call about one list, malloc'd, or the query of CO_BULK_PROGRESS;
 * NULL when memory ran out.
 */
extern char *co_bulk_encode(CoBulkCall call, const char *list_id);

/* Body of CO_BULK_LISTS; cursor: NULL for the first page. */
extern char *co_bulk_encode_lists(const char *cursor);

/*
 * What stands around the file in an upload, malloc'd as one block: *head,
 * which is also what to free, and *tail.  optimize: NULL: none.
 */
extern bool co_bulk_multipart(const char *boundary, const char *file_name,
							  const char *optimize, char **head, char **tail);

/* How far a list is. */
typedef enum CoBulkState
{
	CO_BULK_RUNNING,			/* or any word that is not known */
	CO_BULK_COMPLETED,
	CO_BULK_CANCELLED,
	CO_BULK_FAILED
} CoBulkState;

typedef struct CoBulkAnswer
{
	char		list_id[CO_BULK_ID_MAX + 1];	/* UPLOAD; LISTS: the one sought */
	CoBulkState state;			/* PROGRESS */
	int			percent;		/* PROGRESS; -1: not told */
	char		url[CO_BULK_URL_MAX + 1];	/* RESULT */
	bool		more;			/* LISTS: there is another page ... */
	char		cursor[CO_BULK_ID_MAX + 1]; /* ... behind this */
	int64_t		required_credits;	/* of a failure; -1: not told */
} CoBulkAnswer;

/* file_name: what LISTS looks for. */
extern void co_bulk_decode(CoBulkCall call, int http_status, const char *body,
						   size_t length, const char *file_name,
						   CoBulkAnswer *answer, CoOutcome *outcome);

#endif							/* CO_BULK_CODEC_H */
