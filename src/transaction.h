/*-------------------------------------------------------------------------
 * transaction.h
 *		The worker's transactions and statements.
 *-------------------------------------------------------------------------
 */
#ifndef CO_TRANSACTION_H
#define CO_TRANSACTION_H

#include "executor/spi.h"

#include "catalog.h"
#include "slots.h"

/* How a transaction ended. */
typedef struct CoTrouble
{
	int			sqlstate;		/* 0: committed */
	char		message[CO_REASON_SIZE];	/* primary message, no address in it */
} CoTrouble;

/*
 * Run one step in a transaction of its own with SPI connected.  Never throws: false,
 * and *trouble says why.
 */
extern bool co_run(void (*step) (CoCatalog *catalog, void *argument),
				   void *argument, CoTrouble *trouble);

/* Who owns this table? */
extern Oid	co_table_owner(Oid table);

/* Somebody else holds a lock, or has just moved the extension elsewhere. */
extern bool co_is_lock_trouble(const CoTrouble *trouble);

/* The row itself is refused; another one may well be taken. */
extern bool co_is_content_trouble(const CoTrouble *trouble);

#define CO_PARAMETERS_MAX 24

typedef enum CoTable
{
	CO_TABLE_RESULTS,
	CO_TABLE_SPILL,
	CO_TABLE_QUEUE,
	CO_TABLE_CONTROL,
	CO_TABLE_PAUSES,
	CO_TABLE_HANDLERS,
	CO_TABLE_OUTBOX,
	CO_TABLE_PEOPLE,
	CO_TABLE_LOOKUPS,
	CO_TABLE_LOOKUP_SPILL,
	CO_TABLE_BUDGETS,
	CO_TABLE_USAGE,
	CO_TABLE_FORGOTTEN,
	CO_TABLE_JOBS				/* and clearout_parts, clearout_spool */
} CoTable;

/*
 * A statement whose plan is kept, for as long as the extension stays in the
 * same schema.  "%s" in its text stands for the quoted schema.
 */
typedef struct CoStatement
{
	CoTable		table;			/* it runs as the owner of this one */
	const char *sql;
	int			parameters;
	const Oid  *types;

	/* set here */
	SPIPlanPtr	plan;
	char		schema[NAMEDATALEN];
} CoStatement;

/* Run it with SPI; returns the number of rows, and throws. */
extern uint64 co_execute(const CoCatalog *catalog, CoStatement *statement,
						 Datum *values, const char *nulls);

#endif							/* CO_TRANSACTION_H */
