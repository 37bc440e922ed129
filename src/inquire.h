/*-------------------------------------------------------------------------
 * inquire.h
 *		One question to the finder, a check or a look-up, from inside a
 *		backend.
 *-------------------------------------------------------------------------
 */
#ifndef CO_INQUIRE_H
#define CO_INQUIRE_H

#include "error.h"
#include "guc.h"
#include "stored.h"

typedef struct CoInquiry
{
	CoEndpointId endpoint;
	const char *key;			/* in normal form, in the database's encoding */
	int64		timeout;		/* microseconds */
	TimestampTz since;			/* the oldest answer that will do */
	CoOnError	on_error;

	/* set by co_inquire() */
	CoFailure  *failure;		/* why there is no answer; NULL: there is one */
	CoStored	stored;			/* the answer */
	bool		by_call;		/* a call has brought it */
} CoInquiry;

/*
 * Read what all these functions have after what is asked: timeout, max_age
 * (default_age seconds if it is absent) and on_error, from this argument on.
 */
extern void co_inquiry_options(FunctionCallInfo fcinfo, int first, int default_age,
							   CoInquiry *inquiry);

/*
 * The stored answer if it is fresh, else that of the service, which is waited
 * for.  What comes of it holds for the rest of the statement.  A failure is
 * raised unless on_error says otherwise.
 */
extern void co_inquire(const CoCatalog *catalog, CoInquiry *inquiry);

#endif							/* CO_INQUIRE_H */
