/*-------------------------------------------------------------------------
 * test_governor.c
 *		The rate governor against a simulated service.
 *
 * The service counts a call when it arrives, a little after it was sent, and
 * answers 429 beyond its limit; its windows lie on a grid or begin with the
 * first call after the former window.  The clients are worker processes that
 * share one governor, wake up late, and keep so many calls in flight; there
 * may be another client, whose calls the governor never sees.  A scenario is
 * run for every phase, rounding, kind of window and header time it names, and
 * the worst of the runs counts.
 *
 * With an argument, only the scenarios whose name contains it are run, with
 * more phases, and their results are printed.
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "governor.h"

#define MS		INT64_C(1000)
#define SECOND	INT64_C(1000000)
#define MINUTE	(60 * SECOND)

#define MAX_WINDOWS 4096
#define MAX_EVENTS 16384
#define MAX_WORKERS 64

/* What the headers do */
typedef enum Manners
{
	HONEST,
	OFTEN_ABSENT,				/* half of the answers have none */
	SOMETIMES_ABSURD,			/* one in twenty is nonsense */
	NEVER_THERE
} Manners;

typedef struct Scenario
{
	const char *name;
	int			limit;
	int64_t		window;
	int64_t		fastest;		/* latency, uniform between the two */
	int64_t		slowest;
	int			windows;		/* how many to run */
	int			skip;			/* so many at the beginning do not count */
	double		use;			/* each full window is used at least so far */
	double		mean;			/* all of them together */
	double		refused;		/* share of our calls that may get a 429 */
	/* what few scenarios have; 0 is the plain case */
	int			parallel;		/* calls in flight, all workers; 0 = plenty */
	int			workers;		/* processes; 0 = 1 */
	int			phases;			/* of the windows, to begin with; 0 = 3 */
	int			configured;
	double		others;			/* calls of another client, share of limit */
	int			limit_later;	/* from half time on */
	int64_t		busy;			/* work comes in spells of this length ... */
	int64_t		idle;			/* ... with such pauses; 0 = always work */
	Manners		manners;
	int			lost;			/* of a thousand calls so many get no answer */
	int			drift;			/* service's clock, parts per million */
	int64_t		interactive;	/* mean time between interactive calls */
	bool		only_persons;	/* all calls are interactive */
	int64_t		uplink;			/* sent to counted, at most; 0 = 5 ms */
	int			die;			/* a process dies after so many calls */
} Scenario;

typedef enum Rounding
{
	CEIL,
	FLOOR,
	NEAREST,
	ROUNDINGS
} Rounding;

static const char *const rounding_name[] = {"ceil", "floor", "nearest"};

typedef enum EventKind
{
	WAKE,						/* a worker looks for calls to start */
	ARRIVE,						/* a call reaches the service */
	ANSWER,						/* its answer reaches us */
	OTHER,						/* the other client calls */
	PERSON						/* an interactive call is wanted */
} EventKind;

typedef struct Event
{
	int64_t		at;
	uint64_t	serial;			/* ties: in order of insertion */
	int64_t		answer_at;
	EventKind	kind;
	int			worker;
	bool		interactive;
	bool		limited;
	bool		lost;
	CoTicket	ticket;
	CoRateHeaders headers;
} Event;

/* The variant of a scenario, and its state */
typedef struct Sim
{
	const Scenario *scenario;
	Rounding	rounding;
	bool		first_call;
	bool		at_response;	/* headers are made then */
	int64_t		phase;

	uint64_t	random;
	uint64_t	serial;
	Event		heap[MAX_EVENTS];
	int			events;
	int64_t		now;

	/* the service */
	int			limit;
	int64_t		window_end;		/* in service time */
	int			counted;
	int			closed;			/* windows recorded */
	double		use[MAX_WINDOWS];
	int64_t		begun[MAX_WINDOWS];
	int64_t		window_begin;

	/* the clients */
	CoGovernor	governor;
	int			in_flight[MAX_WORKERS];
	int64_t		wake_at[MAX_WORKERS];	/* earliest planned, 0 = none */
	int			persons;		/* interactive calls that wait */
	int64_t		person_since;
	bool		person_early;	/* asked before the last part of a window */
	int			calls;
	int			refused;
	int			early;			/* calls before the first headers */
	int			asked;			/* interactive calls */
	int			delayed;		/* of these, had to wait */
	bool		headers_seen;
	bool		abandoned;
} Sim;

/* What a scenario came to, over all its runs */
typedef struct Result
{
	int			runs;
	double		use;
	double		mean;
	double		refused;
	int			refusals;
	int			leaked;			/* runs where in_flight was wrong */
	int			hasty;			/* runs with too many calls before headers */
	double		delayed;
	char		worst[160];
} Result;

static double
uniform(Sim *sim)
{
	sim->random ^= sim->random << 13;
	sim->random ^= sim->random >> 7;
	sim->random ^= sim->random << 17;
	return (double) (sim->random >> 11) / 9007199254740992.0;
}

static int64_t
between(Sim *sim, int64_t low, int64_t high)
{
	return low + (int64_t) (uniform(sim) * (double) (high - low));
}

/* ---------- events, a binary heap ---------- */

static bool
before(const Event *a, const Event *b)
{
	return a->at != b->at ? a->at < b->at : a->serial < b->serial;
}

static void
push(Sim *sim, Event event)
{
	int			i = sim->events++;

	if (sim->events > MAX_EVENTS)
		abort();
	event.serial = sim->serial++;
	for (; i > 0 && before(&event, &sim->heap[(i - 1) / 2]); i = (i - 1) / 2)
		sim->heap[i] = sim->heap[(i - 1) / 2];
	sim->heap[i] = event;
}

static Event
pop(Sim *sim)
{
	Event		top = sim->heap[0];
	Event		last = sim->heap[--sim->events];
	int			i = 0;

	for (;;)
	{
		int			child = 2 * i + 1;

		if (child >= sim->events)
			break;
		if (child + 1 < sim->events && before(&sim->heap[child + 1], &sim->heap[child]))
			child++;
		if (!before(&sim->heap[child], &last))
			break;
		sim->heap[i] = sim->heap[child];
		i = child;
	}
	sim->heap[i] = last;
	return top;
}

/* ---------- the service ---------- */

/* Its clock may run faster or slower than ours. */
static int64_t
service_time(const Sim *sim)
{
	return sim->now + sim->now / 1000000 * sim->scenario->drift + sim->phase;
}

static void
window_close(Sim *sim)
{
	if (sim->window_end == 0 || sim->closed >= MAX_WINDOWS)
		return;
	sim->begun[sim->closed] = sim->window_begin;
	sim->use[sim->closed++] = (double) sim->counted / sim->limit;
}

/* Is there a window now?  On a grid, always. */
static bool
window_current(Sim *sim, bool begin)
{
	int64_t		now = service_time(sim);
	int64_t		length = sim->scenario->window;

	if (now < sim->window_end)
		return true;
	if (sim->first_call && !begin)
		return false;
	do
	{
		window_close(sim);
		sim->window_begin = sim->first_call ? now :
			sim->window_end ? sim->window_end : now - now % length;
		sim->window_end = sim->window_begin + length;
		sim->counted = 0;
	} while (now >= sim->window_end);
	return true;
}

static bool
service_count(Sim *sim)
{
	window_current(sim, true);
	if (sim->counted >= sim->limit)
		return false;
	sim->counted++;
	return true;
}

static CoRateHeaders
service_headers(Sim *sim)
{
	CoRateHeaders headers = {sim->limit, sim->limit, -1};
	int64_t		left = sim->scenario->window;

	if (window_current(sim, false))
	{
		left = sim->window_end - service_time(sim);
		headers.remaining = sim->limit - sim->counted;
	}
	switch (sim->rounding)
	{
		case FLOOR:
			headers.reset = (int) (left / SECOND);
			break;
		case NEAREST:
			headers.reset = (int) ((left + SECOND / 2) / SECOND);
			break;
		default:
			headers.reset = (int) ((left + SECOND - 1) / SECOND);
	}
	return headers;
}

static CoRateHeaders
spoil(Sim *sim, CoRateHeaders headers)
{
	static const CoRateHeaders nothing = {-1, -1, -1};

	switch (sim->scenario->manners)
	{
		case OFTEN_ABSENT:
			return uniform(sim) < 0.5 ? nothing : headers;
		case NEVER_THERE:
			return nothing;
		case SOMETIMES_ABSURD:
			if (uniform(sim) < 0.05)
			{
				headers.limit = (int) between(sim, 1, 1000000);
				headers.remaining = (int) between(sim, 0, 1000000);
				headers.reset = (int) between(sim, 0, 86400);
			}
			return headers;
		default:
			return headers;
	}
}

/* ---------- the clients ---------- */

static void
plan_wake(Sim *sim, int worker, int64_t at)
{
	Event		event = {.at = at, .kind = WAKE, .worker = worker};

	if (sim->wake_at[worker] != 0 && sim->wake_at[worker] <= at)
		return;
	sim->wake_at[worker] = at;
	push(sim, event);
}

static void
start_call(Sim *sim, int worker, bool interactive)
{
	const Scenario *scenario = sim->scenario;
	Event		event = {.kind = ARRIVE, .worker = worker, .interactive = interactive};
	int64_t		latency = between(sim, scenario->fastest, scenario->slowest + 1);
	int64_t		uplink = scenario->uplink ? scenario->uplink : 5 * MS;

	if (uplink > latency / 2)
		uplink = latency / 2;
	event.ticket = co_governor_start(&sim->governor, sim->now);
	event.at = sim->now + between(sim, 0, uplink + 1);
	event.answer_at = sim->now + latency;
	event.lost = uniform(sim) * 1000 < scenario->lost;
	push(sim, event);
	sim->in_flight[worker]++;
	sim->calls++;
	if (!sim->headers_seen)
		sim->early++;
}

static bool
has_work(const Sim *sim)
{
	const Scenario *scenario = sim->scenario;

	return scenario->idle == 0 ||
		sim->now % (scenario->busy + scenario->idle) < scenario->busy;
}

static void
work(Sim *sim, int worker)
{
	const Scenario *scenario = sim->scenario;
	int			workers = scenario->workers ? scenario->workers : 1;
	int			parallel = (scenario->parallel ? scenario->parallel : 4000) / workers;

	while (sim->in_flight[worker] < parallel)
	{
		bool		person = sim->persons > 0;
		bool		interactive = person || scenario->only_persons;
		int64_t		when;

		if (!person && !has_work(sim))
		{
			int64_t		cycle = scenario->busy + scenario->idle;

			plan_wake(sim, worker, (sim->now / cycle + 1) * cycle);
			return;
		}
		when = co_governor_when(&sim->governor, sim->now, interactive);
		if (when > sim->now)
		{
			/* our own answers wake us; other processes' do not */
			if (when == CO_GOVERNOR_NEVER)
				return;
			plan_wake(sim, worker, when + between(sim, 0, 5 * MS));
			if (!interactive)
				return;
			when = co_governor_when(&sim->governor, sim->now, false);
			if (when > sim->now)
				return;
			CHECK(false, "the queue may call where a person may not");
			return;
		}
		if (person)
		{
			sim->persons--;
			if (sim->person_early && sim->now - sim->person_since > 100 * MS)
				sim->delayed++;
		}
		start_call(sim, worker, interactive);
	}
}

static void
arrive(Sim *sim, Event event)
{
	event.limited = !service_count(sim);
	event.headers = service_headers(sim);
	event.kind = ANSWER;
	/* refusals are quick */
	event.at = event.limited ? sim->now + 5 * MS : event.answer_at;
	push(sim, event);
}

static void
answer(Sim *sim, Event *event)
{
	static const CoRateHeaders nothing = {-1, -1, -1};
	CoRateHeaders headers = event->headers;

	if (sim->at_response && !event->limited)
		headers = service_headers(sim);
	headers = event->lost ? nothing : spoil(sim, headers);
	if (headers.limit > 0)
		sim->headers_seen = true;
	if (event->limited && !event->lost)
		sim->refused++;

	if (sim->scenario->die && sim->calls > sim->scenario->die && !sim->abandoned)
	{
		/* worker 0 dies with all its calls, and a new one takes its place */
		sim->abandoned = true;
		co_governor_abandon(&sim->governor, sim->now, sim->in_flight[0]);
		sim->in_flight[0] = 0;
		for (int i = 0; i < sim->events; i++)
			if (sim->heap[i].worker == 0 && sim->heap[i].kind != OTHER)
				sim->heap[i].worker = -1;
		if (event->worker == 0)
			event->worker = -1;
		sim->wake_at[0] = 0;
		plan_wake(sim, 0, sim->now + SECOND);
	}
	if (event->worker < 0)
		return;
	co_governor_end(&sim->governor, &event->ticket, sim->now, &headers,
					event->limited && !event->lost, true);
	sim->in_flight[event->worker]--;
	plan_wake(sim, event->worker, sim->now + between(sim, 0, MS));
}

static void
step(Sim *sim, Event *event)
{
	switch (event->kind)
	{
		case WAKE:
			if (event->worker >= 0 && sim->wake_at[event->worker] == event->at)
			{
				sim->wake_at[event->worker] = 0;
				work(sim, event->worker);
			}
			break;
		case ARRIVE:
			arrive(sim, *event);
			break;
		case ANSWER:
			answer(sim, event);
			break;
		case OTHER:
			service_count(sim);
			event->at += (int64_t) ((double) sim->scenario->window /
									(sim->scenario->others * sim->limit));
			push(sim, *event);
			break;
		case PERSON:
			/* what is left for persons is given away late in the window */
			sim->persons++;
			sim->person_early = service_time(sim) < sim->window_end - sim->scenario->window * 3 / 10;
			sim->asked += sim->person_early;
			sim->person_since = sim->now;
			plan_wake(sim, 0, sim->now);
			event->at += between(sim, sim->scenario->interactive / 2,
								 sim->scenario->interactive * 3 / 2);
			push(sim, *event);
			break;
	}
}

static void
run(Sim *sim, Result *result)
{
	const Scenario *scenario = sim->scenario;
	int64_t		length = scenario->window * scenario->windows;
	int			workers = scenario->workers ? scenario->workers : 1;
	double		sum = 0;
	double		worst = 9;
	int			worst_window = -1;
	int			n = 0;
	bool		changed = false;
	CoGovernorState state;
	int			in_flight = 0;

	sim->random = UINT64_C(88172645463325252) ^ (uint64_t) (sim->phase * 977) ^
		((uint64_t) sim->rounding << 40) ^ ((uint64_t) sim->first_call << 44);
	for (int i = 0; i < 8; i++)
		uniform(sim);
	sim->limit = scenario->limit;
	sim->now = 1000 * SECOND;
	co_governor_init(&sim->governor, scenario->configured);
	for (int i = 0; i < workers; i++)
		plan_wake(sim, i, sim->now + i);
	if (scenario->others > 0)
		push(sim, (Event) {.at = sim->now, .kind = OTHER});
	if (scenario->interactive > 0)
		push(sim, (Event) {.at = sim->now + 20 * SECOND, .kind = PERSON});

	length += sim->now;
	while (sim->events > 0 && sim->heap[0].at < length)
	{
		Event		event = pop(sim);

		sim->now = event.at;
		if (scenario->limit_later && !changed &&
			sim->now > length - scenario->window * scenario->windows / 2 &&
			service_time(sim) >= sim->window_end)
		{
			/* at the turn of a window */
			window_current(sim, true);
			sim->limit = scenario->limit_later;
			changed = true;
		}
		step(sim, &event);
	}

	/* the first window is seldom a full one */
	for (int i = 1 + scenario->skip; i < sim->closed; i++)
	{
		sum += sim->use[i];
		n++;
		if (sim->use[i] < worst)
		{
			worst = sim->use[i];
			worst_window = i;
		}
	}
	if (sim->first_call)
	{
		/* a window not begun in time is lost, too */
		int64_t		span = n > 0 ? sim->window_begin - sim->begun[1 + scenario->skip] : 0;

		sum = span > 0 ? sum * (double) scenario->window / (double) span : 0;
	}
	else
		sum = n > 0 ? sum / n : 0;
	if (n == 0)
		worst = 0;
	for (int i = 0; i < workers; i++)
		in_flight += sim->in_flight[i];
	co_governor_state(&sim->governor, sim->now, &state);
	if (state.in_flight != in_flight)
		result->leaked++;

	result->runs++;
	result->refusals += sim->refused;
	if (sim->calls > 0 && (double) sim->refused / sim->calls > result->refused)
		result->refused = (double) sim->refused / sim->calls;
	if (sim->asked > 0 && (double) sim->delayed / sim->asked > result->delayed)
		result->delayed = (double) sim->delayed / sim->asked;
	if (sum < result->mean)
	{
		result->mean = sum;
	}
	if (worst < result->use || result->runs == 1 ||
		(sim->refused > 0 && scenario->refused == 0 && strchr(result->worst, '!') == NULL))
	{
		if (worst < result->use)
			result->use = worst;
		snprintf(result->worst, sizeof(result->worst),
				 "%s, %s, headers at %s, phase %lld ms: window %d of %d, %d refused%s",
				 rounding_name[sim->rounding], sim->first_call ? "first call" : "grid",
				 sim->at_response ? "response" : "arrival",
				 (long long) (sim->phase / MS), worst_window, sim->closed, sim->refused,
				 sim->refused ? "!" : "");
	}
	/* ten a minute, until there are headers */
	if (scenario->configured == 0 &&
		sim->early > 10 * (1 + (sim->headers_seen ? scenario->slowest : length - 1000 * SECOND) / MINUTE))
		result->hasty++;
}

static void
run_scenario(const Scenario *scenario, bool verbose)
{
	Result		result = {.use = 9, .mean = 9};
	int			phases = verbose ? 20 : scenario->phases ? scenario->phases : 3;
	Sim		   *sim = malloc(sizeof(*sim));

	if (sim == NULL)
		abort();
	for (int variant = 0; variant < ROUNDINGS * 4 * phases; variant++)
	{
		memset(sim, 0, sizeof(*sim));
		sim->scenario = scenario;
		sim->rounding = (Rounding) (variant % ROUNDINGS);
		sim->first_call = variant / ROUNDINGS % 2 != 0;
		sim->at_response = variant / ROUNDINGS / 2 % 2 != 0;
		sim->phase = scenario->window * (variant / ROUNDINGS / 4) / phases + 1234;
		run(sim, &result);
	}
	free(sim);
	if (verbose)
		printf("%-28s %4d runs, worst window %.3f, worst mean %.3f, refused %d (%.4f), delayed %.3f (%s)\n",
			   scenario->name, result.runs, result.use, result.mean,
			   result.refusals, result.refused, result.delayed, result.worst);
	CHECK(result.use >= scenario->use && result.mean >= scenario->mean &&
		  result.refused <= scenario->refused && result.leaked == 0 && result.hasty == 0 &&
		  result.delayed <= 0.05,
		  "%s: worst window %.3f of %.3f, mean %.3f of %.3f, refused %d (%.4f), leaked %d, hasty %d, delayed %.3f (%s)",
		  scenario->name, result.use, scenario->use, result.mean, scenario->mean,
		  result.refusals, result.refused, result.leaked, result.hasty, result.delayed, result.worst);
}

#define CASE(name_, limit_, window_, fastest_, slowest_, windows_, skip_, use_, mean_, refused_) \
	.name = name_, .limit = limit_, .window = window_, .fastest = fastest_, \
	.slowest = slowest_, .windows = windows_, .skip = skip_, .use = use_, \
	.mean = mean_, .refused = refused_

static const Scenario scenarios[] = {
	/* name, limit, window, latency from and to, windows run and skipped, least
	 * use of a window and of all, share of calls that may be refused */
	{CASE("100 in 2 s", 100, 2 * SECOND, 20 * MS, 20 * MS, 14, 2, .99, .98, 0), .phases = 20},
	{CASE("120 in 3 s", 120, 3 * SECOND, 20 * MS, 20 * MS, 14, 2, .99, .98, 0), .phases = 20},
	{CASE("400 in 3 s", 400, 3 * SECOND, 20 * MS, 20 * MS, 12, 2, .99, .98, 0), .phases = 20},
	{CASE("400 in 60 s", 400, MINUTE, 20 * MS, 20 * MS, 13, 2, .99, .99, 0), .phases = 10},
	{CASE("100 in 2 s, 1 ms", 100, 2 * SECOND, 1 * MS, 1 * MS, 14, 2, .99, .99, 0), .phases = 20},
	{CASE("400 in 60 s, 1 ms", 400, MINUTE, 1 * MS, 1 * MS, 13, 2, .99, .99, 0), .phases = 6},
	{CASE("100 in 2 s, to 1 s", 100, 2 * SECOND, 50 * MS, SECOND, 24, 6, .95, .75, 0), .phases = 20},
	/* synchronous callers: each sends its next call when the last is answered */
	{CASE("100 in 2 s, 120 persons", 100, 2 * SECOND, 50 * MS, SECOND, 24, 2, .95, .75, 0), .parallel = 120, .only_persons = true, .phases = 20},
	{CASE("400 in 60 s, to 1 s", 400, MINUTE, 50 * MS, SECOND, 13, 2, .99, .98, 0), .phases = 6},
	{CASE("400 in 60 s, 5 s", 400, MINUTE, 5 * SECOND, 5 * SECOND, 13, 2, .99, .90, 0), .phases = 6},
	{CASE("400 in 60 s, 1 to 20 s", 400, MINUTE, SECOND, 20 * SECOND, 13, 2, .99, .95, 0)},
	{CASE("400 in 60 s, 130 s", 400, MINUTE, 130 * SECOND, 130 * SECOND, 40, 4, .0, .80, 0)},
	{CASE("400 in 60 s, to 130 s", 400, MINUTE, SECOND, 130 * SECOND, 40, 4, .94, .90, 0)},
	{CASE("100 in 2 s, 64 at a time", 100, 2 * SECOND, 20 * MS, 20 * MS, 14, 2, .99, .98, 0), .parallel = 64, .phases = 6},
	{CASE("100 in 2 s, 50 processes", 100, 2 * SECOND, 20 * MS, 20 * MS, 24, 4, .98, .98, 0), .parallel = 50, .workers = 50, .phases = 6},
	{CASE("120 in 60 s, 50 processes", 120, MINUTE, 20 * MS, 300 * MS, 13, 2, .99, .99, 0), .parallel = 50, .workers = 50},
	{CASE("400 in 60 s, drift", 400, MINUTE, 20 * MS, 40 * MS, 30, 2, .99, .99, 0), .drift = 60},
	{CASE("400 in 60 s, drift back", 400, MINUTE, 20 * MS, 40 * MS, 30, 2, .99, .99, 0), .drift = -60},
	{CASE("100 in 2 s, slow to arrive", 100, 2 * SECOND, 200 * MS, 400 * MS, 24, 4, .95, .75, 0), .uplink = 180 * MS},
	{CASE("others, 100 in 2 s", 100, 2 * SECOND, 20 * MS, 20 * MS, 60, 4, .9, .97, .01), .others = .5, .phases = 10},
	{CASE("others, 400 in 60 s", 400, MINUTE, 20 * MS, 200 * MS, 30, 2, .97, .0, .01), .others = .5},
	{CASE("others, 100 in 60 s, slow", 100, MINUTE, SECOND, 5 * SECOND, 30, 2, .97, .0, .01), .others = .5},
	{CASE("others, 20 in 60 s", 20, MINUTE, SECOND, 5 * SECOND, 60, 2, .90, .0, .03), .others = .5},
	{CASE("10 in 60 s", 10, MINUTE, 20 * MS, 2 * SECOND, 16, 2, .99, .95, 0)},
	{CASE("14 in 60 s", 14, MINUTE, 20 * MS, 2 * SECOND, 16, 2, .99, .95, 0)},
	{CASE("25 in 60 s", 25, MINUTE, 20 * MS, 2 * SECOND, 16, 2, .99, .95, 0)},
	/* the first ten calls are not known to be too many */
	{CASE("1 in 60 s", 1, MINUTE, 20 * MS, 2 * SECOND, 40, 2, .99, .95, .2)},
	{CASE("bursts, 100 in 60 s", 100, MINUTE, 20 * MS, SECOND, 60, 2, .0, .0, 0), .busy = 2 * SECOND, .idle = 333 * SECOND},
	{CASE("bursts, 100 in 2 s", 100, 2 * SECOND, 20 * MS, 20 * MS, 200, 2, .0, .0, 0), .busy = 1100 * MS, .idle = 2777 * MS},
	{CASE("trickle, 100 in 2 s", 100, 2 * SECOND, 20 * MS, 20 * MS, 60, 2, .5, .5, 0), .busy = 2 * MS, .idle = 15 * MS, .parallel = 1},
	/* what was sent before the fall was known: one window's calls */
	{CASE("limit falls", 400, MINUTE, 20 * MS, SECOND, 30, 2, .98, .0, .05), .limit_later = 100},
	{CASE("limit rises", 100, MINUTE, 20 * MS, SECOND, 30, 2, .98, .0, 0), .limit_later = 400},
	{CASE("headers often absent", 100, MINUTE, 20 * MS, 200 * MS, 24, 4, .95, .0, 0), .manners = OFTEN_ABSENT},
	{CASE("headers often absent, 2 s", 100, 2 * SECOND, 20 * MS, 200 * MS, 24, 4, .0, .2, 0), .manners = OFTEN_ABSENT},
	{CASE("headers sometimes absurd", 100, 2 * SECOND, 20 * MS, 200 * MS, 60, 4, .0, .9, .01), .manners = SOMETIMES_ABSURD},
	{CASE("headers never", 100, MINUTE, 20 * MS, 200 * MS, 16, 1, .0, .09, 0), .manners = NEVER_THERE},
	{CASE("headers never, configured", 100, MINUTE, 20 * MS, 200 * MS, 16, 1, .0, .72, 0), .manners = NEVER_THERE, .configured = 80},
	{CASE("headers never, too much", 100, MINUTE, 20 * MS, 200 * MS, 30, 1, .0, .4, .5), .manners = NEVER_THERE, .configured = 200},
	{CASE("configured less", 100, MINUTE, 20 * MS, 200 * MS, 16, 2, .28, .28, 0), .configured = 30},
	{CASE("configured more", 100, MINUTE, 20 * MS, 200 * MS, 16, 2, .98, .98, 0), .configured = 500},
	{CASE("answers lost", 100, MINUTE, 20 * MS, 200 * MS, 16, 2, .97, .97, 0), .lost = 20},
	{CASE("interactive", 100, MINUTE, 20 * MS, 200 * MS, 60, 2, .99, .0, 0), .interactive = 25 * SECOND},
	{CASE("a process dies", 100, MINUTE, 20 * MS, 5 * SECOND, 16, 2, .95, .90, 0), .workers = 4, .die = 950},
};

static const CoRateHeaders nothing = {-1, -1, -1};

/* A refusal closes the window; after it, one call goes alone. */
static void
refusal(const char *name, CoRateHeaders headers, int64_t closed)
{
	CoGovernor	governor;
	CoTicket	ticket;
	int64_t		now = 1000 * SECOND;
	CoGovernorState state;

	co_governor_init(&governor, 0);
	CHECK(co_governor_when(&governor, now, true) <= now, "%s", name);
	ticket = co_governor_start(&governor, now);
	now += 20 * MS;
	co_governor_end(&governor, &ticket, now, &headers, true, true);
	co_governor_state(&governor, now, &state);
	CHECK(state.remaining == 0 && state.in_flight == 0 && state.resets_at > now,
		  "%s: %d remaining, %d in flight", name, state.remaining, state.in_flight);

	for (int round = 0; round < 2; round++)
	{
		int64_t		refused = now;

		for (int64_t when; (when = co_governor_when(&governor, now, true)) > now;)
			now = when;
		CHECK(now - refused >= closed && now - refused <= closed + 3 * SECOND,
			  "%s: closed for %lld ms", name, (long long) ((now - refused) / MS));
		ticket = co_governor_start(&governor, now);
		CHECK(co_governor_when(&governor, now, true) > now, "%s: more than one", name);
		now += 20 * MS;
		if (round == 0)
			co_governor_end(&governor, &ticket, now, &headers, true, true);
	}
	headers = (CoRateHeaders) {100, 99, 60};
	co_governor_end(&governor, &ticket, now, &headers, false, true);
	for (int i = 0; i < 20; i++)
	{
		CHECK(co_governor_when(&governor, now, true) <= now, "%s: the others follow", name);
		co_governor_start(&governor, now);
	}
}

/*
 * Whatever happens: no arithmetic goes wrong (that is what the sanitizers
 * see), nothing leaks, and once the calls are over, the governor soon agrees
 * to another.
 */
static void
storm(uint64_t seed)
{
	static Sim	sim;			/* for its dice */
	CoGovernor	governor;
	CoTicket	tickets[64];
	int			count = 0;
	int64_t		now = SECOND;
	CoGovernorState state;
	int64_t		waited;

	sim.random = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
	co_governor_init(&governor, seed % 3 == 0 ? (int) between(&sim, 1, 500) : 0);
	for (int i = 0; i < 3000; i++)
	{
		int			what = (int) between(&sim, 0, 100);

		now += uniform(&sim) < 0.9 ? between(&sim, 0, 200 * MS) : between(&sim, 0, 90 * SECOND);
		if (what < 50)
		{
			int64_t		when = co_governor_when(&governor, now, what < 10);

			CHECK(when <= now + MINUTE * 2, "%llu: waits for %lld s", (unsigned long long) seed,
				  (long long) ((when - now) / SECOND));
			if (when <= now && count < 64)
				tickets[count++] = co_governor_start(&governor, now);
		}
		else if (what < 97 && count > 0)
		{
			int			which = (int) between(&sim, 0, count);
			CoRateHeaders headers = nothing;
			bool		limited = uniform(&sim) < 0.1;
			bool		sent = uniform(&sim) < 0.9;

			if (uniform(&sim) < 0.9)
				headers.limit = uniform(&sim) < 0.7 ? 50 : (int) between(&sim, 1, 1000000);
			if (uniform(&sim) < 0.9)
				headers.remaining = uniform(&sim) < 0.7 ? (int) between(&sim, 0, 50) :
					(int) between(&sim, 0, 1000000);
			if (uniform(&sim) < 0.9)
				headers.reset = uniform(&sim) < 0.7 ? (int) between(&sim, 0, 60) :
					(int) between(&sim, 0, 86400);
			co_governor_end(&governor, &tickets[which], now, &headers, limited, sent);
			tickets[which] = tickets[--count];
		}
		else if (what == 97)
		{
			co_governor_abandon(&governor, now, count / 2);
			count -= count / 2;
		}
		else if (what == 98)
			co_governor_configure(&governor, (int) between(&sim, 0, 300));
		co_governor_state(&governor, now, &state);
		if (!CHECK(state.in_flight == count && state.remaining >= 0,
				   "%llu: %d in flight, not %d", (unsigned long long) seed, state.in_flight, count))
			return;
	}
	while (count > 0)
		co_governor_end(&governor, &tickets[--count], now, &nothing, false, true);
	for (waited = now; waited < now + 10 * MINUTE; waited += SECOND)
		if (co_governor_when(&governor, waited, false) <= waited)
			break;
	CHECK(waited - now <= 130 * SECOND, "%llu: silent for %lld s", (unsigned long long) seed,
		  (long long) ((waited - now) / SECOND));
}

int
main(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
		if (argc < 2 || strstr(scenarios[i].name, argv[1]) != NULL)
			run_scenario(&scenarios[i], argc > 1);

	refusal("reset told", (CoRateHeaders) {100, 0, 7}, 7 * SECOND);
	refusal("no headers", nothing, MINUTE);
	refusal("far reset", (CoRateHeaders) {100, 0, 3000}, 2 * MINUTE);
	for (uint64_t seed = 1; seed <= 200; seed++)
		storm(seed);
	CHECK(sizeof(CoGovernor) < 1024, "%zu bytes", sizeof(CoGovernor));
	return check_done();
}
