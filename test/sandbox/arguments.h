/*-------------------------------------------------------------------------
 * arguments.h
 *		What a request brings, in a JSON body or behind the question mark.
 *
 * All that is wrong is said at once, in a 400 with reasons.
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_ARGUMENTS_H
#define SANDBOX_ARGUMENTS_H

#include "call.h"

extern void arguments_begin(Call *call);

/* Each says what is wrong and returns what NULL, 0 or the default is. */
extern const char *arguments_string(Call *call, const char *name, bool required);
extern bool arguments_bool(Call *call, const char *name, bool usual);
extern int64_t arguments_number(Call *call, const char *name, int64_t min,
								int64_t usual, int64_t max);
extern int64_t arguments_timeout(Call *call, int64_t min, int64_t usual, int64_t max);

/* From the query. */
extern const char *arguments_query(Call *call, const char *name);

/*
 * True if all was well; else the 400 is complete.  Other parameters than the
 * known ones (of body and query, up to NULL) are refused.
 */
extern bool arguments_end(Call *call, const char *const *known);

#endif							/* SANDBOX_ARGUMENTS_H */
