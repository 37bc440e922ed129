/*-------------------------------------------------------------------------
 * launcher.h
 *		One process per server: starts and replaces the workers.
 *-------------------------------------------------------------------------
 */
#ifndef CO_LAUNCHER_H
#define CO_LAUNCHER_H

extern void co_launcher_init(void);
extern PGDLLEXPORT void co_launcher_main(Datum argument);

#endif							/* CO_LAUNCHER_H */
