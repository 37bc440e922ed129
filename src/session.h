/*-------------------------------------------------------------------------
 * session.h
 *		The worker's own session settings.
 *-------------------------------------------------------------------------
 */
#ifndef CO_SESSION_H
#define CO_SESSION_H

/* How long a statement may wait for others' locks, as a setting's text. */
#define CO_LOCK_TIMEOUT		"200ms"

/* Set up this process's session so that no setting of others gets in the way. */
extern void co_session_init(void);

/* Change lock_timeout for what follows. */
extern void co_session_set_lock_timeout(const char *value);

#endif							/* CO_SESSION_H */
