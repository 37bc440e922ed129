/*-------------------------------------------------------------------------
 * landed.h
 *		Commit what was answered, and only then wake whoever waits for it.
 *
 * The worker's; nothing in here throws.
 *-------------------------------------------------------------------------
 */
#ifndef CO_LANDED_H
#define CO_LANDED_H

#include "slots.h"

extern void co_landed_init(CoDatabase *database);

/*
 * Store the flights that have landed: some of them, or all at once.  What
 * cannot be stored is kept, and tried again once a second; at_once, now.
 */
typedef struct CoLandedNews
{
	bool		rows_left;		/* rows of the queue want to be looked at again */
	bool		search_ended;	/* so may some that ask for the same search */
} CoLandedNews;

extern CoLandedNews co_landed_store(bool at_once);

/*
 * How many more answers are to be taken in now.  Not more at a time than are
 * stored at a time: when many come together, the first of them make room
 * before the last are read.
 */
extern int	co_landed_wanted(void);

/* Why answers cannot be stored; NULL: they can.  While they cannot, no call is
 * to be started. */
extern const char *co_landed_trouble(void);

/* Something lies in a spill: merge it by and by. */
extern void co_landed_note_spilled(void);

/* Merge the spills if it is time. */
extern void co_landed_merge(void);

/* When is there something to do in here by the clock?  INT64_MAX: never. */
extern int64 co_landed_due(int64 now);

#endif							/* CO_LANDED_H */
