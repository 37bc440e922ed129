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

extern void serve_find(Call *call);
extern void serve_queue(Call *call);
extern void find_time_out(Call *call);

extern void serve_catchall(Call *call);
extern void serve_disposable(Call *call);
extern void serve_business(Call *call);
extern void serve_free(Call *call);
extern void serve_role(Call *call);
extern void serve_gibberish(Call *call);

extern void serve_reverse_email(Call *call);
extern void serve_reverse_linkedin(Call *call);
extern void serve_reverse_domain(Call *call);
extern void serve_autocomplete(Call *call);
extern void serve_mx(Call *call);
extern void serve_whois(Call *call);
extern void serve_name(Call *call);

extern void serve_account_credits(Call *call);
extern void serve_account_limits(Call *call);
extern void serve_account_plan(Call *call);

#endif							/* SANDBOX_SERVE_H */
