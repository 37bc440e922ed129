/*-------------------------------------------------------------------------
 * verdict.h
 *		What an answer says of an address, from its parts.
 *
 * Pure.  Whoever has parsed the answer says how a value is read, and keeps
 * what the parts point to until all is put into the answer's block.
 *-------------------------------------------------------------------------
 */
#ifndef CO_VERDICT_H
#define CO_VERDICT_H

#include "codec.h"
#include "value.h"

/* By the names that they have in the answer. */
typedef struct CoVerdictParts
{
	CoValue		email_address;
	CoValue		status;
	CoValue		safe_to_send;
	CoValue		bounce_type;
	CoValue		sub_status;		/* its code; or itself, if it is no object */
	CoValue		desc;			/* of sub_status */
	CoValue		suggested_email_address;
	CoValue		account;		/* this and the next three of detail_info */
	CoValue		domain;
	CoValue		mx_record;
	CoValue		smtp_provider;
	CoValue		ai_verdict;
	CoValue		disposable;
	CoValue		free;
	CoValue		role;
	CoValue		gibberish;
	CoValue		verified_on;
	CoValue		time_taken;
} CoVerdictParts;

#define CO_VERDICT_TEXTS 10

/* Texts of the answer on their way into its block. */
typedef struct CoVerdictTexts
{
	char		status[CO_WORD_MAX + 1];
	char		safe_to_send[CO_WORD_MAX + 1];
	char		bounce_type[CO_WORD_MAX + 1];
	struct
	{
		char	  **target;
		const char *text;		/* NULL: absent */
		size_t		length;
	}			text[CO_VERDICT_TEXTS];
	size_t		room;			/* bytes that they take in all */
} CoVerdictTexts;

/* How the values of an answer are had from whatever it was parsed into. */
typedef struct CoVerdictReader
{
	/* The value of that name in an object; CO_VALUE_ABSENT if it is NULL. */
	CoValue		(*value) (const void *object, const char *name);

	/* The object of that name in an object; NULL if there is none. */
	const void *(*object) (const void *object, const char *name);
} CoVerdictReader;

/* Pick the parts of the answer's data. */
extern void co_verdict_pick(const CoVerdictReader *reader, const void *data,
							CoVerdictParts *parts);

/*
 * Fill the answer but for its texts and what holds the whole.  False, with a
 * fault in the outcome: it is no verdict on this address.
 */
extern bool co_verdict_read(const CoVerdictParts *parts, const char *email,
							CoVerifyAnswer *answer, CoVerdictTexts *texts,
							CoOutcome *outcome);

/* Put the texts where there is room for them, and the answer's pointers there. */
extern void co_verdict_put(const CoVerdictTexts *texts, char *room);

#endif							/* CO_VERDICT_H */
