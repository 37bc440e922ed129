/*-------------------------------------------------------------------------
 * bulk_spool.h
 *		What a job asks, on its way from a caller's query into the spool.
 *
 * For bulk_order.c and bulk_tend.c.
 *-------------------------------------------------------------------------
 */
#ifndef CO_BULK_SPOOL_H
#define CO_BULK_SPOOL_H

#include "utils/timestamp.h"
#include "utils/tuplesort.h"

#include "bulk.h"
#include "bulk_codec.h"
#include "transaction.h"

typedef struct CoSpooling
{
	CoBulkKind	kind;
	CoCatalog	catalog;
	CoFreshness accepts;
	Tuplesortstate *sort;
	MemoryContext batch;		/* of a few rows */
	int64		job;
	int			part_rows;
	int64		total;
	int64		null;
	int64		malformed;
	int64		duplicate;
	int64		fresh;
	int64		waiting;
	int64		spooled;
} CoSpooling;

/* max_age: that argument, or NULL for the setting. */
extern void co_spooling_begin(CoSpooling *spooling, FunctionCallInfo fcinfo,
							  CoBulkKind kind, const Interval *max_age);

/*
 * One row that was given; in spooling->batch, which the caller resets now and
 * then.  key: what it asks, in normal form; NULL: it cannot be asked.
 */
extern void co_spooling_add(CoSpooling *spooling, const char *key);

/* Or it was null. */
extern void co_spooling_add_null(CoSpooling *spooling);

/* All are given: make the job, with SPI connected. */
extern int64 co_spooling_end(CoSpooling *spooling, text *optimize, bool remove_list);

/*
 * Run one statement of ours, out of reach of the caller's search_path and
 * planner settings: everything here is by key.
 */
extern uint64 co_bulk_execute(const CoCatalog *catalog, CoStatement *statement,
							  Datum *values, const char *nulls);

/* Errors out where nothing can be written. */
extern void co_bulk_require_writable(const char *function);

#endif							/* CO_BULK_SPOOL_H */
