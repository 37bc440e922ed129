/*-------------------------------------------------------------------------
 * spending.c
 *		Budgets: may this role cause another paid call today?
 *
 * What was spent today is in memory, and was read from clearout_usage_parts
 * at the start, where it is written with the answers.  So a budget holds over
 * restarts; a kill forgets the calls that were in flight, as they are
 * forgotten by everybody.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "credits.h"
#include "guc.h"
#include "hindrance.h"
#include "price.h"
#include "spending.h"
#include "transaction.h"
#include "usage.h"

/* While the account is asked about its credits for the floor. */
#define BALANCE_GAP		INT64CONST(1000000)
#define READ_RETRY		INT64CONST(5000000)

/* Who waits for the next day looks so often, since the clock may be set. */
#define DAY_LOOK		INT64CONST(60000000)

struct CoSpender
{
	char		role[NAMEDATALEN];	/* hash key; "" is the whole database */
	int64		limit;			/* credits a day; -1: none */
	int64		spent;			/* today */
	int64		reserved;		/* for calls in flight */
	int			calls;			/* in flight, those that are free as well */
	bool		budgeted;		/* used while budgets are read */
	bool		passed_over;	/* work of his was, for want of a budget ... */
	int			passed_price;	/* ... the cheapest of it at this price */
};

static CoDatabase *mine = NULL;
static HTAB *spenders = NULL;
static CoSpender everybody = {"", -1, 0, 0, 0, false, false, 0};
static int32 today = 0;
static bool changed = false;	/* budgets have; for the next turn */
static bool relieved = false;
static bool anybody_waits = false;	/* some are passed_over */
static bool unreadable = false; /* what was spent is not known */
static char unreadable_reason[CO_REASON_SIZE];
static int64 read_again_at = 0;
static bool adopted = false;	/* there is more of it in the table */

/* The floor. */
static int64 balance_asked = 0; /* last time, by the clock */
static int64 balance_delay = BALANCE_GAP;
static int64 spent_then = 0;	/* value of the token's counter at that time */
static char balance_trouble[CO_REASON_SIZE];	/* why it was not told; "" */

/* ---------- who spends ---------- */

/* Who was asked for last: each call asks several times, and many follow each other. */
static CoSpender *last_spender = NULL;

static CoSpender *
spender_of(const char *role)
{
	char		key[NAMEDATALEN];
	CoSpender  *spender;
	bool		found;

	if (last_spender != NULL && strcmp(last_spender->role, role) == 0)
		return last_spender;
	if (spenders == NULL)
	{
		HASHCTL		control = {0};

		control.keysize = NAMEDATALEN;
		control.entrysize = sizeof(CoSpender);
		control.hcxt = TopMemoryContext;
		spenders = hash_create("clearout spenders", 32, &control,
							   HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	}
	strlcpy(key, role, sizeof(key));
	spender = hash_search(spenders, key, HASH_ENTER, &found);
	if (!found)
	{
		spender->limit = -1;
		spender->spent = spender->reserved = 0;
		spender->calls = 0;
		spender->budgeted = spender->passed_over = false;
		spender->passed_price = 0;
	}
	last_spender = spender;
	return spender;
}

static bool
allows(const CoSpender *spender, int price)
{
	return price == 0 || spender->limit < 0 ||
		spender->spent + spender->reserved + price <= spender->limit;
}

/* What the status view shows. */
static void
show(void)
{
	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	mine->budget = everybody.limit;
	mine->budget_spent = everybody.spent + everybody.reserved;
	mine->budget_day = today;
	LWLockRelease(co_shared->lock);
}

/* ---------- budgets ---------- */

static const Oid no_types[] = {INT4OID};
static CoStatement read_budgets =
{CO_TABLE_BUDGETS, "SELECT role, credits_per_day FROM %s.clearout_budgets", 0, no_types, NULL, ""};

static void
set_limit(CoSpender *spender, int64 limit)
{
	if (spender->limit != limit)
		changed = true;
	spender->limit = limit;
}

static void
read_step(CoCatalog *catalog, void *argument)
{
	uint64		rows = co_execute(catalog, &read_budgets, NULL, NULL);

	(void) argument;
	if (SPI_gettypeid(SPI_tuptable->tupdesc, 1) != NAMEOID ||
		SPI_gettypeid(SPI_tuptable->tupdesc, 2) != INT8OID)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"clearout_budgets\" does not fit the library of the extension \"clearout\"")));
	for (uint64 i = 0; i < rows; i++)
	{
		bool		isnull;
		Datum		role = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);
		Datum		limit = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull);
		CoSpender  *spender = spender_of(NameStr(*DatumGetName(role)));

		set_limit(spender, DatumGetInt64(limit));
		spender->budgeted = true;
	}
}

/* Forget who matters no longer. */
static void
sweep(void)
{
	HASH_SEQ_STATUS scan;
	CoSpender  *spender;

	if (spenders == NULL)
		return;
	last_spender = NULL;
	hash_seq_init(&scan, spenders);
	while ((spender = hash_seq_search(&scan)) != NULL)
	{
		if (spender->limit < 0 && spender->spent == 0 && spender->calls == 0)
			(void) hash_search(spenders, spender->role, HASH_REMOVE, NULL);
	}
}

void
co_spending_reread(void)
{
	CoTrouble	trouble;
	HASH_SEQ_STATUS scan;
	CoSpender  *spender;

	set_limit(&everybody, co_daily_budget > 0 ? co_daily_budget : -1);
	(void) spender_of("");		/* so that there is a table */
	hash_seq_init(&scan, spenders);
	while ((spender = hash_seq_search(&scan)) != NULL)
		spender->budgeted = false;
	if (co_run(read_step, NULL, &trouble))
	{
		hash_seq_init(&scan, spenders);
		while ((spender = hash_seq_search(&scan)) != NULL)
		{
			if (!spender->budgeted)
				set_limit(spender, -1);
		}
	}
	else
		ereport(LOG, (errmsg("clearout: clearout_budgets could not be read: %s", trouble.message)));
	sweep();
	balance_delay = BALANCE_GAP;
	show();
}

static void
note_spent(const char *role, int64 credits)
{
	spender_of(role)->spent += credits;
	everybody.spent += credits;
}

static void
forget_spent(void)
{
	HASH_SEQ_STATUS scan;
	CoSpender  *spender;

	everybody.spent = 0;
	if (spenders == NULL)
		return;
	hash_seq_init(&scan, spenders);
	while ((spender = hash_seq_search(&scan)) != NULL)
	{
		spender->spent = 0;
		spender->passed_over = false;
	}
}

static void
read_spent(void)
{
	static bool complained = false;

	forget_spent();
	unreadable = !co_usage_read(today, note_spent, unreadable_reason, sizeof(unreadable_reason));
	if (unreadable && !complained)
		ereport(LOG, (errmsg("clearout: usage of today could not be read: %s", unreadable_reason)));
	complained = unreadable;
	read_again_at = unreadable ? co_clock() + READ_RETRY : 0;
}

void
co_spending_init(CoDatabase *database)
{
	mine = database;
	today = co_usage_today();
	read_spent();
	co_spending_reread();
}

void
co_spending_adopted(void)
{
	adopted = true;
}

bool
co_spending_turn(void)
{
	int32		day = co_usage_today();
	bool		any = changed;

	changed = false;
	if (any)
		anybody_waits = false;
	if (day != today)
	{
		/*
		 * Something was spent on it before, if the clock was set back over
		 * midnight.  Until that is read, no budget is spent.
		 */
		co_usage_flush();
		today = day;
		forget_spent();
		unreadable = true;
		strlcpy(unreadable_reason, "the usage of the day is still to be read", sizeof(unreadable_reason));
		read_again_at = co_clock();
		anybody_waits = false;
		sweep();
		any = true;
		show();
	}
	if (adopted)
		co_usage_flush();
	if (adopted || (unreadable && co_clock() >= read_again_at))
	{
		/* What is not written yet would not be in it. */
		if (co_usage_flush_at() != 0)
			read_again_at = co_usage_flush_at();
		else
		{
			adopted = false;
			read_spent();
			any |= !unreadable;
			show();
		}
	}
	return any;
}

bool
co_spending_wants_turn(void)
{
	return changed || relieved;
}

bool
co_spending_is_relieved(void)
{
	bool		result = relieved;

	relieved = false;
	return result;
}

/* ---------- asking ---------- */

static CoCredits *
credits_of_token(void)
{
	return &co_shared->token[mine->token].credits;
}

static CoCredits
credits_now(void)
{
	CoCredits	credits;

	LWLockAcquire(co_shared->lock, LW_SHARED);
	credits = *credits_of_token();
	LWLockRelease(co_shared->lock);
	return credits;
}

const char *
co_spending_hindrance(int price)
{
	static char text[CO_REASON_SIZE];
	CoCredits	credits;

	if (price == 0)
		return NULL;
	if (!allows(&everybody, price))
	{
		snprintf(text, sizeof(text),
				 "This database has spent " INT64_FORMAT " of " INT64_FORMAT " credits today (UTC), and " INT64_FORMAT " more may be spent by calls in flight: see clearout.daily_budget.",
				 everybody.spent, everybody.limit, everybody.reserved);
		return text;
	}
	if (unreadable && everybody.limit >= 0)
	{
		snprintf(text, sizeof(text), "What was spent today is not known: %s.", unreadable_reason);
		return text;
	}
	if (co_credit_floor == 0 || mine->token < 0)
		return NULL;
	credits = credits_now();
	if (co_credits_allow(&credits, co_credit_floor, price))
		return NULL;
	if (!credits.known)
		snprintf(text, sizeof(text), "The account's credits are not known, which clearout.credit_floor needs%s%s.",
				 balance_trouble[0] ? ": " : "", balance_trouble);
	else
		snprintf(text, sizeof(text),
				 "The account has about " INT64_FORMAT " credits left, and clearout.credit_floor is %d.",
				 co_credits_left(&credits), co_credit_floor);
	return text;
}

const char *
co_spending_shown_hindrance(void)
{
	/* Nobody has needed them so far. */
	if (co_credit_floor > 0 && mine->token >= 0 && balance_trouble[0] == '\0' &&
		!credits_now().known)
		return allows(&everybody, 1) ? NULL : co_spending_hindrance(1);
	return co_spending_hindrance(1);
}

bool
co_spending_bounds_all(void)
{
	return everybody.limit >= 0;
}

bool
co_spending_bounds(const char *role)
{
	return everybody.limit >= 0 || spender_of(role)->limit >= 0;
}

bool
co_spending_allows(const char *role, int price)
{
	CoSpender  *spender;

	if (price == 0)
		return true;
	spender = spender_of(role);
	if (allows(spender, price) && !(unreadable && spender->limit >= 0))
		return true;
	spender->passed_price = spender->passed_over ? Min(spender->passed_price, price) : price;
	spender->passed_over = anybody_waits = true;
	return false;
}

const char *
co_spending_refusal(const char *role)
{
	static char text[CO_REASON_SIZE];
	const CoSpender *spender = spender_of(role);

	snprintf(text, sizeof(text),
			 "Role \"%s\" has spent " INT64_FORMAT " of " INT64_FORMAT " credits today (UTC), and " INT64_FORMAT " more may be spent by calls in flight: see clearout_set_budget().",
			 role, spender->spent, spender->limit, spender->reserved);
	return text;
}

bool
co_spending_anybody_waits(void)
{
	return anybody_waits;
}

Datum
co_spending_used_up_roles(void)
{
	HASH_SEQ_STATUS scan;
	CoSpender  *spender;
	ArrayBuildState *state = initArrayResult(NAMEOID, CurrentMemoryContext, false);

	if (spenders != NULL)
	{
		hash_seq_init(&scan, spenders);
		while ((spender = hash_seq_search(&scan)) != NULL)
		{
			if (!allows(spender, 1))
				state = accumArrayResult(state,
										 DirectFunctionCall1(namein, CStringGetDatum(spender->role)),
										 false, NAMEOID, CurrentMemoryContext);
		}
	}
	return makeArrayResult(state, CurrentMemoryContext);
}

int64
co_spending_wake_at(void)
{
	if (unreadable)
		return read_again_at;
	return co_clock() + Min(Max(co_usage_end_of_day(today) - GetCurrentTimestamp(), 0), DAY_LOOK);
}

/* ---------- spending ---------- */

static void
begin(CoCharge *charge, const char *role, CoService service, int price)
{
	CoSpender  *spender = spender_of(role);

	Assert(charge->spender == NULL);
	charge->spender = spender;
	charge->service = service;
	charge->price = price;
	charge->day = today;
	spender->calls++;
	if (price == 0)
		return;
	spender->reserved += price;
	everybody.reserved += price;
	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	co_credits_start(credits_of_token(), price);
	mine->reserved += price;
	mine->budget_spent = everybody.spent + everybody.reserved;
	LWLockRelease(co_shared->lock);
}

void
co_spending_begin(CoCharge *charge, const char *role, CoEndpointId endpoint)
{
	begin(charge, role, co_endpoints[endpoint].service, co_price_most(endpoint));
}

void
co_spending_begin_list(CoCharge *charge, const char *role, CoService service, int price)
{
	begin(charge, role, service, price);
}

static void
end(CoCharge *charge, int credits)
{
	CoSpender  *spender = charge->spender;
	int			price = charge->price;
	bool		had_too_little = !allows(spender, spender->passed_price);

	charge->spender = NULL;
	spender->calls--;
	if (price == 0 && credits == 0)
		return;
	spender->reserved -= price;
	everybody.reserved -= price;
	if (charge->day == today)
	{
		spender->spent += credits;
		everybody.spent += credits;
	}
	if (spender->passed_over && had_too_little && allows(spender, spender->passed_price))
	{
		spender->passed_over = false;
		relieved = true;
	}
	LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
	co_credits_end(credits_of_token(), price, credits);
	mine->reserved -= price;
	mine->budget_spent = everybody.spent + everybody.reserved;
	LWLockRelease(co_shared->lock);
}

void
co_spending_end(CoCharge *charge, const char *status, int credits)
{
	if (charge->spender == NULL)
		return;
	co_usage_count(charge->day, charge->service, charge->spender->role, status, true, credits);
	end(charge, credits);
}

void
co_spending_end_open(CoCharge *charge)
{
	/* The calls that only ask how far it is are free, and add nothing. */
	co_spending_end(charge, "", charge->price);
}

void
co_spending_end_search(CoCharge *charge, TimestampTz began, int credits)
{
	int			correction = credits - co_price_most(CO_ENDPOINT_FIND);

	if (charge->spender == NULL)
		return;
	co_usage_count(charge->day, charge->service, charge->spender->role, "", true, 0);
	charge->day = (int32) (began / USECS_PER_DAY);
	if (correction != 0)
		co_usage_correct(charge->day, CO_SERVICE_FIND, charge->spender->role, correction);
	end(charge, correction);
}

void
co_spending_end_failed(CoCharge *charge, bool sent, bool maybe_paid)
{
	int			credits = maybe_paid ? charge->price : 0;

	if (charge->spender == NULL)
		return;
	co_usage_count(charge->day, charge->service, charge->spender->role, NULL, sent, credits);
	end(charge, credits);
}

/* ---------- the balance, for clearout.credit_floor ---------- */

int64
co_spending_balance_at(const bool *waiting, int64 now)
{
	CoCredits	credits;
	bool		any = false;

	if (co_credit_floor == 0 || mine->token < 0)
		return CO_HINDRANCE_NEVER;
	for (int i = 0; i < CO_SERVICE_COUNT; i++)
		any |= waiting[i] && i != CO_SERVICE_OTHER && i != CO_SERVICE_PUBLIC;
	if (!any)
		return CO_HINDRANCE_NEVER;
	credits = credits_now();
	if (co_credits_allow(&credits, co_credit_floor, 1) &&
		!co_credits_are_doubtful(&credits, co_credit_floor, now))
		return CO_HINDRANCE_NEVER;
	return balance_asked == 0 ? now : balance_asked + balance_delay;
}

void
co_spending_balance_started(int64 now)
{
	balance_asked = now;
	spent_then = credits_now().spent;
}

void
co_spending_balance_landed(const CoCreditsAnswer *answer, const char *text)
{
	CoCredits	credits;

	if (mine->token < 0)
		return;
	if (answer != NULL)
	{
		LWLockAcquire(co_shared->lock, LW_EXCLUSIVE);
		co_credits_told(credits_of_token(), answer->available, spent_then, co_clock());
		co_shared->token[mine->token].credits_told = GetCurrentTimestamp();
		LWLockRelease(co_shared->lock);
	}
	strlcpy(balance_trouble,
			answer == NULL ? text : answer->available < 0 ? "the account does not tell them" : "",
			sizeof(balance_trouble));
	credits = credits_now();
	if (co_credit_floor == 0 || co_credits_allow(&credits, co_credit_floor, 1))
		balance_delay = BALANCE_GAP;
	else
		balance_delay = Min(Max(balance_delay * 2, CO_CHECK_FIRST), CO_CHECK_LAST);
}
