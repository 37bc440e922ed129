/*-------------------------------------------------------------------------
 * address.h
 *		Syntax and normal form of e-mail addresses.
 *
 * Pure: no server header; UTF-8 in, UTF-8 out; never allocates for the
 * caller.  Deterministic, so that SQL may build indexes and CHECK constraints
 * on it (for domains beyond ASCII as stable as libidn2's Unicode tables).
 *-------------------------------------------------------------------------
 */
#ifndef CO_ADDRESS_H
#define CO_ADDRESS_H

#include <stddef.h>

#define CO_ADDRESS_MAX			254 /* RFC 5321 4.5.3.1.3, less the brackets;
									 * RFC 3696 erratum 1690 */
#define CO_ADDRESS_LOCAL_MAX	64	/* RFC 5321 4.5.3.1.1, octets */
#define CO_ADDRESS_DOMAIN_MAX	255 /* RFC 5321 4.5.3.1.2, octets */

/*
 * A domain beyond ASCII may be longer as written than as A-labels: combining
 * characters, and those that UTS 46 drops.  Somewhere it has to end.
 */
#define CO_ADDRESS_DOMAIN_INPUT_MAX 1024

typedef enum CoAddressError
{
	CO_ADDRESS_OK = 0,
	CO_ADDRESS_EMPTY,			/* nothing but blanks */
	CO_ADDRESS_NO_AT,			/* no @ outside quotes */
	CO_ADDRESS_BAD_ENCODING,	/* not valid UTF-8, or a control character;
								 * told before any other fault but EMPTY */
	CO_ADDRESS_LOCAL_EMPTY,
	CO_ADDRESS_LOCAL_TOO_LONG,	/* over 64 octets in normal form */
	CO_ADDRESS_LOCAL_BAD_DOT,	/* leading, trailing or doubled dot */
	CO_ADDRESS_LOCAL_BAD_CHARACTER,
	CO_ADDRESS_LOCAL_BAD_QUOTE, /* quoted string not closed, or text after it */
	CO_ADDRESS_DOMAIN_EMPTY,
	CO_ADDRESS_DOMAIN_TOO_LONG, /* over 255 octets as A-labels, or over
								 * CO_ADDRESS_DOMAIN_INPUT_MAX as given */
	CO_ADDRESS_DOMAIN_BAD_LABEL,	/* empty, over 63 octets, hyphen at an end,
									 * a character no host name has (such as
									 * "_"), refused by IDNA, or a last label
									 * of digits alone */
	CO_ADDRESS_DOMAIN_ONE_LABEL,	/* no dot: not a public mail domain */
	CO_ADDRESS_BAD_LITERAL,		/* [..] that is no IPv4 or IPv6 address */
	CO_ADDRESS_TOO_LONG,		/* over 254 octets in normal form */
	CO_ADDRESS_NO_MEMORY		/* libidn2 could not allocate; says nothing
								 * about the address, so an immutable function
								 * must throw instead of returning it */
} CoAddressError;

/*
 * Check the address and write its normal form, zero-terminated.
 *
 * Normal form: surrounding blanks (space, tab, CR, LF, and other ASCII white
 * space) trimmed; the local part with A-Z folded to a-z (in quotes too),
 * everything beyond ASCII kept byte for byte (RFC 6531 gives no folding, and
 * mail systems differ); a quoted local part without its quotes where a
 * dot-atom says the same, else with the fewest backslashes; the domain as
 * lower-case A-labels (UTS 46, non-transitional) without a trailing dot; an
 * address literal in lower case but for its IPv6 tag, which is written
 * "IPv6:", in the canonical text of inet_ntop().
 *
 * The address is what RFC 5321 and 6531 call a Mailbox: comments and folding
 * white space, which RFC 5322 allows in a header, are refused.
 *
 * email need not be zero-terminated, and may overlap out.  An out_size of
 * CO_ADDRESS_MAX + 1 holds every address; it is 1 at least, and what does not
 * fit is CO_ADDRESS_TOO_LONG.  Returns CO_ADDRESS_OK, or the first fault
 * found; out is then "".  Normalising a normal form gives it back unchanged.
 *
 * Thread-safe; allocates only within libidn2, and nothing that lasts.
 */
extern CoAddressError co_address_normalize(const char *email, size_t length,
										   char *out, size_t out_size);

/*
 * Likewise a domain on its own: lower-case A-labels, two of them at least,
 * without a trailing dot.
 */
extern CoAddressError co_domain_normalize(const char *domain, size_t length,
										  char *out, size_t out_size);

/* The same as one lower-case English phrase without a period; NULL for OK. */
extern const char *co_address_error_text(CoAddressError error);

#endif							/* CO_ADDRESS_H */
