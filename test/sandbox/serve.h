/*-------------------------------------------------------------------------
 * serve.h
 *		The functions behind the routing table, one for each endpoint.
 *
 * They are called with a valid token, within the rate limit and with a body
 * of the right kind; they write status and answer.
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_SERVE_H
#define SANDBOX_SERVE_H

#include "call.h"

extern void serve_verify(Call *call);
extern void serve_credits(Call *call);

/* Both of the verifier and of the finder. */
extern void serve_upload(Call *call);
extern void serve_progress(Call *call);
extern void serve_result(Call *call);
extern void serve_cancel(Call *call);
extern void serve_remove(Call *call);
extern void serve_lists(Call *call);

extern void serve_download(Call *call);

#endif							/* SANDBOX_SERVE_H */
