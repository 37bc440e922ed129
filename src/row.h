/*-------------------------------------------------------------------------
 * row.h
 *		A row of clearout_results, as its readers and writers see it.
 *-------------------------------------------------------------------------
 */
#ifndef CO_ROW_H
#define CO_ROW_H

/*
 * Columns of clearout_results, counted from 0.  The first CO_RESULT_COLUMNS of
 * them are those of the type clearout_result, and the first
 * CO_STORED_COLUMNS are also those of clearout_spill.
 */
typedef enum CoColumn
{
	CO_COL_EMAIL,
	CO_COL_STATUS,
	CO_COL_SAFE_TO_SEND,
	CO_COL_SUB_STATUS,
	CO_COL_REASON,
	CO_COL_BOUNCE_TYPE,
	CO_COL_DISPOSABLE,
	CO_COL_FREE,
	CO_COL_ROLE,
	CO_COL_GIBBERISH,
	CO_COL_SUGGESTED_EMAIL,
	CO_COL_ACCOUNT,
	CO_COL_DOMAIN,
	CO_COL_MX_RECORD,
	CO_COL_SMTP_PROVIDER,
	CO_COL_AI_VERDICT,
	CO_COL_VERIFIED_AT,
	CO_COL_TIME_TAKEN,
	CO_COL_SOURCE,
	CO_COL_RAW,
	CO_RESULT_COLUMNS,
	CO_COL_ASKED_AT = CO_RESULT_COLUMNS,
	CO_COL_ATTEMPTED_AT,
	CO_WRITTEN_COLUMNS,			/* what an answer fills */
	CO_COL_ATTEMPT_STATUS = CO_WRITTEN_COLUMNS,
	CO_COL_ATTEMPT_SUB_STATUS,
	CO_COL_ATTEMPT_REASON,
	CO_COL_ATTEMPT_RAW,
	CO_STORED_COLUMNS
} CoColumn;

typedef struct CoRow
{
	Datum		value[CO_STORED_COLUMNS];
	bool		isnull[CO_STORED_COLUMNS];
} CoRow;

/* Of these types.  Dropped columns have none. */
extern const Oid co_column_types[CO_STORED_COLUMNS];

/* Is this text value that word? */
extern bool co_text_equals(Datum value, const char *word);

#endif							/* CO_ROW_H */
