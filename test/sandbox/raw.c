/*-------------------------------------------------------------------------
 * raw.c
 *		What is done to a socket behind the back of libmicrohttpd.
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "raw.h"

#define RAW_PATIENCE_MS 200

int
raw_fd(struct MHD_Connection *connection)
{
	return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
}

/*
 * SO_LINGER would do only at close(), and libmicrohttpd may shut the socket
 * down, and so send a FIN, before that.  Dissolving the association of a TCP
 * socket sends the RST at once.
 */
void
raw_reset(struct MHD_Connection *connection)
{
	struct sockaddr nobody = {.sa_family = AF_UNSPEC};

	(void) connect(raw_fd(connection), &nobody, sizeof(nobody));
}

void
raw_finish(struct MHD_Connection *connection)
{
	shutdown(raw_fd(connection), SHUT_RDWR);
}

void
raw_narrow(struct MHD_Connection *connection)
{
	int			bytes = 65536;

	(void) setsockopt(raw_fd(connection), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
}

void
raw_write(struct MHD_Connection *connection, const char *data, size_t len)
{
	int			fd = raw_fd(connection);

	while (len > 0)
	{
		ssize_t		sent = send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent > 0)
		{
			data += sent;
			len -= (size_t) sent;
		}
		else if (errno == EAGAIN)
		{
			struct pollfd full = {.fd = fd,.events = POLLOUT};

			if (poll(&full, 1, RAW_PATIENCE_MS) <= 0)
				return;
		}
		else if (errno != EINTR)
			return;
	}
}
