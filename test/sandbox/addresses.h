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

extern void addresses_judge(const char *email, Verdict *verdict);
extern const char *addresses_reason(int code);

#endif							/* SANDBOX_ADDRESSES_H */
