/*-------------------------------------------------------------------------
 * codec.h
 *		Arguments -> JSON body, HTTP answer -> typed reply.
 *
 * Pure.  codec.c has verification and balance, codec_find.c the finder,
 * codec_lookup.c everything else, codec_request.c what is sent, and
 * codec_json.c what they share.
 * Whatever bytes come in, the outcome is a typed answer or a typed fault.
 * Strings in a reply are valid UTF-8 without NUL; the reply owns them, in one
 * block that begins at raw, or at jsonb: copy them, never free one.  Not for use by several
 * threads at once.
 *-------------------------------------------------------------------------
 */
#ifndef CO_CODEC_H
#define CO_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "endpoint.h"
#include "outcome.h"
#include "value.h"

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
								 * jsonb column takes it; NULL if ... */
	void	   *jsonb;			/* ... it is such a value already, of a reader
								 * other than co_decode_verify() */
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
 * The answer of any other call: the finder, the single checks, look-ups.  What
 * it says is in raw; only what the worker has to know is taken out of it.
 */
typedef struct CoLookupAnswer
{
	bool		found;			/* the service knows something; "nothing" is an
								 * answer as well */
	CoTernary	flag;			/* of a single check; CO_NULL elsewhere */
	int64_t		told_on;		/* verified_on or found_on, or CO_NO_TIME */
	char	   *queue_id;		/* not NULL: there is no answer yet, the service
								 * goes on seeking under this name */
	char	   *raw;			/* the data as above; NULL: there was none */
	char	   *block;			/* what the two are in */
} CoLookupAnswer;

/* Who was found, read from the data that raw has. */
typedef struct CoPerson
{
	char	   *email;			/* of the first candidate */
	CoTernary	role;
	CoTernary	business;
	int			email_count;
	char	  **emails;			/* of all candidates, in the service's order */
	char	   *first_name;
	char	   *last_name;
	char	   *full_name;
	char	   *domain;
	char	   *company;
	int			confidence_score;	/* -1 when absent */
	int			credits_charged;	/* likewise */
} CoPerson;

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


/* What separates name and domain of what the finder is asked. */
#define CO_FIND_SEPARATOR '\x1F'

/*
 * The body of a POST, or the query of a GET with its question mark; "" where
 * there is none.  asked is UTF-8: the key of the request; for "find", name and
 * domain with CO_FIND_SEPARATOR between them; for "find_status" the queue id.
 * timeout_ms goes along where the endpoint takes one, unless it is 0.  Returns
 * a malloc'd zero-terminated string, or NULL when memory ran out or asked is
 * no valid UTF-8.
 */
extern char *co_encode_body(CoEndpointId endpoint, const char *asked, int timeout_ms);
extern char *co_encode_query(CoEndpointId endpoint, const char *asked);

/*
 * Decode what any endpoint of the kinds person and lookup has answered, as
 * above.  Answers that say that there is nothing are answers: an empty list,
 * and for the finder and reverse look-up a failure envelope with code 1027,
 * for reverse look-up also one under HTTP 404.  An answer that says what it is
 * about must be about what was asked; its spelling may differ.
 *
 * Where the service goes on seeking, *answer has the queue id and nothing
 * else, whatever the outcome's fault (524 brings one with the fault).
 */
extern void co_decode_lookup(CoEndpointId endpoint, int http_status,
							 const char *body, size_t length, const char *asked,
							 CoLookupAnswer *answer, CoOutcome *outcome);

extern void co_lookup_answer_free(CoLookupAnswer *answer);

/*
 * Read who was found from the raw of a finder's answer that found somebody.
 * NULL when memory ran out, or if nobody is named there; else to be freed as
 * one block.
 */
extern CoPerson *co_person_read(const char *raw);

extern void co_verify_answer_free(CoVerifyAnswer *answer);
extern void co_credits_answer_free(CoCreditsAnswer *answer);

#endif							/* CO_CODEC_H */
