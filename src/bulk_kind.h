/*-------------------------------------------------------------------------
 * bulk_kind.h
 *		What lists of the verifier and of the finder do not have in common.
 *
 * The paths of their calls are in bulk_codec.c, the statements about what
 * they ask in bulk_spool.c and bulk_table.c: there, arrays have an element for
 * each kind.
 *-------------------------------------------------------------------------
 */
#ifndef CO_BULK_KIND_H
#define CO_BULK_KIND_H

#include "lib/stringinfo.h"

#include "bulk_codec.h"
#include "bulk_import.h"
#include "endpoint.h"
#include "queue.h"

#define CO_BULK_KINDS 2

typedef struct CoBulkRules
{
	const char *word;			/* clearout_jobs_data.kind */
	CoService	service;		/* that is paid for, and may be paused */
	int			price;			/* of a row, at most */
	CoQueueKind queue;			/* rows of the queue that ask the same */
	bool		optimize;		/* the upload may say what to aim at */
	const char *header;			/* of the upload, with its line end */

	/* Append what is asked as a line of the upload, in UTF-8. */
	void		(*write) (StringInfo csv, const char *asked);

	const CoImportKind *import; /* the result */
} CoBulkRules;

extern const CoBulkRules co_bulk_rules[CO_BULK_KINDS];

/* By the word in the table. */
extern CoBulkKind co_bulk_kind(const char *word);

#endif							/* CO_BULK_KIND_H */
