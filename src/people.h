/*-------------------------------------------------------------------------
 * people.h
 *		Rows of clearout_people and clearout_lookups, as their readers and
 *		writers see them.
 *-------------------------------------------------------------------------
 */
#ifndef CO_PEOPLE_H
#define CO_PEOPLE_H

#include "datatype/timestamp.h"

#include "codec.h"

/*
 * Columns of clearout_people, counted from 0.  Those from
 * CO_PERSON_STATUS to CO_PERSON_RAW are those of the type clearout_person.
 */
typedef enum CoPersonColumn
{
	CO_PERSON_ASKED_NAME,
	CO_PERSON_ASKED_DOMAIN,
	CO_PERSON_STATUS,
	CO_PERSON_EMAIL,
	CO_PERSON_ROLE,
	CO_PERSON_BUSINESS,
	CO_PERSON_EMAILS,
	CO_PERSON_FIRST_NAME,
	CO_PERSON_LAST_NAME,
	CO_PERSON_FULL_NAME,
	CO_PERSON_DOMAIN,
	CO_PERSON_COMPANY,
	CO_PERSON_CONFIDENCE_SCORE,
	CO_PERSON_CREDITS_CHARGED,
	CO_PERSON_FOUND_AT,
	CO_PERSON_SOURCE,
	CO_PERSON_RAW,
	CO_PERSON_ASKED_AT,
	CO_PERSON_COLUMNS
} CoPersonColumn;

extern const Oid co_person_types[CO_PERSON_COLUMNS];

/* Columns of clearout_lookups, which clearout_lookup_spill begins with too. */
typedef enum CoLookupColumn
{
	CO_LOOKUP_KIND,
	CO_LOOKUP_KEY,
	CO_LOOKUP_FOUND,
	CO_LOOKUP_FLAG,
	CO_LOOKUP_ANSWER,
	CO_LOOKUP_ANSWERED_AT,
	CO_LOOKUP_ASKED_AT,
	CO_LOOKUP_COLUMNS
} CoLookupColumn;

extern const Oid co_lookup_types[CO_LOOKUP_COLUMNS];

/* The kind under which the finder's answers lie in clearout_lookup_spill. */
#define CO_FIND_KIND "find"

/*
 * Member of an answer there that came in a list: then it was put together from
 * the columns of the result file, and is not what the service gave as a whole.
 */
#define CO_FIND_LISTED "clearout_list"

/* Fill a row of clearout_lookups, all columns, from an answer. */
extern void co_lookup_fill(const char *kind, const char *key,
						   const CoLookupAnswer *answer, TimestampTz asked_at,
						   TimestampTz received_at, Datum *values, bool *nulls);

/*
 * Fill a row of clearout_people from one of clearout_lookups or its spill with
 * the kind "find".  raw is its answer in UTF-8, or NULL to have it made of the
 * column.  Throws where the content is refused.  Where somebody was found, and
 * the answer is missing or cannot be read, it throws if it must be complete;
 * else whom is left null.
 */
extern void co_person_fill(const Datum *lookup_values, const bool *lookup_nulls,
						   const char *raw, bool complete, Datum *values, bool *nulls);

#endif							/* CO_PEOPLE_H */
