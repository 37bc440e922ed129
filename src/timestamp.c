/*-------------------------------------------------------------------------
 * timestamp.c
 *		The service's three spellings of a time, read leniently.
 *
 * Pure: strptime() and timegm() look at locale and libc, and know neither
 * fractions nor colons in zones.
 *-------------------------------------------------------------------------
 */
#include "timestamp.h"

#include <stddef.h>

#define SECOND			INT64_C(1000000)
#define DAY				(86400 * SECOND)
#define DAYS_TO_10000	INT64_C(2932897)	/* from 1970-01-01 to 10000-01-01 */

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Read that many digits, no less, and move past them. */
static bool
read_number(const char **at, int digits, int *number)
{
	*number = 0;
	for (int i = 0; i < digits; i++)
	{
		if (!is_digit(**at))
			return false;
		*number = *number * 10 + (**at - '0');
		(*at)++;
	}
	return true;
}

static bool
read_character(const char **at, char character)
{
	if (**at != character)
		return false;
	(*at)++;
	return true;
}

static int
days_in_month(int year, int month)
{
	static const int days[12] = {31, 28, 31, 30, 31, 30,
	31, 31, 30, 31, 30, 31};

	if (month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))
		return 29;
	return days[month - 1];
}

/*
 * Days since 1970-01-01 in the Gregorian calendar.  A year counts from March,
 * so that the odd day comes last: months then begin on the days that
 * (153 * m + 2) / 5 gives.
 */
static int64_t
days_since_epoch(int year, int month, int day)
{
	int			shifted_year = year - (month <= 2) + 400;	/* never negative */
	int			shifted_month = (month + 9) % 12;
	int64_t		days;

	days = INT64_C(365) * shifted_year + shifted_year / 4 -
		shifted_year / 100 + shifted_year / 400;
	days += (153 * shifted_month + 2) / 5 + day - 1;
	return days - 719468 - 146097;	/* 1970-01-01, and the 400 years */
}

bool
co_timestamp_parse(const char *text, int64_t *result)
{
	const char *at = text;
	int			year;
	int			month;
	int			day;
	int			hour;
	int			minute;
	int			second;
	int64_t		microseconds = 0;
	int64_t		offset = 0;
	int64_t		time;

	if (text == NULL)
		return false;

	if (!read_number(&at, 4, &year) || !read_character(&at, '-') ||
		!read_number(&at, 2, &month) || !read_character(&at, '-') ||
		!read_number(&at, 2, &day))
		return false;
	if (month < 1 || month > 12 || day < 1 || day > days_in_month(year, month))
		return false;

	if (!read_character(&at, 'T') && !read_character(&at, ' '))
		return false;

	/* A leap second is the first of the next minute, as in PostgreSQL. */
	if (!read_number(&at, 2, &hour) || !read_character(&at, ':') ||
		!read_number(&at, 2, &minute) || !read_character(&at, ':') ||
		!read_number(&at, 2, &second))
		return false;
	if (hour > 23 || minute > 59 || second > 60)
		return false;

	if (read_character(&at, '.'))
	{
		int64_t		unit = SECOND / 10;

		if (!is_digit(*at))
			return false;
		for (; is_digit(*at); at++)
		{
			microseconds += (*at - '0') * unit;
			unit /= 10;			/* digits beyond the sixth are cut off */
		}
	}

	if (*at == '+' || *at == '-')
	{
		int			sign = *at++ == '-' ? -1 : 1;
		int			zone_hour;
		int			zone_minute = 0;

		if (!read_number(&at, 2, &zone_hour))
			return false;
		if (*at != '\0')
		{
			read_character(&at, ':');
			if (!read_number(&at, 2, &zone_minute))
				return false;
		}
		if (zone_hour > 23 || zone_minute > 59)
			return false;
		offset = sign * (zone_hour * INT64_C(3600) + zone_minute * 60) * SECOND;
	}
	else if (*at != '\0' && !read_character(&at, 'Z'))
		return false;

	if (*at != '\0')
		return false;

	time = days_since_epoch(year, month, day) * DAY +
		(hour * INT64_C(3600) + minute * 60 + second) * SECOND +
		microseconds - offset;
	if (time < 0 || time >= DAYS_TO_10000 * DAY)
		return false;

	*result = time;
	return true;
}
