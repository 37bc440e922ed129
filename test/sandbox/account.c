/*-------------------------------------------------------------------------
 * account.c
 *		Tokens, and what belongs to each: credits, daily limit, windows.
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "account.h"
#include "clock.h"
#include "settings.h"
#include "text.h"

#define DAY_MS 86400000

const char *const service_names[SERVICE_WINDOWS] = {
	"verify", "find", "other", "shared"
};

Account    *accounts;

Account *
account_add(const char *token)
{
	Account   **last = &accounts;
	Account    *account = need(sizeof(*account));

	while (*last)
		last = &(*last)->next;
	memset(account, 0, sizeof(*account));
	account->token = need_copy(token);
	account->valid = true;
	account_reset(account);
	*last = account;
	return account;
}

Account *
account_by_token(const char *token)
{
	for (Account *account = accounts; account; account = account->next)
		if (strcmp(account->token, token) == 0)
			return account;
	return NULL;
}

/*
 * The official material spells the header in three ways.  Nothing else is
 * accepted: no other case, no second blank.
 */
Account *
account_authenticate(const char *authorization)
{
	int64_t		scheme = AUTH_RAW;
	Account    *account;

	if (authorization == NULL)
		return NULL;
	if (strncmp(authorization, "Bearer ", 7) == 0)
		scheme = AUTH_BEARER;
	else if (strncmp(authorization, "Bearer:", 7) == 0)
		scheme = AUTH_COLON;
	if (settings.auth_scheme != AUTH_ANY && settings.auth_scheme != scheme)
		return NULL;
	account = account_by_token(authorization + (scheme == AUTH_RAW ? 0 : 7));
	return account && account->valid ? account : NULL;
}

void
account_rate(Account *account, Service service, bool count, Rate *rate)
{
	int			which = settings.shared_window ? SERVICE_SHARED : (int) service;
	int64_t		limit = -1;

	switch (which)
	{
		case SERVICE_VERIFY:
			limit = settings.limit_verify;
			break;
		case SERVICE_FIND:
			limit = settings.limit_find;
			break;
		case SERVICE_OTHER:
			limit = settings.limit_other;
			break;
	}
	if (limit < 0)
		limit = settings.limit;
	if (count)
		window_count(&account->windows[which], limit, rate);
	else
		window_look(&account->windows[which], limit, rate);
}

int64_t
account_daily_left(Account *account)
{
	int64_t		today = clock_wall_ms() / DAY_MS;

	if (account->day != today)
	{
		account->day = today;
		account->daily_used = 0;
	}
	if (account->daily_limit < 0)
		return -1;
	return account->daily_limit > account->daily_used ?
		account->daily_limit - account->daily_used : 0;
}

void
account_charge(Account *account, Service service, int64_t credits)
{
	/* other calls may have used them up since they were looked at */
	account->credits = account->credits > credits ? account->credits - credits : 0;
	account->charged += credits;
	if (service == SERVICE_VERIFY)
		account->daily_used++;
}

int64_t
account_next_day(void)
{
	return (clock_wall_ms() / DAY_MS + 1) * DAY_MS;
}

void
account_reset(Account *account)
{
	account->credits = settings.credits;
	account->charged = 0;
	account->daily_limit = settings.daily_limit;
	account->daily_used = 0;
	for (int i = 0; i < SERVICE_WINDOWS; i++)
		window_forget(&account->windows[i]);
}
