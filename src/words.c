/*-------------------------------------------------------------------------
 * words.c
 *		Normal form of names, companies, domains and URLs that are asked about.
 *
 * Pure.  What is equal here shares one call and one stored answer, so it must
 * not change with the server's locale or libraries: the letters that are
 * folded stand below.
 *-------------------------------------------------------------------------
 */
#include "words.h"

#include <stdint.h>
#include <string.h>

#include "address.h"
#include "utf8.h"

static uint32_t
decode(const unsigned char *text, size_t bytes)
{
	switch (bytes)
	{
		case 1:
			return text[0];
		case 2:
			return (uint32_t) (text[0] & 0x1F) << 6 | (text[1] & 0x3F);
		case 3:
			return (uint32_t) (text[0] & 0x0F) << 12 | (uint32_t) (text[1] & 0x3F) << 6 |
				(text[2] & 0x3F);
		default:
			return (uint32_t) (text[0] & 0x07) << 18 | (uint32_t) (text[1] & 0x3F) << 12 |
				(uint32_t) (text[2] & 0x3F) << 6 | (text[3] & 0x3F);
	}
}

/* As long as the letters below need: up to U+FFFF. */
static size_t
encode(uint32_t c, char *out)
{
	if (c < 0x80)
	{
		out[0] = (char) c;
		return 1;
	}
	if (c < 0x800)
	{
		out[0] = (char) (0xC0 | c >> 6);
		out[1] = (char) (0x80 | (c & 0x3F));
		return 2;
	}
	out[0] = (char) (0xE0 | c >> 12);
	out[1] = (char) (0x80 | (c >> 6 & 0x3F));
	out[2] = (char) (0x80 | (c & 0x3F));
	return 3;
}

/* In these ranges capital and small letters follow each other. */
static const struct
{
	uint16_t	from;			/* a capital letter */
	uint16_t	to;				/* the last small one */
}			pairs[] = {
	{0x0100, 0x012F}, {0x0132, 0x0137}, {0x0139, 0x0148}, {0x014A, 0x0177},
	{0x0179, 0x017E}, {0x01CD, 0x01DC}, {0x01DE, 0x01EF}, {0x01F8, 0x021F},
	{0x0222, 0x0233}, {0x0460, 0x0481}, {0x048A, 0x04BF}, {0x04D0, 0x052F},
	{0x1E00, 0x1E95}, {0x1EA0, 0x1EFF}
};

static uint32_t
lower(uint32_t c)
{
	if (c < 0x80)
		return c >= 'A' && c <= 'Z' ? c + 32 : c;
	if (c >= 0xC0 && c <= 0xDE && c != 0xD7)
		return c + 32;
	if (c == 0x0178)
		return 0xFF;			/* Y with diaeresis */
	if ((c >= 0x0391 && c <= 0x03AB && c != 0x03A2) || (c >= 0x0410 && c <= 0x042F))
		return c + 32;			/* Greek, Cyrillic */
	if (c >= 0x0400 && c <= 0x040F)
		return c + 80;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
	{
		if (c >= pairs[i].from && c <= pairs[i].to)
			return (c - pairs[i].from) % 2 == 0 ? c + 1 : c;
	}
	return c;
}

static bool
is_blank(uint32_t c)
{
	return c <= 0x20 || (c >= 0x7F && c <= 0xA0) ||
		(c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
		c == 0x202F || c == 0x205F || c == 0x3000;
}

bool
co_words_normalize(const char *text, size_t length, bool fold, char *out, size_t size)
{
	size_t		used = 0;
	bool		gap = false;

	for (size_t i = 0; i < length;)
	{
		const unsigned char *at = (const unsigned char *) text + i;
		size_t		bytes = co_utf8_length(at, length - i);
		uint32_t	c = bytes == 0 ? 0 : decode(at, bytes);
		char		letter[4];

		i += bytes == 0 ? 1 : bytes;
		if (bytes > 0 && is_blank(c))
		{
			gap = used > 0;
			continue;
		}
		if (bytes > 0 && fold && lower(c) != c)
			bytes = encode(lower(c), letter);
		else
		{
			bytes = bytes == 0 ? 1 : bytes;
			memcpy(letter, at, bytes);
		}
		if (used + (gap ? 1 : 0) + bytes >= size)
		{
			out[0] = '\0';
			return false;
		}
		if (gap)
			out[used++] = ' ';
		gap = false;
		memcpy(out + used, letter, bytes);
		used += bytes;
	}
	out[used] = '\0';
	return true;
}

/* Does it begin so, whatever the case? */
static size_t
prefix(const char *text, size_t length, const char *word)
{
	size_t		n = strlen(word);

	if (length < n)
		return 0;
	for (size_t i = 0; i < n; i++)
	{
		if (lower((unsigned char) text[i]) != (unsigned char) word[i])
			return 0;
	}
	return n;
}

bool
co_words_domain(const char *text, size_t length, char *out, size_t size)
{
	char		trimmed[CO_ADDRESS_DOMAIN_INPUT_MAX + 1];
	const char *host = trimmed;
	size_t		skip;

	out[0] = '\0';
	if (!co_words_normalize(text, length, false, trimmed, sizeof(trimmed)))
		return false;
	length = strlen(host);
	if ((skip = prefix(host, length, "https://")) > 0 ||
		(skip = prefix(host, length, "http://")) > 0)
	{
		host += skip;
		length -= skip;
	}
	length = strcspn(host, "/?#");

	/* "www.example" may be a domain of its own */
	skip = prefix(host, length, "www.");
	if (skip > 0 && co_domain_normalize(host + skip, length - skip, out, size) == CO_ADDRESS_OK)
		return true;
	return co_domain_normalize(host, length, out, size) == CO_ADDRESS_OK;
}

bool
co_words_company(const char *text, size_t length, char *out, size_t size)
{
	return co_words_domain(text, length, out, size) ||
		co_words_normalize(text, length, true, out, size);
}
