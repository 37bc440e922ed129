/*-------------------------------------------------------------------------
 * forget.h
 *		Remove all that is known about an address, in the worker too.
 *-------------------------------------------------------------------------
 */
#ifndef CO_FORGET_H
#define CO_FORGET_H

/*
 * Look at what clearout_forget() has left to us: remove what has been stored
 * since, and mark the calls on the wire, whose answers are to be dropped.
 * Never throws.  False: not all could be done now; *rows_left is set where
 * rows of the queue were let go of that may have to be looked at again.
 */
extern bool co_forget_sweep(bool *rows_left);

/*
 * Drop answers that have landed and are marked; to be called before storing.
 * True: rows of the queue were let go of that came since, and are to be asked
 * about anew.
 */
extern bool co_forget_landed(void);

#endif							/* CO_FORGET_H */
