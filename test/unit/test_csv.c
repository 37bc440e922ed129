/*-------------------------------------------------------------------------
 * test_csv.c
 *		Result files: records, columns, words.
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "csv.h"

/* All records of a text, as "text|text|!broken|", whatever the pieces. */
static void
split(const char *text, size_t length, int fields, size_t piece, char *out)
{
	size_t		from = 0;
	size_t		have = piece < length ? piece : length;

	*out = '\0';
	while (from < length)
	{
		size_t		record;
		size_t		whole;
		bool		last = have == length;

		switch (co_csv_record(text + from, have - from, last, ',', fields, &record, &whole))
		{
			case CO_CSV_NOT_WHOLE:
				if (last)
				{
					strcat(out, "STUCK");
					return;
				}
				have = have + piece < length ? have + piece : length;
				continue;
			case CO_CSV_BLANK:
				break;
			case CO_CSV_BROKEN:
				strcat(out, "!");
				/* FALLTHROUGH */
			case CO_CSV_RECORD:
				strncat(out, text + from, record);
				strcat(out, "|");
				break;
		}
		from += whole;
	}
}

static void
expect_split(const char *text, int fields, const char *expected)
{
	for (size_t piece = 1; piece <= strlen(text) + 1; piece++)
	{
		char		out[1000];
		char		exact[1000];
		char	   *copy = malloc(strlen(text) + 1);

		memcpy(copy, text, strlen(text) + 1);
		split(copy, strlen(text), fields, piece, out);
		snprintf(exact, sizeof(exact), "%s", expected);
		free(copy);
		if (!CHECK(strcmp(out, exact) == 0, "\"%s\" in pieces of %zu: %s, not %s",
				   text, piece, out, exact))
			return;
	}
}

static void
test_records(void)
{
	char	   *large = malloc(300000);
	size_t		text;
	size_t		whole;

	expect_split("a,b\nc,d\n", 2, "a,b|c,d|");
	expect_split("a,b\nc,d", 2, "a,b|c,d|");
	expect_split("a,b\r\nc,d\r\n", 2, "a,b|c,d|");
	expect_split("a,b\rc,d\r", 2, "a,b|c,d|");
	expect_split("\n\r\na\n\n\nb\n", 0, "a|b|");
	expect_split("a,\"x\ny\"\nc,d\n", 2, "a,\"x\ny\"|c,d|");
	expect_split("a,\"x\r\ny, z\"\r\nc,d\r\n", 2, "a,\"x\r\ny, z\"|c,d|");
	expect_split("a,\"he said \"\"no\"\"\"\nc,d\n", 2, "a,\"he said \"\"no\"\"\"|c,d|");
	/* a quote that was left open spoils its own line */
	expect_split("a,\"x\nb,y\nc,z\n", 2, "!a,\"x|b,y|c,z|");
	expect_split("a,x\"\nb,\"y\"\nc,z\n", 2, "!a,x\"|b,\"y\"|c,z|");
	expect_split("a,\"x\nb,y\n\"c\",z\n", 2, "!a,\"x|b,y|\"c\",z|");
	expect_split("\"", 0, "!\"|");
	expect_split("\"\n", 0, "!\"|");
	expect_split("", 0, "");

	/* so long is none */
	memset(large, 'x', 300000);
	CHECK(co_csv_record(large, 60000, false, ',', 0, &text, &whole) == CO_CSV_NOT_WHOLE, "60000");
	CHECK(co_csv_record(large, 300000, false, ',', 0, &text, &whole) == CO_CSV_BROKEN && whole == 300000,
		  "300000 bytes without an end: %zu", whole);
	large[200000] = '\n';
	CHECK(co_csv_record(large, 300000, false, ',', 0, &text, &whole) == CO_CSV_BROKEN && whole == 200001,
		  "a line of 200000: %zu", whole);
	memset(large, 'x', 300000);
	large[10] = '"';
	large[20] = '\n';
	CHECK(co_csv_record(large, 300000, false, ',', 0, &text, &whole) == CO_CSV_BROKEN && whole == 21,
		  "a quote for 300000 bytes: %zu", whole);
	free(large);

	CHECK(co_csv_delimiter("a,b,\"c;;;;\"", 11) == ',', "comma");
	CHECK(co_csv_delimiter("a;b", 3) == ';', "semicolon");
	CHECK(co_csv_delimiter("a\tb\tc,", 6) == '\t', "tab");
	CHECK(co_csv_delimiter("Email", 5) == ',', "one column");
	CHECK(co_csv_foreign("PK\003\004rest", 8) != NULL && co_csv_foreign("\xFF\xFE" "E\0", 4) != NULL &&
		  co_csv_foreign("Email,x", 7) == NULL && co_csv_foreign("", 0) == NULL, "foreign");
	CHECK(co_csv_mark("\xEF\xBB\xBF" "a", 4) == 3 && co_csv_mark("\xEF\xBB", 2) == 0, "mark");
}

static void
expect_mend(const char *text, size_t length, const char *expected)
{
	char	   *copy = malloc(length + 1);
	char	   *out = malloc(3 * length + 1);
	size_t		used;

	memcpy(copy, text, length);
	used = co_csv_mend(copy, length, out);
	CHECK(used == strlen(expected) && memcmp(out, expected, used) == 0, "%.*s: %.*s",
		  (int) length, text, (int) used, out);
	free(copy);
	free(out);
}

static void
test_mend(void)
{
	expect_mend("plain text of some length", 25, "plain text of some length");
	expect_mend("gr\xC3\xBC\xC3\x9F" "e", 7, "gr\xC3\xBC\xC3\x9F" "e");
	expect_mend("\xFF", 1, "\xEF\xBF\xBD");
	expect_mend("0123456\xFC" "9abcdefghij", 19, "0123456\xEF\xBF\xBD" "9abcdefghij");
	expect_mend("abcdefg\0hijklmnop", 17, "abcdefg\xEF\xBF\xBDhijklmnop");
	expect_mend("\xC3", 1, "\xEF\xBF\xBD");
	expect_mend("\xED\xA0\x80", 3, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
	expect_mend("", 0, "");
}

static char *const usual[] = {
	"Email", "Clearout Safe to Send", "Clearout Verification Status", "Clearout Reason",
	"Clearout Suggested Email", "Clearout Bounce Type", "Clearout Disposable Status",
	"Clearout Free Account Status", "Clearout Role Account Status", "Clearout Gibberish Status",
	"Clearout Account", "Clearout Domain", "Clearout MX Record", "Clearout SMTP Provider",
	"Clearout Verified At (UTC)", "Clearout Time Taken (ms)"
};

static void
test_columns(void)
{
	CoCsvMap	map;
	char	   *mixed[] = {
		"name", "clearout_verified_at", " CLEAROUT STATUS ", NULL, "E-Mail Address", "Clearout AI Verdict", "Email"
	};
	char	   *marked[] = {"\xEF\xBB\xBF" "Email", "Clearout Verification Status"};
	char	   *parts[] = {"who", "Clearout Account", "Clearout Domain", "Clearout Verification Status"};
	char	   *twice[] = {"Email", "Clearout Verification Status", "Clearout Verification Status", "Email"};
	char	   *none[] = {"Email", "Status"};
	char	   *no_email[] = {"Adresse", "Clearout Verification Status"};
	char	   *strange[] = {"\xD0\x95mail", "Email\xC3\xA9", "Clearout Verification Status"};

	CHECK(co_csv_map(usual, 16, &map) == NULL, "usual");
	CHECK(map.at[CO_CSV_EMAIL] == 0 && map.at[CO_CSV_SAFE_TO_SEND] == 1 && map.at[CO_CSV_STATUS] == 2 &&
		  map.at[CO_CSV_REASON] == 3 && map.at[CO_CSV_SUGGESTED_EMAIL] == 4 && map.at[CO_CSV_BOUNCE_TYPE] == 5 &&
		  map.at[CO_CSV_DISPOSABLE] == 6 && map.at[CO_CSV_FREE] == 7 && map.at[CO_CSV_ROLE] == 8 &&
		  map.at[CO_CSV_GIBBERISH] == 9 && map.at[CO_CSV_ACCOUNT] == 10 && map.at[CO_CSV_DOMAIN] == 11 &&
		  map.at[CO_CSV_MX_RECORD] == 12 && map.at[CO_CSV_SMTP_PROVIDER] == 13 &&
		  map.at[CO_CSV_VERIFIED_AT] == 14 && map.at[CO_CSV_TIME_TAKEN] == 15, "places");
	CHECK(map.at[CO_CSV_AI_VERDICT] == -1 && map.at[CO_CSV_SUB_STATUS] == -1, "absent ones");

	CHECK(co_csv_map(mixed, 7, &map) == NULL, "mixed");
	CHECK(map.at[CO_CSV_VERIFIED_AT] == 1 && map.at[CO_CSV_STATUS] == 2 && map.at[CO_CSV_EMAIL] == 4 &&
		  map.at[CO_CSV_AI_VERDICT] == 5, "mixed places");
	CHECK(co_csv_map(marked, 2, &map) == NULL && map.at[CO_CSV_EMAIL] == 0, "byte order mark");
	CHECK(co_csv_map(parts, 4, &map) == NULL && map.at[CO_CSV_EMAIL] == -1, "account and domain");
	CHECK(co_csv_map(twice, 4, &map) == NULL && map.at[CO_CSV_EMAIL] == 0 && map.at[CO_CSV_STATUS] == 2,
		  "an old result verified again");
	CHECK(co_csv_map(none, 2, &map) != NULL, "no status");
	CHECK(co_csv_map(no_email, 2, &map) != NULL, "no address");
	CHECK(co_csv_map(strange, 3, &map) != NULL, "another alphabet");
	CHECK(co_csv_map(usual, 0, &map) != NULL, "nothing");
}

static void
test_rows(void)
{
	CoCsvMap	map;
	CoCsvAnswer answer;
	char	   *full[] = {
		"jane@corp.example", "Risky", "Catch All", "Catch-all server", "jane@corp.test", "Hard bounce",
		"No", "Yes", "yes", "NO", "jane", "corp.example", "mx.corp.example", "gsuite",
		"2025-09-01T04:31:20.042Z", "380"
	};
	char	   *bare[16] = {"x@y.test", NULL, "Valid"};
	static const struct
	{
		char	   *text;
		int64_t		time;
	}			times[] = {
		{"2019-05-02T18:12:53+05:30", INT64_C(1556800973000000)},
		{"2022-05-16 10:41:30.427Z", INT64_C(1652697690427000)},
		{" 2022-05-16 10:41:30 UTC ", INT64_C(1652697690000000)},
		{"2022-05-16 10:41", INT64_C(1652697660000000)},
		{"2022-05-16", INT64_C(1652659200000000)},
		{"16/05/2022 10:41", CO_NO_TIME},
		{"yesterday", CO_NO_TIME},
		{"", CO_NO_TIME}
	};

	(void) co_csv_map(usual, 16, &map);
	CHECK(co_csv_answer(&map, full, 16, &answer) == CO_CSV_ANSWER, "full");
	CHECK(strcmp(answer.email, full[0]) == 0 && strcmp(answer.status, "catch_all") == 0 &&
		  strcmp(answer.safe_to_send, "risky") == 0 && strcmp(answer.bounce_type, "hard") == 0 &&
		  strcmp(answer.reason, full[3]) == 0 && strcmp(answer.suggested_email, full[4]) == 0, "words");
	CHECK(answer.disposable == CO_FALSE && answer.free == CO_TRUE && answer.role == CO_TRUE &&
		  answer.gibberish == CO_FALSE, "yes and no");
	CHECK(answer.verified_on == INT64_C(1756701080042000) && answer.time_taken == 380 && answer.sub_status == -1,
		  "numbers: %lld", (long long) answer.verified_on);
	CHECK(strcmp(answer.account, "jane") == 0 && strcmp(answer.smtp_provider, "gsuite") == 0, "texts");

	CHECK(co_csv_answer(&map, bare, 16, &answer) == CO_CSV_ANSWER, "bare");
	CHECK(strcmp(answer.status, "valid") == 0 && answer.safe_to_send[0] == '\0' && answer.bounce_type[0] == '\0' &&
		  answer.reason == NULL && answer.free == CO_NULL && answer.verified_on == CO_NO_TIME &&
		  answer.time_taken == -1, "nothing else");
	CHECK(co_csv_answer(&map, bare, 3, &answer) == CO_CSV_ANSWER, "the end left out");
	CHECK(co_csv_answer(&map, bare, 2, &answer) == CO_CSV_FEW_FIELDS, "too few");
	CHECK(co_csv_answer(&map, bare, 0, &answer) == CO_CSV_FEW_FIELDS, "none");

	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
	{
		bare[14] = times[i].text;
		(void) co_csv_answer(&map, bare, 16, &answer);
		CHECK(answer.verified_on == times[i].time, "%s: %lld", times[i].text, (long long) answer.verified_on);
	}

	bare[2] = "Catchall";
	(void) co_csv_answer(&map, bare, 16, &answer);
	CHECK(strcmp(answer.status, "catch_all") == 0, "Catchall");
	bare[2] = "Brand New";
	(void) co_csv_answer(&map, bare, 16, &answer);
	CHECK(strcmp(answer.status, "brand_new") == 0, "a word that is not known");
	bare[2] = "  ";
	CHECK(co_csv_answer(&map, bare, 16, &answer) == CO_CSV_NO_STATUS, "no status");
	bare[2] = "Unknown";
	bare[3] = "Request cancelled";
	CHECK(co_csv_answer(&map, bare, 16, &answer) == CO_CSV_UNDONE, "cancelled");
	bare[2] = "Valid";
	CHECK(co_csv_answer(&map, bare, 16, &answer) == CO_CSV_ANSWER, "not cancelled");
	bare[0] = NULL;
	CHECK(co_csv_answer(&map, bare, 16, &answer) == CO_CSV_NO_ADDRESS, "no address");
	bare[10] = "x";
	bare[11] = "y.test";
	CHECK(co_csv_answer(&map, bare, 16, &answer) == CO_CSV_ANSWER && answer.email == NULL, "in two parts");
	bare[15] = "99999999999999999999";
	(void) co_csv_answer(&map, bare, 16, &answer);
	CHECK(answer.time_taken == -1, "beyond all numbers");
}

static void
expect_first(const char *name, const char *first)
{
	size_t		length = co_csv_first_name(name);

	CHECK(length == strlen(first) && strncmp(name, first, length) == 0, "%s: %.*s", name, (int) length, name);
	/* what follows is a blank and the rest, or nothing */
	CHECK(name[length] == '\0' || (name[length] == ' ' && name[length + 1] != '\0'), "%s: the rest", name);
}

static void
test_names(void)
{
	expect_first("jane doe", "jane");
	expect_first("jane van der doe", "jane");
	expect_first("jane", "jane");
	expect_first("dr. jane doe", "dr. jane");
	expect_first("prof. dr. jane van doe", "prof. dr. jane");
	expect_first("j. r. doe", "j. r.");
	expect_first("j. r. r.", "j. r.");
	expect_first("j. doe", "j.");
	expect_first("dr.", "dr.");
	expect_first(".", ".");
	expect_first("", "");
}

static void
test_people(void)
{
	CoCsvMap	map;
	CoCsvPerson person;
	char	   *header[] = {
		"First Name", "Last Name", "Company", "Domain",
		"Clearout Finder Full Name", "Clearout Finder First Name", "Clearout Finder Last Name",
		"Clearout Finder Domain", "Clearout Finder Company", "Clearout Finder Email Address",
		"Clearout Finder Confidence Score", "Clearout Finder Business Account",
		"Clearout Finder Status", "Clearout Finder Reason", "Clearout Finder Processed At (UTC)"
	};
	char	   *full[] = {
		"jane", "van doe", NULL, "corp.example", "Jane van Doe", "Jane", "van Doe", "corp.example", "Corp",
		"jane.doe@corp.example", "83", "Yes", "Found", "Success", "2025-09-01T04:31:20.042Z"
	};
	char	   *bare[15] = {"jane", NULL, "corp inc"};
	char	   *mixed[] = {"\xEF\xBB\xBF" "clearout_finder_status", "DOMAIN", "mine", "Clearout-Finder-Email-Address", "firstname"};
	char	   *twice[] = {
		"First Name", "Domain", "Clearout Finder Status", "Clearout Finder Email Address",
		"First Name", "Domain", "Clearout Finder Status", "Clearout Finder Email Address"
	};

	CHECK(co_csv_find_map(header, 15, &map) == NULL && map.fields == 15, "usual");
	for (int i = 0; i < CO_CSV_FIND_COLUMNS; i++)
		CHECK(map.at[i] == i, "column %d is at %d", i, map.at[i]);
	CHECK(co_csv_person(&map, full, 15, &person) == CO_CSV_ANSWER, "full");
	CHECK(person.found && strcmp(person.asked_first, "jane") == 0 && strcmp(person.asked_last, "van doe") == 0 &&
		  person.asked_company == NULL && strcmp(person.asked_domain, "corp.example") == 0, "what was asked");
	CHECK(strcmp(person.email, full[9]) == 0 && strcmp(person.full_name, full[4]) == 0 &&
		  strcmp(person.first_name, full[5]) == 0 && strcmp(person.last_name, full[6]) == 0 &&
		  strcmp(person.domain, full[7]) == 0 && strcmp(person.company, full[8]) == 0, "texts");
	CHECK(person.business == CO_TRUE && person.confidence_score == 83 &&
		  person.found_on == INT64_C(1756701080042000), "the others");

	bare[12] = "Not Found";
	CHECK(co_csv_person(&map, bare, 15, &person) == CO_CSV_ANSWER && !person.found && person.email == NULL &&
		  person.confidence_score == -1 && person.business == CO_NULL && person.found_on == CO_NO_TIME, "not found");
	CHECK(co_csv_person(&map, bare, 13, &person) == CO_CSV_ANSWER, "the end left out");
	CHECK(co_csv_person(&map, bare, 12, &person) == CO_CSV_FEW_FIELDS, "too few");
	CHECK(co_csv_person(&map, bare, 0, &person) == CO_CSV_FEW_FIELDS, "none");
	bare[13] = "Request cancelled";
	CHECK(co_csv_person(&map, bare, 15, &person) == CO_CSV_UNDONE, "cancelled");
	bare[12] = " FOUND ";
	CHECK(co_csv_person(&map, bare, 15, &person) == CO_CSV_NO_ADDRESS, "found, but where?");
	bare[9] = "x@y.test";
	CHECK(co_csv_person(&map, bare, 15, &person) == CO_CSV_ANSWER && person.found, "found is not cancelled");
	bare[12] = "Brand New";
	CHECK(co_csv_person(&map, bare, 15, &person) == CO_CSV_ODD_STATUS, "a word that is not known");
	bare[12] = " ";
	CHECK(co_csv_person(&map, bare, 15, &person) == CO_CSV_NO_STATUS, "no word");
	bare[12] = "Found";
	bare[2] = "";
	CHECK(co_csv_person(&map, bare, 15, &person) == CO_CSV_NO_NAME, "no company");
	bare[3] = "corp.example";
	bare[0] = NULL;
	CHECK(co_csv_person(&map, bare, 15, &person) == CO_CSV_NO_NAME, "no name");
	bare[1] = "doe";
	CHECK(co_csv_person(&map, bare, 15, &person) == CO_CSV_ANSWER, "a last name alone");

	CHECK(co_csv_find_map(mixed, 5, &map) == NULL, "mixed");
	CHECK(map.at[CO_CSV_FOUND_STATUS] == 0 && map.at[CO_CSV_ASKED_DOMAIN] == 1 && map.at[CO_CSV_FOUND_EMAIL] == 3 &&
		  map.at[CO_CSV_ASKED_FIRST] == 4, "mixed places");
	CHECK(co_csv_find_map(twice, 8, &map) == NULL && map.at[CO_CSV_ASKED_FIRST] == 0 && map.at[CO_CSV_ASKED_DOMAIN] == 1 &&
		  map.at[CO_CSV_FOUND_STATUS] == 6 && map.at[CO_CSV_FOUND_EMAIL] == 7, "twice: ours in front, theirs behind");
	CHECK(co_csv_find_map(header, 12, &map) != NULL, "no status");
	CHECK(co_csv_find_map(header + 1, 14, &map) != NULL, "not what was uploaded");
	CHECK(co_csv_find_map(mixed, 3, &map) != NULL, "no address");
	CHECK(co_csv_map(header, 15, &map) != NULL && co_csv_find_map(usual, 16, &map) != NULL, "each its own");
	for (int verdict = CO_CSV_ANSWER; verdict <= CO_CSV_NO_NAME; verdict++)
		CHECK(co_csv_verdict_text((CoCsvVerdict) verdict) != NULL, "a text for %d", verdict);
}

static void
expect_quote(const char *text, const char *expected)
{
	char		out[100];
	size_t		length = co_csv_quote(text, strlen(text), out);

	CHECK(length == strlen(expected) && memcmp(out, expected, length) == 0, "%s: %.*s", text, (int) length, out);
	CHECK(co_csv_quoted_length(text, strlen(text)) == length, "length of %s", text);
}

static void
test_quotes(void)
{
	expect_quote("a@b.test", "a@b.test");
	expect_quote("\"a b\"@c.test", "\"\"\"a b\"\"@c.test\"");
	expect_quote("\"a,b\"@c.test", "\"\"\"a,b\"\"@c.test\"");
	expect_quote(" a", "\" a\"");
	expect_quote("a\nb", "\"a\nb\"");
	expect_quote("", "");
}

int
main(void)
{
	test_records();
	test_mend();
	test_columns();
	test_rows();
	test_names();
	test_people();
	test_quotes();
	return check_done();
}
