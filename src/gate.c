/*-------------------------------------------------------------------------
 * gate.c
 *		Which services take calls now?  The worker's side of pauses.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "gate.h"
#include "price.h"
#include "transaction.h"

/* A caller who comes while the balance is asked for waits for it so long. */
#define BALANCE_PATIENCE	INT64CONST(2000000)
#define WRITE_RETRY			INT64CONST(5000000)

static CoHindrance hindrance[CO_SERVICE_COUNT];

/* While paused: what the service has said, and since when. */
static CoReply reply[CO_SERVICE_COUNT];
static TimestampTz since[CO_SERVICE_COUNT];

static int64 balance_asked_at = 0;	/* 0: it is not being asked for */
static int64 balance_not_before = 0;

static bool changed = false;	/* clearout_pauses says something else */
static int64 write_retry_at = 0;

/* ---------- pauses ---------- */

static const char *
cause_word(CoPause cause)
{
	switch (cause)
	{
		case CO_PAUSE_UNAUTHORIZED:
			return "token";
		case CO_PAUSE_CREDITS:
			return "credits";
		case CO_PAUSE_DAILY_LIMIT:
			return "daily limit";
		case CO_PAUSE_NONE:
			break;
	}
	return "none";
}

static CoErrorClass
error_class(CoPause cause)
{
	return cause == CO_PAUSE_UNAUTHORIZED ? CO_ERROR_UNAUTHORIZED :
		cause == CO_PAUSE_CREDITS ? CO_ERROR_CREDITS : CO_ERROR_DAILY_LIMIT;
}

static const char *
what_ends_it(CoPause cause)
{
	switch (cause)
	{
		case CO_PAUSE_UNAUTHORIZED:
			return "They go on when the token file or a setting changes, after clearout_resume(), or when the service takes the token again.";
		case CO_PAUSE_CREDITS:
			return "They go on when the account has credits again, which is asked now and then, free of charge.";
		case CO_PAUSE_DAILY_LIMIT:
			return "They go on the next day, or when the limit is raised, which is asked now and then, free of charge.";
		case CO_PAUSE_NONE:
			break;
	}
	return "";
}

/* "HTTP 402, code 1002" */
static const char *
describe(CoService service)
{
	static char text[CO_REASON_SIZE];

	co_outcome_describe(&reply[service].outcome, text, sizeof(text));
	return text;
}

static int64
wall_clock(void)
{
	return GetCurrentTimestamp() +
		(int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}

bool
co_gate_allows(CoService service, bool interactive, int64 now, int64 *when)
{
	return co_hindrance_allows(&hindrance[service], interactive, now, when);
}

void
co_gate_started(CoService service, bool interactive, int64 now, int64 timeout)
{
	co_hindrance_start(&hindrance[service], interactive, now, timeout);
}

/* Those that were paused along with another service are not worth a line. */
static void
note_over(CoService service, bool own)
{
	if (own)
		ereport(LOG, (errmsg("clearout: the service takes %s calls again", co_service_name(service))));
	changed = true;
}

void
co_gate_success(CoService service, int64 started)
{
	bool		own = hindrance[service].own;

	if (co_hindrance_success(&hindrance[service], started))
		note_over(service, own);
}

static void
pause_service(CoService service, CoPause cause, bool own, int64 started,
			  const CoOutcome *outcome)
{
	if (!co_hindrance_pause(&hindrance[service], cause, own, started, co_clock(),
							wall_clock()))
		return;
	memset(&reply[service], 0, sizeof(CoReply));
	reply[service].error_class = error_class(cause);
	reply[service].outcome = *outcome;
	reply[service].outcome.message[0] = '\0';	/* it is for one caller alone */
	since[service] = GetCurrentTimestamp();
	changed = true;
	write_retry_at = 0;
}

/* A token is refused for all services; credits are short for one. */
static void
begin_pause(CoService service, CoPause cause, int64 started, const CoOutcome *outcome)
{
	bool		was_paused = hindrance[service].pause == cause;

	pause_service(service, cause, true, started, outcome);
	if (cause == CO_PAUSE_UNAUTHORIZED)
	{
		for (int i = 0; i < CO_SERVICE_COUNT; i++)
		{
			if (i != service && i != CO_SERVICE_PUBLIC)
				pause_service(i, cause, false, started, outcome);
		}
	}
	if (!was_paused && hindrance[service].pause == cause)
		ereport(LOG,
				(cause == CO_PAUSE_UNAUTHORIZED ?
				 errmsg("clearout: the service refuses all calls: %s", describe(service)) :
				 errmsg("clearout: the service refuses all %s calls: %s",
						co_service_name(service), describe(service)),
				 errdetail("%s", what_ends_it(cause))));
}

void
co_gate_failure(CoService service, int64 started, const CoOutcome *outcome,
				const CoDecision *decision)
{
	if (decision->action == CO_ACTION_PAUSE)
		begin_pause(service, decision->pause, started, outcome);
	else
		co_hindrance_failure(&hindrance[service], started,
							 decision->error_class == CO_ERROR_BAD_INPUT ||
							 decision->action == CO_ACTION_WINDOW,
							 co_clock());
}

bool
co_gate_is_paused(CoService service)
{
	return hindrance[service].pause != CO_PAUSE_NONE;
}

bool
co_gate_is_unauthorized(void)
{
	for (int i = 0; i < CO_SERVICE_COUNT; i++)
	{
		if (hindrance[i].pause == CO_PAUSE_UNAUTHORIZED)
			return true;
	}
	return false;
}

const CoReply *
co_gate_reply(CoService service)
{
	Assert(co_gate_is_paused(service));
	return &reply[service];
}

const char *
co_gate_reason(void)
{
	static char text[CO_REASON_SIZE];

	for (int i = 0; i < CO_SERVICE_COUNT; i++)
	{
		if (hindrance[i].pause == CO_PAUSE_NONE)
			continue;
		if (hindrance[i].pause == CO_PAUSE_UNAUTHORIZED)
			snprintf(text, sizeof(text), "The service refuses all calls: %s.", describe(i));
		else
			snprintf(text, sizeof(text), "The service refuses all %s calls: %s.",
					 co_service_name(i), describe(i));
		return text;
	}
	return "";
}

void
co_gate_lift(void)
{
	for (int i = 0; i < CO_SERVICE_COUNT; i++)
		changed |= co_hindrance_lift(&hindrance[i]);
	balance_not_before = 0;
}

/* ---------- the balance ---------- */

int64
co_gate_balance_at(const bool *waiting, int64 wish)
{
	int64		at = wish;

	if (balance_asked_at != 0)
		return CO_HINDRANCE_NEVER;
	for (int i = 0; i < CO_SERVICE_COUNT; i++)
		at = Min(at, co_hindrance_balance_at(&hindrance[i], waiting[i]));
	return Max(at, balance_not_before);
}

void
co_gate_balance_later(int64 when)
{
	balance_not_before = when;
}

void
co_gate_balance_started(int64 now)
{
	balance_asked_at = now;
	balance_not_before = 0;
}

bool
co_gate_balance_asked(void)
{
	return balance_asked_at != 0;
}

int64
co_gate_balance_near_until(void)
{
	return Max(balance_asked_at, balance_not_before) + BALANCE_PATIENCE;
}

bool
co_gate_balance_is_near(int64 now)
{
	return (balance_asked_at != 0 || balance_not_before > now) &&
		now < co_gate_balance_near_until();
}

void
co_gate_balance_landed(const CoCreditsAnswer *answer, const CoOutcome *outcome)
{
	int64		now = co_clock();
	int64		asked_at = balance_asked_at;
	CoRetryPolicy policy = {1, 1, 1};
	CoDecision	decision = co_retry_decide(outcome, 1, false, now, 0, &policy);
	CoBalance	balance = {false, -1, -1, 0};

	balance_asked_at = 0;
	if (decision.action == CO_ACTION_PAUSE && decision.pause == CO_PAUSE_UNAUTHORIZED)
	{
		begin_pause(CO_SERVICE_OTHER, decision.pause, asked_at, outcome);
		for (int i = 0; i < CO_SERVICE_COUNT; i++)
		{
			if (hindrance[i].pause == CO_PAUSE_UNAUTHORIZED)
				co_hindrance_told_unauthorized(&hindrance[i], now);
		}
		return;
	}
	if (outcome->fault == CO_FAULT_NONE)
	{
		balance.answered = true;
		balance.credits = answer->available;
		balance.daily_left = answer->daily_limit_available;
		balance.daily_reset = answer->daily_limit_reset;
	}
	for (int i = 0; i < CO_SERVICE_COUNT; i++)
	{
		int64		until = hindrance[i].until;
		bool		own = hindrance[i].own;

		/* Paused since it was asked for?  Then it may know less. */
		if (hindrance[i].pause == CO_PAUSE_NONE || hindrance[i].since > asked_at)
			continue;
		if (co_hindrance_told(&hindrance[i], &balance, co_price_least(i), now, wall_clock()))
			note_over(i, own);
		else if (hindrance[i].until != until)
			changed = true;
	}
}

/* ---------- clearout_pauses ---------- */

static const Oid pause_types[] = {
	TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID,
	INT4OID, INT4OID, BOOLOID, BOOLOID
};
static CoStatement put_pause =
{CO_TABLE_PAUSES, "INSERT INTO %s.clearout_pauses"
	" (service, cause, reason, since, until, http_status, code, own, confirmed)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
	" ON CONFLICT (service) DO UPDATE SET (cause, reason, since, until,"
	" http_status, code, own, confirmed) = ROW (excluded.cause,"
	" excluded.reason, excluded.since, excluded.until, excluded.http_status,"
	" excluded.code, excluded.own, excluded.confirmed)",
9, pause_types, NULL, ""};

static CoStatement delete_pause =
{CO_TABLE_PAUSES, "DELETE FROM %s.clearout_pauses WHERE service = $1", 1, pause_types, NULL, ""};

static CoStatement read_pauses =
{CO_TABLE_PAUSES, "SELECT service, cause, since, until, http_status, code, own, confirmed"
	" FROM %s.clearout_pauses", 0, pause_types, NULL, ""};

static TimestampTz
from_wall(int64 wall)
{
	return wall - (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}

static void
write_step(CoCatalog *catalog, void *argument)
{
	(void) argument;
	for (int i = 0; i < CO_SERVICE_COUNT; i++)
	{
		const CoHindrance *h = &hindrance[i];
		Datum		values[9];
		char		nulls[] = "         ";

		values[0] = CStringGetTextDatum(co_service_name(i));
		if (h->pause == CO_PAUSE_NONE)
		{
			(void) co_execute(catalog, &delete_pause, values, " ");
			continue;
		}
		values[1] = CStringGetTextDatum(cause_word(h->pause));
		values[2] = CStringGetTextDatum(describe(i));
		values[3] = TimestampTzGetDatum(since[i]);
		nulls[4] = h->until == 0 ? 'n' : ' ';
		values[4] = TimestampTzGetDatum(from_wall(h->until));
		values[5] = Int32GetDatum(reply[i].outcome.http_status);
		values[6] = Int32GetDatum(reply[i].outcome.code);
		values[7] = BoolGetDatum(h->own);
		values[8] = BoolGetDatum(h->confirmed);
		(void) co_execute(catalog, &put_pause, values, nulls);
	}
}

int64
co_gate_write_at(void)
{
	return changed ? Max(write_retry_at, 1) : 0;
}

void
co_gate_write(void)
{
	CoTrouble	trouble;

	if (!changed || co_clock() < write_retry_at)
		return;
	if (co_run(write_step, NULL, &trouble))
	{
		changed = false;
		write_retry_at = 0;
		return;
	}
	if (write_retry_at == 0)
		ereport(LOG, (errmsg("clearout: clearout_pauses could not be written: %s", trouble.message)));
	write_retry_at = co_clock() + WRITE_RETRY;
}

/* A column that must be there; the table's owner may have changed it. */
static Datum
column(uint64 row, int number, Oid type, bool *isnull)
{
	if (SPI_gettypeid(SPI_tuptable->tupdesc, number) != type)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"clearout_pauses\" does not fit the library of the extension \"clearout\"")));
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number, isnull);
}

static void
take_over(uint64 row)
{
	bool		isnull[8];
	Datum		value[8];
	CoOutcome	outcome = {0};
	char	   *service;
	char	   *cause;
	static const Oid types[] = {
		TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID, INT4OID, BOOLOID, BOOLOID
	};

	for (int i = 0; i < lengthof(types); i++)
	{
		value[i] = column(row, i + 1, types[i], &isnull[i]);
		if (isnull[i] && i != 3)
			return;
	}
	service = TextDatumGetCString(value[0]);
	cause = TextDatumGetCString(value[1]);
	outcome.fault = CO_FAULT_SERVICE;
	outcome.sent = true;
	outcome.http_status = DatumGetInt32(value[4]);
	outcome.code = DatumGetInt32(value[5]);

	for (int i = 0; i < CO_SERVICE_COUNT; i++)
	{
		if (strcmp(service, co_service_name(i)) != 0)
			continue;
		for (CoPause pause = CO_PAUSE_UNAUTHORIZED; pause <= CO_PAUSE_DAILY_LIMIT; pause++)
		{
			if (strcmp(cause, cause_word(pause)) != 0)
				continue;
			pause_service(i, pause, DatumGetBool(value[6]), co_clock(), &outcome);
			since[i] = DatumGetTimestampTz(value[2]);
			hindrance[i].confirmed = DatumGetBool(value[7]);
			hindrance[i].asked = true;	/* again as soon as somebody comes */
		}
	}
}

static void
read_step(CoCatalog *catalog, void *argument)
{
	uint64		rows = co_execute(catalog, &read_pauses, NULL, NULL);

	(void) argument;
	for (uint64 i = 0; i < rows; i++)
		take_over(i);
}

void
co_gate_init(void)
{
	CoTrouble	trouble;

	for (int i = 0; i < CO_SERVICE_COUNT; i++)
		co_hindrance_init(&hindrance[i]);
	if (!co_run(read_step, NULL, &trouble))
		ereport(LOG, (errmsg("clearout: clearout_pauses could not be read: %s", trouble.message)));
	changed = false;
}
