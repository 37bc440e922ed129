/*-------------------------------------------------------------------------
 * price.h
 *		What calls cost, in credits, as far as that is documented.
 *
 * Pure.  Source: Clearout's price page and help centre.
 *-------------------------------------------------------------------------
 */
#ifndef CO_PRICE_H
#define CO_PRICE_H

#include <stdbool.h>

#include "endpoint.h"

/* The most that a call can be charged with; 0: it is free. */
extern int	co_price_most(CoEndpointId endpoint);

/* With so few credits, calls of this service are not refused for want of them. */
extern int	co_price_least(CoService service);

/* What an answer to a verification costs, by its status. */
extern int	co_price_of_status(const char *status);

/*
 * What another answer costs: found says that there was something; role that
 * it was the address of a role; charged what the service says itself, -1 if
 * it does not.
 */
extern int	co_price_of_answer(CoEndpointId call, bool found, bool role, int charged);

#endif							/* CO_PRICE_H */
