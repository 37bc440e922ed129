/*-------------------------------------------------------------------------
 * codec_find.h
 *		What codec_find.c and codec_lookup.c have of each other.
 *-------------------------------------------------------------------------
 */
#ifndef CO_CODEC_FIND_H
#define CO_CODEC_FIND_H

#include "codec_json.h"

extern void co_decode_find(CoEndpointId endpoint, int http_status, const char *body,
						   size_t length, const char *asked,
						   CoLookupAnswer *answer, CoOutcome *outcome);

/* A failure that says that there is nothing is an answer. */
extern void co_lookup_nothing(CoLookupAnswer *answer, CoOutcome *outcome);

#endif							/* CO_CODEC_FIND_H */
