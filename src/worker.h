/*-------------------------------------------------------------------------
 * worker.h
 *		One process per database: turns waiting requests into stored answers.
 *-------------------------------------------------------------------------
 */
#ifndef CO_WORKER_H
#define CO_WORKER_H

extern PGDLLEXPORT void co_worker_main(Datum argument);

/* Is this process a worker?  Functions that wait for one refuse to run there. */
extern bool co_am_worker;

#endif							/* CO_WORKER_H */
