/*-------------------------------------------------------------------------
 * verdict_jsonb.h
 *		Read an ordinary verdict, and make a jsonb value of it at once.
 *-------------------------------------------------------------------------
 */
#ifndef CO_VERDICT_JSONB_H
#define CO_VERDICT_JSONB_H

#include "codec.h"

/*
 * As co_decode_verify(), but false if this is not plainly a verdict on the
 * address: then that one is to say what it is.  Never throws; needs no
 * transaction.
 */
extern bool co_verdict_from_jsonb(int http_status, const char *body, size_t length,
								  const char *email, CoVerifyAnswer *answer,
								  CoOutcome *outcome);

#endif							/* CO_VERDICT_JSONB_H */
