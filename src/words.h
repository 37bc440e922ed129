/*-------------------------------------------------------------------------
 * words.h
 *		Normal form of names, companies, domains and URLs that are asked about.
 *
 * Pure: UTF-8 in, UTF-8 out.  Deterministic: it depends on no locale.
 *-------------------------------------------------------------------------
 */
#ifndef CO_WORDS_H
#define CO_WORDS_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Write text without blanks at its ends, with single blanks within, and, with
 * fold, in lower case: Latin, Greek and Cyrillic letters as far as Unicode
 * folds one of them to one.  Control characters count as blanks; bytes that
 * are no UTF-8 are kept.  Returns false if it does not fit.
 */
extern bool co_words_normalize(const char *text, size_t length, bool fold,
							   char *out, size_t size);

/*
 * A domain as lower-case A-labels, whatever URL it stands in; false, and out is
 * "", if there is none.
 */
extern bool co_words_domain(const char *text, size_t length, char *out, size_t size);

/* A domain as above, or else the name of a company, folded. */
extern bool co_words_company(const char *text, size_t length, char *out, size_t size);

#endif							/* CO_WORDS_H */
