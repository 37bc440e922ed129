/*-------------------------------------------------------------------------
 * account.h
 *		Tokens, and what belongs to each: credits, daily limit, windows.
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_ACCOUNT_H
#define SANDBOX_ACCOUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "window.h"

/* Calls are rationed per service: the plans name separate limits. */
typedef enum Service
{
	SERVICE_VERIFY,
	SERVICE_FIND,
	SERVICE_OTHER
} Service;

#define SERVICE_SHARED 3		/* window of all of them together */
#define SERVICE_WINDOWS 4

extern const char *const service_names[SERVICE_WINDOWS];

typedef struct Account
{
	struct Account *next;
	char	   *token;
	bool		valid;
	int64_t		credits;
	int64_t		charged;		/* since the start or the last reset */
	int64_t		daily_limit;	/* -1 = none */
	int64_t		daily_used;
	int64_t		day;			/* of daily_used: days since 1970, UTC */
	Window		windows[SERVICE_WINDOWS];
} Account;

extern Account *accounts;		/* in the order they were added */

extern Account *account_add(const char *token);
extern Account *account_by_token(const char *token);

/* The account that an Authorization header names, or NULL. */
extern Account *account_authenticate(const char *authorization);

extern void account_rate(Account *account, Service service, bool count, Rate *rate);
extern int64_t account_daily_left(Account *account);	/* -1 = no limit */
/* The daily limit is one of paid verifications alone. */
extern void account_charge(Account *account, Service service, int64_t credits);
extern int64_t account_next_day(void);	/* wall clock, ms */

/* Back to the credits and limits of the settings, with fresh windows. */
extern void account_reset(Account *account);

#endif							/* SANDBOX_ACCOUNT_H */
