/*-------------------------------------------------------------------------
 * server.h
 *		The API on its port.
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_SERVER_H
#define SANDBOX_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <microhttpd.h>

#include "call.h"
#include "loop.h"

typedef struct ServerOptions
{
	int			listen_fd;
	const char *tls_cert;		/* PEM, not a file name; NULL = plain HTTP */
	const char *tls_key;
	unsigned	idle_timeout;	/* seconds, 0 = never */
	size_t		max_body;
	int64_t		max_upload;		/* of a file in a form */
	const char *authority;		/* address:port that we listen on */
	bool		any_address;	/* which is none that a client can use */
} ServerOptions;

extern bool server_start(const ServerOptions *options);
extern bool server_has_tls(void);

/*
 * How libmicrohttpd is driven by our loop, here and for the control port: its
 * epoll descriptor is watched, and before each wait it is asked whether it
 * has something to do that no descriptor tells.
 */
extern void server_drive(struct MHD_Daemon *daemon, Watch *watch);
extern int64_t server_patience(struct MHD_Daemon *daemon);	/* ms, -1 = any */

extern int64_t server_turn(void);

/* Where clients reach us: scheme and authority, no path. */
extern void server_url(const Call *call, Text *url);

#endif							/* SANDBOX_SERVER_H */
