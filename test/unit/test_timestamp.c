/*-------------------------------------------------------------------------
 * test_timestamp.c
 *		The service's times, well and badly spelt.
 *-------------------------------------------------------------------------
 */
#include <time.h>

#include "check.h"
#include "timestamp.h"

#define UNTOUCHED INT64_C(-4242)

static void
expect(const char *text, int64_t expected)
{
	int64_t		result = UNTOUCHED;

	CHECK(co_timestamp_parse(text, &result) && result == expected,
		  "\"%s\": got %lld, expected %lld", text, (long long) result,
		  (long long) expected);
}

static void
refuse(const char *text)
{
	int64_t		result = UNTOUCHED;

	CHECK(!co_timestamp_parse(text, &result) && result == UNTOUCHED,
		  "\"%s\": got %lld", text ? text : "(null)", (long long) result);
}

int
main(void)
{
	static const char *const refused[] = {
		"", " ", "now", "2019", "2019-05-02", "2019-05-02T", "2019-05-02T18",
		"2019-05-02T18:12", "2019-05-02T18:12:", "2019-05-02T18:12:5",
		"2019-05-02T18:12:53.", "2019-05-02T18:12:53.Z",
		"2019-05-02T18:12:53,5Z", "2019-05-02T18:12:53ZZ",
		"2019-05-02T18:12:53Z ", " 2019-05-02T18:12:53Z",
		"2019-05-02T18:12:53 Z", "2019-05-02  18:12:53Z",
		"2019-05-02x18:12:53Z", "2019/05/02T18:12:53Z",
		"2019-5-2T18:12:53Z", "19-05-02T18:12:53Z", "02019-05-02T18:12:53Z",
		"+2019-05-02T18:12:53Z", "-019-05-02T18:12:53Z",
		"2019-00-02T18:12:53Z", "2019-13-02T18:12:53Z",
		"2019-05-00T18:12:53Z", "2019-05-32T18:12:53Z",
		"2019-04-31T18:12:53Z", "2019-02-29T18:12:53Z",
		"2100-02-29T18:12:53Z", "2019-05-02T24:00:00Z",
		"2019-05-02T18:60:53Z", "2019-05-02T18:12:61Z",
		"2019-05-02T18:12:53+", "2019-05-02T18:12:53+5",
		"2019-05-02T18:12:53+05:", "2019-05-02T18:12:53+053",
		"2019-05-02T18:12:53+05:3", "2019-05-02T18:12:53+05:300",
		"2019-05-02T18:12:53+05:30Z", "2019-05-02T18:12:53+24:00",
		"2019-05-02T18:12:53+05:60", "2019-05-02T18:12:53+-5:30",
		"2019-05-02T-8:12:53Z", "2019-05-02T18: 2:53Z",
		"1969-12-31T23:59:59.999999Z", "1970-01-01T00:00:00+00:01",
		"0000-01-01T00:00:00Z", "9999-12-31T23:59:60Z",
		"9999-12-31T23:59:59-00:01", "10000-01-01T00:00:00Z",
		"2019-05-02T18:12:53\xC2\xA0Z", "\xD9\xA2\x30\x31\x39-05-02T18:12:53Z"
	};

	/* as the service writes them */
	expect("2019-05-02T18:12:53+05:30", INT64_C(1556800973000000));
	expect("2025-09-01T04:31:20.042Z", INT64_C(1756701080042000));
	expect("2022-05-16 10:41:30.427Z", INT64_C(1652697690427000));

	/* as it might */
	expect("2022-05-16 10:41:30", INT64_C(1652697690000000));
	expect("2022-05-16T10:41:30.4", INT64_C(1652697690400000));
	expect("2022-05-16T10:41:30.427123Z", INT64_C(1652697690427123));
	expect("2022-05-16T10:41:30.427123999999999999999999Z",
		   INT64_C(1652697690427123));
	expect("2019-05-02T18:12:53+0530", INT64_C(1556800973000000));
	expect("2019-05-02T18:12:53+05", INT64_C(1556802773000000));
	expect("2019-05-02T18:12:53-05:30", INT64_C(1556840573000000));
	expect("2019-05-02T18:12:53.5-0000", INT64_C(1556820773500000));
	expect("2016-12-31T23:59:60Z", INT64_C(1483228800000000));

	/* the first and the last, in UTC whatever the zone */
	expect("1970-01-01T00:00:00Z", 0);
	expect("1969-12-31T23:00:00.000001-01:00", 1);
	expect("9999-12-31T23:59:59.999999Z", INT64_C(253402300799999999));

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		refuse(refused[i]);
	refuse(NULL);

	/* all days that there are, as libc counts them */
	for (int64_t day = 0; day < 2932897; day++)
	{
		time_t		seconds = day * 86400 + day % 86400;
		struct tm	parts;
		char		text[64];
		int64_t		result = UNTOUCHED;

		gmtime_r(&seconds, &parts);
		snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02dZ",
				 parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
				 parts.tm_hour, parts.tm_min, parts.tm_sec);
		if (!co_timestamp_parse(text, &result) ||
			result != (int64_t) seconds * 1000000)
		{
			CHECK(false, "\"%s\": got %lld", text, (long long) result);
			break;
		}
	}

	return check_done();
}
