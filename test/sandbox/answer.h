/*-------------------------------------------------------------------------
 * answer.h
 *		The envelopes around every answer of the API.
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_ANSWER_H
#define SANDBOX_ANSWER_H

#include "call.h"

/* {"status":"success","data": -- the caller writes the data, then ends it. */
extern void answer_begin(Call *call);
extern void answer_end(Call *call);

/*
 * {"status":"failed","error":{"code":...,"message":...}}.  A code of 0 is
 * left out; a message of NULL is the usual one for the code or the status.
 */
extern void answer_failure(Call *call, int status, int code, const char *message);

/*
 * 400 with reasons.  Several may be added, then the end must be written.
 * The message has the name of the field in front: "email" is required.  The
 * location is body or query; uploads have none (NULL).
 */
extern void answer_reason(Call *call, const char *field, const char *location,
						  const char *message, const char *type);
extern void answer_reasons_end(Call *call);

/* What a service says with this status and nothing else known. */
extern void answer_status(Call *call, int status);

/* One more fact beside a failure that has just been written. */
extern void answer_add_info(Call *call, const char *name, int64_t value);

/* Daily limit and credits: false if that refuses the call. */
extern bool answer_affordable(Call *call);

/* What the storage beside the API answers: XML. */
extern void answer_storage(Call *call, int status, const char *code, const char *message);

extern void answer_too_many(Call *call);	/* 429 */

/* 524 about this resource; with the id of a queue, if it may be resumed. */
extern void answer_timeout(Call *call, const char *resource, const char *value,
						   const char *queue_id);

#endif							/* SANDBOX_ANSWER_H */
