/*-------------------------------------------------------------------------
 * codec.h
 *		Arguments -> JSON body, HTTP answer -> typed reply.
 *
 * Pure, and the only file that includes jansson.h: its json_object() is also
 * a function of the server, and a call to it from here would land there.
 * Whatever bytes come in, the outcome is a typed answer or a typed fault.
 * Strings in a reply are valid UTF-8 without NUL; the reply owns them, in one
 * block that begins at raw: copy them, never free one.  Not for use by several
 * threads at once.
 *-------------------------------------------------------------------------
 */
#ifndef CO_CODEC_H
#define CO_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "outcome.h"

typedef enum CoTernary
{
	CO_NULL = -1,				/* absent, null, or not a yes/no */
	CO_FALSE = 0,
	CO_TRUE = 1
} CoTernary;

#define CO_NO_TIME INT64_MIN	/* a time that the answer did not carry */

/*
 * The answer of an instant verification.  Every pointer but status may be
 * NULL (absent, empty, or of another JSON type).
 */
typedef struct CoVerifyAnswer
{
	char	   *status;			/* valid, invalid, catch_all, unknown, or a new
								 * word, lower case with underscores */
	char	   *safe_to_send;	/* likewise: yes, risky, no, unknown */
	int			sub_status;		/* -1 when absent */
	char	   *reason;			/* sub_status.desc */
	char	   *bounce_type;	/* hard, soft, or a new word, lower case */
	CoTernary	disposable;
	CoTernary	free;
	CoTernary	role;
	CoTernary	gibberish;
	char	   *suggested_email;
	char	   *account;
	char	   *domain;
	char	   *mx_record;
	char	   *smtp_provider;
	char	   *ai_verdict;
	int64_t		verified_on;	/* microseconds since 1970 UTC, or CO_NO_TIME */
	int64_t		time_taken;		/* milliseconds, or -1 */
	char	   *raw;			/* the data object as compact JSON, unescaped
								 * UTF-8, U+0000 replaced by U+FFFD, so that a
								 * jsonb column takes it */
} CoVerifyAnswer;

/* The account's balance (GET /email_verify/getcredits). */
typedef struct CoCreditsAnswer
{
	int64_t		available;		/* -1: not told (team members); an overdrawn
								 * account has 0 */
	int64_t		daily_limit_available;	/* -1: no daily limit */
	int64_t		daily_limit_reset;	/* microseconds since 1970, or CO_NO_TIME */
	char	   *raw;
} CoCreditsAnswer;

/*
 * Body of POST /email_verify/instant.  email is UTF-8; timeout_ms goes along
 * as "timeout", unless it is 0.  Returns a malloc'd zero-terminated string, or
 * NULL when memory ran out or email is no valid UTF-8.
 */
extern char *co_encode_verify(const char *email, int timeout_ms);

/*
 * Decode what came back.  The caller has set outcome->sent and, on a
 * transport fault, outcome->fault; then nothing is to be decoded and this
 * must not be called.  Sets fault, http_status, code and message.
 *
 * Success is HTTP 2xx with an envelope that says "success" and a data object
 * (getcredits: or an array, of envelopes or of data, whose first element
 * counts) and, for verify, a non-empty status text of up to 64 bytes, and an
 * email_address that (where present; null is present) is the address asked
 * for: equal after co_address_normalize(), or equal byte for byte but for
 * ASCII case.  Everything else is a fault; *answer is then zeroed.
 *
 * 3xx is CO_FAULT_REDIRECT whatever the body.  A failure envelope, or a status
 * outside 2xx with whatever body (JSON, HTML, none), is CO_FAULT_SERVICE with
 * what could be read of error.code and error.message; reasons[] of a 400 are
 * appended to message.  No memory is CO_FAULT_LOCAL whatever the body.
 *
 * What strict JSON or jsonb cannot hold is mended rather than a fault: in
 * strings, U+0000, invalid UTF-8 and unpaired surrogates become U+FFFD and
 * control characters blanks; integers that do not fit 64 bits become reals,
 * and reals beyond a double's range strings.  Reals keep fifteen digits in
 * raw.  Nesting deeper than 1000 levels is CO_FAULT_MALFORMED.
 */
extern void co_decode_verify(int http_status, const char *body, size_t length,
							 const char *email, CoVerifyAnswer *answer,
							 CoOutcome *outcome);
extern void co_decode_credits(int http_status, const char *body, size_t length,
							  CoCreditsAnswer *answer, CoOutcome *outcome);

extern void co_verify_answer_free(CoVerifyAnswer *answer);
extern void co_credits_answer_free(CoCreditsAnswer *answer);

#endif							/* CO_CODEC_H */
