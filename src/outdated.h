/*-------------------------------------------------------------------------
 * outdated.h
 *		The library is newer than the extension in this database.
 *-------------------------------------------------------------------------
 */
#ifndef CO_OUTDATED_H
#define CO_OUTDATED_H

#include "slots.h"

/* A table that the library needs and the extension lacks; NULL: none. */
extern const char *co_outdated_table(void);

/*
 * The worker with this entry waits until the extension has all tables, and
 * tells callers why there is no answer.  At once true if it has; false if the
 * worker is to leave instead.
 */
extern bool co_outdated_wait(int database);

/* Something was not there: let the worker look at its next turn. */
extern void co_outdated_suspect(CoDatabase *mine);

#endif							/* CO_OUTDATED_H */
