/*-------------------------------------------------------------------------
 * utf8.c
 *		Is it UTF-8?
 *
 * Pure.
 *-------------------------------------------------------------------------
 */
#include "utf8.h"

size_t
co_utf8_length(const unsigned char *text, size_t available)
{
	unsigned char first = text[0];
	size_t		length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;

	if (first < 0x80)
		return 1;
	if (first < 0xC2 || first > 0xF4 || length > available)
		return 0;
	for (size_t i = 1; i < length; i++)
	{
		if ((text[i] & 0xC0) != 0x80)
			return 0;
	}

	/* The second byte tells overlong forms, surrogates, and what is beyond. */
	if ((first == 0xE0 && text[1] < 0xA0) || (first == 0xED && text[1] > 0x9F) ||
		(first == 0xF0 && text[1] < 0x90) || (first == 0xF4 && text[1] > 0x8F))
		return 0;
	return length;
}
