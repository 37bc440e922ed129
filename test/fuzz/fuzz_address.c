/*-------------------------------------------------------------------------
 * fuzz_address.c
 *		Any bytes as an address, and as a time.
 *
 * What must hold whatever the input: an error leaves "", else the output is
 * within its limits, has a domain of A-labels or a literal, and is its own
 * normal form, also in capitals and among blanks.
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "must.h"
#include "timestamp.h"

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must_lead_to(const char *spelling, size_t length, const char *normal)
{
	char		again[CO_ADDRESS_MAX + 1];

	MUST(co_address_normalize(spelling, length, again, sizeof(again)) ==
		 CO_ADDRESS_OK);
	MUST(strcmp(again, normal) == 0);
}

static void
check_normal(const char *normal)
{
	char		spelling[CO_ADDRESS_MAX + 3];
	size_t		length = strlen(normal);
	const char *at = strrchr(normal, '@');

	MUST(length <= CO_ADDRESS_MAX);
	MUST(at != NULL && at > normal);
	MUST(at - normal <= CO_ADDRESS_LOCAL_MAX);
	for (const char *c = normal; *c != '\0'; c++)
	{
		MUST((unsigned char) *c >= 0x20 && *c != 0x7F);
		MUST(c > at ? *c != '_' && (unsigned char) *c < 0x80 :
			 !(*c >= 'A' && *c <= 'Z'));
	}
	if (at[1] == '[')
		MUST(normal[length - 1] == ']');
	else
	{
		MUST(strspn(at + 1, "abcdefghijklmnopqrstuvwxyz0123456789-.") ==
			 strlen(at + 1));
		MUST(strchr(at, '.') != NULL && strstr(at, "..") == NULL);
		MUST(at[1] != '.' && normal[length - 1] != '.');
	}

	must_lead_to(normal, length, normal);

	for (size_t i = 0; i < length; i++)
		spelling[i] = normal[i] >= 'a' && normal[i] <= 'z' ?
			normal[i] - 'a' + 'A' : normal[i];
	must_lead_to(spelling, length, normal);

	spelling[0] = '\n';
	memcpy(spelling + 1, normal, length);
	spelling[length + 1] = ' ';
	must_lead_to(spelling, length + 2, normal);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *text = malloc(size + 1);
	char	   *normal = malloc(CO_ADDRESS_MAX + 1);
	CoAddressError error;
	int64_t		time = -1;

	MUST(text != NULL && normal != NULL);
	memcpy(text, data, size);
	text[size] = '\0';

	/* on the heap, so that the sanitizer sees a step over either end */
	error = co_address_normalize((const char *) data, size, normal,
								 CO_ADDRESS_MAX + 1);
	MUST((co_address_error_text(error) == NULL) == (error == CO_ADDRESS_OK));
	MUST(memchr(normal, '\0', CO_ADDRESS_MAX + 1) != NULL);
	if (error != CO_ADDRESS_OK)
		MUST(normal[0] == '\0');
	else
		check_normal(normal);

	if (co_timestamp_parse(text, &time))
		MUST(time >= 0 && time < INT64_C(253402300800000000));
	else
		MUST(time == -1);

	free(normal);
	free(text);
	return 0;
}
