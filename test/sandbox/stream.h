/*-------------------------------------------------------------------------
 * stream.h
 *		Bodies that are sent piece by piece: cut, dripping, huge.
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_STREAM_H
#define SANDBOX_STREAM_H

#include "call.h"

/* The response for a call whose fault is cut, long, drip or huge. */
extern struct MHD_Response *stream_response(Call *call);

#endif							/* SANDBOX_STREAM_H */
