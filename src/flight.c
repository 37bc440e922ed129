/*-------------------------------------------------------------------------
 * flight.c
 *		Requests that a worker has taken, by key: equal ones share one call.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "clock.h"
#include "flight.h"

/* Fewer flights than that are not worth a look. */
#define SWEEP_MIN 256

static HTAB *table = NULL;
static MemoryContext context = NULL;
/* Those in no order of services are all in the first list of their state. */
static dlist_head lists[CO_FLIGHT_STATES][CO_SERVICE_COUNT];
static int	counts[CO_FLIGHT_STATES];
static int	service_counts[CO_FLIGHT_STATES][CO_SERVICE_COUNT];

void
co_flights_init(void)
{
	HASHCTL		control = {0};

	context = AllocSetContextCreate(TopMemoryContext, "clearout flights",
									ALLOCSET_DEFAULT_SIZES);
	control.keysize = CO_FLIGHT_KEY_SIZE;
	control.entrysize = sizeof(CoFlight);
	control.hcxt = context;
	table = hash_create("clearout flights", 256, &control,
						HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	for (int i = 0; i < CO_FLIGHT_STATES; i++)
	{
		for (int service = 0; service < CO_SERVICE_COUNT; service++)
			dlist_init(&lists[i][service]);
	}
}

static bool
is_by_service(CoFlightState state)
{
	return state == CO_FLIGHT_WAITING || state == CO_FLIGHT_QUEUED;
}

dlist_head *
co_flights(CoFlightState state)
{
	Assert(!is_by_service(state));
	return &lists[state][0];
}

dlist_head *
co_flights_of(CoFlightState state, CoService service)
{
	Assert(is_by_service(state));
	return &lists[state][service];
}

int
co_flight_count_of(CoFlightState state, CoService service)
{
	return service_counts[state][service];
}

/* The list that it belongs into. */
static dlist_head *
list_of(const CoFlight *flight)
{
	CoService	service = co_endpoints[flight->endpoint].service;

	return &lists[flight->state][is_by_service(flight->state) ? service : 0];
}

static void
count(const CoFlight *flight, int change)
{
	counts[flight->state] += change;
	service_counts[flight->state][co_endpoints[flight->endpoint].service] += change;
}

int
co_flight_count(CoFlightState state)
{
	return counts[state];
}

static void
add_waiter(CoFlight *flight, CoSlotRef ref, const CoSlot *slot)
{
	CoWaiter   *waiter;

	/* Those who have left make room. */
	if (flight->waiter_count == flight->waiter_size)
	{
		int			left = 0;

		for (int i = 0; i < flight->waiter_count; i++)
		{
			if (co_slot_waits(flight->waiter[i].slot))
				flight->waiter[left++] = flight->waiter[i];
		}
		flight->waiter_count = left;
	}
	if (flight->waiter_count == flight->waiter_size)
	{
		int			size = Max(4, flight->waiter_size * 2);

		if (flight->waiter == NULL)
			flight->waiter = MemoryContextAlloc(context, size * sizeof(CoWaiter));
		else
			flight->waiter = repalloc(flight->waiter, size * sizeof(CoWaiter));
		flight->waiter_size = size;
	}
	waiter = &flight->waiter[flight->waiter_count++];
	waiter->slot = ref;
	waiter->accepts = slot->accepts;
	waiter->deadline = slot->deadline;
	waiter->forgotten = false;
	strlcpy(waiter->role, slot->role, sizeof(waiter->role));
}

/* The flight of a key; a new one if there is none. */
static CoFlight *
find(CoEndpointId endpoint, const char *text, bool *found)
{
	char		key[CO_FLIGHT_KEY_SIZE];
	CoFlight   *flight;

	key[0] = 'a' + endpoint;
	strlcpy(key + 1, text, sizeof(key) - 1);
	flight = hash_search(table, key, HASH_ENTER, found);
	if (!*found)
	{
		memset((char *) flight + CO_FLIGHT_KEY_SIZE, 0,
			   sizeof(CoFlight) - CO_FLIGHT_KEY_SIZE);
		flight->endpoint = endpoint;
		flight->taken_at = co_clock();
		flight->state = CO_FLIGHT_NEW;
		dlist_push_tail(list_of(flight), &flight->node);
		count(flight, 1);
	}
	return flight;
}

CoFlight *
co_flight_look_up(CoEndpointId endpoint, const char *text)
{
	char		key[CO_FLIGHT_KEY_SIZE];

	key[0] = 'a' + endpoint;
	strlcpy(key + 1, text, sizeof(key) - 1);
	return hash_search(table, key, HASH_FIND, NULL);
}

CoFlight *
co_flight_join(CoSlotRef ref, const CoSlot *slot, bool *joined)
{
	CoFlight   *flight = find(slot->endpoint, slot->key, joined);

	add_waiter(flight, ref, slot);
	if (flight->state == CO_FLIGHT_QUEUED)
		co_flight_set_state(flight, CO_FLIGHT_WAITING);
	return flight;
}

void
co_flight_set_search(CoFlight *flight, const char *queue_id, TimestampTz since)
{
	char	   *search = queue_id == NULL ? NULL : MemoryContextStrdup(context, queue_id);

	if (flight->search != NULL)
		pfree(flight->search);
	flight->search = search;
	flight->sought_since = since;
}

void
co_flight_add_row(CoFlight *flight, const CoQueueRow *row)
{
	if (flight->row_count == flight->row_size)
	{
		int			size = Max(1, flight->row_size * 2);

		if (flight->row == NULL)
			flight->row = MemoryContextAlloc(context, size * sizeof(CoQueueRow));
		else
			flight->row = repalloc(flight->row, size * sizeof(CoQueueRow));
		flight->row_size = size;
	}
	flight->row[flight->row_count] = *row;
	flight->row[flight->row_count].key = NULL;	/* the flight has it */
	flight->row[flight->row_count].queue_id = NULL;
	flight->row_count++;
	if (row->queue_id != NULL && flight->search == NULL)
	{
		co_flight_set_search(flight, row->queue_id, row->sought_since);
		/* whoever has begun it, see co_seek_remember() */
		strlcpy(flight->payer, row->role, sizeof(flight->payer));
	}
}

CoFlight *
co_flight_join_row(const CoQueueRow *row, CoEndpointId endpoint)
{
	bool		joined;
	CoFlight   *flight = find(endpoint, row->key, &joined);

	co_flight_add_row(flight, row);
	return flight;
}

void
co_flight_line_up(CoFlight *flight)
{
	co_flight_set_state(flight, flight->waiter_count > 0 ? CO_FLIGHT_WAITING : CO_FLIGHT_QUEUED);
}

void
co_flight_drop_waiters(CoFlight *flight)
{
	flight->waiter_count = 0;
}

char *
co_flight_key(CoFlight *flight)
{
	return flight->key + 1;
}

void
co_flight_set_utf8(CoFlight *flight, const char *utf8)
{
	Assert(flight->utf8 == NULL);
	flight->utf8 = MemoryContextStrdup(context, utf8);
}

void
co_flight_set_state(CoFlight *flight, CoFlightState state)
{
	dlist_delete(&flight->node);
	count(flight, -1);
	flight->state = state;
	count(flight, 1);
	dlist_push_tail(list_of(flight), &flight->node);
}

void
co_flight_return(CoFlight *flight)
{
	co_flight_line_up(flight);
	dlist_move_head(list_of(flight), &flight->node);
}

bool
co_flight_is_awaited(const CoFlight *flight, int64 *until)
{
	bool		awaited = false;

	*until = PG_INT64_MIN;
	for (int i = 0; i < flight->waiter_count; i++)
	{
		if (co_slot_waits(flight->waiter[i].slot))
		{
			awaited = true;
			*until = Max(*until, flight->waiter[i].deadline);
		}
	}
	return awaited;
}

void
co_flight_set_progress(CoFlight *flight, CoProgress progress)
{
	for (int i = 0; i < flight->waiter_count; i++)
		co_slot_set_progress(flight->waiter[i].slot, progress);
}

void
co_flight_answer(CoFlight *flight, const CoReply *reply)
{
	for (int i = 0; i < flight->waiter_count; i++)
		co_slot_answer(flight->waiter[i].slot, reply);
}

void
co_flight_drop_answer(CoFlight *flight)
{
	co_verify_answer_free(&flight->answer.verify);
	co_lookup_answer_free(&flight->answer.lookup);
	memset(&flight->answer, 0, sizeof(flight->answer));
}

void
co_flight_end(CoFlight *flight)
{
	dlist_delete(&flight->node);
	count(flight, -1);
	if (flight->waiter != NULL)
		pfree(flight->waiter);
	if (flight->row != NULL)
		pfree(flight->row);
	if (flight->utf8 != NULL)
		pfree(flight->utf8);
	if (flight->search != NULL)
		pfree(flight->search);
	co_flight_drop_answer(flight);
	(void) hash_search(table, flight->key, HASH_REMOVE, NULL);
}

void
co_flights_lowest(int64 *lowest)
{
	for (int i = 0; i < CO_FLIGHT_STATES * CO_SERVICE_COUNT; i++)
	{
		dlist_iter	iter;

		dlist_foreach(iter, &lists[i / CO_SERVICE_COUNT][i % CO_SERVICE_COUNT])
		{
			CoFlight   *flight = dlist_container(CoFlight, node, iter.cur);

			for (int row = 0; row < flight->row_count; row++)
			{
				int64	   *low = &lowest[flight->row[row].priority - CO_PRIORITY_MIN];

				*low = Min(*low, flight->row[row].id);
			}
		}
	}
}

/* Returns how many are left. */
static int
sweep(dlist_head *list)
{
	dlist_mutable_iter iter;
	int			left = 0;

	dlist_foreach_modify(iter, list)
	{
		CoFlight   *flight = dlist_container(CoFlight, node, iter.cur);
		TimestampTz until;

		if (flight->row_count == 0 && flight->search == NULL &&
			!co_flight_is_awaited(flight, &until))
			co_flight_end(flight);
		else
			left++;
	}
	return left;
}

void
co_flights_sweep(void)
{
	static const CoFlightState states[] = {
		CO_FLIGHT_NEW, CO_FLIGHT_WAITING, CO_FLIGHT_BACKOFF
	};
	static int	enough = SWEEP_MIN;
	int			all = 0;
	int			left = 0;

	for (int i = 0; i < lengthof(states); i++)
		all += counts[states[i]];
	if (all < enough)
		return;

	for (int i = 0; i < lengthof(states); i++)
	{
		for (int service = 0; service < CO_SERVICE_COUNT; service++)
			left += sweep(&lists[states[i]][service]);
	}
	enough = Max(SWEEP_MIN, 2 * left);
}
