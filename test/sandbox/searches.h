/*-------------------------------------------------------------------------
 * searches.h
 *		Searches of the finder that go on after their request has ended.
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_SEARCHES_H
#define SANDBOX_SEARCHES_H

#include <stdbool.h>
#include <stdint.h>

#include "account.h"
#include "loop.h"

#define SEARCH_ID_SIZE 25		/* 24 hexadecimal digits */

typedef struct Search
{
	struct Search *next;
	char		id[SEARCH_ID_SIZE];
	char	   *name;
	char	   *domain;
	Account    *account;
	bool		over;			/* and paid for */
	int64_t		ended;			/* wall clock, ms */
	Timer		timer;
} Search;

/* Ends so many milliseconds from now. */
extern Search *search_add(Account *account, const char *name, const char *domain, int64_t ms);

/* NULL if there is none, or it is too old. */
extern Search *search_find(const char *id, const Account *account);
extern int64_t searches_running(void);
extern void searches_reset(void);

#endif							/* SANDBOX_SEARCHES_H */
