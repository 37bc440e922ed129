/*-------------------------------------------------------------------------
 * test_words.c
 *		Names, companies and domains in normal form.
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "check.h"
#include "words.h"

static void
expect(const char *what, bool good, const char *got, const char *input, const char *expected)
{
	if (expected == NULL)
		CHECK(!good && got[0] == '\0', "%s of \"%s\" is \"%s\"", what, input, got);
	else
		CHECK(good && strcmp(got, expected) == 0, "%s of \"%s\" is \"%s\", expected \"%s\"",
			  what, input, got, expected);
}

static void
expect_name(const char *input, const char *expected)
{
	char		out[100];
	char		again[100];
	bool		good = co_words_normalize(input, strlen(input), true, out, sizeof(out));

	expect("normal form", good, out, input, expected);
	CHECK(co_words_normalize(out, strlen(out), true, again, sizeof(again)) &&
		  strcmp(out, again) == 0, "\"%s\" is not stable", input);
}

static void
expect_kept(const char *input, const char *expected)
{
	char		out[100];
	bool		good = co_words_normalize(input, strlen(input), false, out, sizeof(out));

	expect("spelling", good, out, input, expected);
}

static void
expect_domain(const char *input, const char *expected)
{
	char		out[300];
	bool		good = co_words_domain(input, strlen(input), out, sizeof(out));

	expect("domain", good, out, input, expected);
}

static void
expect_company(const char *input, const char *expected)
{
	char		out[300];
	bool		good = co_words_company(input, strlen(input), out, sizeof(out));

	expect("company", good, out, input, expected);
}

int
main(void)
{
	char		small[5];

	expect_name("", "");
	expect_name(" \t\n", "");
	expect_name("  Jane\t\n  DOE ", "jane doe");
	expect_name("J\xC3\x96RG \xC3\x97 \xC3\xBF\xC5\xB8", "j\xC3\xB6rg \xC3\x97 \xC3\xBF\xC3\xBF");
	expect_name("\xC5\x81ukasz \xC5\xBB\xC3\x93\xC5\x81\xC4\x86", "\xC5\x82ukasz \xC5\xBC\xC3\xB3\xC5\x82\xC4\x87");
	expect_name("\xD0\x98\xD0\xB2\xD0\xB0\xD0\xBD \xD0\x81\xD0\x96", "\xD0\xB8\xD0\xB2\xD0\xB0\xD0\xBD \xD1\x91\xD0\xB6");
	expect_name("\xCE\x91\xCE\xA9\xCE\xAC", "\xCE\xB1\xCF\x89\xCE\xAC");
	expect_name("Nguy\xE1\xBB\x84n", "nguy\xE1\xBB\x85n");
	expect_name("\xE5\xBC\xA0\xE4\xBC\x9F", "\xE5\xBC\xA0\xE4\xBC\x9F");
	expect_name("a\xC2\xA0\xE3\x80\x80z", "a z");
	expect_name("a\x01\x1F\x7F" "b", "a b");
	expect_name("a\xFF" "B\xC3", "a\xFF" "b\xC3");
	expect_name("\xF0\x9D\x94\x84", "\xF0\x9D\x94\x84");

	expect_kept("  Jane   DOE ", "Jane DOE");

	expect_domain("Corp.Example", "corp.example");
	expect_domain(" https://www.Corp.example/about?x#y ", "corp.example");
	expect_domain("HTTP://corp.example.", "corp.example");
	expect_domain("www.example", "www.example");
	expect_domain("www.b\xC3\xBC" "cher.example", "xn--bcher-kva.example");
	expect_domain("corp", NULL);
	expect_domain("corp example", NULL);
	expect_domain("", NULL);
	expect_domain("a_b.example", NULL);

	expect_company("Apple", "apple");
	expect_company("Apple  Inc.", "apple inc.");
	expect_company("APPLE.com", "apple.com");
	expect_company("https://apple.com/", "apple.com");
	expect_company("", "");

	CHECK(co_words_normalize(" abcd ", 6, true, small, sizeof(small)) && strcmp(small, "abcd") == 0, "fits");
	CHECK(!co_words_normalize("abcde", 5, true, small, sizeof(small)) && small[0] == '\0', "too long");
	CHECK(!co_words_normalize("ab cd", 5, true, small, sizeof(small)), "too long with a blank");
	CHECK(!co_words_normalize("abc\xC3\xB6", 5, true, small, sizeof(small)), "too long in a character");
	return check_done();
}
