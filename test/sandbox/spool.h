/*-------------------------------------------------------------------------
 * spool.h
 *		Temporary files: written from start to end, then read.
 *
 * They have no name, so that nothing is left behind however we end.
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_SPOOL_H
#define SANDBOX_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text.h"

typedef struct Spool
{
	int			fd;				/* -1 = none */
	int64_t		len;			/* what was added */
	Text		buffer;			/* of this, what is not written yet */
} Spool;

extern void spool_open(Spool *spool);
extern void spool_add(Spool *spool, const char *data, size_t len);
extern void spool_flush(Spool *spool);
extern void spool_close(Spool *spool);

/* Bytes at a place, all of them unless the file ends before. */
extern size_t spool_read(int fd, int64_t offset, char *buffer, size_t len);

#endif							/* SANDBOX_SPOOL_H */
