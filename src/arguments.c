/*-------------------------------------------------------------------------
 * arguments.c
 *		Arguments that several SQL functions take.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/int.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "arguments.h"
#include "compat.h"
#include "convert.h"
#include "guc.h"
#include "words.h"

/* Are the database's bytes UTF-8?  Or nobody knows, and address.c tells. */
static bool
is_utf8(void)
{
	int			encoding = GetDatabaseEncoding();

	return encoding == PG_UTF8 || encoding == PG_SQL_ASCII;
}

/* Write the normal form in UTF-8 to a buffer of CO_ADDRESS_MAX + 1 bytes. */
static CoAddressError
normalize(text *email, char *normal)
{
	const char *utf8 = VARDATA_ANY(email);
	size_t		length = VARSIZE_ANY_EXHDR(email);
	CoAddressError error;

	if (!is_utf8())
	{
		utf8 = co_text_to_utf8(utf8, length);
		length = strlen(utf8);
	}
	error = co_address_normalize(utf8, length, normal, CO_ADDRESS_MAX + 1);
	if (error == CO_ADDRESS_NO_MEMORY)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	return error;
}

char *
co_normalize_argument(text *email, CoAddressError *error)
{
	char		normal[CO_ADDRESS_MAX + 1];

	*error = normalize(email, normal);

	/* The local part comes from the input, so every character converts back. */
	return *error == CO_ADDRESS_OK ? co_text_from_utf8(normal) : NULL;
}

char *
co_words_argument(text *words, CoWords form)
{
	char	   *utf8 = co_text_to_utf8(VARDATA_ANY(words), VARSIZE_ANY_EXHDR(words));
	size_t		length = strlen(utf8);

	/* Folding makes none of the letters longer, and a domain has its limit. */
	size_t		size = Max(length, CO_ADDRESS_DOMAIN_MAX) + 1;
	char	   *normal = palloc(size);

	switch (form)
	{
		case CO_WORDS_KEPT:
		case CO_WORDS_FOLDED:
			(void) co_words_normalize(utf8, length, form == CO_WORDS_FOLDED, normal, size);
			break;
		case CO_WORDS_DOMAIN:
			(void) co_words_domain(utf8, length, normal, size);
			break;
		case CO_WORDS_COMPANY:
			(void) co_words_company(utf8, length, normal, size);
			break;
	}
	return co_text_from_utf8(normal);
}

int64
co_interval_argument(const Interval *interval, const char *name)
{
	int64		days = (int64) interval->month * DAYS_PER_MONTH + interval->day;
	int64		result;

	if (pg_mul_s64_overflow(days, USECS_PER_DAY, &result) ||
		pg_add_s64_overflow(result, interval->time, &result))
		result = days < 0 ? -1 : PG_INT64_MAX;
	if (result < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" must not be negative", name)));
	return result;
}

TimestampTz
co_oldest_accepted(int64 age)
{
	TimestampTz now = GetCurrentStatementStartTimestamp();
	TimestampTz result;

	if (pg_sub_s64_overflow(now, age, &result) || result < MIN_TIMESTAMP)
		return DT_NOBEGIN;
	return result;
}

CoFreshness
co_accepted_ages(const Interval *max_age)
{
	CoFreshness accepts;
	int64		age = max_age ? co_interval_argument(max_age, "max_age")
		: (int64) co_max_age * USECS_PER_SEC;

	accepts.verdict = co_oldest_accepted(age);
	accepts.unknown = co_oldest_accepted(Min(age, (int64) co_max_age_unknown * USECS_PER_SEC));
	accepts.catch_all = co_max_age_catch_all < 0 ? accepts.verdict
		: co_oldest_accepted(Min(age, (int64) co_max_age_catch_all * USECS_PER_SEC));
	return accepts;
}

/* With the precheck off, what is malformed goes to the service as it is. */
static char *
key_of_malformed(text *email)
{
	char	   *key = text_to_cstring(email);
	char	   *end = key + strlen(key);

	while (end > key && isspace((unsigned char) end[-1]))
		*--end = '\0';
	while (isspace((unsigned char) *key))
		key++;
	for (char *c = key; *c; c++)
		*c = pg_ascii_tolower((unsigned char) *c);
	if (*key == '\0')
		return NULL;
	if (strlen(key) >= CO_KEY_SIZE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the address is too long to ask about"),
				 errdetail("It has %zu bytes; %d is the most.", strlen(key), CO_KEY_SIZE - 1)));
	return key;
}

char *
co_key_argument(text *email, CoAddressError *error)
{
	char	   *key = co_normalize_argument(email, error);

	if (key == NULL && !co_precheck)
		key = key_of_malformed(email);
	return key;
}

int
co_key_write(text *email, char *key, CoAddressError *error)
{
	char	   *other;

	if (is_utf8())
	{
		*error = normalize(email, key);
		if (*error == CO_ADDRESS_OK)
			return strlen(key);
	}
	other = co_key_argument(email, error);
	if (other == NULL)
		return -1;
	strcpy(key, other);
	return strlen(key);
}
