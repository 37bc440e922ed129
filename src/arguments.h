/*-------------------------------------------------------------------------
 * arguments.h
 *		Arguments that several SQL functions take.
 *-------------------------------------------------------------------------
 */
#ifndef CO_ARGUMENTS_H
#define CO_ARGUMENTS_H

#include "utils/timestamp.h"

#include "address.h"
#include "slots.h"

typedef enum CoWords
{
	CO_WORDS_KEPT,				/* single blanks, none at the ends */
	CO_WORDS_FOLDED,			/* and in lower case */
	CO_WORDS_DOMAIN,			/* a domain as A-labels */
	CO_WORDS_COMPANY			/* likewise, or else folded */
} CoWords;

/*
 * Words, companies and domains in normal form (words.h) in the database's
 * encoding, palloc'd; "" where nothing is left, or where a domain is none.
 */
extern char *co_words_argument(text *words, CoWords form);

/* Normal form of an address in the database's encoding, palloc'd; NULL and
 * *error where it is malformed. */
extern char *co_normalize_argument(text *email, CoAddressError *error);

/* What an address is asked under; NULL and *error: malformed, and not to be
 * asked (clearout.precheck). */
extern char *co_key_argument(text *email, CoAddressError *error);

/* The same into a buffer of CO_KEY_SIZE bytes; its length, or -1. */
extern int	co_key_write(text *email, char *key, CoAddressError *error);

/* An interval argument as microseconds; months count 30 days. */
extern int64 co_interval_argument(const Interval *interval, const char *name);

/* The oldest time accepted, for an age in microseconds. */
extern TimestampTz co_oldest_accepted(int64 age);

/*
 * The ages that the settings and a max_age argument (NULL: none) allow.  The
 * argument takes the place of clearout.max_age; the shorter ages for some
 * statuses stay in force.
 */
extern CoFreshness co_accepted_ages(const Interval *max_age);

#endif							/* CO_ARGUMENTS_H */
