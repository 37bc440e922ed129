/*-------------------------------------------------------------------------
 * utf8.h
 *		Is it UTF-8?
 *
 * Pure.
 *-------------------------------------------------------------------------
 */
#ifndef CO_UTF8_H
#define CO_UTF8_H

#include <stddef.h>

/*
 * Length of the character at text, of which so many bytes are there (at least
 * one); 0 if they begin no valid one (RFC 3629: no overlong form, no
 * surrogate, nothing beyond U+10FFFF).
 */
extern size_t co_utf8_length(const unsigned char *text, size_t available);

#endif							/* CO_UTF8_H */
