/*-------------------------------------------------------------------------
 * outcome.c
 *		Messages from outside, made safe to show.
 *
 * Pure.
 *-------------------------------------------------------------------------
 */
#include "outcome.h"

#include <string.h>

#include "utf8.h"

void
co_message_set(char *message, size_t size, const char *text, size_t length)
{
	const unsigned char *input = (const unsigned char *) text;
	size_t		used = 0;

	for (size_t i = 0; i < length;)
	{
		size_t		sequence = co_utf8_length(input + i, length - i);
		const char *piece = text + i;
		size_t		piece_length = sequence;

		if (sequence == 0)
		{
			piece = "\xEF\xBF\xBD"; /* U+FFFD */
			piece_length = 3;
			sequence = 1;
		}
		else if (sequence == 1 && (input[i] < 0x20 || input[i] == 0x7F))
			piece = " ";
		else if (sequence == 2 && input[i] == 0xC2 && input[i + 1] < 0xA0)
		{
			piece = " ";		/* U+0080 to U+009F are controls too */
			piece_length = 1;
		}

		if (used + piece_length >= size)
			break;
		memcpy(message + used, piece, piece_length);
		used += piece_length;
		i += sequence;
	}
	message[used] = '\0';
}

bool
co_outcome_is_refusal(const CoOutcome *outcome)
{
	return outcome->fault == CO_FAULT_SERVICE && outcome->http_status < 500 &&
		(outcome->http_status != 408 || outcome->code != 0);
}
