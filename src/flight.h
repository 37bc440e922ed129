/*-------------------------------------------------------------------------
 * flight.h
 *		Requests that a worker has taken, by key: equal ones share one call.
 *
 * Local to the worker.  A flight is in one list by its state, and in the
 * table by its key, from the moment it is made to co_flight_end().
 *-------------------------------------------------------------------------
 */
#ifndef CO_FLIGHT_H
#define CO_FLIGHT_H

#include "lib/ilist.h"

#include "queue.h"
#include "slots.h"
#include "spending.h"
#include "store.h"

#define CO_FLIGHT_KEY_SIZE (CO_KEY_SIZE + 1)

typedef enum CoFlightState
{
	CO_FLIGHT_NEW,				/* next: WAITING, QUEUED, or gone if an answer
								 * is stored */
	CO_FLIGHT_WAITING,			/* for its turn, and somebody waits for it;
								 * next: IN_FLIGHT */
	CO_FLIGHT_QUEUED,			/* for its turn after all those; next:
								 * IN_FLIGHT, or WAITING if somebody joins */
	CO_FLIGHT_IN_FLIGHT,		/* next: LANDED, WAITING (429), BACKOFF, gone */
	CO_FLIGHT_BACKOFF,			/* until retry_at; next: WAITING, QUEUED */
	CO_FLIGHT_LANDED			/* answered, to be stored; next: gone, or as NEW
								 * if it was forgotten and is asked for again */
} CoFlightState;
#define CO_FLIGHT_STATES 6

typedef struct CoWaiter
{
	CoSlotRef	slot;
	CoFreshness accepts;
	int64		deadline;		/* co_clock() */
	char		role[NAMEDATALEN];
	bool		forgotten;		/* the address was, since he asked */
} CoWaiter;

typedef struct CoFlight
{
	char		key[CO_FLIGHT_KEY_SIZE];	/* hash key: endpoint's letter, key */
	dlist_node	node;
	CoFlightState state;
	CoEndpointId endpoint;
	char	   *utf8;			/* the key in UTF-8; not before WAITING */
	bool		absent;			/* likewise: no verdict was stored at all, fresh
								 * or not */
	int			attempts;		/* calls made that count */
	int64		taken_at;		/* when it was made; co_clock() */
	int64		retry_at;		/* when BACKOFF; co_clock() */
	CoTicket	ticket;			/* when IN_FLIGHT */
	CoCharge	charge;			/* likewise */
	char		payer[NAMEDATALEN]; /* who paid for the last call; "" before */
	TimestampTz asked_at;		/* when the last call began */
	CoEndpointId call;			/* what it asks: the endpoint, or how far the
								 * search has come */
	char	   *search;			/* the service seeks on under this queue id;
								 * NULL: it does not */
	TimestampTz sought_since;	/* if it does: when that call began */
	CoAnswer	answer;			/* when LANDED */
	int			waiter_count;
	int			waiter_size;
	CoWaiter   *waiter;
	int			row_count;		/* rows of the queue that ask for it */
	int			row_size;
	CoQueueRow *row;
	bool		forgotten;		/* when IN_FLIGHT or LANDED: drop what it brings */
} CoFlight;

extern void co_flights_init(void);

/*
 * All flights of one state, oldest first; those that wait for their turn
 * (WAITING, QUEUED) by service, since one may take calls while another does
 * not.
 */
extern dlist_head *co_flights(CoFlightState state);
extern dlist_head *co_flights_of(CoFlightState state, CoService service);
extern int	co_flight_count(CoFlightState state);
extern int	co_flight_count_of(CoFlightState state, CoService service);

/*
 * Let this caller wait for the flight of its key; a new one is made if there
 * is none.  *joined says that there was one.
 */
extern CoFlight *co_flight_join(CoSlotRef ref, const CoSlot *slot, bool *joined);

/* Likewise a row of the queue, whose address in normal form is the key. */
extern CoFlight *co_flight_join_row(const CoQueueRow *row, CoEndpointId endpoint);

/* The flight of a key; NULL if there is none. */
extern CoFlight *co_flight_look_up(CoEndpointId endpoint, const char *key);

/* The flight of this row asks for it as well. */
extern void co_flight_add_row(CoFlight *flight, const CoQueueRow *row);

/* The service seeks on under this queue id; NULL: no longer. */
extern void co_flight_set_search(CoFlight *flight, const char *queue_id,
								 TimestampTz since);

/* Let it wait for its turn: before the queue, if somebody waits for it. */
extern void co_flight_line_up(CoFlight *flight);

/* Its callers have been told; only the queue's rows are left. */
extern void co_flight_drop_waiters(CoFlight *flight);

/* What is asked, without the endpoint's letter. */
extern char *co_flight_key(CoFlight *flight);

/* Keep the key's UTF-8 text; converting needs a transaction, which is open
 * when stored answers are looked up, and not when calls begin and end. */
extern void co_flight_set_utf8(CoFlight *flight, const char *utf8);

extern void co_flight_set_state(CoFlight *flight, CoFlightState state);

/* Put a flight that was turned away back to the head of those waiting. */
extern void co_flight_return(CoFlight *flight);

/* Does anybody still wait for it, and until when (the last of them)? */
extern bool co_flight_is_awaited(const CoFlight *flight, int64 *until);

/* Tell its callers how far it has come. */
extern void co_flight_set_progress(CoFlight *flight, CoProgress progress);

/* Answer its callers; those who have left are passed over. */
extern void co_flight_answer(CoFlight *flight, const CoReply *reply);

/* What has landed is of no use. */
extern void co_flight_drop_answer(CoFlight *flight);

extern void co_flight_end(CoFlight *flight);

/* Lower each of these to the lowest id of a row that is held, by priority. */
extern void co_flights_lowest(int64 *lowest);

/*
 * End the flights that nobody waits for any more, wherever they stand; cheap
 * as long as there are few.
 */
extern void co_flights_sweep(void);

#endif							/* CO_FLIGHT_H */
