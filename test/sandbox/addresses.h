/*-------------------------------------------------------------------------
 * addresses.h
 *		Which verdict an address gets.
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_ADDRESSES_H
#define SANDBOX_ADDRESSES_H

#include <stdbool.h>

typedef struct Verdict
{
	const char *word;			/* the test address, or what a test chose */
	const char *status;
	int			code;			/* sub_status */
	const char *safe_to_send;
	const char *bounce;			/* "", hard or soft */
	bool		disposable;
	bool		role;
	bool		free;
	bool		gibberish;
	bool		suggest;		/* has a suggested address */
	bool		test;			/* one of the test addresses: costs nothing */
	bool		charged;
	const char *smtp_provider;
	const char *mx_record;		/* "" = none, NULL = mx1 of the domain itself */
} Verdict;

#define ADDRESS_ACCOUNT_SIZE 512
#define ADDRESS_SUGGESTED_SIZE (ADDRESS_ACCOUNT_SIZE + 32)

extern void addresses_judge(const char *email, Verdict *verdict);

/* The verdict on an address that was not looked at. */
extern void addresses_unprocessed(Verdict *verdict);

/* The account goes into the buffer (nothing if it is too long); returns the domain. */
extern const char *addresses_split(const char *email, char account[ADDRESS_ACCOUNT_SIZE]);

/* The suggested address, or "". */
extern void addresses_suggest(const Verdict *verdict, const char *account,
							  char suggested[ADDRESS_SUGGESTED_SIZE]);

/* A sentence such as the service adds to newer answers. */
extern const char *addresses_opinion(const Verdict *verdict);
extern const char *addresses_reason(int code);

#endif							/* SANDBOX_ADDRESSES_H */
