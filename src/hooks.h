/*-------------------------------------------------------------------------
 * hooks.h
 *		What the extension has to notice of other people's commands.
 *-------------------------------------------------------------------------
 */
#ifndef CO_HOOKS_H
#define CO_HOOKS_H

extern void co_hooks_init(void);

/* A prepared transaction of this database has been committed. */
extern void co_hooks_after_commit_prepared(void);

#endif							/* CO_HOOKS_H */
