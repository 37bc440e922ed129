/*-------------------------------------------------------------------------
 * test_address.c
 *		Addresses and their normal forms.
 *
 * Most of it is in test/cases/address: a directory a case, where input holds
 * the bytes of an address, and expect its normal form, or "error: " and the
 * text of the fault.  Here is what no file can say: every accepted case is
 * tried again in its own normal form, in capitals, and among blanks; and the
 * limits, to the octet.
 *
 * Another directory of cases may be given as the only argument.
 *-------------------------------------------------------------------------
 */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "check.h"

#ifndef CASES
#define CASES "../cases/address"
#endif

/* A copy that ends where the sanitizer sees who reads on. */
static CoAddressError
normalize(const char *email, size_t length, char *out)
{
	char	   *copy = malloc(length > 0 ? length : 1);
	CoAddressError error;

	memcpy(copy, email, length);
	memset(out, 'x', CO_ADDRESS_MAX + 1);
	error = co_address_normalize(copy, length, out, CO_ADDRESS_MAX + 1);
	free(copy);
	return error;
}

static void
expect(const char *what, const char *email, size_t length,
	   const char *expected)
{
	char		normal[CO_ADDRESS_MAX + 1];
	CoAddressError error = normalize(email, length, normal);

	if (strncmp(expected, "error: ", 7) == 0)
	{
		const char *text = co_address_error_text(error);

		CHECK(text != NULL && strcmp(text, expected + 7) == 0,
			  "%s: got \"%s\", expected \"%s\"", what,
			  text ? text : normal, expected);
		CHECK(normal[0] == '\0', "%s: output after an error", what);
	}
	else
		CHECK(error == CO_ADDRESS_OK && strcmp(normal, expected) == 0,
			  "%s: got \"%s\", expected \"%s\"", what,
			  error ? co_address_error_text(error) : normal, expected);
}

/* Every spelling of a good address leads to the same normal form. */
static void
expect_stable(const char *what, const char *normal)
{
	char		spelling[CO_ADDRESS_MAX + 4];
	size_t		length = strlen(normal);

	if (!CHECK(length <= CO_ADDRESS_MAX, "%s: %zu octets", what, length))
		return;
	expect(what, normal, length, normal);

	for (size_t i = 0; i < length; i++)
		spelling[i] = normal[i] >= 'a' && normal[i] <= 'z' ?
			normal[i] - 'a' + 'A' : normal[i];
	expect(what, spelling, length, normal);

	memcpy(spelling, " \t", 2);
	memcpy(spelling + 2, normal, length);
	memcpy(spelling + 2 + length, "\r\n", 2);
	expect(what, spelling, length + 4, normal);
}

static size_t
read_file(const char *directory, const char *name, const char *file,
		  char *content, size_t size)
{
	char		path[1024];
	FILE	   *stream;
	size_t		length = 0;

	snprintf(path, sizeof(path), "%s/%s/%s", directory, name, file);
	stream = fopen(path, "rb");
	if (CHECK(stream != NULL, "cannot open %s", path))
	{
		length = fread(content, 1, size - 1, stream);
		fclose(stream);
	}
	content[length] = '\0';
	return length;
}

static void
test_cases(const char *directory)
{
	DIR		   *stream = opendir(directory);
	struct dirent *entry;
	int			cases = 0;

	if (!CHECK(stream != NULL, "cannot open %s", directory))
		return;
	while ((entry = readdir(stream)) != NULL)
	{
		char		input[4096];
		char		expected[1024];
		size_t		length;
		size_t		expected_length;

		if (entry->d_name[0] == '.')
			continue;
		length = read_file(directory, entry->d_name, "input", input,
						   sizeof(input));
		expected_length = read_file(directory, entry->d_name, "expect",
									expected, sizeof(expected));
		if (expected_length > 0 && expected[expected_length - 1] == '\n')
			expected[expected_length - 1] = '\0';
		expect(entry->d_name, input, length, expected);
		if (strncmp(expected, "error: ", 7) != 0)
			expect_stable(entry->d_name, expected);
		cases++;
	}
	closedir(stream);
	CHECK(cases >= 40, "only %d cases in %s", cases, directory);
}

static void
expect_error(const char *email, CoAddressError expected)
{
	char		normal[CO_ADDRESS_MAX + 1];
	CoAddressError error = normalize(email, strlen(email), normal);

	CHECK(error == expected, "\"%s\": got %d, expected %d", email, error,
		  expected);
	CHECK((normal[0] == '\0') == (error != CO_ADDRESS_OK), "\"%s\": \"%s\"",
		  email, normal);
}

/* Append a label, which is one character over and over. */
static void
add_label(char *email, char character, int length)
{
	size_t		used = strlen(email);

	memset(email + used, character, length);
	email[used + length] = '\0';
}

static void
test_limits(void)
{
	char		email[2048];

	/* local part: 64 octets of the normal form */
	for (int length = 63; length <= 65; length++)
	{
		CoAddressError expected = length <= CO_ADDRESS_LOCAL_MAX ?
			CO_ADDRESS_OK : CO_ADDRESS_LOCAL_TOO_LONG;

		strcpy(email, "");
		add_label(email, 'L', length);
		strcat(email, "@example.com");
		expect_error(email, expected);

		strcpy(email, "\"");	/* quotes that go do not count */
		add_label(email, 'L', length);
		strcat(email, "\"@example.com");
		expect_error(email, expected);

		strcpy(email, "\"");	/* quotes that stay do */
		add_label(email, ' ', length - 2);
		strcat(email, "\"@example.com");
		expect_error(email, expected);

		strcpy(email, "\"\\\"");	/* so do backslashes that stay */
		add_label(email, 'a', length - 4);
		strcat(email, "\"@example.com");
		expect_error(email, expected);

		strcpy(email, "\"");	/* but not those that go */
		for (int i = 0; i < length; i++)
			strcat(email, "\\a");
		strcat(email, "\"@example.com");
		expect_error(email, expected);

		strcpy(email, "");		/* octets, not characters */
		add_label(email, 'a', length - 4);
		strcat(email, "\xF0\x9F\x98\x80@example.com");
		expect_error(email, expected);
	}

	/* label: 63 octets, as an A-label if it is one */
	for (int length = 62; length <= 64; length++)
	{
		CoAddressError expected = length <= 63 ?
			CO_ADDRESS_OK : CO_ADDRESS_DOMAIN_BAD_LABEL;

		strcpy(email, "a@");
		add_label(email, 'L', length);
		strcat(email, ".com");
		expect_error(email, expected);

		strcpy(email, "a@com.");
		add_label(email, 'L', length);
		expect_error(email, expected);

		/* "xn--", n letters, "-", and three digits */
		strcpy(email, "a@\xC3\xBC");
		add_label(email, 'a', length - 8);
		strcat(email, ".com");
		expect_error(email, expected);
	}

	/* all of it: 254 octets; the domain: 255, which only a bad one reaches */
	for (int length = 252; length <= 258; length++)
	{
		char		domain[512] = "";

		for (int i = 0; i < 3; i++)
		{
			add_label(domain, 'd', 63);
			strcat(domain, ".");
		}
		add_label(domain, 'd', 50);
		strcat(domain, ".");
		add_label(domain, 'd', length - 2 - (int) strlen(domain));

		snprintf(email, sizeof(email), "a@%s", domain);
		CHECK(strlen(email) == (size_t) length, "%zu", strlen(email));
		expect_error(email, length <= CO_ADDRESS_MAX ? CO_ADDRESS_OK :
					 length - 2 <= CO_ADDRESS_DOMAIN_MAX ? CO_ADDRESS_TOO_LONG :
					 CO_ADDRESS_DOMAIN_TOO_LONG);
		strcat(email, ".");		/* the root's dot does not count */
		expect_error(email, length <= CO_ADDRESS_MAX ? CO_ADDRESS_OK :
					 length - 2 <= CO_ADDRESS_DOMAIN_MAX ? CO_ADDRESS_TOO_LONG :
					 CO_ADDRESS_DOMAIN_TOO_LONG);
	}

	/* what libidn2 drops does not count, but has an end */
	for (int hyphens = 509; hyphens <= 511; hyphens++)
	{
		strcpy(email, "a@b");
		for (int i = 0; i < hyphens; i++)
			strcat(email, "\xC2\xAD");
		strcat(email, ".com");
		if (strlen(email) - 2 > CO_ADDRESS_DOMAIN_INPUT_MAX)
			expect_error(email, CO_ADDRESS_DOMAIN_TOO_LONG);
		else
			expect("soft hyphens", email, strlen(email), "a@b.com");
	}

	/* long labels beyond ASCII, one after the other */
	strcpy(email, "a@");
	for (int i = 0; i < 6; i++)
	{
		strcat(email, "\xC3\xBC");
		add_label(email, 'a', 55);
		strcat(email, ".");
	}
	expect_error(email, CO_ADDRESS_DOMAIN_TOO_LONG);

	/* one of them, over the edge */
	strcpy(email, "a@");
	for (int i = 0; i < 3; i++)
	{
		add_label(email, 'd', 63);
		strcat(email, ".");
	}
	strcat(email, "b.\xC3\xBC");
	add_label(email, 'a', 55);
	expect_error(email, CO_ADDRESS_DOMAIN_TOO_LONG);
}

static void
test_interface(void)
{
	char		small[8];
	char		place[CO_ADDRESS_MAX + 1] = "  \"A\"@B.com";

	CHECK(co_address_normalize("a@b.cd", 6, small, 7) == CO_ADDRESS_OK &&
		  strcmp(small, "a@b.cd") == 0, "got \"%s\"", small);
	CHECK(co_address_normalize("a@b.cd", 6, small, 6) == CO_ADDRESS_TOO_LONG &&
		  small[0] == '\0', "got \"%s\"", small);
	CHECK(co_address_normalize("a@b.cd", 6, small, 1) == CO_ADDRESS_TOO_LONG &&
		  small[0] == '\0', "got \"%s\"", small);
	CHECK(co_address_normalize("a@b.cdef", 6, small, 8) == CO_ADDRESS_OK &&
		  strcmp(small, "a@b.cd") == 0, "got \"%s\"", small);
	CHECK(co_address_normalize(place, strlen(place), place, sizeof(place)) ==
		  CO_ADDRESS_OK && strcmp(place, "a@b.com") == 0, "got \"%s\"", place);

	/* every fault has a phrase of its own */
	CHECK(co_address_error_text(CO_ADDRESS_OK) == NULL, "text for OK");
	for (int i = CO_ADDRESS_EMPTY; i <= CO_ADDRESS_NO_MEMORY; i++)
	{
		const char *text = co_address_error_text((CoAddressError) i);

		CHECK(text != NULL && text[0] >= 'a' && text[0] <= 'z' &&
			  text[strlen(text) - 1] != '.', "text of %d", i);
		for (int j = CO_ADDRESS_EMPTY; text != NULL && j < i; j++)
			CHECK(strcmp(text, co_address_error_text((CoAddressError) j)) != 0,
				  "%d and %d both say \"%s\"", i, j, text);
	}
	CHECK(strcmp(co_address_error_text(CO_ADDRESS_NO_MEMORY),
				 "out of memory") == 0, "text of NO_MEMORY");
}

/* Each byte, alone in a local part and in a domain, against the RFCs' words. */
static void
test_bytes(void)
{
	static const char specials[] = "!#$%&'*+-/=?^_`{|}~";

	for (int c = 0; c < 256; c++)
	{
		char		email[] = "a?b@c?d.com";
		char		normal[CO_ADDRESS_MAX + 1];
		bool		alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
			(c >= 'A' && c <= 'Z');
		bool		bad = c < 0x20 || c >= 0x7F;
		CoAddressError local = CO_ADDRESS_LOCAL_BAD_CHARACTER;
		CoAddressError domain = CO_ADDRESS_DOMAIN_BAD_LABEL;

		if (bad)
			local = domain = CO_ADDRESS_BAD_ENCODING;
		else if (c == '@')
			domain = CO_ADDRESS_LOCAL_BAD_CHARACTER;
		if (alnum || c == '.' || (c > 0 && strchr(specials, c) != NULL))
			local = CO_ADDRESS_OK;
		if (alnum || c == '.' || c == '-')
			domain = CO_ADDRESS_OK;

		email[1] = (char) c;
		email[5] = '-';
		CHECK(normalize(email, strlen("a?b@c?d.com"), normal) == local,
			  "byte %02x in the local part", c);
		email[1] = '-';
		email[5] = (char) c;
		CHECK(normalize(email, strlen("a?b@c?d.com"), normal) == domain,
			  "byte %02x in the domain", c);
	}
}

int
main(int argc, char **argv)
{
	test_cases(argc > 1 ? argv[1] : CASES);
	test_limits();
	test_interface();
	test_bytes();
	return check_done();
}
