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

/* Normal form of an address in the database's encoding, palloc'd; NULL and
 * *error where it is malformed. */
extern char *co_normalize_argument(text *email, CoAddressError *error);

/* What an address is asked under; NULL and *error: malformed, and not to be
 * asked (clearout.precheck). */
extern char *co_key_argument(text *email, CoAddressError *error);

/* An interval argument as microseconds; months count 30 days. */
extern int64 co_interval_argument(const Interval *interval, const char *name);

/*
 * The ages that the settings and a max_age argument (NULL: none) allow.  The
 * argument takes the place of clearout.max_age; the shorter ages for some
 * statuses stay in force.
 */
extern CoFreshness co_accepted_ages(const Interval *max_age);

#endif							/* CO_ARGUMENTS_H */
