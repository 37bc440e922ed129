/*-------------------------------------------------------------------------
 * find.h
 *		What the finder is asked.
 *-------------------------------------------------------------------------
 */
#ifndef CO_FIND_H
#define CO_FIND_H

#include "codec.h"

/*
 * Name and domain (or company) in normal form with CO_FIND_SEPARATOR between
 * them, palloc'd, in the database's encoding; NULL if one of them is empty.
 */
extern char *co_find_key(text *name, text *domain);

#endif							/* CO_FIND_H */
