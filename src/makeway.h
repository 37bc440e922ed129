/*-------------------------------------------------------------------------
 * makeway.h
 *		Commands on a database that its worker must not stand in the way of.
 *-------------------------------------------------------------------------
 */
#ifndef CO_MAKEWAY_H
#define CO_MAKEWAY_H

extern void co_makeway_init(void);

#endif							/* CO_MAKEWAY_H */
