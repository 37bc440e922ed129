/*-------------------------------------------------------------------------
 * forget.h
 *		Remove all that is known about an address, in the worker too.
 *-------------------------------------------------------------------------
 */
#ifndef CO_FORGET_H
#define CO_FORGET_H

typedef enum CoForgetting
{
	CO_FORGETTING_DONE,
	CO_FORGETTING_MORE,			/* to be gone on with at the next turn */
	CO_FORGETTING_LATER			/* not all could be done now */
} CoForgetting;

/*
 * Look at what clearout_forget() has left to us: remove what has been stored
 * since, and mark the calls on the wire, whose answers are to be dropped.  In
 * bounded time, and never throws.  *rows_left is set where rows of the queue
 * were let go of that may have to be looked at again.
 */
extern CoForgetting co_forget_sweep(bool *rows_left);

/* There is more of it, perhaps behind where the sweep has come to. */
extern void co_forget_anew(void);

/*
 * Drop answers that have landed and are marked; to be called before storing.
 * True: rows of the queue were let go of that came since, and are to be asked
 * about anew.
 */
extern bool co_forget_landed(void);

#endif							/* CO_FORGET_H */
