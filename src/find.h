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

/* In SQL, what of such a key is the name, and what the domain. */
#define CO_ASKED_NAME(key)		"split_part(" key ", chr(31), 1)"
#define CO_ASKED_DOMAIN(key)	"split_part(" key ", chr(31), 2)"

#endif							/* CO_FIND_H */
