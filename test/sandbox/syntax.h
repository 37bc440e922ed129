/*-------------------------------------------------------------------------
 * syntax.h
 *		Whether a string looks like an e-mail address.
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_SYNTAX_H
#define SANDBOX_SYNTAX_H

#include <stdbool.h>

extern bool syntax_ok(const char *email);

#endif							/* SANDBOX_SYNTAX_H */
