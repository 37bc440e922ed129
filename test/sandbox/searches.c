/*-------------------------------------------------------------------------
 * searches.c
 *		Searches of the finder that go on after their request has ended.
 *
 * What is found is paid for when it is found, whether or not somebody asks.
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "clock.h"
#include "people.h"
#include "searches.h"
#include "settings.h"
#include "stats.h"
#include "text.h"

static Search *searches;

static void
search_free(Search *search)
{
	timer_cancel(&search->timer);
	free(search->name);
	free(search->domain);
	free(search);
}

/* Its time is up: once to be found, once to be forgotten. */
static void
on_timer(void *arg)
{
	Search	   *search = arg;
	Search	  **link = &searches;
	Person		person;

	if (!search->over)
	{
		people_find(search->name, search->domain, &person);
		search->over = true;
		search->ended = clock_wall_ms();
		if (person.credits > 0)
		{
			account_charge(search->account, SERVICE_FIND, person.credits);
			stats.charged += person.credits;
		}
		timer_set(&search->timer, clock_ms() + settings.queue_life);
		return;
	}
	while (*link != search)
		link = &(*link)->next;
	*link = search->next;
	search_free(search);
}

Search *
search_add(Account *account, const char *name, const char *domain, int64_t ms)
{
	Search	   *search = need(sizeof(*search));
	unsigned char dice[(SEARCH_ID_SIZE - 1) / 2];

	memset(search, 0, sizeof(*search));
	if (getrandom(dice, sizeof(dice), 0) != sizeof(dice))
		abort();
	for (size_t i = 0; i < sizeof(dice); i++)
		sprintf(search->id + 2 * i, "%02x", dice[i]);
	search->account = account;
	search->name = need_copy(name);
	search->domain = need_copy(domain);
	search->timer.fire = on_timer;
	search->timer.arg = search;
	timer_set(&search->timer, clock_ms() + ms);
	search->next = searches;
	searches = search;
	return search;
}

Search *
search_find(const char *id, const Account *account)
{
	for (Search *search = searches; search; search = search->next)
		if (strcmp(search->id, id) == 0)
			return search->account == account ? search : NULL;
	return NULL;
}

int64_t
searches_running(void)
{
	int64_t		count = 0;

	for (Search *search = searches; search; search = search->next)
		count += !search->over;
	return count;
}

void
searches_reset(void)
{
	while (searches)
	{
		Search	   *next = searches->next;

		search_free(searches);
		searches = next;
	}
}
