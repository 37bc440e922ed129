/*-------------------------------------------------------------------------
 * spool.c
 *		Temporary files: written from start to end, then read.
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "spool.h"

#define BUFFER_SIZE 65536

static void
give_up(const char *what)
{
	perror(what);
	exit(1);
}

void
spool_open(Spool *spool)
{
	const char *dir = getenv("TMPDIR");

	if (dir == NULL || *dir == '\0')
		dir = "/tmp";
	spool->len = 0;
	spool->fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (spool->fd < 0)
	{
		/* not every file system can make a file without a name */
		char		name[4096];

		snprintf(name, sizeof(name), "%s/clearout-sandbox.XXXXXX", dir);
		spool->fd = mkostemp(name, O_CLOEXEC);
		if (spool->fd < 0)
			give_up("clearout-sandbox: temporary file");
		unlink(name);
	}
}

void
spool_flush(Spool *spool)
{
	const char *p = spool->buffer.data;
	size_t		left = spool->buffer.len;

	while (left > 0)
	{
		ssize_t		done = write(spool->fd, p, left);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			give_up("clearout-sandbox: temporary file");
		p += done;
		left -= (size_t) done;
	}
	spool->buffer.len = 0;
}

void
spool_add(Spool *spool, const char *data, size_t len)
{
	text_add(&spool->buffer, data, len);
	spool->len += (int64_t) len;
	if (spool->buffer.len >= BUFFER_SIZE)
		spool_flush(spool);
}

void
spool_close(Spool *spool)
{
	if (spool->fd >= 0)
		close(spool->fd);
	spool->fd = -1;
	text_free(&spool->buffer);
}

size_t
spool_read(int fd, int64_t offset, char *buffer, size_t len)
{
	size_t		got = 0;

	while (got < len)
	{
		ssize_t		n = pread(fd, buffer + got, len - got, offset + (int64_t) got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		got += (size_t) n;
	}
	return got;
}
