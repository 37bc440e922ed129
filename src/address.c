/*-------------------------------------------------------------------------
 * address.c
 *		Syntax and normal form of e-mail addresses.
 *
 *		trim -> encoding -> local part -> @ -> literal or name -> length
 *
 * Nearly all addresses are plain ASCII, and they come by the million (a CHECK
 * constraint over a COPY).  So each byte is looked up in a table of classes,
 * and only a label that is beyond ASCII, or claims to be an A-label, is shown
 * to libidn2; for the others nothing is allocated.
 *
 * RFC 6531 allows every character beyond ASCII in a local part, also those
 * that nobody sees (no-break and zero-width blanks, marks of direction).  They
 * are kept: what they mean is the mail system's affair, and removing one could
 * name somebody else's mailbox.  Only the controls U+0080 to U+009F, which
 * are no text, are refused together with their ASCII kin.
 *
 * Pure.
 *-------------------------------------------------------------------------
 */
#include "address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#define IDN2_SKIP_LIBIDN_COMPAT
#include <idn2.h>

#include "utf8.h"

#define LABEL_MAX	63

#define CLASS_ATEXT		0x01	/* RFC 5322, and all of UTF-8 by RFC 6531 */
#define CLASS_LDH		0x02	/* letter, digit, hyphen: RFC 1123 host names */
#define CLASS_DIGIT		0x04
#define CLASS_CONTROL	0x08
#define CLASS_HIGH		0x10	/* part of a sequence of UTF-8 */
#define CLASS_UPPER		0x20	/* the very bit that folds it to lower case */

#define NO	0
#define CT	CLASS_CONTROL
#define HI	(CLASS_ATEXT | CLASS_HIGH)
#define AT	CLASS_ATEXT
#define HY	(CLASS_ATEXT | CLASS_LDH)
#define LO	(CLASS_ATEXT | CLASS_LDH)
#define UP	(CLASS_ATEXT | CLASS_LDH | CLASS_UPPER)
#define DI	(CLASS_ATEXT | CLASS_LDH | CLASS_DIGIT)

static const unsigned char classes[256] = {
	CT, CT, CT, CT, CT, CT, CT, CT, CT, CT, CT, CT, CT, CT, CT, CT,	/* 00 */
	CT, CT, CT, CT, CT, CT, CT, CT, CT, CT, CT, CT, CT, CT, CT, CT,	/* 10 */
	NO, AT, NO, AT, AT, AT, AT, AT, NO, NO, AT, AT, NO, HY, NO, AT,	/* 20 */
	DI, DI, DI, DI, DI, DI, DI, DI, DI, DI, NO, NO, NO, AT, NO, AT,	/* 30 */
	NO, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP,	/* 40 */
	UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, NO, NO, NO, AT, AT,	/* 50 */
	AT, LO, LO, LO, LO, LO, LO, LO, LO, LO, LO, LO, LO, LO, LO, LO,	/* 60 */
	LO, LO, LO, LO, LO, LO, LO, LO, LO, LO, LO, AT, AT, AT, AT, CT,	/* 70 */
	HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI,	/* 80 */
	HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI,	/* 90 */
	HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI,	/* A0 */
	HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI,	/* B0 */
	HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI,	/* C0 */
	HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI,	/* D0 */
	HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI,	/* E0 */
	HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI, HI	/* F0 */
};

#undef NO
#undef CT
#undef HI
#undef AT
#undef HY
#undef LO
#undef UP
#undef DI

static inline char
fold(unsigned char c)
{
	return (char) (c | (classes[c] & CLASS_UPPER));
}

static inline bool
is_blank(unsigned char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/*
 * Is all of it UTF-8 without control characters?  What comes later relies on
 * that: it takes any byte beyond ASCII for part of a whole character.
 */
static bool
is_clean(const unsigned char *text, size_t length)
{
	unsigned char seen = 0;

	for (size_t i = 0; i < length; i++)
		seen |= classes[text[i]];

	if (seen & CLASS_CONTROL)
		return false;
	if (!(seen & CLASS_HIGH))
		return true;

	for (size_t i = 0; i < length;)
	{
		size_t		sequence = 1;

		if (classes[text[i]] & CLASS_HIGH)
			sequence = co_utf8_length(text + i, length - i);
		if (sequence == 0 ||
			(text[i] == 0xC2 && text[i + 1] < 0xA0))	/* U+0080 to U+009F */
			return false;
		i += sequence;
	}
	return true;
}

static CoAddressError
read_dot_atom(const unsigned char *text, size_t length, char *out,
			  size_t *out_length)
{
	bool		after_dot = true;

	if (length == 0)
		return CO_ADDRESS_LOCAL_EMPTY;

	for (size_t i = 0; i < length; i++)
	{
		if (classes[text[i]] & CLASS_ATEXT)
			after_dot = false;
		else if (text[i] != '.')
			return CO_ADDRESS_LOCAL_BAD_CHARACTER;
		else if (after_dot)
			return CO_ADDRESS_LOCAL_BAD_DOT;
		else
			after_dot = true;

		if (i == CO_ADDRESS_LOCAL_MAX)
			return CO_ADDRESS_LOCAL_TOO_LONG;
		out[i] = fold(text[i]);
	}

	if (after_dot)
		return CO_ADDRESS_LOCAL_BAD_DOT;
	*out_length = length;
	return CO_ADDRESS_OK;
}

/*
 * Read the quoted string at text; *end is where it ends.  Out is as long as a
 * local part may be, with three bytes to spare: what is too long, or loses its
 * quotes, is known at the end only.
 *
 * Only a quote and a backslash need a backslash.  Neither is in a dot-atom, so
 * the quotes are dropped by moving what is between them.  An empty string is
 * a mailbox that nobody has, but RFC 5321 allows it.
 */
static CoAddressError
read_quoted(const unsigned char *text, size_t length, char *out,
			size_t *out_length, size_t *end)
{
	size_t		used = 0;
	size_t		at = 1;
	bool		dot_atom = true;
	bool		after_dot = true;

	out[used++] = '"';
	for (;;)
	{
		unsigned char c;

		if (at == length)
			return CO_ADDRESS_LOCAL_BAD_QUOTE;
		c = text[at++];
		if (c == '"')
			break;
		if (c == '\\')
		{
			if (at == length)
				return CO_ADDRESS_LOCAL_BAD_QUOTE;
			c = text[at++];
		}

		if (classes[c] & CLASS_ATEXT)
			after_dot = false;
		else if (c == '.' && !after_dot)
			after_dot = true;
		else
			dot_atom = false;

		/* room for this one, and for its backslash */
		if (used + 2 > CO_ADDRESS_LOCAL_MAX + 2)
			return CO_ADDRESS_LOCAL_TOO_LONG;
		if (c == '"' || c == '\\')
			out[used++] = '\\';
		out[used++] = fold(c);
	}
	*end = at;

	if (dot_atom && !after_dot)
	{
		used--;
		memmove(out, out + 1, used);
	}
	else
		out[used++] = '"';

	if (used > CO_ADDRESS_LOCAL_MAX)
		return CO_ADDRESS_LOCAL_TOO_LONG;
	*out_length = used;
	return CO_ADDRESS_OK;
}

/* Whatever the case; strncasecmp() would ask the locale. */
static bool
has_tag(const char *text, const char *tag, size_t tag_length)
{
	for (size_t i = 0; i < tag_length; i++)
	{
		if (fold((unsigned char) text[i]) != fold((unsigned char) tag[i]))
			return false;		/* also at the end of the text */
	}
	return true;
}

static CoAddressError
read_literal(const unsigned char *text, size_t length, char *out,
			 size_t *out_length)
{
	static const char tag[] = "IPv6:";
	const size_t tag_length = sizeof(tag) - 1;
	char		address[sizeof(tag) + INET6_ADDRSTRLEN];
	const char *prefix = "";
	const char *number = address;
	int			family = AF_INET;
	struct in6_addr binary;		/* the larger of the two */

	if (length < 2 || text[length - 1] != ']' ||
		length - 2 >= sizeof(address))
		return CO_ADDRESS_BAD_LITERAL;
	memcpy(address, text + 1, length - 2);
	address[length - 2] = '\0';

	if (has_tag(address, tag, tag_length))
	{
		family = AF_INET6;
		prefix = tag;
		number = address + tag_length;
	}
	if (inet_pton(family, number, &binary) != 1)
		return CO_ADDRESS_BAD_LITERAL;

	if (inet_ntop(family, &binary, address, sizeof(address)) == NULL)
		return CO_ADDRESS_BAD_LITERAL;
	out[0] = '[';
	strcpy(out + 1, prefix);
	strcat(out, address);
	strcat(out, "]");
	*out_length = strlen(out);
	return CO_ADDRESS_OK;
}

/* Length of the dot at text: UTS 46 takes three others for one.  0: no dot. */
static inline size_t
dot_length(const unsigned char *text)
{
	if (text[0] == '.')
		return 1;
	if ((text[0] == 0xE3 && text[1] == 0x80 && text[2] == 0x82) ||	/* U+3002 */
		(text[0] == 0xEF && text[1] == 0xBC && text[2] == 0x8E) ||	/* U+FF0E */
		(text[0] == 0xEF && text[1] == 0xBD && text[2] == 0xA1))	/* U+FF61 */
		return 3;
	return 0;
}

/*
 * Write one label as libidn2 sees it: UTS 46, and the rules of IDNA 2008.
 *
 * It gets a label, not the domain, since it refuses hyphens in third and
 * fourth place, which are common in plain ASCII names: whether "r1--a" is good
 * must not depend on its neighbours.  No mapping and no rule of libidn2 looks
 * beyond a label, and no valid character maps to a dot.
 *
 * IDN2_USE_STD3_ASCII_RULES is what we want, but on a U-label libidn2 then
 * drops the characters that these rules forbid instead of refusing the name:
 * "a_b" would become "ab", another domain.  So the label is converted without
 * that flag, and the outcome, which holds A-labels that are looked into, must
 * stay as it is when it is converted with the flag.
 */
static CoAddressError
read_idna_label(const unsigned char *text, size_t length, char *out,
				size_t *out_length)
{
	const int	flags = IDN2_NONTRANSITIONAL | IDN2_NFC_INPUT;
	unsigned char label[CO_ADDRESS_DOMAIN_INPUT_MAX + 1];
	uint8_t    *ascii = NULL;
	uint8_t    *checked = NULL;
	CoAddressError error = CO_ADDRESS_OK;
	int			rc;

	memcpy(label, text, length);
	label[length] = '\0';

	rc = idn2_lookup_u8(label, &ascii, flags);
	if (rc == IDN2_OK)
		rc = idn2_lookup_u8(ascii, &checked,
							flags | IDN2_USE_STD3_ASCII_RULES);

	if (rc == IDN2_MALLOC)
		error = CO_ADDRESS_NO_MEMORY;
	else if (rc != IDN2_OK || strcmp((char *) ascii, (char *) checked) != 0 ||
			 strlen((char *) ascii) > LABEL_MAX)
		error = CO_ADDRESS_DOMAIN_BAD_LABEL;
	else
	{
		*out_length = strlen((char *) ascii);
		for (size_t i = 0; i < *out_length; i++)
		{
			if (!(classes[ascii[i]] & CLASS_LDH))
				error = CO_ADDRESS_DOMAIN_BAD_LABEL;
			out[i] = fold(ascii[i]);
		}
	}

	idn2_free(ascii);
	idn2_free(checked);
	return error;
}

/*
 * Read a host name.  Out is as long as a domain may be, with a label's length
 * to spare.
 */
static CoAddressError
read_name(const unsigned char *text, size_t length, char *out,
		  size_t *out_length)
{
	size_t		at = 0;			/* in text */
	size_t		used = 0;		/* in out */
	size_t		label;			/* where the last label begins in out */
	int			labels = 0;

	if (length > CO_ADDRESS_DOMAIN_INPUT_MAX)
		return CO_ADDRESS_DOMAIN_TOO_LONG;

	for (;;)
	{
		size_t		start = at;
		size_t		dot;

		label = used;
		while (at < length && (classes[text[at]] & CLASS_LDH))
		{
			if (used == CO_ADDRESS_DOMAIN_MAX)
				return CO_ADDRESS_DOMAIN_TOO_LONG;
			out[used++] = fold(text[at++]);
		}

		if ((at < length && (classes[text[at]] & CLASS_HIGH) &&
			 dot_length(text + at) == 0) ||
			(used - label >= 4 && memcmp(out + label, "xn--", 4) == 0))
		{
			size_t		label_length;
			CoAddressError error;

			while (at < length && dot_length(text + at) == 0)
				at++;
			error = read_idna_label(text + start, at - start, out + label,
									&label_length);
			if (error != CO_ADDRESS_OK)
				return error;
			used = label + label_length;
			if (used > CO_ADDRESS_DOMAIN_MAX)
				return CO_ADDRESS_DOMAIN_TOO_LONG;
		}

		if (used == label || used - label > LABEL_MAX ||
			out[label] == '-' || out[used - 1] == '-')
			return CO_ADDRESS_DOMAIN_BAD_LABEL;
		labels++;

		if (at == length)
			break;
		dot = dot_length(text + at);
		if (dot == 0)
			return CO_ADDRESS_DOMAIN_BAD_LABEL;
		at += dot;
		if (at == length)
			break;				/* the root's dot is not written */
		if (used == CO_ADDRESS_DOMAIN_MAX)
			return CO_ADDRESS_DOMAIN_TOO_LONG;
		out[used++] = '.';
	}

	if (labels < 2)
		return CO_ADDRESS_DOMAIN_ONE_LABEL;

	/* 10.0.0.1 without brackets; RFC 3696 2: no top-level domain is a number */
	while (label < used && (classes[(unsigned char) out[label]] & CLASS_DIGIT))
		label++;
	if (label == used)
		return CO_ADDRESS_DOMAIN_BAD_LABEL;

	*out_length = used;
	return CO_ADDRESS_OK;
}

/*
 * Write the normal form of an address that is trimmed and clean.  Out has room
 * for the longest local part and the longest domain, and a label to spare.
 */
static CoAddressError
read_address(const unsigned char *text, size_t length, char *out,
			 size_t *out_length)
{
	size_t		at;				/* the @ that separates local part and domain */
	size_t		used;
	size_t		domain_length;
	CoAddressError error;

	if (text[0] == '"')
	{
		error = read_quoted(text, length, out, &used, &at);
		if (error != CO_ADDRESS_OK)
			return error;
		if (at == length)
			return CO_ADDRESS_NO_AT;
		if (text[at] != '@' ||
			memchr(text + at + 1, '@', length - at - 1) != NULL)
			return CO_ADDRESS_LOCAL_BAD_QUOTE;
	}
	else
	{
		at = length;
		do
		{
			if (at == 0)
				return CO_ADDRESS_NO_AT;
		} while (text[--at] != '@');

		error = read_dot_atom(text, at, out, &used);
		if (error != CO_ADDRESS_OK)
			return error;
	}

	out[used++] = '@';
	at++;

	if (at == length)
		return CO_ADDRESS_DOMAIN_EMPTY;
	if (text[at] == '[')
		error = read_literal(text + at, length - at, out + used,
							 &domain_length);
	else
		error = read_name(text + at, length - at, out + used,
						  &domain_length);
	if (error != CO_ADDRESS_OK)
		return error;

	used += domain_length;
	if (used > CO_ADDRESS_MAX)
		return CO_ADDRESS_TOO_LONG;
	*out_length = used;
	return CO_ADDRESS_OK;
}

CoAddressError
co_address_normalize(const char *email, size_t length, char *out,
					 size_t out_size)
{
	const unsigned char *text = (const unsigned char *) email;
	char		normal[CO_ADDRESS_LOCAL_MAX + 1 + CO_ADDRESS_DOMAIN_MAX +
					   LABEL_MAX + 1];
	size_t		normal_length = 0;
	CoAddressError error;

	while (length > 0 && is_blank(text[0]))
	{
		text++;
		length--;
	}
	while (length > 0 && is_blank(text[length - 1]))
		length--;

	if (length == 0)
		error = CO_ADDRESS_EMPTY;
	else if (!is_clean(text, length))
		error = CO_ADDRESS_BAD_ENCODING;
	else
		error = read_address(text, length, normal, &normal_length);

	if (error == CO_ADDRESS_OK && normal_length >= out_size)
		error = CO_ADDRESS_TOO_LONG;
	if (error != CO_ADDRESS_OK)
		normal_length = 0;

	memcpy(out, normal, normal_length);
	out[normal_length] = '\0';
	return error;
}

CoAddressError
co_domain_normalize(const char *domain, size_t length, char *out, size_t out_size)
{
	const unsigned char *text = (const unsigned char *) domain;
	char		normal[CO_ADDRESS_DOMAIN_MAX + LABEL_MAX + 1];
	size_t		normal_length = 0;
	CoAddressError error;

	while (length > 0 && is_blank(text[0]))
	{
		text++;
		length--;
	}
	while (length > 0 && is_blank(text[length - 1]))
		length--;

	if (length == 0)
		error = CO_ADDRESS_DOMAIN_EMPTY;
	else if (!is_clean(text, length))
		error = CO_ADDRESS_BAD_ENCODING;
	else
		error = read_name(text, length, normal, &normal_length);

	if (error == CO_ADDRESS_OK && normal_length >= out_size)
		error = CO_ADDRESS_DOMAIN_TOO_LONG;
	if (error != CO_ADDRESS_OK)
		normal_length = 0;

	memcpy(out, normal, normal_length);
	out[normal_length] = '\0';
	return error;
}

const char *
co_address_error_text(CoAddressError error)
{
	switch (error)
	{
		case CO_ADDRESS_OK:
			return NULL;
		case CO_ADDRESS_EMPTY:
			return "address is empty";
		case CO_ADDRESS_NO_AT:
			return "address has no \"@\" between local part and domain";
		case CO_ADDRESS_BAD_ENCODING:
			return "address has a control character or is not valid UTF-8";
		case CO_ADDRESS_LOCAL_EMPTY:
			return "local part is empty";
		case CO_ADDRESS_LOCAL_TOO_LONG:
			return "local part is longer than 64 octets";
		case CO_ADDRESS_LOCAL_BAD_DOT:
			return "local part has a leading, trailing or doubled dot";
		case CO_ADDRESS_LOCAL_BAD_CHARACTER:
			return "local part has a character that is not allowed outside quotes";
		case CO_ADDRESS_LOCAL_BAD_QUOTE:
			return "local part has a quote that is not closed or not at its end";
		case CO_ADDRESS_DOMAIN_EMPTY:
			return "domain is empty";
		case CO_ADDRESS_DOMAIN_TOO_LONG:
			return "domain is longer than 255 octets";
		case CO_ADDRESS_DOMAIN_BAD_LABEL:
			return "domain has a label that is not allowed in a host name";
		case CO_ADDRESS_DOMAIN_ONE_LABEL:
			return "domain has no dot";
		case CO_ADDRESS_BAD_LITERAL:
			return "address literal is neither an IPv4 nor a tagged IPv6 address";
		case CO_ADDRESS_TOO_LONG:
			return "address is longer than 254 octets";
		case CO_ADDRESS_NO_MEMORY:
			return "out of memory";
	}
	return "unknown fault";		/* no such member */
}
