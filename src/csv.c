/*-------------------------------------------------------------------------
 * csv.c
 *		Result files of the service: records, columns, words.
 *
 * Pure.  The order of the columns is documented, but not promised, and users
 * have columns of their own around them; so names decide, compared by their
 * letters and digits alone: "Clearout Verified At (UTC)" and
 * "clearout_verified_at" are one.
 *-------------------------------------------------------------------------
 */
#include "csv.h"

#include <limits.h>
#include <string.h>

#include "timestamp.h"
#include "utf8.h"

#define NAME_MAX_LENGTH 64

/* ---------- records ---------- */

static size_t
line_end(const char *data, size_t length, size_t at)
{
	if (data[at] == '\r' && at + 1 < length && data[at + 1] == '\n')
		return at + 2;
	return at + 1;
}

/* The first line is broken: what follows it may be good. */
static CoCsvRecord
broken_line(const char *data, size_t length, bool last, size_t *text, size_t *whole)
{
	size_t		at = 0;

	while (at < length && data[at] != '\n' && data[at] != '\r')
		at++;
	*text = at;
	if (at < length)
		*whole = line_end(data, length, at);
	else if (last || length > CO_CSV_RECORD_MAX)
		*whole = length;
	else
		return CO_CSV_NOT_WHOLE;
	return CO_CSV_BROKEN;
}

CoCsvRecord
co_csv_record(const char *data, size_t length, bool last, char delimiter,
			  int fields, size_t *text, size_t *whole)
{
	bool		quoted = false;
	bool		breaks = false;
	int			count = 1;

	*text = *whole = 0;
	for (size_t at = 0; at < length; at++)
	{
		char		c = data[at];

		/* as COPY reads it: a quote begins or ends quoting wherever it is */
		if (c == '"')
			quoted = !quoted;
		else if (c == delimiter)
			count += quoted ? 0 : 1;
		else if (c == '\n' || c == '\r')
		{
			if (quoted)
			{
				breaks = true;
				if (at > CO_CSV_RECORD_MAX)
					break;
				continue;
			}
			/* a second half of the line end may be on its way */
			if (c == '\r' && at + 1 == length && !last)
				return CO_CSV_NOT_WHOLE;
			if (breaks && fields > 0 && count != fields)
				return broken_line(data, length, last, text, whole);
			*text = at;
			*whole = line_end(data, length, at);
			if (at > CO_CSV_RECORD_MAX)
				return CO_CSV_BROKEN;
			return at == 0 ? CO_CSV_BLANK : CO_CSV_RECORD;
		}
	}
	if (length > CO_CSV_RECORD_MAX)
		return broken_line(data, length, last, text, whole);
	if (!last)
		return CO_CSV_NOT_WHOLE;
	if (quoted || (breaks && fields > 0 && count != fields))
		return broken_line(data, length, last, text, whole);
	*text = *whole = length;
	return length == 0 ? CO_CSV_BLANK : CO_CSV_RECORD;
}

char
co_csv_delimiter(const char *header, size_t length)
{
	static const char candidates[] = ",;\t";
	size_t		count[3] = {0};
	bool		quoted = false;
	int			best = 0;

	for (size_t i = 0; i < length; i++)
	{
		if (header[i] == '"')
			quoted = !quoted;
		for (int j = 0; j < 3 && !quoted; j++)
			count[j] += header[i] == candidates[j];
	}
	for (int j = 1; j < 3; j++)
	{
		if (count[j] > count[best])
			best = j;
	}
	return candidates[best];
}

const char *
co_csv_foreign(const char *data, size_t length)
{
	if (length >= 4 && memcmp(data, "PK\003\004", 4) == 0)
		return "it is a spreadsheet or an archive, not CSV";
	if (length >= 2 && (memcmp(data, "\xFF\xFE", 2) == 0 || memcmp(data, "\xFE\xFF", 2) == 0))
		return "it is UTF-16, not UTF-8";
	if (length >= 2 && memcmp(data, "\x1F\x8B", 2) == 0)
		return "it is compressed, not CSV";
	return NULL;
}

size_t
co_csv_mark(const char *data, size_t length)
{
	return length >= 3 && memcmp(data, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
}

size_t
co_csv_mend(const char *text, size_t length, char *out)
{
	size_t		at = 0;
	size_t		used = 0;

	while (at < length)
	{
		size_t		sequence;
		uint64_t	eight;

		/* plain ASCII, eight at a time: no bit 7, and no zero byte */
		if (length - at >= 8)
		{
			memcpy(&eight, text + at, 8);
			if ((eight & UINT64_C(0x8080808080808080)) == 0 &&
				((eight - UINT64_C(0x0101010101010101)) & UINT64_C(0x8080808080808080)) == 0)
			{
				memcpy(out + used, &eight, 8);
				at += 8;
				used += 8;
				continue;
			}
		}
		sequence = co_utf8_length((const unsigned char *) text + at, length - at);
		if (sequence == 0 || text[at] == '\0')
		{
			memcpy(out + used, "\xEF\xBF\xBD", 3);
			used += 3;
			at++;
			continue;
		}
		memcpy(out + used, text + at, sequence);
		used += sequence;
		at += sequence;
	}
	return used;
}

/* ---------- columns ---------- */

static const struct
{
	const char *name;			/* letters and digits */
	CoCsvColumn column;
}			names[] = {
	{"email", CO_CSV_EMAIL},
	{"emails", CO_CSV_EMAIL},
	{"emailaddress", CO_CSV_EMAIL},
	{"emailaddresses", CO_CSV_EMAIL},
	{"clearoutsafetosend", CO_CSV_SAFE_TO_SEND},
	{"clearoutverificationstatus", CO_CSV_STATUS},
	{"clearoutstatus", CO_CSV_STATUS},
	{"clearoutsubstatus", CO_CSV_SUB_STATUS},
	{"clearoutsubstatuscode", CO_CSV_SUB_STATUS},
	{"clearoutreason", CO_CSV_REASON},
	{"clearoutsuggestedemail", CO_CSV_SUGGESTED_EMAIL},
	{"clearoutsuggestedemailaddress", CO_CSV_SUGGESTED_EMAIL},
	{"clearoutbouncetype", CO_CSV_BOUNCE_TYPE},
	{"clearoutdisposablestatus", CO_CSV_DISPOSABLE},
	{"clearoutdisposable", CO_CSV_DISPOSABLE},
	{"clearoutfreeaccountstatus", CO_CSV_FREE},
	{"clearoutfreeaccount", CO_CSV_FREE},
	{"clearoutfree", CO_CSV_FREE},
	{"clearoutroleaccountstatus", CO_CSV_ROLE},
	{"clearoutroleaccount", CO_CSV_ROLE},
	{"clearoutrole", CO_CSV_ROLE},
	{"clearoutgibberishstatus", CO_CSV_GIBBERISH},
	{"clearoutgibberish", CO_CSV_GIBBERISH},
	{"clearoutaccount", CO_CSV_ACCOUNT},
	{"clearoutdomain", CO_CSV_DOMAIN},
	{"clearoutmxrecord", CO_CSV_MX_RECORD},
	{"clearoutsmtpprovider", CO_CSV_SMTP_PROVIDER},
	{"clearoutaiverdict", CO_CSV_AI_VERDICT},
	{"clearoutverifiedat", CO_CSV_VERIFIED_AT},
	{"clearoutverifiedatutc", CO_CSV_VERIFIED_AT},
	{"clearoutverifiedon", CO_CSV_VERIFIED_AT},
	{"clearoutverifiedonutc", CO_CSV_VERIFIED_AT},
	{"clearouttimetaken", CO_CSV_TIME_TAKEN},
	{"clearouttimetakenms", CO_CSV_TIME_TAKEN}
};

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
}

static bool
is_alphanumeric(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Letters and digits of a header's name; "" if it is longer than any known. */
static void
fold_name(const char *text, char name[NAME_MAX_LENGTH + 1])
{
	size_t		length = 0;

	for (; *text != '\0'; text++)
	{
		char		c = lower(*text);

		if ((unsigned char) c >= 0x80 && co_csv_mark(text, strlen(text)) == 0)
		{
			/* another alphabet: none of ours */
			length = 0;
			break;
		}
		if (!is_alphanumeric(c))
			continue;
		if (length == NAME_MAX_LENGTH)
		{
			length = 0;
			break;
		}
		name[length++] = c;
	}
	name[length] = '\0';
}

const char *
co_csv_map(char *const *header, int count, CoCsvMap *map)
{
	map->fields = count;
	for (int i = 0; i < CO_CSV_COLUMNS; i++)
		map->at[i] = -1;
	for (int i = 0; i < count; i++)
	{
		char		name[NAME_MAX_LENGTH + 1];
		const char *text = header[i];

		if (text == NULL)
			continue;
		fold_name(text + co_csv_mark(text, strlen(text)), name);
		for (size_t j = 0; j < sizeof(names) / sizeof(names[0]); j++)
		{
			/* of several, the first: a user may have uploaded an old result */
			if (strcmp(name, names[j].name) == 0)
			{
				/* but the service appends its own: there the last is the new one */
				if (map->at[names[j].column] < 0 || names[j].column != CO_CSV_EMAIL)
					map->at[names[j].column] = i;
				break;
			}
		}
	}
	if (map->at[CO_CSV_STATUS] < 0)
		return "it has no column \"Clearout Verification Status\"";
	if (map->at[CO_CSV_EMAIL] < 0 &&
		(map->at[CO_CSV_ACCOUNT] < 0 || map->at[CO_CSV_DOMAIN] < 0))
		return "it has no column \"Email\"";
	return NULL;
}

/* ---------- rows ---------- */

static const char *
field(const CoCsvMap *map, char *const *fields, int count, CoCsvColumn column)
{
	int			at = map->at[column];
	const char *text = at >= 0 && at < count ? fields[at] : NULL;

	return text != NULL && text[strspn(text, " \t\r\n")] != '\0' ? text : NULL;
}

/*
 * Fold a word as the codec folds those of an instant answer: lower case, its
 * parts joined by underscores.  "" if there is none, or it is too long.
 */
static void
fold_word(const char *text, char word[CO_CSV_WORD_MAX + 1])
{
	size_t		length = 0;
	bool		gap = false;

	word[0] = '\0';
	if (text == NULL)
		return;
	for (; *text != '\0'; text++)
	{
		if (strchr(" \t\r\n-_", *text) != NULL)
		{
			gap = length > 0;
			continue;
		}
		if (length + (gap ? 1 : 0) >= CO_CSV_WORD_MAX)
		{
			word[0] = '\0';
			return;
		}
		if (gap)
			word[length++] = '_';
		gap = false;
		word[length++] = lower(*text);
	}
	word[length] = '\0';
}

static CoTernary
ternary(const char *text)
{
	char		word[CO_CSV_WORD_MAX + 1];

	fold_word(text, word);
	if (strcmp(word, "yes") == 0 || strcmp(word, "true") == 0)
		return CO_TRUE;
	if (strcmp(word, "no") == 0 || strcmp(word, "false") == 0)
		return CO_FALSE;
	return CO_NULL;
}

static int64_t
whole(const char *text, int64_t max)
{
	int64_t		value = 0;
	bool		any = false;

	if (text == NULL)
		return -1;
	while (*text == ' ')
		text++;
	for (; *text >= '0' && *text <= '9'; text++)
	{
		if (value > (max - (*text - '0')) / 10)
			return -1;
		value = value * 10 + (*text - '0');
		any = true;
	}
	while (*text == ' ')
		text++;
	return any && *text == '\0' ? value : -1;
}

/*
 * The column's name says UTC.  Besides the spellings of the JSON answers: with
 * that word behind, without seconds, a day alone.
 */
static int64_t
utc_time(const char *text)
{
	char		copy[64];
	size_t		length;
	int64_t		result;

	if (text == NULL)
		return CO_NO_TIME;
	while (*text == ' ')
		text++;
	length = strlen(text);
	while (length > 0 && text[length - 1] == ' ')
		length--;
	if (length >= sizeof(copy) - sizeof(" 00:00:00"))
		return CO_NO_TIME;
	memcpy(copy, text, length);
	copy[length] = '\0';
	if (length > 4 && (strcmp(copy + length - 4, " UTC") == 0 || strcmp(copy + length - 4, " GMT") == 0))
		copy[length -= 4] = '\0';
	if (length == 10)
		strcat(copy, " 00:00:00");
	else if (length == 16 && copy[13] == ':')
		strcat(copy, ":00");
	return co_timestamp_parse(copy, &result) ? result : CO_NO_TIME;
}

CoCsvVerdict
co_csv_answer(const CoCsvMap *map, char *const *fields, int count,
			  CoCsvAnswer *answer)
{
	static const char cancelled[] = "request_cancelled";
	const size_t suffix = sizeof("_bounce") - 1;
	size_t		length;
	char		reason[CO_CSV_WORD_MAX + 1];
	int64_t		number;

	/* fields that are empty at the end may have been left out */
	if (map->at[CO_CSV_STATUS] >= count)
		return CO_CSV_FEW_FIELDS;

	answer->email = field(map, fields, count, CO_CSV_EMAIL);
	answer->account = field(map, fields, count, CO_CSV_ACCOUNT);
	answer->domain = field(map, fields, count, CO_CSV_DOMAIN);
	if (answer->email == NULL && (answer->account == NULL || answer->domain == NULL))
		return CO_CSV_NO_ADDRESS;

	fold_word(field(map, fields, count, CO_CSV_STATUS), answer->status);
	if (answer->status[0] == '\0')
		return CO_CSV_NO_STATUS;
	if (strcmp(answer->status, "catchall") == 0)
		strcpy(answer->status, "catch_all");

	answer->reason = field(map, fields, count, CO_CSV_REASON);
	fold_word(answer->reason, reason);
	if (strcmp(answer->status, "unknown") == 0 &&
		(strcmp(reason, cancelled) == 0 || strcmp(reason, "request_canceled") == 0))
		return CO_CSV_UNDONE;

	fold_word(field(map, fields, count, CO_CSV_SAFE_TO_SEND), answer->safe_to_send);
	fold_word(field(map, fields, count, CO_CSV_BOUNCE_TYPE), answer->bounce_type);
	length = strlen(answer->bounce_type);
	if (length > suffix && strcmp(answer->bounce_type + length - suffix, "_bounce") == 0)
		answer->bounce_type[length - suffix] = '\0';

	number = whole(field(map, fields, count, CO_CSV_SUB_STATUS), INT_MAX);
	answer->sub_status = (int) number;
	answer->disposable = ternary(field(map, fields, count, CO_CSV_DISPOSABLE));
	answer->free = ternary(field(map, fields, count, CO_CSV_FREE));
	answer->role = ternary(field(map, fields, count, CO_CSV_ROLE));
	answer->gibberish = ternary(field(map, fields, count, CO_CSV_GIBBERISH));
	answer->suggested_email = field(map, fields, count, CO_CSV_SUGGESTED_EMAIL);
	answer->mx_record = field(map, fields, count, CO_CSV_MX_RECORD);
	answer->smtp_provider = field(map, fields, count, CO_CSV_SMTP_PROVIDER);
	answer->ai_verdict = field(map, fields, count, CO_CSV_AI_VERDICT);
	answer->verified_on = utc_time(field(map, fields, count, CO_CSV_VERIFIED_AT));
	answer->time_taken = whole(field(map, fields, count, CO_CSV_TIME_TAKEN), INT64_MAX / 1000);
	return CO_CSV_ANSWER;
}

const char *
co_csv_verdict_text(CoCsvVerdict verdict)
{
	switch (verdict)
	{
		case CO_CSV_ANSWER:
			break;
		case CO_CSV_UNDONE:
			return "not verified, the list was cancelled";
		case CO_CSV_FEW_FIELDS:
			return "too few fields";
		case CO_CSV_NO_ADDRESS:
			return "no address";
		case CO_CSV_NO_STATUS:
			return "no status";
	}
	return "answered";
}

/* ---------- writing ---------- */

/* A blank at either end would be lost on a reader that trims. */
static bool
needs_quotes(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
	{
		if (strchr("\",;\t\r\n", text[i]) != NULL)
			return true;
	}
	return length > 0 && (text[0] == ' ' || text[length - 1] == ' ');
}

size_t
co_csv_quoted_length(const char *text, size_t length)
{
	size_t		result = length + 2;

	if (!needs_quotes(text, length))
		return length;
	for (size_t i = 0; i < length; i++)
		result += text[i] == '"';
	return result;
}

size_t
co_csv_quote(const char *text, size_t length, char *out)
{
	size_t		used = 0;

	if (!needs_quotes(text, length))
	{
		memcpy(out, text, length);
		return length;
	}
	out[used++] = '"';
	for (size_t i = 0; i < length; i++)
	{
		if (text[i] == '"')
			out[used++] = '"';
		out[used++] = text[i];
	}
	out[used++] = '"';
	return used;
}
