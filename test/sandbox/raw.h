/*-------------------------------------------------------------------------
 * raw.h
 *		What is done to a socket behind the back of libmicrohttpd.
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_RAW_H
#define SANDBOX_RAW_H

#include <stddef.h>

#include <microhttpd.h>

extern int	raw_fd(struct MHD_Connection *connection);

/* Sends an RST now; libmicrohttpd may close the socket later as usual. */
extern void raw_reset(struct MHD_Connection *connection);

/* Sends a FIN now, likewise. */
extern void raw_finish(struct MHD_Connection *connection);

/* Makes little room for what comes in, so that the rest stays with the client. */
extern void raw_narrow(struct MHD_Connection *connection);

/* Writes bytes that are not HTTP; waits a little where the buffer is full. */
extern void raw_write(struct MHD_Connection *connection, const char *data, size_t len);

#endif							/* SANDBOX_RAW_H */
